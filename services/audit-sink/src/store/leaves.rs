//! The hashes of the leaves, tile by tile, in a file beside the store: what a proof asks of a tile takes two small reads,
//! however long the log.
//!
//! TRUST: the file vouches for nothing. What it gives is hashed up to the tile's root, which the store has; what does not
//! lead there is hashed anew from the entries. So it is never synced, and may be torn, cut short, of another log, or gone.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use marque_ledger::{BLOCK_HASHES, FullTile, Hash, LedgerError, Nodes, TILE_WIDTH, TileId};

use crate::SinkError;

/// The roots over a tile's blocks, and a block.
const BLOCK_BYTES: usize = BLOCK_HASHES * Hash::BYTES;
/// The hashes of a full tile.
const TILE_BYTES: usize = TILE_WIDTH as usize * Hash::BYTES;
/// What a tile takes in the file: the roots over its blocks, then its hashes.
const PLACE_BYTES: u64 = (BLOCK_BYTES + TILE_BYTES) as u64;

/// The file. Each full tile of leaves has its place in it, by its index alone.
pub(super) struct Leaves {
    file: File,
    path: PathBuf,
}

impl Leaves {
    /// Opens the file, or begins it.
    pub(super) fn open(path: &Path) -> Result<Self, SinkError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        Ok(Self { file: file.map_err(SinkError::at(path))?, path: path.to_owned() })
    }

    /// Puts a tile in its place.
    pub(super) fn put(&self, tile: &FullTile) -> Result<(), SinkError> {
        let written = place(tile.id)
            .and_then(|place| self.file.write_all_at(&[tile.blocks.as_slice(), &tile.bytes].concat(), place));
        written.map_err(SinkError::at(&self.path))
    }

    /// The hashes of a full tile, if they lead to this root.
    pub(super) fn tile(&self, id: TileId, root: Hash) -> Result<Vec<u8>, LedgerError> {
        let bytes = self.read::<TILE_BYTES>(id, BLOCK_BYTES)?.to_vec();
        leads_to(root, id, &Nodes::of(id, &bytes)?)?;
        Ok(bytes)
    }

    /// The nodes of a full tile about this block of it, if they lead to this root.
    pub(super) fn about(&self, id: TileId, block: usize, root: Hash) -> Result<Nodes, LedgerError> {
        let blocks = self.read::<BLOCK_BYTES>(id, 0)?;
        let hashes = self.read::<BLOCK_BYTES>(id, BLOCK_BYTES + block * BLOCK_BYTES)?;
        let nodes = Nodes::about_block(id, block, &hashes, &blocks)?;
        leads_to(root, id, &nodes)?;
        Ok(nodes)
    }

    fn read<const BYTES: usize>(&self, id: TileId, from: usize) -> Result<[u8; BYTES], LedgerError> {
        let mut bytes = [0; BYTES];
        let read = place(id).and_then(|place| self.file.read_exact_at(&mut bytes, place.saturating_add(from as u64)));
        read.map_err(|error| unreadable(id, error.to_string()))?;
        Ok(bytes)
    }
}

fn place(id: TileId) -> std::io::Result<u64> {
    id.index.checked_mul(PLACE_BYTES).ok_or_else(|| std::io::ErrorKind::FileTooLarge.into())
}

fn leads_to(root: Hash, id: TileId, nodes: &Nodes) -> Result<(), LedgerError> {
    if nodes.root() == Some(root) { Ok(()) } else { Err(unreadable(id, "does not lead to its root".into())) }
}

fn unreadable(id: TileId, why: String) -> LedgerError {
    LedgerError::TileUnreadable { path: id.path(), why }
}
