//! The real binaries, built once before the first test that runs them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the binaries of the workspace stand: beside this test's own, built by the cargo that runs it.
///
/// `MARQUE_BIN_DIR` names another folder, whose binaries are taken as they are.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("MARQUE_BIN_DIR") {
            return PathBuf::from(folder);
        }
        let own = std::env::current_exe().expect("a process has an executable");
        let folder =
            own.ancestors().skip(1).find(|path| !path.ends_with("deps")).expect("it lies in a folder").to_owned();
        build(&folder);
        folder
    })
}

/// The path of a binary.
pub fn path(name: &str) -> PathBuf {
    folder().join(name)
}

/// Has cargo build every binary into `folder`'s profile; nothing happens where they are fresh.
fn build(folder: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--quiet", "--bins"]);
    command.arg("--target-dir").arg(folder.parent().expect("a profile's folder lies in the target folder"));
    // What cargo tells a test of its own package would look, to build scripts that watch for it, like another build:
    // `ring` and all above it would be built anew each time the two take turns.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.starts_with(of))) {
            command.env_remove(name);
        }
    }
    if let Some(profile) = folder.file_name().filter(|name| *name != "debug") {
        command.arg("--profile").arg(profile);
    }
    let status = command.status().expect("cargo starts");
    assert!(status.success(), "the binaries do not build: {status}");
}
