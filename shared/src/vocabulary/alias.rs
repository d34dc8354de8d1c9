//! The options of `WSGIScriptAlias` and `WSGIScriptAliasMatch`, each declared once. [`crate::conf::alias`]
//! reads what is written behind them.

/// An option, written as `name=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AliasOption {
    /// As it is written, before the `=`.
    pub name: &'static str,
    /// What it takes, in words.
    pub takes: &'static str,
    /// What holds where it is not written, in words.
    pub default: &'static str,
    /// One line of documentation.
    pub doc: &'static str,
}

/// Every option.
pub const ALIAS_OPTIONS: &[AliasOption] = &[
    AliasOption {
        name: "callable-object",
        takes: "name, dotted.name or factory()",
        default: "as WSGICallableObject says",
        doc: "the application's name in its script",
    },
    AliasOption {
        name: "pass-authorization",
        takes: "on or off",
        default: "as WSGIPassAuthorization says",
        doc: "whether the request's credentials reach the application as HTTP_AUTHORIZATION",
    },
    AliasOption {
        name: "process-group",
        takes: "name, %{GLOBAL} or %{ENV:variable}",
        default: "as WSGIProcessGroup says",
        doc: "which processes run the application",
    },
    AliasOption {
        name: "application-group",
        takes: "%{GLOBAL}",
        default: "%{GLOBAL}",
        doc: "the main interpreter, which is the only one; with process-group= beside it the script is loaded \
              when the server starts",
    },
];
