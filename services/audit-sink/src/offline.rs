//! What the binary does beside serving: on the state directory of a stopped sink.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use marque_ledger::Checkpoint;
use marque_runtime::config::Layers;

use crate::SinkError;
use crate::archive::archive;
use crate::compact::compact;
use crate::config::Config;
use crate::files::{INDEX_FILE, INVENTORY_FILE, LOG_FILE, newest_note};
use crate::restore::restore;
use crate::store::LogStore;

const BOOTSTRAP: &str = "bootstrap --from-archive DIR [--config FILE] [--set KEY=VALUE]…";

/// Does what the command line asks for, and gives what is to be said; none where it asks to serve.
///
/// `export STATE_DIR DIR`, `archive STATE_DIR DIR`, `compact STATE_DIR`, and [`BOOTSTRAP`], which reads the service's own configuration: its
/// state directory, its bundle, its policy.
pub fn offline(arguments: &[OsString]) -> Option<Result<String, SinkError>> {
    let (verb, rest) = arguments.split_first()?;
    Some(match (verb.to_str()?, rest) {
        ("export", [state_dir, to]) => export_of(state_dir.as_ref(), to.as_ref()),
        ("archive", [state_dir, to]) => archive_of(state_dir.as_ref(), to.as_ref()),
        ("compact", [state_dir]) => compact_all(state_dir.as_ref()),
        ("bootstrap", rest) => bootstrap(rest),
        _ => return None,
    })
}

fn export_of(state_dir: &Path, to: &Path) -> Result<String, SinkError> {
    let size = crate::export(state_dir, to)?;
    Ok(format!("{size} leaves"))
}

fn archive_of(state_dir: &Path, to: &Path) -> Result<String, SinkError> {
    let note = newest_note(state_dir)?;
    let stated = Checkpoint::stated(note.as_bytes())?;
    let store = LogStore::open(&state_dir.join(LOG_FILE), &stated.origin)?;
    let done = archive(&store.view()?, &note, to)?;
    Ok(format!("{} leaves, {} files written", done.size, done.files))
}

fn compact_all(state_dir: &Path) -> Result<String, SinkError> {
    let mut said = Vec::new();
    for name in [LOG_FILE, INDEX_FILE, INVENTORY_FILE] {
        let path = state_dir.join(name);
        if name == LOG_FILE || path.exists() {
            let done = compact(&path)?;
            said.push(format!("{name}: {} bytes on disk, {} before", done.after, done.before));
        }
    }
    Ok(said.join("\n"))
}

fn bootstrap(rest: &[OsString]) -> Result<String, SinkError> {
    let usage = || SinkError::Asked(format!("usage: marque-audit-sink {BOOTSTRAP}"));
    let (mut from, mut file, mut flags) = (None, std::env::var_os("MARQUE_CONFIG").map(PathBuf::from), Vec::new());
    let (pairs, odd) = rest.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(usage());
    }
    for [flag, value] in pairs {
        match flag.to_str() {
            Some("--from-archive") => from = Some(PathBuf::from(value)),
            Some("--config" | "-c") => file = Some(PathBuf::from(value)),
            Some("--set") => {
                let (key, value) = value.to_str().and_then(|text| text.split_once('=')).ok_or_else(usage)?;
                flags.push((key.to_owned(), value.to_owned()));
            }
            Some(_) | None => return Err(usage()),
        }
    }
    let from = from.ok_or_else(usage)?;
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let layers = Layers { service: crate::SPEC.section.to_owned(), flags, environment, file };
    let config = layers.load::<Config>().map_err(asked)?.config;
    let bundle = config.common.trust_bundle().map_err(asked)?;
    let trusted = config.audit_sink.trusted(&marque_ledger::origin(&bundle.trust_domain), &bundle).map_err(asked)?;
    let head = restore(&from, &config.common.state_dir().map_err(asked)?, &trusted)?;
    Ok(format!("{} leaves, root {}", head.size, head.root))
}

fn asked(error: marque_runtime::ConfigError) -> SinkError {
    SinkError::Asked(error.to_string())
}
