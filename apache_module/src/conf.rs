//! What was written in the configuration: aliases and the interpreter per server, settings per directory.

use std::path::PathBuf;

use shared::conf::alias::AliasConf;
use shared::conf::location::LocationConf;
use shared::conf::server::ServerConf as Process;

use crate::ffi::Regex;

/// What an alias matches.
#[derive(Clone)]
pub enum Pattern {
    /// A path, up to the end of a segment.
    Prefix(Vec<u8>),
    /// A regular expression; its groups stand for $1 to $9 in the target.
    Expression(Regex),
}

/// A `WSGIScriptAlias` or `WSGIScriptAliasMatch`.
#[derive(Clone)]
pub struct Alias {
    /// What it matches.
    pub pattern: Pattern,
    /// The script, or a directory of scripts.
    pub target: PathBuf,
    /// Its options.
    pub conf: AliasConf,
}

/// A server's configuration.
#[derive(Clone, Default)]
pub struct ServerConf {
    /// In the order in which they are tried.
    pub aliases: Vec<Alias>,
    /// The interpreter; only the main server's counts.
    pub process: Process,
}

impl ServerConf {
    /// What holds in a virtual host: its own aliases before those of the main server, as mod_alias has it.
    pub fn merge(outer: &Self, inner: &Self) -> Self {
        let aliases = inner.aliases.iter().chain(&outer.aliases).cloned().collect();
        Self { aliases, process: outer.process.clone() }
    }
}

/// A directory's configuration.
#[derive(Clone, Default)]
pub struct DirectoryConf {
    /// What is the same in nginx.
    pub location: LocationConf,
}

impl DirectoryConf {
    /// What holds inside.
    pub fn merge(outer: &Self, inner: &Self) -> Self {
        Self { location: inner.location.merge(&outer.location) }
    }
}
