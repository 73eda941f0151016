//! What a sink takes on disk for each byte of its records, in blocks of the file system (issue: at most 1.6 for the
//! log). Run by hand: `cargo test -p marque-audit-sink --test disk -- --ignored --nocapture`.
#![allow(clippy::unwrap_used)]

mod house;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use house::{House, acted, completed, key, stream, wait_for_the_last};
use marque_audit_sink::files::{INDEX_FILE, INVENTORY_FILE, LEAF_HASHES_FILE, LOG_FILE};
use marque_audit_sink::store::LogStore;
use marque_judgement::record::Verb;

const TIMES_MAX: f64 = 1.6;
/// Bytes of a block as `stat` counts them.
const BLOCK_BYTES: u64 = 512;

fn on_disk(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * BLOCK_BYTES
}

/// Entries of random lengths alone: sizes and batches from a trickle to a flood.
#[test]
#[ignore = "a measurement"]
fn the_log_takes_little_more_than_its_records() {
    for (bytes, batch, batches) in
        [(300, 1000, 100), (700, 1, 2000), (700, 100, 500), (700, 4000, 100), (1500, 1000, 60)]
    {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(LOG_FILE);
        let store = LogStore::open(&path, "acme.example/audit").unwrap();
        let (mut state, mut raw) = (1_u64, 0_u64);
        for round in 0..batches {
            let mut entry = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let length = bytes / 2 + (state >> 33) % bytes;
                raw += length;
                vec![7; length as usize]
            };
            let entries: Vec<Vec<u8>> = (0..batch).map(|_| entry()).collect();
            store.append(round * batch, &entries).unwrap();
        }
        let ratio = (on_disk(&path) + on_disk(&home.path().join(LEAF_HASHES_FILE))) as f64 / raw as f64;
        println!("entries of {bytes} B on average, {batch} in a batch, {} in all: {ratio:.2}", batch * batches);
        assert!(ratio <= TIMES_MAX);
    }
}

/// Real records, with index and inventory.
#[tokio::test]
#[ignore = "a measurement"]
async fn a_sink_takes_so_much_for_each_byte_of_its_records() {
    let home = tempfile::tempdir().unwrap();
    let house = House::open(home.path());
    let mut records = Vec::new();
    for at in 0..10_000_u64 {
        let seed = 10 + (at % 40) as u8;
        let action = acted(key(seed).did(), &[], &format!("nats:tools.t{}", at % 20), Verb::Permit, at / 40, "proof");
        let done = completed(&action);
        records.extend([house::sealed(&action, 2), house::sealed(&done, 2)]);
    }
    let raw: usize = records.iter().map(|(subject, payload)| subject.len() + payload.len()).sum();
    house.take_in_as(&stream(records), 0, 1000).await.unwrap();
    wait_for_the_last(house);
    let ratio = |name: &str| on_disk(&home.path().join(name)) as f64 / raw as f64;
    let log = ratio(LOG_FILE) + ratio(LEAF_HASHES_FILE);
    let (index, inventory) = (ratio(INDEX_FILE), ratio(INVENTORY_FILE));
    println!("20,000 records of {} B: log {log:.2}, index {index:.2}, inventory {inventory:.2}", raw / 20_000);
    assert!(log <= TIMES_MAX);
}

#[tokio::test]
async fn a_compacted_state_directory_is_the_same_sink() {
    let home = tempfile::tempdir().unwrap();
    let stream = house::mixed(400);
    let house = House::open(home.path());
    house.take_in(&stream[..300]).await.unwrap();
    let signed = house.sealer.seal(&house.intake.store).unwrap().unwrap();
    let (head, rows) = (house.intake.store.head(), house.read().index.page(0, 300, usize::MAX).unwrap().1);
    wait_for_the_last(house);
    let compact = |folder: &Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_marque-audit-sink"));
        command.env_clear().arg("compact").arg(folder).output().unwrap()
    };
    let told = compact(home.path());
    let said = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success() && said.lines().count() == 3 && said.contains(LOG_FILE), "{told:?}");
    let house = House::open(home.path());
    assert_eq!((house.intake.store.head(), house.read().index.page(0, 300, usize::MAX).unwrap().1), (head, rows));
    assert_eq!(house.sealer.last(), Some(signed));
    // It goes on as one that was not compacted.
    let (other, twin) = (tempfile::tempdir().unwrap(), House::open);
    let twin = twin(other.path());
    for house in [&house, &twin] {
        house.take_in(&stream).await.unwrap();
    }
    assert_eq!(house.intake.store.head(), twin.intake.store.head());
    // In use, or nothing there: refused, and said.
    assert!(!compact(home.path()).status.success());
    assert!(!compact(tempfile::tempdir().unwrap().path()).status.success());
}
