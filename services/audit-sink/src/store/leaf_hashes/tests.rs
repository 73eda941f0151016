//! Whatever lies in the file, or does not, the log gives the same proofs and tiles.

use std::path::{Path, PathBuf};

use marque_ledger::{Edge, TileSource as _, prove_inclusion, root_at, verify_inclusion};
use tempfile::TempDir;

use super::*;
use crate::files::LEAF_HASHES_FILE;
use crate::store::LogStore;

const ORIGIN: &str = "acme.example/audit";

fn entries(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(|leaf| leaf.to_be_bytes().to_vec()).collect()
}

fn open(directory: &TempDir) -> LogStore {
    LogStore::open(&directory.path().join("audit.redb"), ORIGIN).unwrap()
}

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join(LEAF_HASHES_FILE)
}

/// The root of the tree of the first `size` entries.
fn root(size: u64) -> Hash {
    let mut edge = Edge::new();
    entries(0..size).iter().for_each(|entry| edge.append(Hash::leaf(entry), &mut Vec::new()));
    edge.root()
}

/// Each `step`th leaf is proven in the tree of `size`.
fn proves(store: &LogStore, size: u64, step: usize) {
    let (view, root) = (store.view().unwrap(), root(size));
    for leaf in (0..size).step_by(step) {
        let proof = prove_inclusion(&view, leaf, size).unwrap();
        verify_inclusion(leaf, size, Hash::leaf(&leaf.to_be_bytes()), &proof, root).unwrap();
    }
    assert_eq!(root_at(&view, size).unwrap(), root);
}

fn tiles(store: &LogStore) -> Vec<Vec<u8>> {
    let view = store.view().unwrap();
    TileId::all(view.size()).map(|id| view.file(id).unwrap()).collect()
}

#[test]
fn a_file_that_was_touched_or_is_gone_is_mended() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    store.append(0, &entries(0..600)).unwrap();
    drop(store);
    let whole = std::fs::read(file(&directory)).unwrap();
    assert_eq!(whole.len() as u64, 2 * PLACE_BYTES);
    let read = || {
        let store = open(&directory);
        [600, 599, 513, 512, 300, 256, 200].into_iter().for_each(|size| proves(&store, size, 7));
        tiles(&store)
    };
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let touched = [0, 511, 512, 8703, 8704, 9216, 17_407].map(flipped);
    let swapped = [&whole[8704..], &whole[..8704]].concat();
    let longer = [&whole[..], &[7; 9000]].concat();
    let others = [vec![], whole[..600].to_vec(), whole[..9000].to_vec(), vec![0; whole.len()], swapped, longer];
    let expected = read();
    for (case, bytes) in touched.into_iter().chain(others).enumerate() {
        std::fs::write(file(&directory), bytes).unwrap();
        assert_eq!(read(), expected, "case {case}");
        assert_eq!(std::fs::read(file(&directory)).unwrap(), whole, "case {case}");
    }
    std::fs::remove_file(file(&directory)).unwrap();
    assert_eq!(read(), expected);
    assert_eq!(std::fs::read(file(&directory)).unwrap(), whole);
}

#[test]
fn without_a_file_or_with_one_that_takes_nothing_the_log_goes_on() {
    let expected = {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        store.append(0, &entries(0..600)).unwrap();
        tiles(&store)
    };
    type Spoil = fn(&Path);
    let spoilt: [Spoil; 2] = [
        |path| std::fs::create_dir(path).unwrap(),
        // Reads as zeros, and is full.
        |path| std::os::unix::fs::symlink("/dev/full", path).unwrap(),
    ];
    for spoil in spoilt {
        let directory = tempfile::tempdir().unwrap();
        spoil(&file(&directory));
        let store = open(&directory);
        store.append(0, &entries(0..300)).unwrap();
        proves(&store, 300, 7);
        store.append(300, &entries(300..600)).unwrap();
        proves(&store, 600, 7);
        assert_eq!(tiles(&store), expected);
    }
}

