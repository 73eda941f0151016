//! Building the service binaries where cargo runs us, so that one command is enough on a fresh clone.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use marque_identity::Code;
use tokio::process::Command;

use crate::Failure;
use crate::output::Output;
use crate::service_config::{ATTESTOR_BINARY, Service};

/// What is run: the services, and this machine's attestor.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// Each service's.
    pub services: Vec<(Service, PathBuf)>,
    /// The attestor's.
    pub attestor: PathBuf,
}

/// The packages of all of them.
fn packages() -> impl Iterator<Item = &'static str> {
    Service::ALL.into_iter().map(Service::binary).chain([ATTESTOR_BINARY])
}

/// The binaries: built first where `cargo run` started us, then looked for beside our own executable.
pub async fn binaries(build: bool, out: &Output) -> Result<Binaries, Failure> {
    let own = std::env::current_exe().map_err(|error| Failure::file(Path::new("/proc/self/exe"), &error))?;
    let folder = own.parent().unwrap_or(Path::new("/")).to_path_buf();
    if let (true, Some((cargo, manifest))) = (build, started_by_cargo()) {
        out.talk("building the services (only what changed)");
        run_cargo(&cargo, &manifest, &folder).await?;
    }
    let missing = packages().map(|package| folder.join(package)).find(|path| !path.exists());
    if let Some(missing) = missing {
        return Err(Failure::new(Code::NotFound, format!("no {} beside this program", missing.display()))
            .hint(format!("cargo build {}", bins().join(" "))));
    }
    let services = Service::ALL.into_iter().map(|service| (service, folder.join(service.binary()))).collect();
    Ok(Binaries { services, attestor: folder.join(ATTESTOR_BINARY) })
}

/// The cargo that runs us, and the workspace's manifest. None where we were started otherwise, also below a cargo that
/// runs something else, such as a test.
fn started_by_cargo() -> Option<(PathBuf, PathBuf)> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let ours = std::env::var("CARGO_PKG_NAME").is_ok_and(|name| name == env!("CARGO_PKG_NAME"));
    let manifest = named("CARGO_MANIFEST_DIR").filter(|_| ours)?.join("../../Cargo.toml");
    Some((named("CARGO")?, manifest))
}

/// `--bin` for each. Not `-p`: with other packages left out, their dependencies would be built with other features, once
/// more.
fn bins() -> Vec<String> {
    packages().map(|package| format!("--bin {package}")).collect()
}

async fn run_cargo(cargo: &Path, manifest: &Path, folder: &Path) -> Result<(), Failure> {
    let mut command = cargo_build(cargo, folder);
    command.arg("--manifest-path").arg(manifest);
    command.args(bins().iter().flat_map(|bin| bin.split(' ')));
    // stdout is for data.
    let status = Command::from(command).stdout(Stdio::null()).kill_on_drop(true).status().await;
    let status = status.map_err(|error| Failure::file(cargo, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(Code::Unavailable, format!("cargo build ended with {status}")).hint("its own words stand above"))
}

/// `cargo build` into the folder that one of our executables stands in, and with its profile; what is built is still to
/// be named. For one cargo below another: what the outer one has told the program that it runs is kept from it.
///
/// To build scripts that watch for them those variables would look like another build: `ring`, and all above it, would be
/// built anew each time the two take turns.
pub fn cargo_build(cargo: &Path, folder: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(cargo);
    command.arg("build");
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    // The folder's name tells the profile (`dev` builds into `debug`).
    match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            command.args(["--profile", profile]);
        }
    }
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_told_by_cargo) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether cargo sets this variable for what it runs; a person sets others (`CARGO_HOME`, `CARGO_TARGET_DIR`,
/// `CARGO_NET_…`, `CARGO_PROFILE_…`), and they count below as well.
///
/// Source: the Cargo Book, "Environment variables Cargo sets for crates", and "for build scripts".
fn is_told_by_cargo(name: &str) -> bool {
    const NAMES: [&str; 6] =
        ["CARGO", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR", "CARGO_MAKEFLAGS", "OUT_DIR"];
    const PREFIXES: [&str; 5] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CFG_", "CARGO_FEATURE_"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_cargo_hears_what_a_person_says_and_not_what_the_outer_one_does() {
        for told in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION_PRE"] {
            assert!(is_told_by_cargo(told), "{told}");
        }
        for said in [
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_INCREMENTAL",
            "CARGO_NET_OFFLINE",
            "CARGO_BUILD_JOBS",
            "CARGO_PROFILE_DEV_DEBUG",
            "CARGO_TERM_COLOR",
            "CARGO_LOG",
            "RUSTFLAGS",
            "PATH",
        ] {
            assert!(!is_told_by_cargo(said), "{said}");
        }
    }

    /// Cargo runs this test, so the variables are there.
    #[test]
    fn a_cargo_below_ours_is_told_none_of_them() {
        let command = cargo_build(Path::new("cargo"), Path::new("/target/release"));
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR"] {
            assert!(std::env::var_os(name).is_some() && removed.contains(&name.as_ref()), "{name}: {removed:?}");
        }
        let args: Vec<_> = command.get_args().collect();
        assert_eq!(args, ["build", "--target-dir", "/target", "--profile", "release"]);
    }
}
