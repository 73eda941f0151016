//! The log as files in the C2SP layout: what `http://…/log/` shows, and what `export` writes.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use marque_ledger::layout::{self, BUNDLE, CHECKPOINT, VERDICTS};
use marque_ledger::{Checkpoint, Files as _, TileId};

use crate::SinkError;
use crate::archive::{CHECKPOINT_BYTES_MAX, agrees};
use crate::epoch::has_ended;
use crate::finality::FINAL_FILE;
use crate::index::{Index, IndexView};
use crate::judge::Judge;
use crate::keep::{keep, keep_written, kept, make_room};
use crate::seal::CHECKPOINT_FILE;
use crate::store::{LogStore, LogView};

/// The log's store in its state directory.
pub const LOG_FILE: &str = "audit.redb";
/// The hashes of its leaves, beside it, which may be deleted.
pub const LEAF_HASHES_FILE: &str = "leaves.hashes";
/// The index, which may be deleted.
pub const INDEX_FILE: &str = "index.redb";
/// The inventory, which may be deleted.
pub const INVENTORY_FILE: &str = "inventory.redb";
/// The trust bundle under which the verdicts were made.
pub const BUNDLE_FILE: &str = "bundle.jwt";

/// What one page of the index may have: tens of thousands of lines.
pub const PAGE_BYTES_MAX: usize = 4 << 20;

/// Which lines of the index are asked for: those of this leaf and so many more, as far as one page goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The first line's leaf.
    pub from: u64,
    /// Lines at the most.
    pub leaves: u64,
}

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
            VERDICTS => match self.page(Page { from: 0, leaves: tree_size }, tree_size)? {
                (lines, text) if lines == tree_size => Ok(text.into_bytes()),
                _ => Err(SinkError::Asked(format!("the index of {tree_size} leaves is shown in pages: add `&from=0`"))),
            },
            tile => self.log.file(TileId::parse(tile)?),
        }
    }

    /// Lines of the index of the log of `tree_size` leaves, and how many: whole ones, and at least one where there is
    /// one.
    pub fn page(&self, asked: Page, tree_size: u64) -> Result<(u64, String), SinkError> {
        if tree_size > self.index.upto() {
            let upto = self.index.upto();
            let why = format!("the index reaches {upto} of {tree_size} leaves: ask again shortly");
            return Err(SinkError::NotFound(why));
        }
        self.index.page(asked.from, asked.from.saturating_add(asked.leaves).min(tree_size), PAGE_BYTES_MAX)
    }

    /// Writes the index, page by page.
    fn write_index(&self, tree_size: u64, file: &mut File, path: &Path) -> Result<(), SinkError> {
        let mut from = 0;
        while from < tree_size {
            let (lines, text) = self.page(Page { from, leaves: tree_size }, tree_size)?;
            if lines == 0 {
                return Err(SinkError::ForeignStore(format!("the index has no line of leaf {from}")));
            }
            file.write_all(text.as_bytes()).map_err(SinkError::at(path))?;
            from += lines;
        }
        Ok(())
    }
}

/// The newest final checkpoint of a state directory; of a sink that was stopped before any was final, the newest that it
/// signed. Of an epoch that has ended, the larger of the two: that is the one that the next goes on from.
pub(crate) fn newest_note(state_dir: &Path) -> Result<String, SinkError> {
    let path = state_dir.join(CHECKPOINT_FILE);
    let Some(note) = kept(&state_dir.join(FINAL_FILE))? else {
        return std::fs::read_to_string(&path).map_err(SinkError::at(&path));
    };
    if !has_ended(state_dir)? {
        return Ok(note);
    }
    let Some(signed) = kept(&path)? else { return Ok(note) };
    let size = |note: &str| Checkpoint::stated(note.as_bytes()).map(|stated| stated.size);
    Ok(if size(&signed)? > size(&note)? { signed } else { note })
}

