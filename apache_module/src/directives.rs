//! Taking what was written behind a directive. The table is `shared`'s; so are the rules.

use std::path::PathBuf;

use shared::conf::alias::AliasConf;
use shared::conf::validate;
use shared::http::target::alias_path;
use shared::vocabulary::value::{Value, ValueError, parse};
use shared::vocabulary::{Directive, Setting};

use crate::conf::{Alias, DirectoryConf, Pattern, ServerConf};
use crate::ffi::{Pool, Regex};
use crate::groups;

/// Takes a directive. There is a server's configuration where it stands outside of every section
/// (`<Directory>`, `<Location>`). `written_at` is its file and line.
///
/// # Errors
/// A sentence for the administrator; httpd puts file, line and the directive's name before it.
pub fn take(
    directive: &Directive,
    words: &[&[u8]],
    pool: Pool<'_>,
    written_at: &str,
    server: Option<&mut ServerConf>,
    directory: &mut DirectoryConf,
) -> Result<(), ValueError> {
    let value = parse(directive, words)?;
    validate(directive.setting, &value)?;
    match (directive.setting, &value) {
        (Setting::ProcessGroup, Value::Word(name)) => groups::note_choice(name, written_at),
        (Setting::DaemonProcess, Value::Words(words)) => return groups::declare(words, written_at),
        _ => {}
    }
    if directory.location.apply(directive.setting, &value) {
        return Ok(());
    }
    let Some(server) = server else { return Err(ValueError::Other("is not allowed here".to_owned())) };
    match (directive.setting, &value) {
        (Setting::Mount | Setting::MountMatch, Value::Words(words)) => {
            let alias = alias(directive, words, pool)?;
            if let Some(group) = &alias.conf.process_group {
                groups::note_choice(group, written_at);
            }
            server.aliases.push(alias);
            Ok(())
        }
        _ if server.process.apply(directive.setting, &value) => Ok(()),
        _ => Err(ValueError::Other("is not a directive of httpd".to_owned())),
    }
}

fn alias(directive: &Directive, words: &[String], pool: Pool<'_>) -> Result<Alias, ValueError> {
    let [url, target, options @ ..] = words else {
        return Err(ValueError::Count(directive.syntax, words.len()));
    };
    let pattern = if directive.setting == Setting::MountMatch {
        let expression = Regex::compile(pool, url);
        Pattern::Expression(
            expression.ok_or_else(|| ValueError::Other(format!("\"{url}\" is no regular expression")))?,
        )
    } else {
        if !url.starts_with('/') {
            return Err(ValueError::Other(format!("the URL path has to begin with /, unlike \"{url}\"")));
        }
        Pattern::Prefix(alias_path(url, target).as_bytes().to_vec())
    };
    // A group of the expression may be the whole path.
    let may_be_absolute =
        target.starts_with('/') || directive.setting == Setting::MountMatch && target.starts_with('$');
    if !may_be_absolute {
        return Err(ValueError::Relative(target.clone()));
    }
    Ok(Alias { pattern, target: PathBuf::from(target), conf: AliasConf::parse(options)? })
}
