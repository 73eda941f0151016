//! `marque log verify` of a later epoch: what it goes on from is named, and held to a copy of it where there is one.

use std::path::Path;

use marque_ledger::Checkpoint;
use marque_ledger::epoch::{Genesis, Lost};
use marque_tests::exported::{Exported, ORIGIN, acts, framed, framed_from, sink_key};
use serde_json::{Value, json};

use super::answered;

const SECOND: &str = "acme.example/audit/e2";
/// The first epoch has so many leaves of the stream's; then some are lost.
const BEFORE: usize = 30;
const FIRST: u64 = 34;

fn genesis(before: &Exported, first: u64) -> Genesis {
    let note = String::from_utf8(before.read("checkpoint")).unwrap();
    let lost = Some(Lost { from: BEFORE as u64 + 1, to: first - 1 });
    Genesis::after(note, "the stream was purged".into(), 1_700_000_000_000, first, lost).unwrap()
}

/// The second epoch of this log: its genesis, and what the stream holds from this sequence on.
fn later(genesis: &Genesis, first: u64) -> Exported {
    let rest = framed_from(first, &acts(300)[BEFORE + 3..]);
    Exported::of_log(SECOND, &[vec![genesis.entry().unwrap()], rest].concat(), sink_key())
}

fn verified(copy: &Path, more: &[&str]) -> (i32, Value) {
    answered(&[&["log", "verify", &copy.display().to_string()], more].concat())
}

fn unchecked(said: &Value, words: &str) -> bool {
    said["not_checked"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains(words))
}

#[test]
fn a_later_epoch_says_what_it_goes_on_from() {
    let before = Exported::of(&framed(&acts(BEFORE)), sink_key());
    let second = later(&genesis(&before, FIRST), FIRST);
    let (code, said) = verified(&second.copy(), &[]);
    assert_eq!((code, &said["report"]["findings"]), (0, &json!([])), "{said}");
    assert_eq!(said["report"]["genesis"]["lost"], json!({ "from": 31, "to": 33 }));
    // Its keys have acted before: that is no gap.
    assert_eq!((&said["chains"]["findings"], &said["chains"]["begun_before"]), (&json!([]), &json!(3)));
    assert!(unchecked(&said, "the epoch before, acme.example/audit: that it ended with 30 leaves"), "{said}");
    // With a copy of the epoch before, also of one that goes further, nothing of that is left to say.
    let copies = [before, Exported::of(&framed(&acts(BEFORE + 2)), sink_key())];
    for copy in &copies {
        let (code, said) = verified(&second.copy(), &["--previous", &copy.copy().display().to_string()]);
        assert!(code == 0 && !unchecked(&said, "the epoch before"), "{said}");
    }
    // From an earlier checkpoint on, the genesis is looked at all the same.
    let half = second.copy().join("checkpoint").display().to_string();
    let (code, said) = verified(&second.copy(), &["--from", &half]);
    assert_eq!((code, &said["report"]["genesis"]["first_sequence"]), (0, &json!(FIRST)), "{said}");
    // The first epoch goes on from nothing.
    let first = copies[0].copy();
    let (code, said) = verified(&first, &["--previous", &first.display().to_string()]);
    assert!(code != 0 && said["report"].is_null(), "{said}");
}

#[test]
fn finds_an_epoch_that_does_not_go_on_from_the_one_before() {
    let before = Exported::of(&framed(&acts(BEFORE)), sink_key());
    let second = later(&genesis(&before, FIRST), FIRST);
    // The one before was another, or shorter, or is not signed by whom we trust.
    let other = Exported::of(&framed(&acts(BEFORE + 9)[9..]), sink_key());
    let shorter = Exported::of(&framed(&acts(BEFORE - 1)), sink_key());
    let unsigned = Exported::of(&framed(&acts(BEFORE)), marque_signing::SigningKey::from_seed(&[77; 32]));
    for (copy, why) in [(&other, "does not go on"), (&shorter, "fewer than"), (&unsigned, "signed note")] {
        let (code, said) = verified(&second.copy(), &["--previous", &copy.copy().display().to_string()]);
        let found = said["report"]["findings"][0]["what"].as_str().unwrap_or_default();
        assert!(code == 1 && found.contains(why), "{why}: {said}");
    }
}

