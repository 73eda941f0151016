//! The log without a broker: what a kill, a hole, a doubled delivery or a touched byte does to it.
#![allow(clippy::unwrap_used)]

mod house;

use house::{House, ORIGIN, checked, decided, key, mixed, sealed, stream};
use marque_audit_sink::store::{LogStore, frame};
use marque_audit_sink::{SinkError, export, files};
use marque_judgement::record::Verb;
use marque_ledger::{Hash, root_at};
use proptest::prelude::*;
use tempfile::tempdir;

fn root_of(messages: &[marque_bus::Stored]) -> Hash {
    let directory = tempdir().unwrap();
    let store = LogStore::open(&directory.path().join("l"), ORIGIN).unwrap();
    let frames: Vec<_> = messages.iter().map(|message| frame(message).unwrap()).collect();
    store.append(0, &frames).unwrap().root
}

#[tokio::test]
async fn takes_in_good_and_bad_and_exports_what_verifies() {
    let (state, copy) = (tempdir().unwrap(), tempdir().unwrap());
    let messages = mixed(600);
    {
        let house = House::open(state.path());
        house.take_in(&messages).await.unwrap();
        assert_eq!(house.intake.store.head().size, 600);
        assert_eq!(house.intake.index.upto(), 600);
        assert!(house.sealer.seal(&house.intake.store).unwrap().is_some());
        assert!(house.sealer.seal(&house.intake.store).unwrap().is_none());
    }
    assert_eq!(export(state.path(), copy.path()).unwrap(), 600);
    let report = checked(copy.path(), ORIGIN);
    assert!(report.is_ok(), "{:?}", report.findings);
    assert_eq!(report.leaves_checked, 600);
    for verdict in ["valid", "duplicate", "not_authorized", "signature_invalid", "malformed"] {
        assert!(report.verdicts.get(verdict).is_some_and(|count| *count > 40), "{verdict}: {:?}", report.verdicts);
    }
    // A flipped byte anywhere in a few files is found.
    for path in
        ["checkpoint", "tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/001", "marque/verdicts.jsonl"]
    {
        let file = copy.path().join(path);
        let good = std::fs::read(&file).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut touched = good.clone();
            touched[at] ^= 4;
            std::fs::write(&file, &touched).unwrap();
            let report = checked(copy.path(), ORIGIN);
            assert!(report.findings.iter().any(|f| f.file == path || f.what.contains(path)), "{path} {at}");
        }
        std::fs::write(&file, &good).unwrap();
    }
    assert!(checked(copy.path(), ORIGIN).is_ok());
}

#[tokio::test]
async fn an_export_keeps_the_checkpoints_that_it_had_and_writes_over_no_other_log() {
    let (state, copy) = (tempdir().unwrap(), tempdir().unwrap());
    let messages = mixed(300);
    let mut notes = Vec::new();
    for size in [1, 40, 256, 300] {
        {
            let house = House::open(state.path());
            house.take_in(&messages[..size]).await.unwrap();
            notes.push((size, house.sealer.seal(&house.intake.store).unwrap().unwrap().note));
        }
        // Twice: the second time nothing is new.
        for _ in 0..2 {
            assert_eq!(export(state.path(), copy.path()).unwrap(), size as u64);
        }
        let report = checked(copy.path(), ORIGIN);
        assert!(report.is_ok() && report.kept.checked == notes.len() as u64 - 1, "{report:?}");
    }
    for (size, note) in &notes[..3] {
        let kept = copy.path().join(marque_ledger::layout::kept_checkpoint(*size as u64));
        assert_eq!(std::fs::read_to_string(kept).unwrap(), *note);
    }
    // A log that has fewer leaves, and one that has others: the copy stays as it is.
    let before = std::fs::read(copy.path().join("checkpoint")).unwrap();
    for others in [
        mixed(300)[..200].to_vec(),
        stream((0..301).map(|at| sealed(&decided(key(10).did(), &[], &format!("t{at}"), Verb::Deny), 2))),
    ] {
        let other = tempdir().unwrap();
        {
            let house = House::open(other.path());
            house.take_in(&others).await.unwrap();
            house.sealer.seal(&house.intake.store).unwrap().unwrap();
        }
        assert!(matches!(export(other.path(), copy.path()), Err(SinkError::Archive(_))));
        assert_eq!(std::fs::read(copy.path().join("checkpoint")).unwrap(), before);
        assert!(checked(copy.path(), ORIGIN).is_ok());
    }
}

