//! The httpd module
