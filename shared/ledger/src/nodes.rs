//! A tile with nodes above its hashes. Source: RFC 6962 §2.1, C2SP `tlog-tiles`.

use crate::{Hash, LedgerError, TILE_WIDTH, TileId};

/// The root over each 16 hashes of a full tile lies at this height above them.
pub(crate) const BLOCK_HEIGHT: u32 = 4;
/// Hashes of a block, and blocks of a full tile.
pub const BLOCK_HASHES: usize = 1 << BLOCK_HEIGHT;
const _: () = assert!(BLOCK_HASHES * BLOCK_HASHES == TILE_WIDTH as usize);

/// The hashes of a tile and the roots of the complete subtrees that they fill: all of them, or those about one block.
///
/// What a proof asks of a tile is one of these. A tile of this place and width never changes, so whoever keeps them
/// needs no rule for when they are stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// The row of each height, the hashes themselves first: the place of its first node, and its nodes.
    rows: Vec<(usize, Vec<Hash>)>,
}

impl Nodes {
    /// All of the tile `id`, from its bytes: its hashes in a row, or those of a fuller tile, which begins with the same.
    pub fn of(id: TileId, bytes: &[u8]) -> Result<Self, LedgerError> {
        Ok(Self { rows: rows(0, hashes(id, bytes, id.width.into())?) })
    }

    /// Those of the full tile `id` about one block: its 16 hashes, and all from the roots over the 16 blocks
    /// ([`crate::FullTile::blocks`]) up. Refused unless the hashes lead to the block's root, and the blocks to `root`.
    pub fn about_block(
        id: TileId,
        block: usize,
        block_bytes: &[u8],
        blocks: &[u8],
        root: Hash,
    ) -> Result<Self, LedgerError> {
        let refused = || LedgerError::TileUnreadable { path: id.path(), why: "does not lead to its root".into() };
        let above = hashes(id, blocks, BLOCK_HASHES)?;
        let stated = *above.get(block).ok_or_else(refused)?;
        let mut about = rows(block, hashes(id, block_bytes, BLOCK_HASHES)?);
        if about.pop().is_none_or(|(_, row)| row != [stated]) {
            return Err(refused());
        }
        about.extend(rows(0, above));
        let nodes = Self { rows: about };
        if nodes.root() == Some(root) { Ok(nodes) } else { Err(refused()) }
    }

    /// The root of a full tile; none of an open one.
    pub fn root(&self) -> Option<Hash> {
        self.at(2 * BLOCK_HEIGHT, 0)
    }

    /// The root over the `2^height` hashes that begin at `place · 2^height`; none unless it is among these.
    pub fn at(&self, height: u32, place: u64) -> Option<Hash> {
        let (first, row) = self.rows.get(usize::try_from(height).ok()?)?;
        row.get(usize::try_from(place).ok()?.checked_sub(*first)?).copied()
    }
}

/// A row of hashes and those above it. `block`: how many rows as long as this one lie before it.
fn rows(block: usize, row: Vec<Hash>) -> Vec<(usize, Vec<Hash>)> {
    let mut rows = vec![(block * row.len(), row)];
    while let Some((_, below)) = rows.last().filter(|(_, row)| row.len() > 1) {
        let above: Vec<_> = below.as_chunks().0.iter().map(|[left, right]| Hash::node(*left, *right)).collect();
        rows.push((block * above.len(), above));
    }
    rows
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
    use crate::hash::fold;
    use crate::{Edge, FullTile, TileKind};

    fn full() -> (FullTile, Hash) {
        let (mut edge, mut full) = (Edge::new(), Vec::new());
        (0..256_u64).for_each(|leaf| edge.append(Hash::leaf(&leaf.to_be_bytes()), &mut full));
        (full.swap_remove(0), edge.root())
    }

    #[test]
    fn the_nodes_about_a_block_are_those_of_the_tile() {
        let (tile, root) = full();
        let all = Nodes::of(tile.id, &tile.bytes).unwrap();
        assert_eq!(all.root(), Some(root));
        for block in 0..BLOCK_HASHES {
            let bytes = &tile.bytes[block * 512..(block + 1) * 512];
            let about = Nodes::about_block(tile.id, block, bytes, &tile.blocks, root).unwrap();
            assert_eq!(about.root(), Some(root));
            for height in 0..=8 {
                for place in 0..256_u64 >> height {
                    let is_about = height >= BLOCK_HEIGHT || (place << height) as usize / BLOCK_HASHES == block;
                    let expected = all.at(height, place).filter(|_| is_about);
                    assert_eq!(about.at(height, place), expected, "block {block}: {height} {place}");
                }
                assert_eq!((all.at(height, 256 >> height), about.at(height, 256 >> height)), (None, None), "{height}");
            }
            for (height, place) in [(9, 0), (63, 0), (64, 0), (u32::MAX, 0), (0, u64::MAX), (8, u64::MAX)] {
                assert_eq!((all.at(height, place), about.at(height, place)), (None, None), "{height} {place}");
            }
        }
    }

    #[test]
    fn a_block_that_is_not_the_tiles_is_refused() {
        let (tile, root) = full();
        let (block, blocks) = (&tile.bytes[..512], &tile.blocks[..]);
        for (place, block, blocks) in [(0, &block[..511], blocks), (0, block, &blocks[..511]), (1, block, blocks)] {
            assert!(Nodes::about_block(tile.id, place, block, blocks, root).is_err(), "{place}");
        }
        for place in [16, usize::MAX] {
            assert!(Nodes::about_block(tile.id, place, block, blocks, root).is_err(), "{place}");
        }
        for touched in 0..512 {
            let [mut bytes, mut roots] = [block.to_vec(), blocks.to_vec()];
            bytes[touched] ^= 1;
            roots[touched] ^= 1;
            assert!(Nodes::about_block(tile.id, 0, &bytes, blocks, root).is_err(), "{touched}");
            assert!(Nodes::about_block(tile.id, 0, block, &roots, root).is_err(), "{touched}");
        }
        // Both of another tile: they agree with each other.
        assert!(Nodes::about_block(tile.id, 0, block, blocks, Hash::leaf(b"another")).is_err());
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
