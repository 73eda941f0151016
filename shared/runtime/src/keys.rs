//! Keys and secrets in files: one line each, readable by their owner alone.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use marque_signing::{SigningKey, base64url, base64url_decode};
use zeroize::Zeroizing;

use crate::Secret;

/// Why a key or secret was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others than the owner may read it.
    #[error("{} is readable by others (mode {mode:03o}): chmod 600 it, or set MARQUE_ALLOW_READABLE_KEYS=1", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not one line, or not what it should be.
    #[error("{} is not {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// The system gave no randomness.
    #[error("the system gave no randomness")]
    Randomness,
}

/// A file of one line needs no more.
const FILE_BYTES_MAX: u64 = 4096;
/// Where container engines mount secrets, readable by the container's user through the group or by all.
const SECRETS_DIR: &str = "/run/secrets";
/// Set to `1` where the files' permissions can't be narrowed.
const ALLOW_READABLE: &str = "MARQUE_ALLOW_READABLE_KEYS";
const PASSWORD_BYTES: usize = 24;

/// Reads a signing key: the base64url of a 32-byte seed on one line.
pub fn read_signing_key(path: &Path) -> Result<SigningKey, KeyFileError> {
    let malformed = || KeyFileError::Malformed { path: path.to_owned(), expected: "the base64url of a 32-byte seed" };
    let line = read_line(path)?;
    let bytes = Zeroizing::new(base64url_decode(line.as_bytes()).ok_or_else(malformed)?);
    let seed = Zeroizing::new(<[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| malformed())?);
    Ok(SigningKey::from_seed(&seed))
}

/// Makes a new key and writes it with mode 0600. Refuses to replace a file.
pub fn create_signing_key(path: &Path) -> Result<SigningKey, KeyFileError> {
    let key = SigningKey::generate().map_err(|_| KeyFileError::Randomness)?;
    let seed = key.seed();
    create_secret(path, &Zeroizing::new(base64url(seed.as_slice())))?;
    Ok(key)
}

/// Reads a one-line secret, such as a password.
pub fn read_secret(path: &Path) -> Result<Secret, KeyFileError> {
    let line = read_line(path)?;
    if line.is_empty() {
        return Err(KeyFileError::Malformed { path: path.to_owned(), expected: "a secret on one line" });
    }
    Ok(Secret::from(line.to_string()))
}

/// Writes a one-line secret with mode 0600. Refuses to replace a file.
pub fn create_secret(path: &Path, secret: &str) -> Result<(), KeyFileError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(secret.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    };
    write().map_err(|source| KeyFileError::Io { path: path.to_owned(), source })
}

/// A new random password: 32 characters of base64url.
pub fn random_password() -> Result<Secret, KeyFileError> {
    // A fresh key's seed is the randomness that the lower room gives.
    let seed = SigningKey::generate().map_err(|_| KeyFileError::Randomness)?.seed();
    Ok(Secret::from(base64url(seed.get(..PASSWORD_BYTES).unwrap_or_default())))
}

fn read_line(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // On the open file: the name could be swapped in between.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    let excused = path.starts_with(SECRETS_DIR) || std::env::var_os(ALLOW_READABLE).is_some_and(|value| value == "1");
    if mode & 0o077 != 0 && !excused {
        return Err(KeyFileError::Readable { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let line = text.trim_end_matches(['\n', '\r']);
    if line.contains(['\n', '\r']) || text.len() as u64 == FILE_BYTES_MAX {
        return Err(KeyFileError::Malformed { path: path.to_owned(), expected: "one short line" });
    }
    Ok(Zeroizing::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn created_key_is_read_back_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let key = create_signing_key(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_signing_key(&path).unwrap().did(), key.did());
        assert!(matches!(create_signing_key(&path), Err(KeyFileError::Io { .. })));
    }

    #[test]
    fn refuses_a_key_that_others_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        create_signing_key(&path).unwrap();
        for mode in [0o640, 0o604] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read_signing_key(&path), Err(KeyFileError::Readable { mode: m, .. }) if m == mode));
        }
    }

    #[test]
    fn refuses_what_is_no_seed() {
        let dir = tempfile::tempdir().unwrap();
        for (n, text) in ["", "short", "two\nlines", &"A".repeat(44), &"A".repeat(9000)].iter().enumerate() {
            let path = dir.path().join(n.to_string());
            create_secret(&path, text).unwrap();
            assert!(matches!(read_signing_key(&path), Err(KeyFileError::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn passwords_differ_and_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (random_password().unwrap(), random_password().unwrap());
        assert_ne!(a, b);
        create_secret(&dir.path().join("p"), a.expose()).unwrap();
        assert_eq!(read_secret(&dir.path().join("p")).unwrap(), a);
        assert_eq!(format!("{a:?}"), "***");
    }
}
