//! Writes the generated files of `schemas/` anew, vectors included. Usage: `generate-schemas [DIR]`.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas"));
    let root = std::env::args_os().nth(1).map_or_else(default, PathBuf::from);
    let written = marque_tests::schemas::write(&root)
        .and_then(|count| Ok(count + marque_tests::vectors::files::write(&root.join("vectors"))?));
    match written {
        Ok(count) => {
            println!("{count} files under {}", root.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", root.display());
            ExitCode::FAILURE
        }
    }
}
