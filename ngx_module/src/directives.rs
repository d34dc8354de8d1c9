//! The directives: nginx's table of them, made from the vocabulary, and what each changes.

use std::rc::Rc;

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_TAKE1, NGX_HTTP_LIF_CONF, NGX_HTTP_LMT_CONF, NGX_HTTP_LOC_CONF,
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF,
    ngx_command_t, ngx_str_t, ngx_uint_t,
};
use shared::conf::mount::{self, Target};
use shared::vocabulary::upstream::UPSTREAM_DIRECTIVES;
use shared::vocabulary::value::{self, Value};
use shared::vocabulary::{Contexts, DIRECTIVES, Directive, Kind, Setting};

use crate::conf::{LocConf, Param, Pass};
use crate::entry;
use crate::ffi::callback;
use crate::ffi::complex_value::ComplexValue;
use crate::ffi::conf::Conf;
use crate::ffi::upstream_directives::DIRECTIVES as UPSTREAM;

/// How many directives there are, by their names alone. A length is part of a type, and what a type needs
/// must not mention the tables: they hold the address of the module, whose type the compiler then wants, and
/// that has this length in it.
const fn count() -> usize {
    let (mut count, mut index) = (UPSTREAM_DIRECTIVES.len(), 0);
    while index < DIRECTIVES.len() {
        count += DIRECTIVES[index].nginx.is_some() as usize;
        index += 1;
    }
    count
}

/// The length of nginx's table.
pub const LENGTH: usize = count() + 1;

/// nginx's table, with the empty one that ends it.
pub const TABLE: [ngx_command_t; LENGTH] = {
    let mut table = [const { ngx_command_t::empty() }; LENGTH];
    let (mut filled, mut index) = (0, 0);
    while index < DIRECTIVES.len() {
        let directive = &DIRECTIVES[index];
        if let Some(spelling) = &directive.nginx {
            let name = spelling.name.to_bytes();
            table[filled] = ngx_command_t {
                name: ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() },
                type_: context_flags(directive, spelling.contexts) | word_flags(directive.kind),
                set: callback::directive(entry::on_directive),
                conf: if is_of_process(spelling.contexts) {
                    NGX_HTTP_MAIN_CONF_OFFSET
                } else {
                    NGX_HTTP_LOC_CONF_OFFSET
                },
                offset: 0,
                post: std::ptr::null_mut(),
            };
            filled += 1;
        }
        index += 1;
    }
    index = 0;
    while index < UPSTREAM.len() {
        let directive = &UPSTREAM[index];
        let name = directive.name.to_bytes();
        let inner = if directive.is_http_only { 0 } else { NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF };
        table[filled] = ngx_command_t {
            name: ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() },
            type_: (NGX_HTTP_MAIN_CONF | inner | directive.takes) as ngx_uint_t,
            set: callback::directive(entry::on_upstream_directive),
            conf: NGX_HTTP_LOC_CONF_OFFSET,
            offset: 0,
            post: std::ptr::null_mut(),
        };
        (filled, index) = (filled + 1, index + 1);
    }
    table
};

const fn is_of_process(contexts: Contexts) -> bool {
    contexts.main && !contexts.server && !contexts.location
}

const fn context_flags(directive: &Directive, contexts: Contexts) -> ngx_uint_t {
    let mut flags = 0;
    if contexts.main {
        flags |= NGX_HTTP_MAIN_CONF;
    }
    if contexts.server {
        flags |= NGX_HTTP_SRV_CONF;
    }
    if contexts.location {
        flags |= NGX_HTTP_LOC_CONF;
    }
    if matches!(directive.setting, Setting::Mount) {
        flags |= NGX_HTTP_LIF_CONF | NGX_HTTP_LMT_CONF;
    }
    flags as ngx_uint_t
}

const fn word_flags(kind: Kind) -> ngx_uint_t {
    let flags = match kind {
        Kind::Words(..) => NGX_CONF_1MORE,
        _ => NGX_CONF_TAKE1,
    };
    flags as ngx_uint_t
}

