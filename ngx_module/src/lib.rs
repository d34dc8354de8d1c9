//! The nginx module
