//! The log on a disk that fails at each of its steps, and loses what it may: whole batches, one root for each size, and
//! nothing lost that was acknowledged or signed.

use std::collections::BTreeMap;

use marque_ledger::root_at;
use marque_signing::SigningKey;
use marque_test_support::{Ending, TestDisk, Trial};
use tempfile::TempDir;

use super::*;
use crate::seal::{CHECKPOINT_FILE, Sealer, Signed};

const ORIGIN: &str = "acme.example/audit";
const STREAM: &str = "the stream";
/// Where the log stands before; the second batch fills a tile.
const BEFORE: u64 = 250;
const BATCHES: [u64; 2] = [3, 4];
const SIZES: [u64; 3] = [BEFORE, BEFORE + 3, BEFORE + 7];

fn entry(leaf: u64) -> Vec<u8> {
    format!("entry {leaf} {}", "x".repeat(leaf as usize)).into_bytes()
}

fn entries(first: u64, count: u64) -> Vec<Vec<u8>> {
    (first..first + count).map(entry).collect()
}

fn open(disk: TestDisk) -> Result<LogStore, SinkError> {
    // Its hashes of leaves lie on another disk, and the next one finds none: nothing rests on them.
    let leaf_hashes = LeafHashes::open(&tempfile::NamedTempFile::new().unwrap().into_temp_path());
    LogStore::on(builder().create_with_backend(disk)?, Arc::new(leaf_hashes), ORIGIN)
}

fn before() -> Vec<u8> {
    let disk = TestDisk::default();
    let store = open(disk.clone()).unwrap();
    store.append(0, &entries(0, BEFORE)).unwrap();
    drop(store);
    disk.bytes()
}

fn sealer(directory: &TempDir) -> Sealer {
    Sealer::open(directory.path(), ORIGIN, SigningKey::from_seed(&[3; 32]), None).unwrap()
}

/// Another's tree: every stored hash in a row.
struct Row(Vec<tlog_tiles::Hash>);

