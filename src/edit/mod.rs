//! Byte-preserving edits of configuration files.
//!
//! What lies here knows the syntax of files: YAML, systemd units, PEM. It must not know what a
//! rotation is, which files exist, or where they lie. Every edit takes a text and gives a text in
//! which nothing but the asked-for value differs; a shape that is not understood is an error at its
//! place. After each edit the result is read again, by a second parser, and compared with the same
//! edit made on the parsed value.

/// How a reference to a private value that stayed on its node begins.
pub const KEPT: &str = "carota-kept:";

pub mod argv;
pub mod component_config;
pub mod embedded;
pub mod kubeconfig;
pub mod kubelet_config;
pub mod manifest;
mod pairs;
pub mod pem;
pub mod scalar;
mod shell;
pub mod unit;
mod unit_syntax;
pub mod yaml;
