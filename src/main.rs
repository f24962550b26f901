//! The `carota` program.

fn main() {}
