//! The gatekeeper's process. See the crate's documentation for what it does.

use std::process::ExitCode;

use marque_runtime::run;

fn main() -> ExitCode {
    run::service(marque_gatekeeper::SPEC, marque_gatekeeper::serve)
}