#[tokio::test]
async fn a_hole_halts_and_what_came_before_it_stays() {
    let state = tempdir().unwrap();
    let mut messages = mixed(40);
    messages.remove(25);
    let house = House::open(state.path());
    let error = house.take_in(&messages).await.unwrap_err();
    assert!(matches!(&error, SinkError::Hole(hole) if hole.to_string().contains("from sequence 25 to 27")), "{error}");
    assert_eq!(house.intake.store.head().size, 25);
    assert_eq!(house.intake.store.head().root, root_of(&messages[..25]));
}

#[tokio::test]
async fn a_redelivery_is_passed_over() {
    let state = tempdir().unwrap();
    let messages = mixed(40);
    let house = House::open(state.path());
    house.take_in(&messages[..20]).await.unwrap();
    house.take_in_as(&messages, 5, 7).await.unwrap();
    assert_eq!(house.intake.store.head().size, 40);
    assert_eq!(house.intake.store.head().root, root_of(&messages));
}

/// Out of order, a delivery is a hole to whoever takes it: nothing is skipped, and read again it goes on.
#[tokio::test]
async fn a_reordered_delivery_halts_and_is_taken_in_when_it_comes_in_order() {
    let state = tempdir().unwrap();
    let messages = mixed(40);
    let mut reordered = messages.clone();
    reordered.swap(12, 13);
    {
        let house = House::open(state.path());
        let error = house.take_in(&reordered).await.unwrap_err();
        assert!(
            matches!(&error, SinkError::Hole(hole) if hole.to_string().contains("from sequence 12 to 14")),
            "{error}"
        );
        assert_eq!(house.intake.store.head().size, 12);
    }
    let house = House::open(state.path());
    house.take_in(&messages).await.unwrap();
    assert_eq!(house.intake.store.head().root, root_of(&messages));
}

#[tokio::test]
async fn a_lost_index_is_rebuilt_to_the_same_lines() {
    let state = tempdir().unwrap();
    let messages = mixed(300);
    let lines = {
        let house = House::open(state.path());
        house.take_in(&messages).await.unwrap();
        house.read().index.page(0, 300, usize::MAX).unwrap().1
    };
    for damage in [None, Some(&b"not a database"[..])] {
        let path = state.path().join(files::INDEX_FILE);
        match damage {
            None => std::fs::remove_file(&path).unwrap(),
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        }
        let house = House::open(state.path());
        assert_eq!(house.intake.index.upto(), 0);
        house.take_in(&messages).await.unwrap();
        assert_eq!(house.read().index.page(0, 300, usize::MAX).unwrap().1, lines);
    }
}

#[test]
fn the_store_refuses_another_log_and_a_leaf_out_of_turn() {
    let state = tempdir().unwrap();
    let path = state.path().join("l");
    let messages = mixed(3);
    let frames: Vec<_> = messages.iter().map(|message| frame(message).unwrap()).collect();
    {
        let store = LogStore::open(&path, ORIGIN).unwrap();
        store.append(0, &frames[..2]).unwrap();
        for first in [0, 1, 3, u64::MAX] {
            assert!(matches!(store.append(first, &frames[2..]), Err(SinkError::NotNext { next: 2, .. })));
        }
        store.append(2, &[]).unwrap();
        assert_eq!(store.head().size, 2);
    }
    assert!(matches!(LogStore::open(&path, "other/audit"), Err(SinkError::ForeignStore(_))));
}

