//! The command line of Marque. What it says and does stands in the library.

#![deny(clippy::print_stdout, clippy::disallowed_methods)]

use std::process::ExitCode;

fn main() -> ExitCode {
    marque::run(std::env::args_os()).into()
}