#[test]
fn finds_an_epoch_that_hides_what_is_lost_or_goes_on_from_what_nobody_signed() {
    let before = Exported::of(&framed(&acts(BEFORE)), sink_key());
    let after = |note: String, first: u64, lost: Option<(u64, u64)>| {
        let lost = lost.map(|(from, to)| Lost { from, to });
        Genesis::after(note, "the stream was purged".into(), 1_700_000_000_000, first, lost).unwrap()
    };
    let note = |log: &Exported| String::from_utf8(log.read("checkpoint")).unwrap();
    let foreign = Exported::of(&framed(&acts(BEFORE)), marque_signing::SigningKey::from_seed(&[77; 32]));
    for (genesis, why) in [
        (after(note(&before), FIRST, None), "nothing is lost"),
        (after(note(&before), FIRST, Some((33, 33))), "other messages are lost"),
        (after(note(&foreign), FIRST, Some((31, 33))), "the last checkpoint of the epoch before"),
    ] {
        let (code, said) = verified(&later(&genesis, FIRST).copy(), &[]);
        assert!(code == 1 && said["report"]["findings"].to_string().contains(why), "{why}: {said}");
    }
    // Where a third goes on from is known by a copy of the second alone, which ends with message 300.
    let second = later(&genesis(&before, FIRST), FIRST);
    let third = |first: u64, lost| {
        let rest = framed_from(first, &acts(310)[first as usize - 1..]);
        let genesis = after(note(&second), first, lost);
        Exported::of_log("acme.example/audit/e3", &[vec![genesis.entry().unwrap()], rest].concat(), sink_key())
    };
    let previous = second.copy().display().to_string();
    for (first, lost, holds) in
        [(301, None, true), (304, Some((301, 303)), true), (304, None, false), (304, Some((302, 303)), false)]
    {
        let log = third(first, lost);
        let (code, said) = verified(&log.copy(), &[]);
        assert!(code == 0 && unchecked(&said, "which records are lost between"), "{said}");
        let output = super::ran(&["log", "verify", &log.copy().display().to_string()]);
        assert!(!String::from_utf8_lossy(&output.stdout).contains("no record is lost"), "{output:?}");
        let (code, said) = verified(&log.copy(), &["--previous", &previous]);
        assert!(
            (code == 0) == holds && !unchecked(&said, "which records are lost between"),
            "{first} {lost:?}: {said}"
        );
    }
}

#[test]
fn finds_a_genesis_that_is_none() {
    let before = Exported::of(&framed(&acts(BEFORE)), sink_key());
    let good = genesis(&before, FIRST);
    // The messages behind it don't begin where it says; its leaf is a record; it is another epoch's.
    let elsewhere = later(&good, FIRST + 1);
    let record = Exported::of(&framed(&acts(3)), sink_key());
    let stated = Checkpoint { origin: SECOND.into(), ..Checkpoint::stated(&record.read("checkpoint")).unwrap() };
    std::fs::write(record.copy().join("checkpoint"), stated.sign(&sink_key()).unwrap()).unwrap();
    let third = Exported::of_log("acme.example/audit/e3", &[good.entry().unwrap()], sink_key());
    for (log, why) in [(&elsewhere, "stream sequence"), (&record, "genesis"), (&third, "genesis is of log")] {
        let (code, said) = verified(&log.copy(), &[]);
        let found = said["report"]["findings"].to_string();
        assert!(code == 1 && found.contains(why), "{why}: {said}");
    }
    // A log of the first epoch with a genesis in it begins at the wrong sequence.
    let first = Exported::of_log(ORIGIN, &[good.entry().unwrap()], sink_key());
    assert_eq!(verified(&first.copy(), &[]).0, 1);
}
