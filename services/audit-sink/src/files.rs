//! The log as files in the C2SP layout: what `http://…/log/` shows, and what `export` writes.

use std::path::Path;

use marque_ledger::TileId;
use marque_ledger::layout::{self, BUNDLE, CHECKPOINT, VERDICTS};

use crate::SinkError;
use crate::finality::FINAL_FILE;
use crate::index::{Index, IndexView};
use crate::judge::Judge;
use crate::keep::kept;
use crate::seal::CHECKPOINT_FILE;
use crate::store::{LogStore, LogView};

/// The log's store in its state directory.
pub const LOG_FILE: &str = "audit.redb";
/// The index, which may be deleted.
pub const INDEX_FILE: &str = "index.redb";
/// The inventory, which may be deleted.
pub const INVENTORY_FILE: &str = "inventory.redb";
/// The trust bundle under which the verdicts were made.
pub const BUNDLE_FILE: &str = "bundle.jwt";

/// One moment of the log, with what stands beside it.
pub struct Shelf<'a> {
    /// The log.
    pub log: &'a LogView,
    /// The index.
    pub index: &'a IndexView,
    /// The signed checkpoint, as a note.
    pub checkpoint: Option<&'a str>,
    /// The trust bundle as it was signed.
    pub bundle: &'a str,
}

impl Shelf<'_> {
    /// A file of the log of `tree_size` leaves.
    pub fn file(&self, path: &str, tree_size: u64) -> Result<Vec<u8>, SinkError> {
        match path {
            CHECKPOINT => {
                let note = self.checkpoint.ok_or_else(|| SinkError::NotFound("no checkpoint is signed yet".into()))?;
                Ok(note.as_bytes().to_vec())
            }
            BUNDLE => Ok(self.bundle.as_bytes().to_vec()),
            VERDICTS if tree_size <= self.index.upto() => Ok(self.index.lines(0, tree_size)?.into_bytes()),
            VERDICTS => Err(SinkError::NotFound(format!(
                "the index reaches {} of {tree_size} leaves: ask again shortly",
                self.index.upto()
            ))),
            tile => self.log.file(TileId::parse(tile)?),
        }
    }
}

/// The newest final checkpoint of a state directory; of a sink that was stopped before any was final, the newest that it
/// signed.
pub(crate) fn newest_note(state_dir: &Path) -> Result<String, SinkError> {
    if let Some(note) = kept(&state_dir.join(FINAL_FILE))? {
        return Ok(note);
    }
    let path = state_dir.join(CHECKPOINT_FILE);
    std::fs::read_to_string(&path).map_err(SinkError::at(&path))
}

/// Writes the log of a stopped sink, or of a copy of its state directory, into a directory. Gives the tree's size.
pub fn export(state_dir: &Path, to: &Path) -> Result<u64, SinkError> {
    let note = newest_note(state_dir)?;
    let bundle =
        std::fs::read_to_string(state_dir.join(BUNDLE_FILE)).map_err(SinkError::at(&state_dir.join(BUNDLE_FILE)))?;
    let stated = marque_ledger::Checkpoint::stated(note.as_bytes())?;
    let trusted = marque_signing::TrustBundle::open(bundle.trim_end(), None)
        .map_err(|error| SinkError::ForeignStore(format!("{BUNDLE_FILE}: {error}")))?;
    let fingerprint = marque_signing::bundle::fingerprint(bundle.trim_end()).to_string();
    let store = LogStore::open(&state_dir.join(LOG_FILE), &stated.origin)?;
    let index = Index::open(&state_dir.join(INDEX_FILE), &fingerprint, store.head().size)?;
    crate::intake::catch_up_here(&store, &index, &Judge::new(trusted))?;
    let (log, index) = (store.view()?, index.view()?);
    let shelf = Shelf { log: &log, index: &index, checkpoint: Some(&note), bundle: bundle.trim_end() };
    for path in layout::files(stated.size) {
        let file = to.join(&path);
        if let Some(directory) = file.parent() {
            std::fs::create_dir_all(directory).map_err(SinkError::at(directory))?;
        }
        std::fs::write(&file, shelf.file(&path, stated.size)?).map_err(SinkError::at(&file))?;
    }
    Ok(stated.size)
}
