//! The real binaries, built once before the first test that runs them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use marque::dev::build::cargo_build;

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
    let mut command = cargo_build(Path::new(&cargo), folder);
    command.current_dir(root).args(["--quiet", "--bins"]);
    let status = command.status().expect("cargo starts");
    assert!(status.success(), "the binaries do not build: {status}");
}
