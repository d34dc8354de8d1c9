//! The reference page, printed from the table of directives.

use std::fmt::Write;

use super::{DIRECTIVES, Places, Spelling};

/// The page, in Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Directives\n\nThis page is printed from `shared/src/vocabulary/directives.rs`; a test holds the two together.\n",
    );
    for directive in DIRECTIVES {
        let spellings = [("httpd", directive.apache), ("nginx", directive.nginx)];
        let names: Vec<_> =
            spellings.iter().filter_map(|(_, spelling)| *spelling).map(|spelling| shown(&spelling)).collect();
        let _ =
            write!(page, "\n## {}\n\n{}.\n\n", names.join(", "), capital(&directive.doc.to_string_lossy()));
        let _ = writeln!(page, "- takes: {}\n- default: {}", directive.syntax, directive.default);
        for (server, spelling) in spellings {
            if let Some(spelling) = spelling {
                let _ = writeln!(
                    page,
                    "- {server}: `{}` in {}",
                    shown(&spelling),
                    places(server, spelling.places)
                );
            }
        }
    }
    page
}

fn shown(spelling: &Spelling) -> String {
    spelling.name.to_string_lossy().into_owned()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn places(server: &str, places: Places) -> String {
    let names = if server == "nginx" {
        [(places.main, "http"), (places.server, "server"), (places.location, "location"), (false, "")]
    } else {
        [
            (places.main, "server config"),
            (places.server, "virtual host"),
            (places.location, "directory"),
            (places.htaccess, ".htaccess"),
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
