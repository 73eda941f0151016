//! An agent's folder: its key, its credential, and how many actions it has signed.
//!
//! The key is made here and stays here (ARCHITECTURE promise 7); a delegation hands over a chain, never a key.

use std::fs::File;
use std::path::{Path, PathBuf};

use marque_agent::{AgentKey, History};
use marque_identity::{Code, Digest, TrustDomain};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::directory::{make_private, read_key, read_line, write_new, write_new_key};

/// An agent's folder, by its path.
#[derive(Debug, Clone)]
pub(crate) struct AgentHome {
    root: PathBuf,
}

/// The key of a home, held by this process alone until it is dropped: two processes would fork the action counter.
#[derive(Debug)]
pub(crate) struct HeldKey {
    key: AgentKey,
    history_file: PathBuf,
    _lock: File,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredHistory {
    signed: u64,
    last: Option<Digest>,
}

impl AgentHome {
    /// The folder at this path; nothing is read yet.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    fn key_file(&self) -> PathBuf {
        self.root.join("agent.key")
    }

    /// Whether there is a key.
    pub(crate) fn has_key(&self) -> bool {
        self.key_file().exists()
    }

    /// The identity credential's file.
    pub(crate) fn credential_file(&self) -> PathBuf {
        self.root.join("credential.jwt")
    }

    /// The identity credential.
    pub(crate) fn credential(&self) -> Result<String, Failure> {
        read_line(&self.credential_file()).map_err(|failure| {
            failure.hint(
                "`marque agent enrol` fetches one; a sub-agent has none, and acts under the chain that it is given",
            )
        })
    }

    /// Keeps a fresh credential in place of the old one; a reader sees either, never half of one.
    pub(crate) fn keep_credential(&self, credential: &str) -> Result<(), Failure> {
        replace(&self.credential_file(), format!("{credential}\n").as_bytes())
    }

    /// The trust domain that the agent enrolled in.
    pub(crate) fn domain(&self) -> Result<TrustDomain, Failure> {
        let file = self.root.join("domain");
        let name = read_line(&file).map_err(|failure| failure.hint("`marque agent enrol` writes it"))?;
        name.parse().map_err(|error| Failure::new(Code::ConfigInvalid, format!("{}: {error}", file.display())))
    }

    /// Keeps the trust domain's name.
    pub(crate) fn keep_domain(&self, domain: &TrustDomain) -> Result<(), Failure> {
        replace(&self.root.join("domain"), format!("{domain}\n").as_bytes())
    }

    /// The key, made now if there is none.
    pub(crate) fn key_or_new(&self) -> Result<HeldKey, Failure> {
        make_private(&self.root)?;
        if !self.has_key() {
            write_new_key(&self.key_file())?;
        }
        self.key()
    }

    /// The key with its history. Waits while another process of this machine holds it.
    pub(crate) fn key(&self) -> Result<HeldKey, Failure> {
        let signing = read_key(&self.key_file()).map_err(|failure| match failure.code {
            Code::NotFound => failure.hint("`marque agent enrol` makes a key; name its folder with --home"),
            _ => failure,
        })?;
        let lock_file = self.root.join("agent.lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_file);
        let lock =
            lock.and_then(|lock| lock.lock().map(|()| lock)).map_err(|error| Failure::file(&lock_file, &error))?;
        let history_file = self.root.join("history.json");
        let history = read_history(&history_file)?;
        Ok(HeldKey { key: AgentKey::resumed(signing, history), history_file, _lock: lock })
    }
}

impl HeldKey {
    /// The key.
    pub(crate) fn key(&self) -> &AgentKey {
        &self.key
    }

    /// Writes down how many actions the key has signed, before any of them is forgotten.
    pub(crate) fn keep_history(&self) -> Result<(), Failure> {
        let History { signed, last } = self.key.history();
        let text = serde_json::to_vec(&StoredHistory { signed, last }).unwrap_or_default();
        replace(&self.history_file, &text)
    }
}

fn read_history(file: &Path) -> Result<History, Failure> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(History::default()),
        Err(error) => return Err(Failure::file(file, &error)),
    };
    let StoredHistory { signed, last } = marque_json::from_slice(&bytes, marque_json::Limits::bytes(4096))?;
    Ok(History { signed, last })
}

/// Replaces a small file whole.
fn replace(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fresh = file.with_extension(format!("new-{}", std::process::id()));
    write_new(&fresh, bytes, 0o600)?;
    std::fs::rename(&fresh, file).map_err(|error| Failure::file(file, &error))
}
