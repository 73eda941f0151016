//! The audit sink's process. See the crate's documentation for what it does.

use std::process::ExitCode;

use marque_audit_sink::{SPEC, offline, serve};

fn main() -> ExitCode {
    // On a stopped sink's state directory; everything else is a service's usual command line.
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match offline(&arguments) {
        Some(Ok(said)) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Some(Err(error)) => {
            eprintln!("marque-audit-sink: {error}");
            ExitCode::FAILURE
        }
        None => marque_runtime::run::service(SPEC, serve),
    }
}
