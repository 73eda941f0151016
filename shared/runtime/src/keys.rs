//! Keys and secrets in files: one line each, readable by their owner alone.

use std::path::{Path, PathBuf};

use marque_signing::SigningKey;

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

/// Reads a signing key: the base64url of a 32-byte seed on one line.
pub fn read_signing_key(path: &Path) -> Result<SigningKey, KeyFileError> {
    let _ = path;
    todo!()
}

/// Makes a new key and writes it with mode 0600. Refuses to replace a file.
pub fn create_signing_key(path: &Path) -> Result<SigningKey, KeyFileError> {
    let _ = path;
    todo!()
}

/// Reads a one-line secret, such as a password.
pub fn read_secret(path: &Path) -> Result<Secret, KeyFileError> {
    let _ = path;
    todo!()
}

/// Writes a one-line secret with mode 0600. Refuses to replace a file.
pub fn create_secret(path: &Path, secret: &str) -> Result<(), KeyFileError> {
    let _ = (path, secret);
    todo!()
}

/// A new random password: 32 characters of base64url.
pub fn random_password() -> Result<Secret, KeyFileError> {
    todo!()
}
