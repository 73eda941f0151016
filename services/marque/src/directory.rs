//! The directory that `marque nats bootstrap` makes: where everything lies in it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use marque_identity::{Code, Digest};
use marque_runtime::keys::{self, KeyFileError};
use marque_signing::SigningKey;
use marque_signing::bundle::TrustBundle;

use crate::Failure;

/// The longest line that is read whole: a bundle (48 KiB) with room.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A bootstrap directory, by its path.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
}

/// The key files of a directory, by the name of who holds the key. Each but the last two connects to the broker by
/// the same key; `account` signs the users that the gatekeeper lets in, and `xkey` opens what the broker asks it.
pub const KEY_NAMES: [&str; 12] = [
    "bootstrap",
    "issuer",
    "broadcaster",
    "verifier",
    "sink",
    "gatekeeper",
    "callout",
    "kicker",
    "host",
    "operator",
    ACCOUNT_KEY,
    XKEY,
];
/// The key that signs users of the broker.
pub const ACCOUNT_KEY: &str = "account";
/// The seed of the xkey that the broker's questions are sealed for.
pub const XKEY: &str = "xkey";

impl Directory {
    /// The directory at this path; nothing is read yet.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The signed trust bundle.
    pub fn bundle_file(&self) -> PathBuf {
        self.root.join("bundle.jwt")
    }

    /// The bundle's fingerprint, to be compared and pinned.
    pub fn fingerprint_file(&self) -> PathBuf {
        self.root.join("bundle.digest")
    }

    /// The seed file of a service, a host or the operator.
    pub fn key_file(&self, name: &str) -> PathBuf {
        self.root.join("keys").join(format!("{name}.key"))
    }

    /// The broker's configuration.
    pub fn nats_conf(&self) -> PathBuf {
        self.root.join("nats.conf")
    }

    /// The broker's URL as commands on this machine reach it.
    pub fn nats_url_file(&self) -> PathBuf {
        self.root.join("nats.url")
    }

    /// The sink's page (`host:port`) as commands on this machine reach it: there lies the log for exporting.
    pub fn sink_page_file(&self) -> PathBuf {
        self.root.join("sink.page")
    }

    /// The blueprints.
    pub fn blueprints(&self) -> PathBuf {
        self.root.join("blueprints")
    }

    /// The configuration file of a service.
    pub fn config_file(&self, service: &str) -> PathBuf {
        self.root.join("config").join(format!("{service}.toml"))
    }

    /// The socket of this machine's attestor.
    pub fn attestor_socket(&self) -> PathBuf {
        self.root.join("attestor.sock")
    }

    /// The fingerprint that was installed with this directory.
    pub fn fingerprint(&self) -> Result<Digest, Failure> {
        let path = self.fingerprint_file();
        read_line(&path)?
            .parse()
            .map_err(|error| Failure::new(Code::ConfigInvalid, format!("{}: {error}", path.display())))
    }

    /// The trust bundle, checked against the fingerprint that lies beside it.
    pub fn bundle(&self) -> Result<TrustBundle, Failure> {
        let path = self.bundle_file();
        let text = std::fs::read_to_string(&path).map_err(|error| Failure::file(&path, &error))?;
        TrustBundle::open(&text, Some(self.fingerprint()?))
            .map_err(|error| Failure::new(error.code(), format!("{}: {error}", path.display())))
    }

    /// The bundle's text.
    pub fn bundle_text(&self) -> Result<String, Failure> {
        read_line(&self.bundle_file())
    }

    /// A key of this directory.
    pub fn key(&self, name: &str) -> Result<SigningKey, Failure> {
        read_key(&self.key_file(name))
    }

    /// The sink's page, if the directory names one.
    pub fn sink_page(&self) -> Result<String, Failure> {
        read_line(&self.sink_page_file())
    }

    /// The broker's URL, if the directory names one.
    pub fn nats_url(&self) -> Result<String, Failure> {
        read_line(&self.nats_url_file())
    }
}

