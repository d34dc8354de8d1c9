//! nginx's headers, and how nginx's own makefile compiles against them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What is read. `NGX_RS_*` are macros that bindgen cannot evaluate.
pub const INCLUDES: &str = "\
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
static const char *const NGX_RS_MODULE_SIGNATURE = NGX_MODULE_SIGNATURE;
";

/// What to do where they are not there.
pub const MISSING: &str = "Install nginx-dev (Debian, Ubuntu) and run scripts/nginx-headers, or set NGINX_SOURCE_DIR to nginx's \
                           sources and NGINX_BUILD_DIR to the --builddir that they were configured with";

/// The headers of one configured nginx.
pub struct Headers {
    /// Its sources.
    pub source: PathBuf,
    /// Its compiler, as the makefile has it.
    compiler: String,
    /// The compiler's options, in words.
    options: Vec<String>,
}

impl Headers {
    /// Those that the environment names. Cargo is told to look again when one of them changes: a package
    /// manager gives a new file its old date but its directory a new one, so that the directories are named
    /// and not the files.
    pub fn find() -> Result<Self, String> {
        let source = directory("NGINX_SOURCE_DIR", "src/core/nginx.h")?;
        let build = directory("NGINX_BUILD_DIR", "ngx_auto_config.h")?;
        for path in [source.join("src"), build.join("Makefile"), build.join("ngx_auto_config.h")] {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        println!("cargo::rerun-if-changed=build");
        let makefile = build.join("Makefile");
        let text = std::fs::read_to_string(&makefile)
            .map_err(|error| format!("{} cannot be read: {error}. {MISSING}", makefile.display()))?;
        let text = text.replace("\\\n", " ");
        let variable = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='))
                .unwrap_or("")
        };
        let compiler = variable("CC").trim();
        let options = words(&format!("{} {}", variable("CFLAGS"), variable("ALL_INCS")))?;
        Ok(Self {
            source,
            compiler: if compiler.is_empty() { "cc".to_owned() } else { compiler.to_owned() },
            options,
        })
    }

    /// What decides a structure's layout: paths and macros. The paths in the makefile are as seen from the
    /// sources.
    pub fn clang_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut options = self.options.iter();
        while let Some(option) = options.next() {
            let Some(kind) = option.get(..2).filter(|kind| matches!(*kind, "-I" | "-D" | "-U" | "-f" | "-m"))
            else {
                continue;
            };
            let mut value = option.get(2..).unwrap_or_default().to_owned();
            if value.is_empty() && matches!(kind, "-I" | "-D" | "-U") {
                value = options.next().cloned().unwrap_or_default();
            }
            match kind {
                "-I" => arguments.push(format!("-I{}", self.source.join(value).display())),
                "-D" | "-U" => arguments.push(format!("{kind}{value}")),
                // Of the compiler's other options only these change a layout.
                _ if value == "pack-struct"
                    || value == "short-enums"
                    || value.starts_with("pack-struct=") =>
                {
                    arguments.push(option.clone());
                }
                _ if kind == "-m" => arguments.push(option.clone()),
                _ => {}
            }
        }
        arguments
    }

    /// Compiles `program` as nginx is compiled, and says what it prints.
    pub fn run(&self, program: &Path) -> Result<String, String> {
        let built = program.with_extension("out");
        let compiled = Command::new("sh")
            .arg("-c")
            .arg(format!("exec {} \"$@\"", self.compiler))
            .arg("cc")
            .args(&self.options)
            .args(["-w", "-O0", "-fno-lto", "-o"])
            .args([&built, program])
            .current_dir(&self.source)
            .output()
            .map_err(|error| format!("nginx's C compiler \"{}\" cannot be run: {error}", self.compiler))?;
        if !compiled.status.success() {
            return Err(format!(
                "nginx's C compiler \"{}\" cannot compile against nginx's headers: {}",
                self.compiler,
                String::from_utf8_lossy(&compiled.stderr).lines().take(20).collect::<Vec<_>>().join(" | ")
            ));
        }
        let output = Command::new(&built)
            .output()
            .map_err(|error| format!("what was compiled for nginx does not run on this machine: {error}"))?;
        String::from_utf8(output.stdout).map_err(|error| error.to_string())
    }
}

fn directory(variable: &str, has: &str) -> Result<PathBuf, String> {
    println!("cargo::rerun-if-env-changed={variable}");
    let named = std::env::var_os(variable).ok_or_else(|| format!("{variable} is not set. {MISSING}"))?;
    std::fs::canonicalize(&named)
        .ok()
        .filter(|path| path.join(has).is_file())
        .ok_or_else(|| format!("{variable} is {}, where no {has} is. {MISSING}", Path::new(&named).display()))
}

/// Splits as the shell would that runs the makefile's commands.
fn words(text: &str) -> Result<Vec<String>, String> {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("printf '%s\\n' {text}"))
        .output()
        .map_err(|error| format!("sh cannot be run: {error}"))?;
    let text = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    Ok(text.lines().map(str::to_owned).collect())
}
