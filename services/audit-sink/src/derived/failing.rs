//! A derived store on a disk that fails at each of its steps: it holds what it says that it reaches, and goes on there.

use marque_test_support::{Fault, TestDisk, Trial};

use super::*;

/// Leaf → itself.
const LEAVES: TableDefinition<'_, u64, u64> = TableDefinition::new("leaves");
/// How many there are: what no row can say alone.
const COUNT: TableDefinition<'_, (), u64> = TableDefinition::new("count");
const LEAVES_IN_BATCH: u64 = 3;
/// Two of them are synced.
const BATCHES: u64 = BATCHES_PER_SYNC + 4;
const PLAN: Plan<'_> = Plan { name: "test", basis: "1", cache_bytes: 1 << 20, tables };

fn tables(txn: &WriteTransaction) -> Result<(), SinkError> {
    drop((txn.open_table(LEAVES)?, txn.open_table(COUNT)?));
    Ok(())
}

fn open(disk: TestDisk) -> Result<Derived, SinkError> {
    Derived::on(builder(&PLAN).create_with_backend(disk)?, &PLAN)
}

fn take_in(store: &Derived, first: u64) -> Result<(), SinkError> {
    store.extend(first, first + LEAVES_IN_BATCH, |txn| {
        let mut leaves = txn.open_table(LEAVES)?;
        for leaf in first..first + LEAVES_IN_BATCH {
            leaves.insert(leaf, leaf)?;
        }
        txn.open_table(COUNT)?.insert((), first + LEAVES_IN_BATCH)?;
        Ok(())
    })
}

fn holds_what_it_says(store: &Derived) {
    let (txn, upto) = store.view().unwrap();
    assert_eq!(upto, store.upto());
    let leaves = txn.open_table(LEAVES).unwrap();
    let rows: Vec<u64> = leaves.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
    assert_eq!(rows, (0..upto).collect::<Vec<_>>());
    assert_eq!(txn.open_table(COUNT).unwrap().get(()).unwrap().map_or(0, |count| count.value()), upto);
}

/// Takes in every batch until one fails; gives how far it came.
fn grow(disk: TestDisk) -> u64 {
    let Ok(store) = open(disk) else { return 0 };
    for batch in 0..BATCHES {
        if take_in(&store, store.upto()).is_err() {
            assert_eq!(store.upto(), batch * LEAVES_IN_BATCH, "a batch that failed shows");
            break;
        }
    }
    store.upto()
}

#[test]
fn it_reaches_whole_batches_and_goes_on_from_there_wherever_the_disk_fails() {
    let made = TestDisk::default();
    drop(open(made.clone()).unwrap());
    let trial = Trial { before: made.bytes() };
    let checked = trial.run(grow, |reached, disk, _| {
        let store = open(disk).unwrap();
        assert!(store.upto() <= *reached + LEAVES_IN_BATCH && store.upto().is_multiple_of(LEAVES_IN_BATCH));
        holds_what_it_says(&store);
        while store.upto() < BATCHES * LEAVES_IN_BATCH {
            take_in(&store, store.upto()).unwrap();
        }
        holds_what_it_says(&store);
    });
    assert!(checked > 100, "{checked}");
}

/// Its log is gigabytes, and the disk has room again tomorrow.
#[test]
fn a_disk_that_fails_does_not_cost_the_store() {
    let made = TestDisk::default();
    drop(open(made.clone()).unwrap());
    let steps = TestDisk::holding(made.bytes());
    drop(open(steps.clone()).unwrap());
    let mut failed = 0;
    for fault in [Fault::Lost, Fault::DoneButReportedLost, Fault::Torn, Fault::Full] {
        for step in 0..steps.steps() {
            let disk = TestDisk::holding(made.bytes());
            disk.fail_at(step, fault);
            if let Err(error) = open(disk) {
                assert!(!is_spoilt(&error), "{error}");
                failed += 1;
            }
        }
    }
    assert!(failed > 4, "{failed}");
    for spoilt in [&[0; 4096][..], b"garbage", &made.bytes()[..5000], &[&made.bytes()[..64], &[7; 9000]].concat()] {
        let error = open(TestDisk::holding(spoilt.to_vec())).err().expect("it can't be opened");
        assert!(is_spoilt(&error), "{error}");
    }
    assert!(is_spoilt(&SinkError::Store(Box::new(redb::Error::Corrupted("a page".into())))));
}

#[test]
fn one_that_cannot_be_read_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index.redb");
    // What a making leaves that broke off.
    std::fs::write(&path, [0; 4096]).unwrap();
    let store = Derived::open(&path, &PLAN, 0).unwrap();
    take_in(&store, 0).unwrap();
    holds_what_it_says(&store);
}