/// The one line of a small file.
pub fn read_line(path: &Path) -> Result<String, Failure> {
    let wrong = |error: &std::io::Error| Failure::file(path, error);
    let size = std::fs::metadata(path).map_err(|error| wrong(&error))?.len();
    if size > LINE_BYTES_MAX {
        let why = format!("{} has {size} bytes; what it is named for has at most {LINE_BYTES_MAX}", path.display());
        return Err(Failure::new(Code::FileUnusable, why));
    }
    Ok(std::fs::read_to_string(path).map_err(|error| wrong(&error))?.trim().to_owned())
}

/// The one line of a file that only its owner may read.
pub fn read_secret(path: &Path) -> Result<String, Failure> {
    keys::read_secret(path).map(|secret| secret.expose().to_owned()).map_err(|error| key_failure(&error))
}

/// Reads a seed file: 32 bytes in base64url on one line, readable by its owner alone.
pub fn read_key(path: &Path) -> Result<SigningKey, Failure> {
    keys::read_signing_key(path).map_err(|error| match &error {
        // Advice to narrow the mode of a file that holds no key at all would do harm.
        KeyFileError::Readable { .. } if !is_one_word(path) => no_key(path, "the base64url of a 32-byte seed"),
        _ => key_failure(&error),
    })
}

/// Makes a key and writes its seed, never over another.
pub fn write_new_key(path: &Path) -> Result<SigningKey, Failure> {
    keys::create_signing_key(path).map_err(|error| key_failure(&error))
}

fn key_failure(error: &KeyFileError) -> Failure {
    match error {
        KeyFileError::Io { path, source } => Failure::file(path, source),
        KeyFileError::Readable { .. } => {
            Failure { exit: crate::Exit::NoPermission, ..Failure::new(Code::ConfigInvalid, error.to_string()) }
                .hint("chmod 600 the file")
        }
        KeyFileError::Malformed { .. } => Failure::new(Code::ConfigInvalid, error.to_string())
            .hint("`marque nats bootstrap` and `marque agent enrol` make key files"),
        KeyFileError::Randomness => Failure::new(Code::Unavailable, error.to_string()),
    }
}

/// Reads what `--nkey` names: a NATS user's seed (`SU…`), or a key as `marque` writes it.
pub(crate) fn read_nkey(path: &Path) -> Result<String, Failure> {
    const EXPECTED: &str = "one line: a NATS user's seed (`SU…`), or a key as `marque` writes it";
    let line = match keys::read_secret(path) {
        Ok(secret) => secret.expose().to_owned(),
        Err(KeyFileError::Readable { .. } | KeyFileError::Malformed { .. }) if !is_one_word(path) => {
            return Err(no_key(path, EXPECTED));
        }
        Err(error) => return Err(key_failure(&error)),
    };
    if line.chars().all(|c| c.is_ascii_alphanumeric() || "-_=".contains(c)) {
        Ok(line)
    } else {
        Err(no_key(path, EXPECTED))
    }
}

fn no_key(path: &Path, expected: &str) -> Failure {
    Failure::new(Code::FileUnusable, format!("{} is not {expected}", path.display()))
        .hint("name the file of a key: `marque nats bootstrap` and `marque agent enrol` make some")
}

/// Whether a file can be a key's at all: one line of one word.
fn is_one_word(path: &Path) -> bool {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LINE_BYTES_MAX).read_to_string(&mut text));
    read.is_ok() && !text.trim().is_empty() && !text.trim().contains(char::is_whitespace) && !text.contains(':')
}

/// Writes a file that must not exist yet, with this mode.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(mode).open(path).map_err(|error| Failure::file(path, &error))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| Failure::file(path, &error))
}

/// Makes a directory that only its owner may enter, and its parents.
pub fn make_private(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| Failure::file(path, &error))
}

/// The first and last characters of a fingerprint, for reading aloud; the whole of it decides.
pub fn short(digest: &Digest) -> String {
    let text = digest.to_string();
    format!("{}…{}", &text[..8], &text[text.len() - 8..])
}
