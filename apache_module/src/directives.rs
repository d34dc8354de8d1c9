//! Taking what was written behind a directive. The table is `shared`'s; so are the rules.

use std::path::PathBuf;

use shared::conf::mount::check_callable;
use shared::conf::validate;
use shared::vocabulary::value::{Value, ValueError, parse};
use shared::vocabulary::{Directive, Setting};

use crate::conf::{Alias, DirectoryConf, Pattern, ServerConf};
use crate::ffi::{Pool, Regex};
use crate::groups;

/// Takes a directive. There is a server's configuration where it stands outside of every section that is about a place.
///
/// # Errors
/// A sentence for the administrator; httpd puts file, line and the directive's name before it.
pub fn take(
    directive: &Directive,
    words: &[&[u8]],
    pool: Pool<'_>,
    place: &str,
    server: Option<&mut ServerConf>,
    directory: &mut DirectoryConf,
) -> Result<(), ValueError> {
    let value = parse(directive, words)?;
    validate(directive.setting, &value)?;
    match (directive.setting, &value) {
        (Setting::ProcessGroup, Value::Word(name)) => groups::note_choice(name, place),
        (Setting::DaemonProcess, Value::Words(words)) => return groups::declare(words, place),
        _ => {}
    }
    if directory.location.apply(directive.setting, &value) {
        return Ok(());
    }
    let Some(server) = server else { return Err(ValueError::Other("is not allowed here".to_owned())) };
    match (directive.setting, &value) {
        (Setting::Mount | Setting::MountMatch, Value::Words(words)) => {
            let alias = alias(directive, words, pool)?;
            if let Some(group) = &alias.process_group {
                groups::note_choice(group, place);
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
        Pattern::Prefix(prefix(url, target).as_bytes().to_vec())
    };
    // A group of the expression may be the whole path.
    let may_be_absolute =
        target.starts_with('/') || directive.setting == Setting::MountMatch && target.starts_with('$');
    if !may_be_absolute {
        return Err(ValueError::Relative(target.clone()));
    }
    let mut alias = Alias {
        pattern,
        target: PathBuf::from(target),
        callable: None,
        pass_authorization: None,
        process_group: None,
        preload: false,
    };
    for option in options {
        take_option(&mut alias, option)?;
    }
    let names = |group: &str| options.iter().any(|option| option.starts_with(group));
    alias.preload = names("process-group=") && names("application-group=");
    Ok(alias)
}

/// The path that is matched: a trailing slash counts only where the target has one as well, so that what comes behind the prefix
/// always begins with a slash.
fn prefix<'u>(url: &'u str, target: &str) -> &'u str {
    if target.ends_with('/') { url } else { url.strip_suffix('/').unwrap_or(url) }
}

fn take_option(alias: &mut Alias, option: &str) -> Result<(), ValueError> {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    match name {
        "callable-object" => {
            check_callable(value).map_err(|error| ValueError::Other(error.to_string()))?;
            alias.callable = Some(value.to_owned());
        }
        "pass-authorization" if value.eq_ignore_ascii_case("on") => alias.pass_authorization = Some(true),
        "pass-authorization" if value.eq_ignore_ascii_case("off") => alias.pass_authorization = Some(false),
        "pass-authorization" => return Err(ValueError::Flag(value.to_owned())),
        // A process has one interpreter, the main one; whoever asks for it by name gets it.
        "application-group" if value == "%{GLOBAL}" => {}
        "process-group" => alias.process_group = Some(value.to_owned()),
        "application-group" => {
            return Err(ValueError::Other(format!(
                "asks for {name}={value}, but this version of Neat runs every application in the main interpreter of its processes; \
                 leave the option out"
            )));
        }
        _ => {
            return Err(ValueError::Other(format!(
                "has the unknown option \"{option}\"; there are callable-object=, pass-authorization=, process-group= and \
                 application-group="
            )));
        }
    }
    Ok(())
}
