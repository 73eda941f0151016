//! The attestor's process. See the crate's documentation for what it does.

use std::process::ExitCode;

use marque_runtime::run;

fn main() -> ExitCode {
    run::service(marque_attestor::SPEC, marque_attestor::serve)
}
