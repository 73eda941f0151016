//! A new sink's log out of an archive, under a checkpoint that the trust bundle or the policy vouches for.
//!
//! Every entry is hashed, every tile of hashes compared, and the root must be the checkpoint's; only then does the
//! state directory have a log. From there the service goes on with the stream, which must still hold the archive's last
//! message: the guard compares the two, byte for byte, before anything is taken in.

use std::path::Path;

use marque_ledger::layout::CHECKPOINT;
use marque_ledger::{
    Checkpoint, Directory, Entry, FILE_BYTES_MAX, Files as _, LedgerError, Policy, TILE_WIDTH, TileId, TileKind,
    decode_bundle,
};
use marque_runtime::whole::make_whole;

use crate::SinkError;
use crate::archive::CHECKPOINT_BYTES_MAX;
use crate::files::{INDEX_FILE, INVENTORY_FILE, LEAF_HASHES_FILE, LOG_FILE};
use crate::keep::forget;
use crate::step::Step;
use crate::store::{Head, LogStore};

/// Leaves of one commit.
const BATCH_TILES: u64 = 16;

/// Refuses a folder that has a log.
pub(crate) fn has_no_log(folder: &Path) -> Result<(), SinkError> {
    let path = folder.join(LOG_FILE);
    if path.try_exists().map_err(SinkError::at(&path))? {
        let why = format!("{} is there already: an archive fills an empty state directory", path.display());
        return Err(SinkError::ForeignStore(why));
    }
    Ok(())
}

/// The log that a try before has filled a folder with, if it is what this archive states; under the same trust.
pub(crate) fn is_restored(archive: &Path, folder: &Path, trusted: &[Policy]) -> Result<Option<Head>, SinkError> {
    let stated = opened(&read(&Directory::new(archive), CHECKPOINT, CHECKPOINT_BYTES_MAX)?, trusted)?;
    let head = LogStore::open(&folder.join(LOG_FILE), &stated.origin)?.head();
    Ok((head == Head { size: stated.size, root: stated.root }).then_some(head))
}

/// Fills a state directory that has no log. `trusted`: the checkpoint must satisfy one of these. Killed: there is no
/// log yet, and it is begun anew.
pub fn restore(archive: &Path, state_dir: &Path, trusted: &[Policy]) -> Result<Head, SinkError> {
    has_no_log(state_dir)?;
    let path = state_dir.join(LOG_FILE);
    std::fs::create_dir_all(state_dir).map_err(SinkError::at(state_dir))?;
    // 1. What is to come out, on the word of somebody whom we trust.
    let files = Directory::new(archive);
    let note = read(&files, CHECKPOINT, CHECKPOINT_BYTES_MAX)?;
    let stated = opened(&note, trusted)?;
    // 2. Derived from another log, they would have to be dropped anyway.
    for derived in [LEAF_HASHES_FILE, INDEX_FILE, INVENTORY_FILE] {
        forget(&state_dir.join(derived))?;
    }
    // 3. The log under another name, until it is the checkpoint's.
    make_whole(&path, |making| fill(making, &files, &stated), SinkError::at(&path))?;
    Step::Restored.taken();
    Ok(Head { size: stated.size, root: stated.root })
}

fn opened(note: &[u8], trusted: &[Policy]) -> Result<Checkpoint, SinkError> {
    let mut why = LedgerError::NoteUntrusted("nobody is trusted");
    for policy in trusted {
        match policy.open(note) {
            Ok(held) => return Ok(held.checkpoint),
            Err(error) => why = error,
        }
    }
    Err(SinkError::Archive(format!("{CHECKPOINT}: {why}")))
}

fn fill(making: &Path, files: &Directory, stated: &Checkpoint) -> Result<(), SinkError> {
    let store = LogStore::open(making, &stated.origin)?;
    let tiles = stated.size.div_ceil(TILE_WIDTH);
    let mut batch: Vec<Vec<u8>> = Vec::new();
    for index in 0..tiles {
        let Some(id) = TileId::covering(TileKind::Entries, index, stated.size) else { break };
        let damaged = |error: LedgerError| SinkError::Archive(format!("{}: {error}", id.path()));
        let bytes = read(files, &id.path(), FILE_BYTES_MAX as u64)?;
        for frame in decode_bundle(&bytes, id.width).map_err(damaged)? {
            Entry::decode(frame).map_err(damaged)?;
            batch.push(frame.to_vec());
        }
        if (index + 1) % BATCH_TILES == 0 || index + 1 == tiles {
            store.append(store.head().size, &std::mem::take(&mut batch))?;
            Step::Filling.taken();
        }
    }
    // A tile of hashes that differs names the entries that do; the root alone would not.
    let view = store.view()?;
    for id in TileId::all(stated.size).filter(|id| id.kind != TileKind::Entries) {
        let bytes_max = TILE_WIDTH * marque_ledger::Hash::BYTES as u64;
        if read(files, &id.path(), bytes_max)? != view.file(id)? {
            return Err(SinkError::Archive(format!("{}: it is not what the entries give", id.path())));
        }
    }
    let root = store.head().root;
    if root != stated.root {
        return Err(SinkError::Archive(format!("its entries give root {root}, its checkpoint states {}", stated.root)));
    }
    Ok(())
}

fn read(files: &Directory, path: &str, bytes_max: u64) -> Result<Vec<u8>, SinkError> {
    let bytes = files.read(path, bytes_max).map_err(|why| SinkError::Archive(format!("{path}: {why}")))?;
    bytes.ok_or_else(|| SinkError::Archive(format!("{path} is missing")))
}
