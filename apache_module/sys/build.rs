//! Makes the bindings to httpd and APR from the headers of the machine, and compiles their macros (`src/macros.c`); says what to
//! install where the headers are missing.

use std::path::PathBuf;
use std::process::Command;

const MISSING: &str = "httpd's headers are missing: install apache2-dev (Debian, Ubuntu) or httpd-devel (Fedora), or set APXS to \
                       the apxs of your httpd";

const HEADERS: &[&str] = &[
    "httpd.h",
    "http_config.h",
    "http_connection.h",
    "http_core.h",
    "http_log.h",
    "http_main.h",
    "http_protocol.h",
    "http_request.h",
    "ap_mpm.h",
    "ap_regex.h",
    "unixd.h",
    "util_filter.h",
    "apr_buckets.h",
    "apr_portable.h",
    "apr_strings.h",
    "macros.h",
];

fn main() {
    for file in ["build.rs", "src/macros.h", "src/macros.c"] {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-env-changed=APXS");
    if let Err(why) = build() {
        println!("cargo::error={why}");
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    let flags = compiler_flags()?;
    let bindings = generate(&flags)?;
    let target = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("httpd.rs");
    std::fs::write(&target, bindings)
        .map_err(|error| format!("{} cannot be written: {error}", target.display()))?;
    let mut macros = cc::Build::new();
    // The headers are not ours to be warned of.
    macros.file("src/macros.c").warnings(false);
    for flag in &flags {
        macros.flag(flag);
    }
    macros
        .try_compile("neat_httpd_macros")
        .map_err(|error| format!("httpd's macros cannot be compiled: {error}. {MISSING}"))
}

/// What a program says, in words; `None` where it cannot be run.
fn said(program: &str, arguments: &[&str]) -> Option<Vec<String>> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.split_whitespace().map(str::to_owned).collect())
}

/// Where the headers are, and what they were configured with.
fn compiler_flags() -> Result<Vec<String>, String> {
    let named = std::env::var("APXS").ok();
    let candidates =
        named.as_deref().map_or_else(|| vec!["apxs", "apxs2", "/usr/sbin/apxs"], |apxs| vec![apxs]);
    let (apxs, include) = candidates
        .into_iter()
        .find_map(|apxs| {
            said(apxs, &["-q", "INCLUDEDIR"])?.into_iter().next().map(|directory| (apxs, directory))
        })
        .ok_or(MISSING)?;
    let mut flags = vec![format!("-I{include}"), "-Isrc".to_owned()];
    for (variable, fallback) in [("APR_CONFIG", "apr-1-config"), ("APU_CONFIG", "apu-1-config")] {
        let program = said(apxs, &["-q", variable]).and_then(|words| words.into_iter().next());
        let program = program.unwrap_or_else(|| fallback.to_owned());
        flags.extend(said(&program, &["--includes"]).ok_or_else(|| {
            format!("{program} cannot be run, which belongs to httpd's headers. {MISSING}")
        })?);
        flags.extend(said(&program, &["--cppflags"]).unwrap_or_default());
    }
    Ok(flags)
}

fn generate(flags: &[String]) -> Result<String, String> {
    let includes: String = HEADERS.iter().map(|header| format!("#include \"{header}\"\n")).collect();
    bindgen::Builder::default()
        .header_contents("httpd_all.h", &includes)
        .clang_args(flags)
        .allowlist_function("(ap|apr|neat)_.*")
        .allowlist_type("(ap|apr)_.*|module|command_rec|request_rec|server_rec|conn_rec|cmd_parms")
        .allowlist_var("(AP|APR|APLOG|HTTP|MODULE|M|OR|RSRC|ACCESS|EXEC|OPT)_.*|ap_server_conf|ap_server_root|ap_pglobal|ap_unixd_config|OK|DECLINED|DONE|REQUEST_NO_BODY|NOT_IN_.*|apr_bucket_type_.*")
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .rust_target(bindgen::RustTarget::stable(85, 0).unwrap_or_default())
        .rust_edition(bindgen::RustEdition::Edition2024)
        .wrap_unsafe_ops(true)
        .layout_tests(true)
        .generate_comments(false)
        .derive_debug(false)
        .generate()
        .map(|bindings| bindings.to_string())
        .map_err(|error| format!("httpd's headers cannot be read: {error}. {MISSING}"))
}
