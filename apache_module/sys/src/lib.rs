//! httpd bindings
