//! The reference page, printed from the tables of directives and of the options of an alias and of a process
//! group.

use std::fmt::Write;

use super::alias::ALIAS_OPTIONS;
use super::group::{GROUP_OPTIONS, OptionKind};
use super::option_value::short_size;
use super::{Contexts, DIRECTIVES, Setting, Spelling};

/// The page, in Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Directives\n\nThis page is printed from `directives.rs`, `alias.rs` and `group.rs` in `shared/src/vocabulary`; a test holds them \
         together. The options of an alias and of a process group stand at the end. nginx's own directives of an upstream (buffers, timeouts, cache, store) are in \
         [NGINX-UPSTREAM.md](NGINX-UPSTREAM.md).\n",
    );
    for directive in DIRECTIVES {
        let spellings = [("httpd", directive.apache), ("nginx", directive.nginx)];
        let names: Vec<_> =
            spellings.iter().filter_map(|(_, spelling)| *spelling).map(|spelling| shown(&spelling)).collect();
        let doc = capital(&directive.doc.to_string_lossy());
        let doc = match directive.setting {
            Setting::Retired { instead } => format!("{doc}: {instead}"),
            _ => doc,
        };
        let _ = write!(page, "\n## {}\n\n{doc}.\n\n", names.join(", "));
        let _ = writeln!(page, "- takes: {}\n- default: {}", directive.syntax, directive.default);
        for (server, spelling) in spellings {
            if let Some(spelling) = spelling {
                let _ = writeln!(
                    page,
                    "- {server}: `{}` in {}",
                    shown(&spelling),
                    contexts(server, spelling.contexts)
                );
            }
        }
    }
    add_alias_options(&mut page);
    add_options(&mut page);
    page
}

fn add_alias_options(page: &mut String) {
    page.push_str(
        "\n# Options of an alias\n\nBehind the target in `WSGIScriptAlias` and `WSGIScriptAliasMatch`, as `option=value`. They come before \
         what holds in the script's directory.\n\n| option | takes | default | meaning |\n|---|---|---|---|\n",
    );
    for option in ALIAS_OPTIONS {
        let _ =
            writeln!(page, "| `{}` | {} | {} | {} |", option.name, option.takes, option.default, option.doc);
    }
}

fn add_options(page: &mut String) {
    page.push_str(
        "\n# Options of a process group\n\nBehind the name in `WSGIDaemonProcess` and `wsgi_daemon_process`, as `option=value`. A time is \
         in seconds, or has `ms`, `s`, `m`, `h` or `d` behind it. A size is in bytes, or has `k`, `m` or `g` behind it.\n\n\
         | option | takes | default | meaning |\n|---|---|---|---|\n",
    );
    for option in GROUP_OPTIONS {
        let meaning = match option.kind {
            OptionKind::Retired { instead } => format!("{}: {instead}", option.doc),
            _ => option.doc.to_owned(),
        };
        let _ =
            writeln!(page, "| `{}` | {} | {} | {meaning} |", option.name, takes(option.kind), option.default);
    }
}

fn takes(kind: OptionKind) -> String {
    match kind {
        OptionKind::Number(low, high) => format!("a whole number from {low} to {high}"),
        OptionKind::Count => "a whole number, or off".to_owned(),
        OptionKind::Signed(low, high) => format!("a whole number from {low} to {high}"),
        OptionKind::Time => "a time, or off".to_owned(),
        OptionKind::Grace => "a time; 0 for none at all".to_owned(),
        OptionKind::Wait => "a time; 0 for the default".to_owned(),
        OptionKind::Size(low, u64::MAX) => format!("a size of at least {}, or off", short_size(low)),
        OptionKind::Size(low, high) => {
            format!("a size from {} to {}; 0 for the default", short_size(low), short_size(high))
        }
        OptionKind::SoftAndHard(low) => {
            format!("a size of at least {}, or two as soft:hard, or off", short_size(low))
        }
        OptionKind::Flag => "on or off".to_owned(),
        OptionKind::Octal => "octal digits".to_owned(),
        OptionKind::Text => "text".to_owned(),
        OptionKind::Path => "an absolute path".to_owned(),
        OptionKind::Paths => "absolute paths with : between them".to_owned(),
        OptionKind::List => "names with commas between them".to_owned(),
        OptionKind::Retired { .. } => "anything".to_owned(),
    }
}

fn shown(spelling: &Spelling) -> String {
    spelling.name.to_string_lossy().into_owned()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn contexts(server: &str, contexts: Contexts) -> String {
    let names = if server == "nginx" {
        [(contexts.main, "http"), (contexts.server, "server"), (contexts.location, "location"), (false, "")]
    } else {
        [
            (contexts.main, "server config"),
            (contexts.server, "virtual host"),
            (contexts.location, "directory"),
            (contexts.htaccess, ".htaccess"),
        ]
    };
    names.iter().filter(|(allowed, _)| *allowed).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_tree_is_the_one_that_the_table_prints() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conf-examples/DIRECTIVES.md");
        if std::env::var_os("NEAT_WRITE_REFERENCE").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap();
        assert!(found == page(), "print it anew: NEAT_WRITE_REFERENCE=1 cargo test -p neat-shared reference");
    }
}
