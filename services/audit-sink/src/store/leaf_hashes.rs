//! The hashes of the leaves, tile by tile, in a file beside the store: what a proof asks of a tile takes two small reads,
//! however long the log.
//!
//! TRUST: the file vouches for nothing. What it gives is hashed up to the tile's root, which the store has; what does not
//! lead there is hashed anew from the entries. So it is never synced, and may be torn, cut short, of another log, or gone.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use marque_ledger::{BLOCK_HASHES, FullTile, Hash, LedgerError, Nodes, TILE_WIDTH, TileId, TileKind};

/// The hashes of the leaves themselves, in tiles.
pub(super) const LEAF_HASHES: TileKind = TileKind::Hashes(0);
/// A block of hashes, and the roots over the blocks of a tile.
const BLOCK_BYTES: usize = BLOCK_HASHES * Hash::BYTES;
/// The hashes of a full tile.
const TILE_BYTES: usize = TILE_WIDTH as usize * Hash::BYTES;
/// What a tile takes in the file: the roots over its blocks, then its hashes.
const PLACE_BYTES: u64 = (BLOCK_BYTES + TILE_BYTES) as u64;

/// The file. Each full tile of leaves has its place in it, by its index alone.
pub(super) struct LeafHashes {
    /// None where it could not be opened: each tile is hashed anew.
    file: Option<File>,
    /// Each is told once in a run: a file that takes nothing, or is gone, is so in all its places.
    told_full: AtomicBool,
    told_mended: AtomicBool,
}

impl LeafHashes {
    /// Opens the file, or begins it.
    pub(super) fn open(path: &Path) -> Self {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let opened = opened.inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "no file for the hashes of leaves: proofs hash them anew");
        });
        Self { file: opened.ok(), told_full: AtomicBool::new(false), told_mended: AtomicBool::new(false) }
    }

    /// Gives back what lies behind the tiles of a log of so many leaves: another, longer log was here.
    pub(super) fn trim(&self, size: u64) {
        let end = (size / TILE_WIDTH).saturating_mul(PLACE_BYTES);
        if let Some(file) = &self.file
            && file.metadata().is_ok_and(|file| file.len() > end)
            && let Err(error) = file.set_len(end)
        {
            tracing::debug!(%error, "it stays as long as it is");
        }
    }

    /// Puts a tile in its place. One that is not kept is hashed anew when it is read.
    pub(super) fn put(&self, tile: &FullTile) {
        let Some(file) = &self.file else { return };
        let written =
            place(tile.id).and_then(|place| file.write_all_at(&[tile.blocks.as_slice(), &tile.bytes].concat(), place));
        if let Err(error) = written
            && !self.told_full.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "hashes of leaves can't be written: proofs hash them anew");
        }
    }

    /// What was read of a tile was not the log's.
    pub(super) fn mended(&self, id: TileId) {
        if self.file.is_some() && !self.told_mended.swap(true, Ordering::Relaxed) {
            tracing::warn!(tile = id.path(), "the file of the leaves' hashes was not the log's there: hashed anew");
        }
    }

    /// The hashes of a full tile, if they lead to this root.
    pub(super) fn tile(&self, id: TileId, root: Hash) -> Result<Vec<u8>, LedgerError> {
        let bytes = self.read::<TILE_BYTES>(id, BLOCK_BYTES)?.to_vec();
        match Nodes::of(id, &bytes)?.root() {
            Some(found) if found == root => Ok(bytes),
            Some(_) | None => Err(unreadable(id, "does not lead to its root")),
        }
    }

    /// The nodes of a full tile about this block of it, if they lead to this root.
    pub(super) fn about(&self, id: TileId, block: usize, root: Hash) -> Result<Nodes, LedgerError> {
        let blocks = self.read::<BLOCK_BYTES>(id, 0)?;
        let hashes = self.read::<BLOCK_BYTES>(id, BLOCK_BYTES + block * BLOCK_BYTES)?;
        Nodes::about_block(id, block, &hashes, &blocks, root)
    }

    fn read<const BYTES: usize>(&self, id: TileId, from: usize) -> Result<[u8; BYTES], LedgerError> {
        let file = self.file.as_ref().ok_or_else(|| unreadable(id, "there is no file"))?;
        let mut bytes = [0; BYTES];
        let read = place(id).and_then(|place| file.read_exact_at(&mut bytes, place.saturating_add(from as u64)));
        read.map_err(|error| unreadable(id, error))?;
        Ok(bytes)
    }
}

fn place(id: TileId) -> std::io::Result<u64> {
    id.index.checked_mul(PLACE_BYTES).ok_or_else(|| std::io::ErrorKind::FileTooLarge.into())
}

pub(super) fn unreadable(id: TileId, why: impl ToString) -> LedgerError {
    LedgerError::TileUnreadable { path: id.path(), why: why.to_string() }
}

#[cfg(test)]
mod tests;