#[test]
fn what_a_transaction_that_failed_has_left_is_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    store.append(0, &entries(0..200)).unwrap();
    // A batch that was to fill the tile got as far as the file.
    let (mut edge, mut full) = (Edge::new(), Vec::new());
    (0..256_u64).for_each(|leaf| edge.append(Hash::leaf(&(leaf + 7).to_be_bytes()), &mut full));
    store.leaf_hashes.put(&full[0]);
    proves(&store, 200, 1);
    store.append(200, &entries(200..600)).unwrap();
    let clean = tempfile::tempdir().unwrap();
    open(&clean).append(0, &entries(0..600)).unwrap();
    assert_eq!(std::fs::read(file(&directory)).unwrap(), std::fs::read(file(&clean)).unwrap());
    proves(&store, 600, 1);
}

#[test]
fn a_tile_whose_entries_are_others_is_not_handed_out() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    store.append(0, &entries(0..300)).unwrap();
    let txn = store.db.begin_write().unwrap();
    txn.open_table(crate::store::ENTRIES).unwrap().insert(7, &b"another"[..]).unwrap();
    txn.commit().unwrap();
    let id = TileId { kind: LEAF_HASHES, index: 0, width: 256 };
    store.view().unwrap().tile(id).unwrap();
    std::fs::write(file(&directory), "").unwrap();
    let view = store.view().unwrap();
    assert!(view.tile(id).is_err() && view.nodes(id, 0, 200).is_err());
}

#[test]
fn over_the_edge_of_the_next_level_proofs_hold_in_views_old_and_new() {
    const SIZE: u64 = 65_536;
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    store.append(0, &entries(0..SIZE - 1)).unwrap();
    let before = store.view().unwrap();
    for first in [SIZE - 1, SIZE, SIZE + 1] {
        store.append(first, &entries(first..first + 1)).unwrap();
    }
    store.append(SIZE + 2, &entries(SIZE + 2..SIZE + 600)).unwrap();
    std::fs::OpenOptions::new().write(true).open(file(&directory)).unwrap().set_len(255 * PLACE_BYTES + 9).unwrap();
    for size in [SIZE - 1, SIZE, SIZE + 1, SIZE + 256, SIZE + 600] {
        proves(&store, size, 8191);
    }
    let whole = TileId { kind: LEAF_HASHES, index: 255, width: 256 };
    assert!(before.tile(whole).is_err() && before.nodes(whole, 0, 0).is_err(), "it was not full then");
    let open = TileId { width: 255, ..whole };
    assert_eq!(before.file(open).unwrap(), store.view().unwrap().file(open).unwrap());
    let proof = prove_inclusion(&before, SIZE - 2, SIZE - 1).unwrap();
    verify_inclusion(SIZE - 2, SIZE - 1, Hash::leaf(&(SIZE - 2).to_be_bytes()), &proof, root(SIZE - 1)).unwrap();
}

#[test]
fn a_proof_reads_one_block_of_its_leafs_tile() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    store.append(0, &entries(0..1000)).unwrap();
    struct Counting(crate::store::LogView, std::sync::Mutex<Vec<TileId>>);
    impl marque_ledger::TileSource for Counting {
        fn tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError> {
            self.0.tile(id)
        }
        fn nodes(&self, id: TileId, height: u32, place: u64) -> Result<std::sync::Arc<Nodes>, LedgerError> {
            self.1.lock().unwrap().push(id);
            self.0.nodes(id, height, place)
        }
    }
    for leaf in [0, 1, 255, 256, 300, 511, 767] {
        let counting = Counting(store.view().unwrap(), Default::default());
        prove_inclusion(&counting, leaf, 1000).unwrap();
        let read = counting.1.into_inner().unwrap();
        let own = read.iter().filter(|id| id.kind == LEAF_HASHES && id.is_full());
        assert_eq!(own.map(|id| id.index).collect::<Vec<_>>(), [leaf / 256], "leaf {leaf}: {read:?}");
    }
}