impl tlog_tiles::HashReader for Row {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

/// The roots by another's code.
fn foreign_roots() -> BTreeMap<u64, Hash> {
    let mut row = Row(Vec::new());
    let mut roots = BTreeMap::new();
    for leaf in 0..=BEFORE + BATCHES.iter().sum::<u64>() {
        roots.insert(leaf, Hash(tlog_tiles::tree_hash(leaf, &row).unwrap().0));
        let new = tlog_tiles::stored_hashes(leaf, &entry(leaf), &row).unwrap();
        row.0.extend(new);
    }
    roots
}

/// What was acknowledged and what was signed.
struct Told {
    size: u64,
    stream: bool,
    signed: Vec<Signed>,
    /// The sealer's directory: another disk than the store's.
    seals: TempDir,
}

/// Appends each batch once, signing after each, whether it failed or not.
fn grow(disk: TestDisk) -> Told {
    let mut told = Told { size: BEFORE, stream: false, signed: Vec::new(), seals: tempfile::tempdir().unwrap() };
    let Ok(store) = open(disk) else { return told };
    let sealer = sealer(&told.seals);
    told.stream = store.set_stream(STREAM).is_ok();
    for count in BATCHES {
        let first = store.head().size;
        if let Ok(head) = store.append(first, &entries(first, count)) {
            assert_eq!((head.size, store.head()), (first + count, head));
            told.size = head.size;
        } else {
            assert_eq!(store.head().size, first, "a batch that failed shows");
        }
        told.signed.extend(sealer.seal(&store).ok().flatten());
    }
    told
}

fn holds(roots: &BTreeMap<u64, Hash>, told: &Told, disk: TestDisk, ending: Ending) {
    let store = open(disk).unwrap();
    let head = store.head();
    assert!(SIZES.contains(&head.size), "{} leaves: a part of a batch", head.size);
    assert!(head.size >= told.size, "{} leaves were acknowledged, {} are there", told.size, head.size);
    assert_eq!(head.root, roots[&head.size]);
    assert!(told.signed.iter().all(|signed| signed.checkpoint.size <= head.size), "signed before it was durable");
    assert!(!told.stream || store.stream().unwrap().as_deref() == Some(STREAM));
    let view = store.view().unwrap();
    assert_eq!(view.size(), head.size);
    let mut next = 0;
    let each = |leaf, bytes: &[u8]| {
        assert!(leaf == next && bytes == entry(leaf), "leaf {leaf}");
        next += 1;
        Ok(true)
    };
    view.scan(0, u64::MAX, each).unwrap();
    assert_eq!(next, head.size);
    for size in [1, 255, head.size].into_iter().filter(|size| *size <= head.size) {
        assert_eq!(root_at(&view, size).unwrap(), roots[&size], "from the tiles, at size {size}");
    }
    // It goes on from its cursor, to the root that every other replica has.
    let last = SIZES[SIZES.len() - 1];
    let grown = store.append(head.size, &entries(head.size, last - head.size)).unwrap();
    assert_eq!(grown.root, roots[&last]);
    if ending == Ending::Killed {
        signs_no_second_root(roots, told, &store);
    }
}

/// The sealer, begun anew on what it had kept, agrees with all that was signed.
fn signs_no_second_root(roots: &BTreeMap<u64, Hash>, told: &Told, store: &LogStore) {
    let seals = tempfile::tempdir().unwrap();
    if let Some(last) = told.signed.last() {
        std::fs::write(seals.path().join(CHECKPOINT_FILE), &last.note).unwrap();
    }
    let sealer = sealer(&seals);
    let signed = sealer.seal(store).unwrap();
    for signed in told.signed.iter().chain(&signed) {
        assert_eq!(signed.checkpoint.root, roots[&signed.checkpoint.size], "two roots for one size");
    }
    assert_eq!(sealer.last().unwrap().checkpoint.size, store.head().size);
}

#[test]
fn the_log_holds_whole_batches_and_one_root_for_each_size_wherever_the_disk_fails() {
    let roots = foreign_roots();
    let trial = Trial { before: before() };
    let checked = trial.run(grow, |told, disk, ending| holds(&roots, told, disk, ending));
    assert!(checked > 100, "{checked}");
}

/// A log in a file that has taken more than it uses.
fn wasteful() -> Vec<u8> {
    const WASTE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("waste");
    let disk = TestDisk::default();
    let store = open(disk.clone()).unwrap();
    let txn = begin(&store.db).unwrap();
    (0..10).for_each(|at| drop(txn.open_table(WASTE).unwrap().insert(at, &[7; 4000][..]).unwrap()));
    txn.commit().unwrap();
    // Behind the waste: there is something to move.
    store.append(0, &entries(0, BEFORE)).unwrap();
    let txn = begin(&store.db).unwrap();
    txn.delete_table(WASTE).unwrap();
    txn.commit().unwrap();
    drop(store);
    disk.bytes()
}

#[test]
fn a_compaction_gives_room_back_and_the_log_is_the_same_wherever_the_disk_fails() {
    let roots = foreign_roots();
    let before = wasteful();
    let told = || Told { size: BEFORE, stream: false, signed: Vec::new(), seals: tempfile::tempdir().unwrap() };
    let compacted = |disk| open(disk).and_then(|mut store| store.compact());
    let disk = TestDisk::holding(before.clone());
    compacted(disk.clone()).unwrap();
    assert!(disk.bytes().len() + 30_000 < before.len(), "{} of {} bytes", disk.bytes().len(), before.len());
    holds(&roots, &told(), disk, Ending::Killed);
    let compact = |disk| drop(compacted(disk));
    let checked = Trial { before }.run(compact, |(), disk, ending| holds(&roots, &told(), disk, ending));
    assert!(checked > 100, "{checked}");
}

#[test]
fn a_log_whose_making_broke_off_was_never_handed_out() {
    let make = |disk| open(disk).is_ok_and(|store| store.append(0, &entries(0, 1)).is_ok());
    let trial = Trial { before: Vec::new() };
    trial.run(make, |acknowledged, disk, _| match open(disk) {
        Ok(store) => {
            assert!(store.head().size == u64::from(*acknowledged) || (!acknowledged && store.head().size == 1));
        }
        // `LogStore::open` drops such a file: its making had not ended.
        Err(error) => assert!(!acknowledged, "{error}"),
    });
}

#[test]
fn a_full_disk_is_said_and_once_there_is_room_the_next_start_goes_on() {
    let disk = TestDisk::holding(before());
    let store = open(disk.clone()).unwrap();
    disk.fill();
    let refused = store.append(BEFORE, &entries(BEFORE, 3)).unwrap_err();
    assert!(refused.to_string().contains("no storage space"), "{refused}");
    assert_eq!(store.head().size, BEFORE);
    drop(store);
    disk.make_room();
    let store = open(disk.after_kill()).unwrap();
    assert_eq!(store.append(BEFORE, &entries(BEFORE, 3)).unwrap().root, foreign_roots()[&(BEFORE + 3)]);
}
