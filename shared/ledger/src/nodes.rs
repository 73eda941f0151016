//! A tile with nodes above its hashes. Source: RFC 6962 §2.1, C2SP `tlog-tiles`.

use crate::hash::fold;
use crate::{Hash, LedgerError, TileId};

/// The root over each 16 hashes of a full tile lies at this height above them.
pub(crate) const BLOCK_HEIGHT: u32 = 4;

/// The hashes of a tile and roots of complete subtrees that they fill: all of them, or those from which the others are
/// soon hashed.
///
/// What a proof asks of a tile is one of these. A tile of this place and width never changes, so whoever keeps them
/// needs no rule for when they are stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// Rows of the subtree with their heights, the hashes themselves first.
    rows: Vec<(u32, Vec<Hash>)>,
}

impl Nodes {
    /// All of the tile `id`, from its bytes: its hashes in a row, or those of a fuller tile, which begins with the same.
    pub fn of(id: TileId, bytes: &[u8]) -> Result<Self, LedgerError> {
        let mut rows = vec![(0, hashes(id, bytes, id.width.into())?)];
        while let Some((height, below)) = rows.last().filter(|(_, row)| row.len() > 1) {
            let above = below.as_chunks().0.iter().map(|[left, right]| Hash::node(*left, *right)).collect();
            rows.push((height + 1, above));
        }
        Ok(Self { rows })
    }

    /// Of the full tile `id`, from its bytes and its blocks ([`crate::FullTile`]): any node costs at most 15 hashes, where
    /// all of them would cost 255.
    pub fn of_blocks(id: TileId, bytes: &[u8], blocks: &[u8]) -> Result<Self, LedgerError> {
        let width = usize::from(id.width);
        Ok(Self {
            rows: vec![(0, hashes(id, bytes, width)?), (BLOCK_HEIGHT, hashes(id, blocks, width >> BLOCK_HEIGHT)?)],
        })
    }

    /// The root over the `2^height` hashes that begin at `place · 2^height`; none unless the tile holds them all.
    pub(crate) fn at(&self, height: u32, place: u64) -> Option<Hash> {
        let (below, row) = self.rows.iter().rev().find(|(row, _)| *row <= height)?;
        let count = 1_usize.checked_shl(height - below)?;
        let first = usize::try_from(place).ok()?.checked_mul(count)?;
        row.get(first..first.checked_add(count)?).map(fold)
    }
}

/// The first `count` hashes of a row.
fn hashes(id: TileId, bytes: &[u8], count: usize) -> Result<Vec<Hash>, LedgerError> {
    let hashes: Vec<Hash> = bytes.as_chunks().0.iter().take(count).copied().map(Hash).collect();
    if hashes.len() < count {
        return Err(LedgerError::TileUnreadable { path: id.path(), why: "shorter than its width".into() });
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Edge, TileKind};

    #[test]
    fn each_node_is_the_same_whether_it_was_kept_or_is_hashed_when_asked() {
        let (mut edge, mut full) = (Edge::new(), Vec::new());
        (0..256_u64).for_each(|leaf| edge.append(Hash::leaf(&leaf.to_be_bytes()), &mut full));
        let tile = &full[0];
        let all = Nodes::of(tile.id, &tile.bytes).unwrap();
        let few = Nodes::of_blocks(tile.id, &tile.bytes, &tile.blocks).unwrap();
        for height in 0..=8 {
            for place in 0..256 >> height {
                assert!(
                    all.at(height, place).is_some() && all.at(height, place) == few.at(height, place),
                    "{height} {place}"
                );
            }
            assert_eq!((all.at(height, 256 >> height), few.at(height, 256 >> height)), (None, None), "{height}");
        }
        assert_eq!(few.at(8, 0), Some(edge.root()));
        for (height, place) in [(9, 0), (63, 0), (64, 0), (u32::MAX, 0), (0, u64::MAX), (8, u64::MAX)] {
            assert_eq!((all.at(height, place), few.at(height, place)), (None, None), "{height} {place}");
        }
        for short in [(&tile.bytes[..8191], &tile.blocks[..]), (&tile.bytes, &tile.blocks[..511])] {
            assert!(Nodes::of_blocks(tile.id, short.0, short.1).is_err());
        }
    }

    #[test]
    fn an_open_tile_has_the_subtrees_that_it_fills() {
        let leaves: Vec<_> = (0..7_u8).map(|leaf| Hash::leaf(&[leaf])).collect();
        let bytes: Vec<u8> = leaves.iter().flat_map(|hash| hash.0).collect();
        let nodes = Nodes::of(TileId { kind: TileKind::Hashes(0), index: 0, width: 7 }, &bytes).unwrap();
        assert_eq!(nodes.at(2, 0), Some(fold(&leaves[..4])));
        assert_eq!((nodes.at(1, 2), nodes.at(1, 3)), (Some(fold(&leaves[4..6])), None));
        assert_eq!((nodes.at(2, 1), nodes.at(3, 0)), (None, None));
    }
}
