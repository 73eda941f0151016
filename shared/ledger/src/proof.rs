//! Proofs that a leaf is in a tree, or that one tree begins with another. Source: RFC 6962 §2.1, RFC 9162 §2.1.3 and §2.1.4.

use crate::hash::fold;
use crate::{Hash, LedgerError, TILE_WIDTH, TileId, TileKind};

/// Where the tiles of a log are read.
pub trait TileSource {
    /// The hashes of this tile in a row: `width` of them or more (a fuller tile begins with the same hashes).
    fn tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError>;
}

/// The proof that leaf `index` is in the tree of the first `size` leaves.
pub fn prove_inclusion(tiles: &impl TileSource, index: u64, size: u64) -> Result<Vec<Hash>, LedgerError> {
    if index >= size {
        return Err(LedgerError::OutOfRange);
    }
    let mut reader = Reader::new(tiles, size);
    let (mut proof, mut low, mut high) = (Vec::new(), 0, size);
    while high - low > 1 {
        let split = low + split_of(high - low);
        let beside = if index < split { reader.range(split, high)? } else { reader.range(low, split)? };
        (low, high) = if index < split { (low, split) } else { (split, high) };
        proof.push(beside);
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `size2` leaves begins with the tree of `size1`; `1 ≤ size1 ≤ size2`.
pub fn prove_consistency(tiles: &impl TileSource, size1: u64, size2: u64) -> Result<Vec<Hash>, LedgerError> {
    if size1 == 0 || size1 > size2 {
        return Err(LedgerError::OutOfRange);
    }
    let mut reader = Reader::new(tiles, size2);
    let (mut proof, mut low, mut high) = (Vec::new(), 0, size2);
    while size1 != high {
        let split = low + split_of(high - low);
        let (beside, next) = if size1 <= split {
            (reader.range(split, high)?, (low, split))
        } else {
            (reader.range(low, split)?, (split, high))
        };
        (low, high) = next;
        proof.push(beside);
    }
    if low != 0 {
        proof.push(reader.range(low, high)?);
    }
    proof.reverse();
    Ok(proof)
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
    read: Vec<(TileId, Vec<Hash>)>,
}

impl<'a, T: TileSource> Reader<'a, T> {
    fn new(tiles: &'a T, size: u64) -> Self {
        Self { tiles, size, read: Vec::new() }
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
        let first = place << within;
        let tile = TileId::covering(kind, first / TILE_WIDTH, self.size).ok_or(LedgerError::OutOfRange)?;
        let start = (first % TILE_WIDTH) as usize;
        let hashes = self.tile(tile)?;
        let run = hashes.get(start..start + (1 << within)).ok_or(LedgerError::OutOfRange)?;
        Ok(fold(run))
    }

    fn tile(&mut self, id: TileId) -> Result<&[Hash], LedgerError> {
        let known = self.read.iter().position(|(read, _)| *read == id);
        let place = match known {
            Some(place) => place,
            None => {
                let bytes = self.tiles.tile(id)?;
                let hashes: Vec<Hash> = bytes.as_chunks().0.iter().take(id.width.into()).copied().map(Hash).collect();
                if hashes.len() < id.width.into() {
                    return Err(LedgerError::TileUnreadable { path: id.path(), why: "shorter than its width".into() });
                }
                self.read.push((id, hashes));
                self.read.len() - 1
            }
        };
        Ok(&self.read[place].1)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Edge;
    use std::collections::HashMap;

    /// RFC 6962 §2.1, as it is written.
    pub(crate) fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split_of(leaves.len() as u64) as usize);
                Hash::node(naive_root(left), naive_root(right))
            }
        }
    }

    /// RFC 6962 §2.1 to §2.1.2, as they are written; remembers the roots of ranges.
    #[derive(Default)]
    struct Naive {
        leaves: Vec<Hash>,
        roots: HashMap<(usize, usize), Hash>,
    }

    impl Naive {
        fn root(&mut self, low: usize, high: usize) -> Hash {
            match high - low {
                0 => return Hash::empty_root(),
                1 => return self.leaves[low],
                _ => {}
            }
            if let Some(root) = self.roots.get(&(low, high)) {
                return *root;
            }
            let split = low + split_of((high - low) as u64) as usize;
            let root = Hash::node(self.root(low, split), self.root(split, high));
            self.roots.insert((low, high), root);
            root
        }

        fn path(&mut self, index: usize, low: usize, high: usize) -> Vec<Hash> {
            if high - low < 2 {
                return vec![];
            }
            let split = low + split_of((high - low) as u64) as usize;
            let (mut path, beside) = if index < split {
                (self.path(index, low, split), self.root(split, high))
            } else {
                (self.path(index, split, high), self.root(low, split))
            };
            path.push(beside);
            path
        }

        fn subproof(&mut self, size1: usize, low: usize, high: usize, complete: bool) -> Vec<Hash> {
            if size1 == high {
                return if complete { vec![] } else { vec![self.root(low, high)] };
            }
            let split = low + split_of((high - low) as u64) as usize;
            let (mut proof, beside) = if size1 <= split {
                (self.subproof(size1, low, split, complete), self.root(split, high))
            } else {
                (self.subproof(size1, split, high, false), self.root(low, split))
            };
            proof.push(beside);
            proof
        }
    }

    #[derive(Default)]
    struct Memory {
        leaves: Vec<Hash>,
        edge: Edge,
        full: HashMap<(TileKind, u64), Vec<u8>>,
    }

    impl Memory {
        fn of(count: u64) -> Self {
            let mut memory = Self::default();
            for index in 0..count {
                let leaf = Hash::leaf(&index.to_be_bytes());
                memory.leaves.push(leaf);
                let mut full = Vec::new();
                memory.edge.append(leaf, &mut full);
                memory.full.extend(full.into_iter().map(|tile| ((tile.id.kind, tile.id.index), tile.bytes)));
            }
            memory
        }
    }

    impl TileSource for Memory {
        fn tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError> {
            if let Some(bytes) = self.full.get(&(id.kind, id.index)) {
                return Ok(bytes.clone());
            }
            let TileKind::Hashes(level) = id.kind else { return Err(LedgerError::OutOfRange) };
            self.edge.open().nth(level.into()).map(|(_, bytes)| bytes).ok_or(LedgerError::OutOfRange)
        }
    }

    #[test]
    fn every_inclusion_proof_up_to_200_is_the_naive_one_and_verifies() {
        let memory = Memory::of(200);
        let mut naive = Naive { leaves: memory.leaves.clone(), ..Naive::default() };
        for size in 1..=200_u64 {
            let whole = size as usize;
            let root = naive.root(0, whole);
            assert_eq!(root, naive_root(&memory.leaves[..whole]));
            assert_eq!(root_at(&memory, size).unwrap(), root);
            for index in 0..size {
                let proof = prove_inclusion(&memory, index, size).unwrap();
                assert_eq!(proof, naive.path(index as usize, 0, whole));
                verify_inclusion(index, size, memory.leaves[index as usize], &proof, root).unwrap();
            }
            assert_eq!(prove_inclusion(&memory, size, size), Err(LedgerError::OutOfRange));
        }
        assert_eq!(prove_inclusion(&memory, 0, 0), Err(LedgerError::OutOfRange));
    }

    #[test]
    fn every_consistency_proof_up_to_200_is_the_naive_one_and_verifies() {
        let memory = Memory::of(200);
        let mut naive = Naive { leaves: memory.leaves.clone(), ..Naive::default() };
        for size in 1..=200_u64 {
            let whole = size as usize;
            let root = naive.root(0, whole);
            for size1 in 1..=size {
                let proof = prove_consistency(&memory, size1, size).unwrap();
                assert_eq!(proof, naive.subproof(size1 as usize, 0, whole, true));
                verify_consistency(size1, size, &proof, naive.root(0, size1 as usize), root).unwrap();
            }
            assert_eq!(prove_consistency(&memory, size + 1, size), Err(LedgerError::OutOfRange));
        }
        assert_eq!(prove_consistency(&memory, 0, 9), Err(LedgerError::OutOfRange));
    }

    #[test]
    fn proofs_cross_tile_borders() {
        let memory = Memory::of(66_000);
        for size in [255, 256, 257, 511, 513, 65_535, 65_536, 65_537, 66_000_u64] {
            let root = naive_root(&memory.leaves[..size as usize]);
            assert_eq!(root_at(&memory, size).unwrap(), root);
            for index in [0, 1, 254, 255, 256, 257, 65_279, 65_535, 65_536, size - 1] {
                if index < size {
                    let proof = prove_inclusion(&memory, index, size).unwrap();
                    verify_inclusion(index, size, memory.leaves[index as usize], &proof, root).unwrap();
                    let size1 = index + 1;
                    let proof = prove_consistency(&memory, size1, size).unwrap();
                    verify_consistency(size1, size, &proof, root_at(&memory, size1).unwrap(), root).unwrap();
                }
            }
        }
    }

    fn flips(hash: Hash) -> impl Iterator<Item = Hash> {
        (0..256).map(move |bit| {
            let mut bytes = hash.0;
            bytes[bit / 8] ^= 1 << (bit % 8);
            Hash(bytes)
        })
    }

    #[test]
    fn refuses_every_single_bit_of_leaf_root_and_proof() {
        let memory = Memory::of(13);
        for size in 1..=13_u64 {
            let root = root_at(&memory, size).unwrap();
            for index in 0..size {
                let leaf = memory.leaves[index as usize];
                let proof = prove_inclusion(&memory, index, size).unwrap();
                let refused = |index, size, leaf, proof: &[Hash], root| {
                    assert!(verify_inclusion(index, size, leaf, proof, root).is_err());
                };
                flips(leaf).for_each(|leaf| refused(index, size, leaf, &proof, root));
                flips(root).for_each(|root| refused(index, size, leaf, &proof, root));
                for place in 0..proof.len() {
                    for flipped in flips(proof[place]) {
                        let mut proof = proof.clone();
                        proof[place] = flipped;
                        refused(index, size, leaf, &proof, root);
                    }
                }
                refused(index, size, leaf, &[&proof[..], &[root]].concat(), root);
                refused(index, size, leaf, &[&[root], &proof[..]].concat(), root);
                if !proof.is_empty() {
                    refused(index, size, leaf, &proof[1..], root);
                    refused(index, size, leaf, &proof[..proof.len() - 1], root);
                }
                (0..=size).filter(|other| *other != index).for_each(|other| refused(other, size, leaf, &proof, root));
                refused(u64::MAX, size, leaf, &proof, root);
                refused(index, 0, leaf, &proof, root);
            }
            for size1 in 1..=size {
                let root1 = root_at(&memory, size1).unwrap();
                let proof = prove_consistency(&memory, size1, size).unwrap();
                let refused = |size1, size2, proof: &[Hash], root1, root2| {
                    assert!(verify_consistency(size1, size2, proof, root1, root2).is_err());
                };
                flips(root1).for_each(|root1| refused(size1, size, &proof, root1, root));
                flips(root).for_each(|root| refused(size1, size, &proof, root1, root));
                for place in 0..proof.len() {
                    for flipped in flips(proof[place]) {
                        let mut proof = proof.clone();
                        proof[place] = flipped;
                        refused(size1, size, &proof, root1, root);
                    }
                }
                refused(size1, size, &[&proof[..], &[root]].concat(), root1, root);
                refused(0, size, &proof, root1, root);
                refused(size + 1, size, &proof, root1, root);
                refused(size1, u64::MAX, &proof, root1, root);
                if !proof.is_empty() {
                    refused(size1, size, &proof[1..], root1, root);
                    refused(size1, size, &proof[..proof.len() - 1], root1, root);
                }
            }
        }
    }

    #[test]
    fn refuses_a_proof_of_the_largest_sizes_without_overflow() {
        let hash = Hash::leaf(b"");
        for proof in [vec![], vec![hash; 63], vec![hash; 64], vec![hash; 65]] {
            for (a, b) in [(u64::MAX - 1, u64::MAX), (1 << 63, u64::MAX), (u64::MAX, u64::MAX)] {
                assert!(verify_inclusion(a, b, hash, &proof, hash).is_err());
                if a != b {
                    assert!(verify_consistency(a, b, &proof, hash, hash).is_err());
                }
            }
        }
    }
}
