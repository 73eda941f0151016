//! Building the service binaries where cargo runs us, so that one command is enough on a fresh clone.

use std::path::{Path, PathBuf};

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
    if let (true, Some(cargo), Some(manifest)) =
        (build, std::env::var_os("CARGO"), std::env::var_os("CARGO_MANIFEST_DIR"))
    {
        out.talk("building the services (only what changed)");
        run_cargo(Path::new(&cargo), Path::new(&manifest), &folder).await?;
    }
    let missing = packages().map(|package| folder.join(package)).find(|path| !path.exists());
    if let Some(missing) = missing {
        let packages: Vec<String> = packages().map(|package| format!("-p {package}")).collect();
        return Err(Failure::new(Code::NotFound, format!("no {} beside this program", missing.display()))
            .hint(format!("cargo build {}", packages.join(" "))));
    }
    let services = Service::ALL.into_iter().map(|service| (service, folder.join(service.binary()))).collect();
    Ok(Binaries { services, attestor: folder.join(ATTESTOR_BINARY) })
}

async fn run_cargo(cargo: &Path, manifest_folder: &Path, out_folder: &Path) -> Result<(), Failure> {
    let mut command = Command::new(cargo);
    command.arg("build").arg("--manifest-path").arg(manifest_folder.join("Cargo.toml"));
    for package in packages() {
        command.args(["-p", package]);
    }
    // The same profile as ours: the folder's name tells it (`dev` builds into `debug`).
    match out_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            command.args(["--profile", profile]);
        }
    }
    // stdout is for data.
    let status = command.stdout(std::process::Stdio::null()).kill_on_drop(true).status().await;
    let status = status.map_err(|error| Failure::file(cargo, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(Code::Unavailable, format!("cargo build ended with {status}")).hint("its own words stand above"))
}
