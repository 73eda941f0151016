//! A tile with every node above its hashes. Source: RFC 6962 §2.1, C2SP `tlog-tiles`.

use crate::{Hash, LedgerError, TileId};

/// The hashes of a tile and, above them, the root of each complete subtree that they fill.
///
/// What a proof asks of a tile is one of these. A tile of this place and width never changes, so whoever keeps them
/// needs no rule for when they are stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// By height: the hashes themselves, then each pair's node, and so on.
    rows: Vec<Vec<Hash>>,
}

impl Nodes {
    /// Of the tile `id`, from its bytes: its hashes in a row, or those of a fuller tile, which begins with the same.
    pub fn of(id: TileId, bytes: &[u8]) -> Result<Self, LedgerError> {
        let width = usize::from(id.width);
        let hashes: Vec<Hash> = bytes.as_chunks().0.iter().take(width).copied().map(Hash).collect();
        if hashes.len() < width {
            return Err(LedgerError::TileUnreadable { path: id.path(), why: "shorter than its width".into() });
        }
        let mut rows = vec![hashes];
        while let Some(below) = rows.last().filter(|row| row.len() > 1) {
            let above = below.as_chunks().0.iter().map(|[left, right]| Hash::node(*left, *right)).collect();
            rows.push(above);
        }
        Ok(Self { rows })
    }

    /// The root over the `2^height` hashes that begin at `place · 2^height`; none unless the tile holds them all.
    pub(crate) fn at(&self, height: u32, place: u64) -> Option<Hash> {
        let row = self.rows.get(usize::try_from(height).ok()?)?;
        row.get(usize::try_from(place).ok()?).copied()
    }
}
