//! Tiles of a log that lies elsewhere, gathered one by one: what a proof lacks is named, fetched by the caller, put in,
//! and the proof is tried again. No network here, and nothing of what comes is believed: a proof proves itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::{Hash, LedgerError, TileId, TileSource};

/// The tiles that have come. Which ones a proof asks for follows from its sizes alone, never from what they hold: some
/// sixteen for the tallest tree.
#[derive(Debug, Default)]
pub struct Gathered {
    tiles: HashMap<TileId, Vec<u8>>,
    /// The first that was looked for in vain since it was last asked.
    lacking: Mutex<Option<TileId>>,
}

impl Gathered {
    /// The tile that was looked for in vain; none where the last try failed by what the tiles hold.
    pub fn lacking(&self) -> Option<TileId> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts in a tile, which must have exactly the hashes that its width says.
    pub fn put(&mut self, id: TileId, bytes: Vec<u8>) -> Result<(), LedgerError> {
        if bytes.len() != usize::from(id.width) * Hash::BYTES {
            let why = format!("is {} bytes long, not {} hashes", bytes.len(), id.width);
            return Err(LedgerError::TileUnreadable { path: id.path(), why });
        }
        self.tiles.insert(id, bytes);
        Ok(())
    }
}

impl TileSource for Gathered {
    fn tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError> {
        self.tiles.get(&id).cloned().ok_or_else(|| {
            self.lacking.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(id);
            LedgerError::TileUnreadable { path: id.path(), why: "it has not come yet".into() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Edge, FullTile, TileKind, prove_consistency, root_at, verify_consistency};

    const SIZE: u64 = 70_000;

    /// The tiles of hashes of a tree of so many leaves, and its root.
    fn tree() -> (HashMap<TileId, Vec<u8>>, Hash) {
        let (mut edge, mut full) = (Edge::new(), Vec::new());
        (0..SIZE).for_each(|leaf| edge.append(Hash::leaf(&leaf.to_be_bytes()), &mut full));
        let mut tiles: HashMap<_, _> = full.into_iter().map(|FullTile { id, bytes, .. }| (id, bytes)).collect();
        for (level, bytes) in edge.open().filter(|(_, bytes)| !bytes.is_empty()) {
            let kind = TileKind::Hashes(level);
            let id = TileId::covering(kind, TileId::count(kind, SIZE) / crate::TILE_WIDTH, SIZE).unwrap();
            tiles.insert(id, bytes);
        }
        (tiles, edge.root())
    }

    #[test]
    fn a_proof_names_each_tile_that_it_lacks_once_and_is_then_made() {
        let (theirs, root) = tree();
        for size in [1, 255, 256, 300, 65_536, 65_537, 69_999, SIZE] {
            let (mut gathered, mut asked) = (Gathered::default(), 0);
            let proof = loop {
                match prove_consistency(&gathered, size, SIZE) {
                    Ok(proof) => break proof,
                    Err(_) => {
                        let id = gathered.lacking().unwrap();
                        assert_eq!(gathered.lacking(), None);
                        gathered.put(id, theirs[&id].clone()).unwrap();
                        asked += 1;
                    }
                }
            };
            assert!(asked <= 16, "{size}: {asked}");
            let earlier = root_at(&FromFuller(&theirs), size).unwrap();
            verify_consistency(size, SIZE, &proof, earlier, root).unwrap();
        }
    }

    /// The tiles of the whole tree, for a smaller one.
    struct FromFuller<'a>(&'a HashMap<TileId, Vec<u8>>);

    impl TileSource for FromFuller<'_> {
        fn tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError> {
            let fuller = TileId::covering(id.kind, id.index, SIZE).unwrap();
            Ok(self.0[&fuller].clone())
        }
    }

    #[test]
    fn refuses_a_tile_of_another_width() {
        let id = TileId { kind: TileKind::Hashes(0), index: 0, width: 2 };
        for bytes in [0, 32, 63, 65, 96] {
            assert!(Gathered::default().put(id, vec![0; bytes]).is_err(), "{bytes}");
        }
        Gathered::default().put(id, vec![0; 64]).unwrap();
    }

    #[test]
    fn what_was_out_of_reach_anyway_lacks_nothing() {
        let gathered = Gathered::default();
        assert_eq!(prove_consistency(&gathered, 3, 2), Err(LedgerError::OutOfRange));
        assert_eq!(gathered.lacking(), None);
    }
}
