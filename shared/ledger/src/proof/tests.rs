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
