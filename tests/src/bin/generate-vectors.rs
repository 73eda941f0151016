//! Writes `schemas/vectors/` anew from the list in `marque_tests::vectors`. Usage: `generate-vectors [DIR]`.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/vectors"));
    let root = std::env::args_os().nth(1).map_or_else(default, PathBuf::from);
    match marque_tests::vectors::files::write(&root) {
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
