//! The first leaf of a later epoch: what it says, and that it is in the log.

use super::tiles::Stored;
use crate::epoch::{Genesis, later_epoch};
use crate::{
    Checkpoint, Entry, FILE_BYTES_MAX, Files, Hash, Policy, TileId, TileKind, decode_bundle, prove_inclusion,
    verify_inclusion,
};

/// What is wrong with what it goes on from: nobody whom we trust has signed it, or it ends elsewhere. Where a third epoch
/// or a later one goes on from is known from the files of the one before alone; see [`begins_at`].
pub(super) fn goes_on_from(genesis: &Genesis, policy: &Policy) -> Result<(), String> {
    let previous = genesis.previous(policy.logs());
    let previous = previous
        .map_err(|error| format!("what its genesis names as the last checkpoint of the epoch before: {error}"))?;
    if genesis.is_second() {
        genesis.accounts_from(previous.size).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The stream's sequence that leaf 0 of a log stands for.
pub fn begins_at(files: &impl Files, checkpoint: &Checkpoint) -> Result<u64, String> {
    match later_epoch(&checkpoint.origin) {
        Some(_) => Ok(genesis(files, checkpoint)?.first_sequence - 1),
        None => Ok(1),
    }
}

/// Reads it, whatever leaf the check begins with.
pub(super) fn genesis(files: &impl Files, checkpoint: &Checkpoint) -> Result<Genesis, String> {
    let said = |error: crate::LedgerError| error.to_string();
    let size = checkpoint.size;
    let id = TileId::covering(TileKind::Entries, 0, size).ok_or("the log is empty")?;
    let bundle = files.read(&id.path(), FILE_BYTES_MAX as u64)?.ok_or("the file of the genesis is missing")?;
    let frames = decode_bundle(&bundle, id.width).map_err(said)?;
    let frame = frames.first().ok_or("the log is empty")?;
    let genesis = Genesis::of(&Entry::decode(frame).map_err(said)?).map_err(said)?;
    if genesis.origin != checkpoint.origin {
        return Err(format!("its genesis is of log `{}`", genesis.origin));
    }
    let proof = prove_inclusion(&Stored(files), 0, size).map_err(said)?;
    verify_inclusion(0, size, Hash::leaf(frame), &proof, checkpoint.root)
        .map_err(|_| "its genesis is not what its root commits to".to_owned())?;
    Ok(genesis)
}
