//! The tree's right edge: what is needed to append to it, and nothing more. Source: RFC 6962 §2.1, C2SP `tlog-tiles`.

use crate::hash::fold;
use crate::nodes::BLOCK_HEIGHT;
use crate::{Hash, LedgerError, TILE_WIDTH, TileId, TileKind};

/// A tile that an append has filled; it never changes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullTile {
    /// Which one; `width` is 256.
    pub id: TileId,
    /// Its 256 hashes in a row.
    pub bytes: Vec<u8>,
    /// The root over each 16 of them, in a row: with these a proof needs one block of the hashes ([`crate::Nodes::about_block`]).
    pub blocks: Vec<u8>,
}

/// The open tile of every level.
///
/// INVARIANT: level L holds `(size >> 8L) mod 256` hashes, so the edge is a function of the leaves alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of a tree of `size` leaves from its open tiles: level 0 first, each the hashes in a row.
    pub fn from_open<'a>(size: u64, open: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, LedgerError> {
        let refused = || LedgerError::EdgeMalformed(size);
        let mut levels = Vec::new();
        for bytes in open {
            let (hashes, rest) = bytes.as_chunks::<{ Hash::BYTES }>();
            if !rest.is_empty() {
                return Err(refused());
            }
            levels.push(hashes.iter().copied().map(Hash).collect::<Vec<_>>());
        }
        for level in 0..levels.len().max(8) {
            let due = u32::try_from(8 * level).ok().and_then(|bits| size.checked_shr(bits)).unwrap_or(0) % TILE_WIDTH;
            if levels.get(level).map_or(0, Vec::len) as u64 != due {
                return Err(refused());
            }
        }
        Ok(Self { size, levels })
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The open tile of every level, level 0 first.
    pub fn open(&self) -> impl Iterator<Item = (u8, Vec<u8>)> {
        (0..).zip(self.levels.iter().map(|level| row(level)))
    }

    /// Appends a leaf; tiles that this fills are pushed to `full`, lowest first.
    pub fn append(&mut self, leaf: Hash, full: &mut Vec<FullTile>) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0_u8.. {
            let place = usize::from(level);
            if self.levels.len() == place {
                self.levels.push(Vec::with_capacity(TILE_WIDTH as usize));
            }
            self.levels[place].push(hash);
            if self.levels[place].len() < TILE_WIDTH as usize {
                return;
            }
            let hashes = std::mem::take(&mut self.levels[place]);
            let kind = TileKind::Hashes(level);
            let index = TileId::count(kind, self.size) / TILE_WIDTH - 1;
            let blocks: Vec<Hash> = hashes.chunks(1 << BLOCK_HEIGHT).map(fold).collect();
            hash = fold(&blocks);
            let id = TileId { kind, index, width: TILE_WIDTH as u16 };
            full.push(FullTile { id, bytes: row(&hashes), blocks: row(&blocks) });
        }
    }

    /// The root: what a checkpoint signs.
    pub fn root(&self) -> Hash {
        let mut root = None;
        for level in &self.levels {
            // The open hashes are complete subtrees of falling size, left to right: fold them from the right.
            let mut end = level.len();
            while end > 0 {
                let run = 1 << end.trailing_zeros();
                let peak = fold(&level[end - run..end]);
                root = Some(root.map_or(peak, |right| Hash::node(peak, right)));
                end -= run;
            }
        }
        root.unwrap_or_else(Hash::empty_root)
    }
}

fn row(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::tests::naive_root;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|index| Hash::leaf(&index.to_be_bytes())).collect()
    }

    #[test]
    fn root_is_the_recomputed_one_at_every_size() {
        let leaves = leaves(600);
        let (mut edge, mut full) = (Edge::new(), Vec::new());
        assert_eq!(edge.root(), Hash::empty_root());
        for (index, leaf) in leaves.iter().enumerate() {
            edge.append(*leaf, &mut full);
            assert_eq!(edge.root(), naive_root(&leaves[..=index]), "size {}", index + 1);
            let open: Vec<_> = edge.open().map(|(_, bytes)| bytes).collect();
            assert_eq!(Edge::from_open(edge.size(), open.iter().map(Vec::as_slice)).unwrap(), edge);
        }
        assert_eq!(full.len(), 2);
    }

    #[test]
    fn fills_tiles_at_256_and_65536() {
        let (mut edge, mut full) = (Edge::new(), Vec::new());
        for leaf in leaves(65_537) {
            edge.append(leaf, &mut full);
            match edge.size() {
                255 => assert!(full.is_empty()),
                256 => assert_eq!(full.last().unwrap().id.path(), "tile/0/000"),
                65_535 => assert_eq!(full.len(), 255),
                65_536 => {
                    assert_eq!(full[255].id.path(), "tile/0/255");
                    assert_eq!(full[256].id.path(), "tile/1/000");
                    assert_eq!(edge.open().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), [0, 0, 32]);
                    assert_eq!(edge.root(), Hash::from_slice(&edge.open().nth(2).unwrap().1).unwrap());
                }
                _ => {}
            }
        }
        assert_eq!(edge.root(), naive_root(&leaves(65_537)));
    }

    #[test]
    fn refuses_open_tiles_of_another_size() {
        let (mut edge, mut full) = (Edge::new(), Vec::new());
        leaves(300).into_iter().for_each(|leaf| edge.append(leaf, &mut full));
        let open: Vec<_> = edge.open().map(|(_, bytes)| bytes).collect();
        let from = |size| Edge::from_open(size, open.iter().map(Vec::as_slice));
        assert!(from(300).is_ok());
        for size in [0, 1, 44, 299, 301, 65_836 + 1, u64::MAX] {
            assert_eq!(from(size), Err(LedgerError::EdgeMalformed(size)));
        }
        assert!(Edge::from_open(1, [&[0_u8; 31][..]]).is_err());
    }
}
