//! The `carota` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    carota::cli::main()
}