/// Writes the log of a stopped sink, or of a copy of its state directory, into a directory. Gives the tree's size.
///
/// Each file is whole or absent, and durable before the checkpoint, which is written last. The checkpoint that the
/// directory has must be this log's, and is kept beside a larger one; what is none of this log's is not written over.
pub fn export(state_dir: &Path, to: &Path) -> Result<u64, SinkError> {
    let note = newest_note(state_dir)?;
    let bundle =
        std::fs::read_to_string(state_dir.join(BUNDLE_FILE)).map_err(SinkError::at(&state_dir.join(BUNDLE_FILE)))?;
    let stated = Checkpoint::stated(note.as_bytes())?;
    let trusted = marque_signing::TrustBundle::open(bundle.trim_end(), None)
        .map_err(|error| SinkError::ForeignStore(format!("{BUNDLE_FILE}: {error}")))?;
    let fingerprint = marque_signing::bundle::fingerprint(bundle.trim_end()).to_string();
    let store = LogStore::open(&state_dir.join(LOG_FILE), &stated.origin)?;
    let index = Index::open(&state_dir.join(INDEX_FILE), &fingerprint, store.head().size)?;
    crate::intake::catch_up_here(&store, &index, &Judge::new(trusted))?;
    let (log, index) = (store.view()?, index.view()?);
    let shelf = Shelf { log: &log, index: &index, checkpoint: Some(&note), bundle: bundle.trim_end() };
    let before = before(&log, &stated, to)?;
    for path in layout::files(stated.size) {
        let file = to.join(&path);
        make_room(&file)?;
        match (path.as_str(), &before) {
            (VERDICTS, _) => keep_written(&file, |writing| shelf.write_index(stated.size, writing, &file))?,
            (CHECKPOINT, Some((size, note))) if *size < stated.size => {
                let kept = to.join(layout::kept_checkpoint(*size));
                if !kept.exists() {
                    make_room(&kept)?;
                    keep(&kept, note)?;
                }
                keep(&file, shelf.file(CHECKPOINT, stated.size)?)?;
            }
            (path, _) => keep(&file, shelf.file(path, stated.size)?)?,
        }
    }
    Ok(stated.size)
}

/// The checkpoint that a copy of this log has already, and its size.
fn before(log: &LogView, stated: &Checkpoint, to: &Path) -> Result<Option<(u64, Vec<u8>)>, SinkError> {
    let there = marque_ledger::Directory::new(to).read(CHECKPOINT, CHECKPOINT_BYTES_MAX);
    let Some(note) = there.map_err(|why| SinkError::Archive(format!("{CHECKPOINT}: {why}")))? else { return Ok(None) };
    let before = Checkpoint::stated(&note)?;
    if before.origin != stated.origin || before.size > stated.size {
        let Checkpoint { origin, size, .. } = &before;
        let why =
            format!("the copy there is of {size} leaves of `{origin}`, not of {} of `{}`", stated.size, stated.origin);
        return Err(SinkError::Archive(why));
    }
    agrees(log, &before, "the copy there")?;
    Ok(Some((before.size, note)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::enter;
    use marque_ledger::Hash;
    use marque_signing::SigningKey;

    #[test]
    fn an_ended_epochs_newest_checkpoint_is_the_larger() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let note = |size: u64| {
            let checkpoint = Checkpoint { origin: "acme.example/audit".into(), size, root: Hash::leaf(b"5") };
            checkpoint.sign(&SigningKey::from_seed(&[3; 32])).unwrap()
        };
        let newest = || newest_note(path).map(|note| Checkpoint::stated(note.as_bytes()).unwrap().size).ok();
        assert_eq!(newest(), None);
        std::fs::write(path.join(CHECKPOINT_FILE), note(9)).unwrap();
        assert_eq!(newest(), Some(9));
        std::fs::write(path.join(FINAL_FILE), note(7)).unwrap();
        assert_eq!(newest(), Some(7));
        enter(path, 2).unwrap();
        assert_eq!(newest(), Some(9));
        std::fs::write(path.join(CHECKPOINT_FILE), note(5)).unwrap();
        assert_eq!(newest(), Some(7));
    }
}
