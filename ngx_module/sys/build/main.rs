//! Makes the bindings to nginx from its configured headers, and holds them to what nginx's own C compiler
//! makes of the same headers: a structure that is laid out otherwise is an error of the build.
//!
//! The headers are those of `NGINX_SOURCE_DIR`, configured in `NGINX_BUILD_DIR` (`scripts/nginx-headers`).

mod headers;
mod layout;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use headers::Headers;

/// What nginx's configure may have decided and the code asks for, as `cfg(ngx_feature = "...")`: `NGX_...`
/// without the prefix, in small letters.
const FEATURES: &[&str] = &["compat", "debug", "http_cache", "http_ssl", "http_v2", "http_v3", "threads"];

fn main() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    if let Err(why) = build(&out) {
        println!("cargo::error={why}");
        std::process::exit(1);
    }
}

fn build(out: &Path) -> Result<(), String> {
    let headers = Headers::find()?;
    let bindings = generate(&headers)?;
    let types = layout::read(&bindings)?;
    let measured = layout::measure(&headers, &types, FEATURES, out)?;
    write(&out.join("bindings.rs"), &bindings)?;
    write(&out.join("layout.rs"), &layout::assertions(&types, &measured))?;
    tell_dependents(&measured);
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

fn generate(headers: &Headers) -> Result<String, String> {
    bindgen::Builder::default()
        .header_contents("nginx_all.h", headers::INCLUDES)
        .clang_args(headers.clang_arguments())
        .allowlist_item("(ngx|NGX|NGINX|nginx)_.*")
        .allowlist_type("sockaddr.*|off_t|time_t|in_port_t")
        .generate_cstr(true)
        .rust_target(bindgen::RustTarget::stable(85, 0).unwrap_or_default())
        .rust_edition(bindgen::RustEdition::Edition2024)
        .wrap_unsafe_ops(true)
        .layout_tests(false)
        .generate_comments(false)
        .formatter(bindgen::Formatter::Prettyplease)
        .generate()
        .map(|bindings| bindings.to_string())
        .map_err(|error| {
            let source = headers.source.display();
            format!("nginx's headers in {source} cannot be read: {error}. {}", headers::MISSING)
        })
}

/// For our own code (`cfg`), and for the build script of the module (`DEP_NGINX_*`).
fn tell_dependents(measured: &layout::Measured) {
    let mut quoted = String::new();
    for feature in FEATURES {
        let _ = write!(quoted, "\"{feature}\",");
    }
    println!("cargo::rustc-check-cfg=cfg(ngx_feature, values({quoted}))");
    println!("cargo::metadata=features_check={quoted}");
    println!("cargo::metadata=features={}", measured.features.join(","));
    println!("cargo::rustc-env=NEAT_NGINX_FEATURES={}", measured.features.join(", "));
    println!("cargo::metadata=version_number={}", measured.version);
}