#[test]
fn never_signs_two_roots_for_one_size() {
    let (state, other) = (tempdir().unwrap(), tempdir().unwrap());
    let record = |tool: &str| sealed(&decided(key(10).did(), &[], tool, Verb::Permit), 2);
    let (one, two) = (stream([record("a"), record("b")]), stream([record("c"), record("d"), record("e")]));
    let frames = |messages: &[marque_bus::Stored]| messages.iter().map(|m| frame(m).unwrap()).collect::<Vec<_>>();
    let signed = {
        let house = House::open(state.path());
        house.intake.store.append(0, &frames(&one)).unwrap();
        house.sealer.seal(&house.intake.store).unwrap().unwrap()
    };
    // The store is rolled back and refilled with other messages; the checkpoint beside it is not.
    std::fs::remove_file(state.path().join(files::LOG_FILE)).unwrap();
    let house = House::open(state.path());
    house.intake.store.append(0, &frames(&two[..1])).unwrap();
    assert!(house.sealer.seal(&house.intake.store).unwrap().is_none(), "signed before it came again to size 2");
    house.intake.store.append(1, &frames(&two[1..])).unwrap();
    assert!(matches!(house.sealer.seal(&house.intake.store), Err(SinkError::Halted(_))));
    // The same without the file, when the published one is found.
    let house = House::open(other.path());
    house.intake.store.append(0, &frames(&two)).unwrap();
    house.sealer.remember(signed.note.as_bytes()).unwrap();
    assert!(matches!(house.sealer.seal(&house.intake.store), Err(SinkError::Halted(_))));
    // And a file that is not ours is refused at the start.
    let touched = signed.note.replacen("\n2\n", "\n3\n", 1);
    assert_ne!(touched, signed.note);
    std::fs::write(other.path().join("checkpoint"), touched).unwrap();
    drop(house);
    assert!(House::try_open(other.path()).is_err());
}

#[test]
fn signs_again_from_an_old_backup_once_it_agrees() {
    let state = tempdir().unwrap();
    let messages = mixed(30);
    let frames: Vec<_> = messages.iter().map(|m| frame(m).unwrap()).collect();
    {
        let house = House::open(state.path());
        house.intake.store.append(0, &frames[..20]).unwrap();
        house.sealer.seal(&house.intake.store).unwrap().unwrap();
    }
    std::fs::remove_file(state.path().join(files::LOG_FILE)).unwrap();
    let house = House::open(state.path());
    house.intake.store.append(0, &frames[..10]).unwrap();
    assert!(house.sealer.seal(&house.intake.store).unwrap().is_none());
    house.intake.store.append(10, &frames[10..]).unwrap();
    let signed = house.sealer.seal(&house.intake.store).unwrap().unwrap();
    assert_eq!(signed.checkpoint.root, root_at(&house.read().log, 30).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the batches and wherever it is killed: one root, one index, the messages in order.
    #[test]
    fn batches_and_kills_leave_no_trace(cuts in proptest::collection::vec((1_usize..60, 1_usize..20, 0_u8..4), 1..8)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        let messages = mixed(120);
        let state = tempdir().unwrap();
        let mut reached = 0;
        for (more, share, how) in cuts {
            let house = House::open(state.path());
            prop_assert!(house.intake.store.head().size as usize >= reached, "an acked leaf was lost");
            let until = (house.intake.store.head().size as usize + more).min(messages.len());
            let run = house.take_in_as(&messages[..until], house.intake.store.head().size as usize, share);
            // Killed at once, a little later, or not at all; or with an index that lags behind the log.
            match how {
                0 => drop(run),
                1 => { let _ = runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_micros(1500), run).await }); }
                2 => runtime.block_on(run).unwrap(),
                _ => {
                    drop(run);
                    let size = house.intake.store.head().size as usize;
                    let frames: Vec<_> = messages[size..until].iter().map(|m| frame(m).unwrap()).collect();
                    house.intake.store.append(size as u64, &frames).unwrap();
                }
            }
            // One head: a commit that outlived its task may still add to the log.
            let head = house.intake.store.head();
            reached = head.size as usize;
            prop_assert_eq!(head.root, root_of(&messages[..reached]));
            prop_assert!(house.intake.index.upto() as usize <= reached);
            // A blocking commit that outlived its task is done before the store is opened again.
            house::wait_for_the_last(house);
        }
        let house = House::open(state.path());
        runtime.block_on(house.take_in(&messages)).unwrap();
        prop_assert_eq!(house.intake.store.head().root, root_of(&messages));
        let fresh = tempdir().unwrap();
        let other = House::open(fresh.path());
        runtime.block_on(other.take_in_as(&messages, 0, 1000)).unwrap();
        prop_assert_eq!(house.read().index.page(0, 120, usize::MAX).unwrap().1, other.read().index.page(0, 120, usize::MAX).unwrap().1);
    }
}
