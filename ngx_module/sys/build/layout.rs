//! The layout of nginx's structures, from two sides: as bindgen understands it, and as nginx's C compiler has
//! it.
//!
//! Bindgen works it out on its own, and has been wrong: bit-fields that begin in the padding behind a smaller
//! member (nginx 1.29.3, `ngx_http_request_t`, behind `port`) were placed one unit too late by bindgen 0.72
//! (rust-bindgen, issue 3384).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::headers::{Headers, INCLUDES};

/// A structure, as the bindings have it.
#[derive(Default)]
pub struct Type {
    name: String,
    fields: Vec<String>,
    bits: Vec<Bits>,
}

/// A bit-field: its name, the member of the bindings that holds it, where it begins in there, and how wide it
/// is.
struct Bits {
    name: String,
    unit: String,
    from: usize,
    width: usize,
}

/// What the C compiler says.
pub struct Measured {
    /// `nginx_version`.
    pub version: u64,
    /// Of those that were asked for.
    pub features: Vec<String>,
    /// What was measured, by name.
    numbers: HashMap<String, usize>,
}

/// Reads nginx's structures out of the bindings.
pub fn read(bindings: &str) -> Result<Vec<Type>, String> {
    let mut types: Vec<Type> = Vec::new();
    let mut inside = None;
    let mut accessor = None;
    let mut call = String::new();
    for line in bindings.lines() {
        if let Some(rest) = line.strip_prefix("pub struct ").and_then(|rest| rest.strip_suffix(" {")) {
            // Unions, and what has no name in C, are looked at as members of those that have one.
            inside = (rest.starts_with("ngx_") && !rest.contains("__bindgen")).then(|| {
                types.push(Type { name: rest.to_owned(), ..Type::default() });
                types.len() - 1
            });
        } else if let Some(rest) = line.strip_prefix("impl ").and_then(|rest| rest.strip_suffix(" {")) {
            inside = types.iter().position(|known| known.name == rest);
        } else if line == "}" {
            inside = None;
        }
        let Some(known) = inside.and_then(|index| types.get_mut(index)) else { continue };
        let member = line.strip_prefix("    pub ").and_then(|rest| rest.split_once(':'));
        if let Some((name, _)) = member.filter(|(name, _)| is_of_c(name)) {
            known.fields.push(name.to_owned());
        }
        if let Some((name, _)) = line.strip_prefix("    pub fn ").and_then(|rest| rest.split_once("(&self)"))
        {
            accessor = Some(name.to_owned());
            call.clear();
        }
        if accessor.is_some() {
            call.push_str(line.trim());
            if line == "    }" {
                let name = accessor.take().unwrap_or_default();
                let bits = bits_of(&name, &call)
                    .ok_or_else(|| format!("the bindings have an accessor of an unknown form: {call}"))?;
                known.bits.push(bits);
            }
        }
    }
    // What is only declared in the headers has no layout.
    types.retain(|known| !known.fields.is_empty() || !known.bits.is_empty());
    let request = types.iter().find(|known| known.name == "ngx_http_request_s");
    if request.is_none_or(|request| request.fields.len() < 50 || request.bits.len() < 50) {
        return Err("the bindings have a form in which ngx_http_request_t is not found".to_owned());
    }
    Ok(types)
}

/// Whether that is a member in C, too, and not one of bindgen's own.
fn is_of_c(member: &str) -> bool {
    member.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !member.starts_with("_bitfield")
        && !member.starts_with("__bindgen")
}

/// From `self._bitfield_1.get(16usize, 4u8)`, or `self._bitfield_1.get_const::<16usize, 4u8>()`.
fn bits_of(name: &str, call: &str) -> Option<Bits> {
    let (_, rest) = call.split_once("self.")?;
    let (unit, rest) = rest.split_once('.')?;
    let mut numbers = rest
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter_map(|word| word.trim_end_matches("usize").trim_end_matches("u8").parse().ok());
    Some(Bits { name: name.to_owned(), unit: unit.to_owned(), from: numbers.next()?, width: numbers.next()? })
}

