//! httpd's structures as types with safe methods. Each type says how long what it points to lives; nobody
//! else holds a pointer.

mod brigade;
mod client;
mod conf_vector;
mod filters;
mod pool;
mod regex;
mod request;
mod server;
mod text;

pub use brigade::{Brigade, FileSending, Kind};
pub use conf_vector::slot;
pub use pool::Pool;
pub use regex::Regex;
pub use request::{FileKind, Request};
pub use server::{
    Mpm, Server, banner, is_first_pass, main_server_line, run_directory, server_user, startup_line, version,
};
pub use text::borrowed;
