//! Proofs that a leaf is in a tree, or that one tree begins with another. Source: RFC 6962 §2.1, RFC 9162 §2.1.3 and §2.1.4.

use std::sync::Arc;

use crate::{Hash, LedgerError, Nodes, TILE_WIDTH, TileId, TileKind};

/// Where the tiles of a log are read.
pub trait TileSource {
    /// The hashes of this tile in a row: `width` of them or more (a fuller tile begins with the same hashes).
    fn tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError>;

    /// The same with what lies above them, or as many of these nodes as the source reads at once: the one at this place
    /// of its height is among them, if the tile has it. A source that keeps the nodes of upper tiles makes a proof cost
    /// one block of a tile, however tall the tree.
    fn nodes(&self, id: TileId, height: u32, place: u64) -> Result<Arc<Nodes>, LedgerError> {
        let _ = (height, place);
        Nodes::of(id, &self.tile(id)?).map(Arc::new)
    }
}

/// The proof that leaf `index` is in the tree of the first `size` leaves.
pub fn prove_inclusion(tiles: &impl TileSource, index: u64, size: u64) -> Result<Vec<Hash>, LedgerError> {
    if index >= size {
        return Err(LedgerError::OutOfRange);
    }
    let (mut beside, mut low, mut high) = (Vec::new(), 0, size);
    while high - low > 1 {
        let split = low + split_of(high - low);
        let (next, other) = if index < split { ((low, split), (split, high)) } else { ((split, high), (low, split)) };
        (low, high) = next;
        beside.push(other);
    }
    Reader::new(tiles, size).ranges(beside)
}

/// The proof that the tree of `size2` leaves begins with the tree of `size1`; `1 ≤ size1 ≤ size2`.
pub fn prove_consistency(tiles: &impl TileSource, size1: u64, size2: u64) -> Result<Vec<Hash>, LedgerError> {
    if size1 == 0 || size1 > size2 {
        return Err(LedgerError::OutOfRange);
    }
    let (mut beside, mut low, mut high) = (Vec::new(), 0, size2);
    while size1 != high {
        let split = low + split_of(high - low);
        let (next, other) = if size1 <= split { ((low, split), (split, high)) } else { ((split, high), (low, split)) };
        (low, high) = next;
        beside.push(other);
    }
    if low != 0 {
        beside.push((low, high));
    }
    Reader::new(tiles, size2).ranges(beside)
}

/// The root of the tree of the first `size` leaves, out of the tiles.
pub fn root_at(tiles: &impl TileSource, size: u64) -> Result<Hash, LedgerError> {
    if size == 0 { Ok(Hash::empty_root()) } else { Reader::new(tiles, size).range(0, size) }
}

/// Checks that the leaf with this hash is at `index` in the tree with this root.
pub fn verify_inclusion(index: u64, size: u64, leaf: Hash, proof: &[Hash], root: Hash) -> Result<(), LedgerError> {
    if index >= size {
        return Err(LedgerError::ProofInvalid);
    }
    let (mut place, mut last, mut hash) = (index, size - 1, leaf);
    for beside in proof {
        if last == 0 {
            return Err(LedgerError::ProofInvalid);
        }
        if place & 1 == 1 || place == last {
            hash = Hash::node(*beside, hash);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = Hash::node(hash, *beside);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    if last == 0 && hash == root { Ok(()) } else { Err(LedgerError::ProofInvalid) }
}

/// Checks that the tree with `root2` begins with the tree with `root1`.
///
/// Refuses `size1 = 0`: every tree begins with the empty one, so a proof from it says nothing.
pub fn verify_consistency(size1: u64, size2: u64, proof: &[Hash], root1: Hash, root2: Hash) -> Result<(), LedgerError> {
    const REFUSED: LedgerError = LedgerError::ProofInvalid;
    if size1 == 0 || size1 > size2 {
        return Err(REFUSED);
    }
    if size1 == size2 {
        return if proof.is_empty() && root1 == root2 { Ok(()) } else { Err(REFUSED) };
    }
    let (mut place, mut last) = (size1 - 1, size2 - 1);
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    // A first tree that is a complete subtree is its own start; otherwise the proof brings it.
    let (start, path) = if size1.is_power_of_two() {
        (root1, proof)
    } else {
        proof.split_first().map(|(start, path)| (*start, path)).ok_or(REFUSED)?
    };
    if path.is_empty() {
        return Err(REFUSED);
    }
    let (mut first, mut second) = (start, start);
    for beside in path {
        if last == 0 {
            return Err(REFUSED);
        }
        if place & 1 == 1 || place == last {
            first = Hash::node(*beside, first);
            second = Hash::node(*beside, second);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            second = Hash::node(second, *beside);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    if last == 0 && first == root1 && second == root2 { Ok(()) } else { Err(REFUSED) }
}

/// The largest power of two below `count`, which is at least 2.
fn split_of(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// Reads nodes of a tree of `size` leaves; remembers the tiles of one proof.
struct Reader<'a, T> {
    tiles: &'a T,
    size: u64,
    read: Vec<(TileId, Arc<Nodes>)>,
}

impl<'a, T: TileSource> Reader<'a, T> {
    fn new(tiles: &'a T, size: u64) -> Self {
        Self { tiles, size, read: Vec::new() }
    }

    /// The hashes over these, from the last to the first: those next to the leaf come first, and what is read for them has
    /// most of what the others ask for.
    fn ranges(&mut self, beside: Vec<(u64, u64)>) -> Result<Vec<Hash>, LedgerError> {
        beside.into_iter().rev().map(|(low, high)| self.range(low, high)).collect()
    }

    /// The hash over leaves `low..high`, which begin a subtree: `low` is a multiple of the next power of two.
    fn range(&mut self, low: u64, high: u64) -> Result<Hash, LedgerError> {
        let mut peaks = Vec::new();
        let mut at = low;
        while at < high {
            let height = (high - at).ilog2();
            peaks.push(self.node(height, at >> height)?);
            at += 1 << height;
        }
        let mut peaks = peaks.into_iter().rev();
        let last = peaks.next().ok_or(LedgerError::OutOfRange)?;
        Ok(peaks.fold(last, |right, left| Hash::node(left, right)))
    }

    /// The complete subtree of `2^height` leaves at this place of its row.
    fn node(&mut self, height: u32, place: u64) -> Result<Hash, LedgerError> {
        let (level, within) = (height / 8, height % 8);
        let kind = TileKind::Hashes(u8::try_from(level).map_err(|_| LedgerError::OutOfRange)?);
        // A tile is 2^8 wide: it holds this many nodes of that height.
        let across = TILE_WIDTH >> within;
        let tile = TileId::covering(kind, place / across, self.size).ok_or(LedgerError::OutOfRange)?;
        self.at(tile, within, place % across)
    }

    fn at(&mut self, id: TileId, height: u32, place: u64) -> Result<Hash, LedgerError> {
        let known = self.read.iter().filter(|(read, _)| *read == id).find_map(|(_, nodes)| nodes.at(height, place));
        if let Some(hash) = known {
            return Ok(hash);
        }
        let nodes = self.tiles.nodes(id, height, place)?;
        let hash = nodes.at(height, place).ok_or(LedgerError::OutOfRange)?;
        self.read.push((id, nodes));
        Ok(hash)
    }
}

#[cfg(test)]
pub(crate) mod tests;