/// A name of the bindings, in C: bindgen appends `_` to what is a name of Rust's own, and none of nginx's
/// ends in one.
fn in_c(name: &str) -> &str {
    name.strip_suffix('_').unwrap_or(name)
}

/// Has the C compiler lay the same structures out.
pub fn measure(headers: &Headers, types: &[Type], features: &[&str], out: &Path) -> Result<Measured, String> {
    let mut program = format!("{INCLUDES}\n#include <stdio.h>\n#include <stddef.h>\n#include <string.h>\n");
    program.push_str(
        "static void bits(const char *type, const char *name, const unsigned char *p, size_t size) {\n\
         size_t i, first = 0, width = 0;\n\
         for (i = 0; i < size * 8; i++) if (p[i / 8] >> i % 8 & 1) { if (!width) first = i; width++; }\n\
         printf(\"%s.%s.first %zu\\n%s.%s.width %zu\\n\", type, name, first, type, name, width); }\n\
         int main(void) {\n\
         printf(\"version %lu\\n\", (unsigned long) nginx_version);\n",
    );
    for feature in features {
        let name = feature.to_uppercase();
        let _ = writeln!(program, "#if (NGX_{name})\nprintf(\"feature.{feature} 1\\n\");\n#endif");
    }
    for known in types {
        let name = &known.name;
        // nginx's structures have a tag, with `_s`, or a name by typedef.
        let spelled = if name.ends_with("_s") { format!("struct {name}") } else { name.clone() };
        let _ = writeln!(program, "{{ typedef {spelled} T; T x; printf(\"{name} %zu\\n\", sizeof(T));");
        for field in &known.fields {
            let spelled = in_c(field);
            let _ = writeln!(program, "printf(\"{name}.{field} %zu\\n\", offsetof(T, {spelled}));");
        }
        for Bits { name: field, .. } in &known.bits {
            let spelled = in_c(field);
            let _ = writeln!(
                program,
                "memset(&x, 0, sizeof x); x.{spelled} = ~0; bits(\"{name}\", \"{field}\", (void *) &x, sizeof x);"
            );
        }
        program.push_str("}\n");
    }
    program.push_str("return 0; }\n");
    let path = out.join("layout.c");
    crate::write(&path, &program)?;
    let mut numbers = HashMap::new();
    for line in headers.run(&path)?.lines() {
        if let Some((name, number)) =
            line.split_once(' ').and_then(|(name, text)| Some((name, text.parse().ok()?)))
        {
            numbers.insert(name.to_owned(), number);
        }
    }
    let features = features.iter().filter(|name| numbers.contains_key(&format!("feature.{name}")));
    Ok(Measured {
        version: numbers.get("version").copied().unwrap_or(0) as u64,
        features: features.map(|name| (*name).to_owned()).collect(),
        numbers,
    })
}

/// What the Rust compiler has to find true: for each structure its size, the place of each member, and that
/// of each bit-field.
pub fn assertions(types: &[Type], measured: &Measured) -> String {
    let mut text = String::new();
    // What was not measured is wrong as well.
    let number = |name: String| measured.numbers.get(&name).copied().unwrap_or(usize::MAX);
    for known in types {
        let name = &known.name;
        let mut claim = |what: &str, ours: String, theirs: usize| {
            let _ = writeln!(
                text,
                "const _: () = assert!({ours} == {theirs}, \"nginx-sys: the bindings' {name}{what} is not where nginx's C compiler \
                 has it ({theirs}): another bindgen is needed for this nginx\");"
            );
        };
        claim(" has a size that", format!("size_of::<{name}>()"), number(name.clone()));
        for field in &known.fields {
            claim(
                &format!(".{field}"),
                format!("offset_of!({name}, {field})"),
                number(format!("{name}.{field}")),
            );
        }
        for Bits { name: field, unit, from, width } in &known.bits {
            let place = format!("offset_of!({name}, {unit}) * 8 + {from}");
            claim(&format!(".{field}"), place, number(format!("{name}.{field}.first")));
            claim(&format!(".{field}"), format!("{width}"), number(format!("{name}.{field}.width")));
        }
    }
    text
}
