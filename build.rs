//! The build script of both modules: the options of their link, and for nginx's which nginx its bindings are of. The bindings have
//! build scripts of their own (`apache_module/sys/build.rs`, `ngx_module/sys/build`).

fn main() {
    println!("cargo::rerun-if-changed=../build.rs");
    match std::env::var("CARGO_PKG_NAME").as_deref() {
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
