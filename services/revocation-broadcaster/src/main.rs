//! The broadcaster's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    marque_runtime::run::service(marque_revocation_broadcaster::SPEC, marque_revocation_broadcaster::serve)
}
