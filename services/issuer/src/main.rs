//! The issuer's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    marque_runtime::run::service(marque_issuer::SPEC, marque_issuer::serve)
}
