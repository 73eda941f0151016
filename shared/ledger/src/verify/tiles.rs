//! The tiles of hashes: each level against the one below, up to the root.

use crate::hash::fold;
use crate::tile::FILE_BYTES_MAX;
use crate::{Files, Hash, LedgerError, TILE_WIDTH, TileId, TileKind, TileSource};

use super::Report;

/// A tile's file, which must hold exactly its width.
pub(super) fn tile_file(files: &impl Files, id: TileId) -> Result<Vec<Hash>, String> {
    let bytes = files.read(&id.path(), FILE_BYTES_MAX as u64)?.ok_or("the file is missing")?;
    let (hashes, rest) = bytes.as_chunks::<{ Hash::BYTES }>();
    if !rest.is_empty() || hashes.len() != usize::from(id.width) {
        return Err(format!("is {} bytes long, not {} hashes", bytes.len(), id.width));
    }
    Ok(hashes.iter().copied().map(Hash).collect())
}

/// Compares every hash above level 0 that covers a leaf at or behind `from` with the tile below it.
pub(super) fn upper_levels(files: &impl Files, from: u64, size: u64, report: &mut Report) {
    for id in TileId::all(size) {
        let TileKind::Hashes(level @ 1..) = id.kind else { continue };
        if report.is_full() {
            return;
        }
        if !reaches(level, id.index * TILE_WIDTH + u64::from(id.width), from) {
            continue;
        }
        report.tiles_checked += 1;
        let stored = match tile_file(files, id) {
            Ok(stored) => stored,
            Err(what) => {
                report.find(id.path(), None, what);
                continue;
            }
        };
        for (place, hash) in (0..).zip(stored) {
            let index = id.index * TILE_WIDTH + place;
            if !reaches(level, index + 1, from) {
                continue;
            }
            let below = TileId { kind: TileKind::Hashes(level - 1), index, width: TILE_WIDTH as u16 };
            // What is wrong with the tile below is said when it is its turn.
            let Ok(hashes) = tile_file(files, below) else { continue };
            if fold(&hashes) != hash {
                report.find(id.path(), None, format!("its hash {place} is not that of `{}`", below.path()));
            }
        }
    }
}

/// Whether the first `count` hashes of a level cover a leaf at or behind `from`.
fn reaches(level: u8, count: u64, from: u64) -> bool {
    u128::from(count) << (8 * u32::from(level)) > u128::from(from)
}

/// The stored tiles, for roots and proofs.
pub(super) struct Stored<'a, F>(pub(super) &'a F);

impl<F: Files> TileSource for Stored<'_, F> {
    fn tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError> {
        let unreadable = |why: String| LedgerError::TileUnreadable { path: id.path(), why };
        let read = self.0.read(&id.path(), FILE_BYTES_MAX as u64).map_err(unreadable)?;
        read.ok_or_else(|| unreadable("the file is missing".into()))
    }
}
