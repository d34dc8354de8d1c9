//! The build script of httpd's bindings and of both modules.
//!
//! `httpd-sys` gets its bindings made here, or hears what to install where httpd's headers are missing; the modules get the options
//! of their link, and nginx's is told which nginx its bindings are of. Those have a build script of their own
//! (`ngx_module/sys/build`).

use std::path::PathBuf;
use std::process::Command;

fn main() {
    // One that is not there would count as changed each time.
    for script in ["../build.rs", "../../build.rs"] {
        if std::path::Path::new(script).exists() {
            println!("cargo::rerun-if-changed={script}");
        }
    }
    match std::env::var("CARGO_PKG_NAME").as_deref() {
        Ok("httpd-sys") => httpd_bindings(),
        Ok("mod-neat") => stay_loaded(),
        Ok("ngx-http-wsgi-module") => {
            nginx_version();
            stay_loaded();
        }
        other => fail(&format!("build.rs does not know the package {other:?}")),
    }
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    std::process::exit(1);
}

/// Python's threads and its atexit handlers outlive a dlclose: the module stays where it is.
fn stay_loaded() {
    println!("cargo::rustc-link-arg-cdylib=-Wl,-z,nodelete");
}

/// Changes of nginx's structures that the code follows: (version, name of the cfg).
const CHANGES: &[(u64, &str)] = &[
    // ngx_table_elt_t.next: headers of one name are a chain.
    (1_023_000, "nginx_linked_headers"),
];

/// Tells the compiler which nginx the bindings are of, as their build script found out.
fn nginx_version() {
    println!("cargo::rerun-if-env-changed=DEP_NGINX_VERSION_NUMBER");
    println!("cargo::rerun-if-env-changed=DEP_NGINX_FEATURES");
    println!(
        "cargo::rustc-check-cfg=cfg(ngx_feature, values({}))",
        std::env::var("DEP_NGINX_FEATURES_CHECK").unwrap_or_else(|_| "any()".to_owned())
    );
    for feature in std::env::var("DEP_NGINX_FEATURES").unwrap_or_default().split(',').map(str::trim) {
        println!("cargo::rustc-cfg=ngx_feature=\"{feature}\"");
    }
    let version = std::env::var("DEP_NGINX_VERSION_NUMBER").ok().and_then(|number| number.parse().ok());
    for (since, name) in CHANGES {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if version.is_some_and(|version: u64| version >= *since) {
            println!("cargo::rustc-cfg={name}");
        }
    }
}

/// What a program says, in words; `None` where it cannot be run.
fn said(program: &str, arguments: &[&str]) -> Option<Vec<String>> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.split_whitespace().map(str::to_owned).collect())
}

fn httpd_bindings() {
    const MISSING: &str = "httpd's headers are missing: install apache2-dev (Debian, Ubuntu) or httpd-devel (Fedora), or set APXS to \
                           the apxs of your httpd";
    println!("cargo::rerun-if-env-changed=APXS");
    let named = std::env::var("APXS").ok();
    let candidates =
        named.as_deref().map_or_else(|| vec!["apxs", "apxs2", "/usr/sbin/apxs"], |apxs| vec![apxs]);
    let Some((apxs, include)) = candidates.into_iter().find_map(|apxs| {
        said(apxs, &["-q", "INCLUDEDIR"])?.into_iter().next().map(|directory| (apxs, directory))
    }) else {
        fail(MISSING)
    };
    let mut arguments = vec![format!("-I{include}")];
    for (variable, fallback) in [("APR_CONFIG", "apr-1-config"), ("APU_CONFIG", "apu-1-config")] {
        let program = said(apxs, &["-q", variable]).and_then(|words| words.into_iter().next());
        let program = program.unwrap_or_else(|| fallback.to_owned());
        match said(&program, &["--includes"]) {
            Some(flags) => arguments.extend(flags),
            None => fail(&format!("{program} cannot be run, which belongs to httpd's headers. {MISSING}")),
        }
        arguments.extend(said(&program, &["--cppflags"]).unwrap_or_default());
    }
    let headers = [
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
    ];
    let includes = headers.map(|header| format!("#include <{header}>\n")).concat();
    let bindings = bindgen::Builder::default()
        .header_contents("httpd_all.h", &includes)
        .clang_args(&arguments)
        .allowlist_function("(ap|apr)_.*")
        .allowlist_type("(ap|apr)_.*|module|command_rec|request_rec|server_rec|conn_rec|cmd_parms")
        .allowlist_var("(AP|APR|APLOG|HTTP|MODULE|M|OR|RSRC|ACCESS|EXEC|OPT)_.*|ap_server_conf|ap_server_root|ap_pglobal|ap_unixd_config|OK|DECLINED|DONE|REQUEST_NO_BODY|NOT_IN_.*|apr_bucket_type_.*")
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .rust_target(bindgen::RustTarget::stable(85, 0).unwrap_or_default())
        .rust_edition(bindgen::RustEdition::Edition2024)
        .wrap_unsafe_ops(true)
        .layout_tests(true)
        .generate_comments(false)
        .derive_debug(false)
        .generate();
    let target = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("httpd.rs");
    match bindings.map(|bindings| bindings.write_to_file(target)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => fail(&format!("httpd's bindings cannot be written: {error}")),
        Err(error) => fail(&format!("httpd's headers in {include} cannot be read: {error}. {MISSING}")),
    }
}
