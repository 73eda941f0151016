//! The audit sink's process. See the crate's documentation for what it does.

use std::process::ExitCode;

use marque_audit_sink::{SPEC, export, serve};

fn main() -> ExitCode {
    // `export STATE_DIR DIR`: offline, without a configuration. Everything else is a service's usual command line.
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [verb, state_dir, directory] if verb == "export" => match export(state_dir.as_ref(), directory.as_ref()) {
            Ok(size) => {
                println!("{size} leaves");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("marque-audit-sink: {error}");
                ExitCode::FAILURE
            }
        },
        _ => marque_runtime::run::service(SPEC, serve),
    }
}