/// Takes a directive.
///
/// # Errors
/// What is wrong with it, for the administrator.
pub fn apply(name: &[u8], conf: &Conf<'_>) -> Result<(), String> {
    let shown = String::from_utf8_lossy(name);
    let directive = DIRECTIVES
        .iter()
        .find(|directive| directive.nginx.is_some_and(|spelling| spelling.name.to_bytes() == name))
        .ok_or_else(|| format!("\"{shown}\" is not a directive of this module"))?;
    let value = value::parse(directive, &conf.words())
        .and_then(|value| shared::conf::validate(directive.setting, &value).map(|()| value))
        .map_err(|error| format!("\"{shown}\" {error}"))?;
    let of_process = directive.nginx.is_some_and(|spelling| is_of_process(spelling.contexts));
    let refused = |why: String| format!("\"{shown}\": {why}");
    if of_process {
        let main = conf.main().ok_or("no memory")?;
        if let (Setting::DaemonProcess, Value::Words(words)) = (directive.setting, &value) {
            let warnings = main.groups.declare(words).map_err(|error| format!("\"{shown}\" {error}"))?;
            warnings.iter().for_each(|warning| conf.warn(&format!("\"{shown}\": {warning}")));
            return Ok(());
        }
        note(&mut main.seen, directive.setting).map_err(|why| format!("\"{shown}\" {why}"))?;
        main.process.apply(directive.setting, &value);
        return Ok(());
    }
    let loc_conf = conf.loc_conf().ok_or("no memory")?;
    if directive.setting != Setting::Param {
        note(&mut loc_conf.seen, directive.setting).map_err(|why| format!("\"{shown}\" {why}"))?;
    }
    match (directive.setting, &value) {
        (Setting::Mount, Value::Words(words)) => pass(loc_conf, conf, words).map_err(refused),
        (Setting::Param, Value::Words(words)) => param(loc_conf, conf, words).map_err(refused),
        _ => {
            loc_conf.settings.apply(directive.setting, &value);
            Ok(())
        }
    }
}

fn note(seen: &mut Vec<Setting>, setting: Setting) -> Result<(), &'static str> {
    if seen.contains(&setting) {
        return Err("is duplicate");
    }
    seen.push(setting);
    Ok(())
}

fn pass(loc_conf: &mut LocConf, conf: &Conf<'_>, words: &[String]) -> Result<(), String> {
    let [written] = words else {
        return Err("takes one value: file.wsgi[:callable] or package.module:callable".to_owned());
    };
    let value = ComplexValue::compile(conf, written.as_bytes()).ok_or("the variables cannot be compiled")?;
    let pass = if value.is_constant() {
        let (target, callable) = mount::parse_target(written).map_err(|error| error.to_string())?;
        if let Target::Script(path) = &target {
            if let Err(error) = std::fs::metadata(path) {
                conf.warn(&format!(
                    "\"wsgi_pass\": the script \"{}\" cannot be opened ({error}); its requests will be answered with 404",
                    path.display()
                ));
            }
        }
        Pass::Fixed(target, callable)
    } else {
        Pass::Variable(value)
    };
    loc_conf.pass = Some(Rc::new(pass));
    conf.location().ok_or("no memory")?.set_handler(callback::content(entry::on_request));
    Ok(())
}

fn param(loc_conf: &mut LocConf, conf: &Conf<'_>, words: &[String]) -> Result<(), String> {
    let (name, value, if_not_empty) = match words {
        [name, value] => (name, value, false),
        [name, value, word] if word == "if_not_empty" => (name, value, true),
        [.., word] => return Err(format!("the third value can be if_not_empty, not \"{word}\"")),
        [] => return Err("takes a name and a value".to_owned()),
    };
    let value = ComplexValue::compile(conf, value.as_bytes()).ok_or("the variables cannot be compiled")?;
    let param = Param { name: name.as_bytes().to_vec(), value, if_not_empty };
    Rc::get_mut(&mut loc_conf.params).ok_or("the parameters are in use")?.push(param);
    Ok(())
}
