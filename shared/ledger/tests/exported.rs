//! An exported log, touched in every way: the check finds it and names it.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use std::collections::BTreeMap;

use marque_ledger::layout::{BUNDLE, CHECKPOINT, VALID, VERDICTS, VerdictLine};
use marque_ledger::verify::{RecordCheck, Report, verify};
use marque_ledger::{Checkpoint, Edge, Entry, Files, Hash, KeyKind, TileId, TileKind, VerifierKey, encode_bundle};
use marque_signing::SigningKey;

type Log = BTreeMap<String, Vec<u8>>;

struct Memory<'a>(&'a Log);

impl Files for Memory<'_> {
    fn read(&self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
        let file = self.0.get(path).cloned();
        if file.as_ref().is_some_and(|file| file.len() as u64 > bytes_max) { Err("too long".into()) } else { Ok(file) }
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[4; 32])
}

/// A record of these tests: its id, a bar, anything; valid if it does not say `bad`.
fn check(entry: &Entry<'_>) -> RecordCheck {
    let text = String::from_utf8_lossy(entry.payload);
    let verdict = if text.contains("bad") { "signature_invalid" } else { VALID };
    RecordCheck { record: text.split_once('|').map(|(id, _)| id.to_owned()), verdict: verdict.into() }
}

fn payloads(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{index}|record {index}")).collect()
}

fn frames(payloads: &[String]) -> Vec<Vec<u8>> {
    let entry = |(index, payload): (usize, &String)| {
        let bus_subject = "marque.record.decided.none";
        Entry { stream_seq: index as u64 + 1, broker_ts_ns: 7, bus_subject, payload: payload.as_bytes() }
            .encode()
            .unwrap()
    };
    payloads.iter().enumerate().map(entry).collect()
}

fn log_of(frames: &[Vec<u8>], verdicts: &str) -> Log {
    let size = frames.len() as u64;
    let (mut edge, mut full, mut log) = (Edge::new(), Vec::new(), Log::new());
    frames.iter().for_each(|frame| edge.append(Hash::leaf(frame), &mut full));
    log.extend(full.into_iter().map(|tile| (tile.id.path(), tile.bytes)));
    for (level, bytes) in edge.open().filter(|(_, bytes)| !bytes.is_empty()) {
        let kind = TileKind::Hashes(level);
        let id = TileId::covering(kind, TileId::count(kind, size) / 256, size).unwrap();
        log.insert(id.path(), bytes);
    }
    for id in TileId::all(size).filter(|id| id.kind == TileKind::Entries) {
        let start = id.index as usize * 256;
        let entries = &frames[start..start + usize::from(id.width)];
        log.insert(id.path(), encode_bundle(entries.iter().map(Vec::as_slice)).unwrap());
    }
    let checkpoint = Checkpoint { origin: "acme.example/audit".into(), size, root: edge.root() };
    log.insert(CHECKPOINT.into(), checkpoint.sign(&key()).unwrap().into_bytes());
    log.insert(VERDICTS.into(), verdicts.as_bytes().to_vec());
    log
}

fn good(count: usize) -> Log {
    let line = |index: usize| {
        VerdictLine { leaf: index as u64, record: Some(index.to_string()), verdict: VALID.into(), first: None }.text()
    };
    log_of(&frames(&payloads(count)), &(0..count).map(line).collect::<String>())
}

fn checked(log: &Log) -> Report {
    let keys = [VerifierKey::new("acme.example/audit", KeyKind::Ed25519, key().public()).unwrap()];
    verify(&Memory(log), &keys, 2, &check, &|_| {})
}

#[test]
fn accepts_every_small_log_and_the_tile_border() {
    for count in [0, 1, 2, 3, 5, 255, 256, 257, 513] {
        let report = checked(&good(count));
        assert!(report.is_ok(), "{count}: {:?}", report.findings);
        assert_eq!((report.tree_size, report.leaves_checked), (count as u64, count as u64));
    }
}

#[test]
fn names_every_flipped_byte_of_a_small_log() {
    let log = good(5);
    for (path, bytes) in &log {
        for at in 0..bytes.len() {
            let mut touched = log.clone();
            touched.get_mut(path).unwrap()[at] ^= 1;
            let report = checked(&touched);
            assert!(
                report.findings.iter().any(|finding| finding.file == *path || finding.what.contains(path)),
                "{path} byte {at}: {:?}",
                report.findings
            );
        }
    }
}

#[test]
fn names_the_leaf_or_the_tile_in_a_larger_log() {
    let log = good(600);
    let touch = |path: &str, at: usize| {
        let mut touched = log.clone();
        touched.get_mut(path).unwrap()[at] ^= 0x80;
        checked(&touched).findings
    };
    // Bytes of the third entry of the second bundle: frame and length together are the same for each of 256..=599.
    let each = log["tile/entries/001"].len() / 256;
    let findings = touch("tile/entries/001", 2 * each + 40);
    assert!(findings.iter().any(|f| f.file == "tile/entries/001" && f.leaf == Some(258)), "{findings:?}");
    let findings = touch("tile/0/002.p/88", 32 * 9);
    assert!(findings.iter().any(|f| f.leaf == Some(521) && f.what.contains("tile/0/002.p/88")), "{findings:?}");
    let findings = touch("tile/1/000.p/2", 33);
    assert!(findings.iter().any(|f| f.file == "tile/1/000.p/2" && f.what.contains("tile/0/001")), "{findings:?}");
}

#[test]
fn names_a_missing_truncated_or_longer_file() {
    let log = good(300);
    for path in log.keys() {
        let mut touched = log.clone();
        touched.remove(path);
        assert!(checked(&touched).findings.iter().any(|f| f.file == *path && f.what.contains("missing")), "{path}");
        for change in [-1_i8, 1] {
            let mut touched = log.clone();
            let file = touched.get_mut(path).unwrap();
            if change < 0 {
                file.pop();
            } else {
                file.push(b'\n');
            }
            assert!(checked(&touched).findings.iter().any(|f| f.file == *path), "{path} {change}");
        }
    }
    assert!(checked(&Log::new()).findings.iter().any(|f| f.file == CHECKPOINT));
    assert!(!log.contains_key(BUNDLE));
}

#[test]
fn finds_a_dropped_a_swapped_and_an_inserted_leaf() {
    let log = good(9);
    let frames = frames(&payloads(9));
    let verdicts = String::from_utf8(log[VERDICTS].clone()).unwrap();
    let with_entries = |changed: Vec<Vec<u8>>| {
        // The whole log is made anew around the changed leaves, but for the checkpoint: no key to sign another with.
        let mut touched = log_of(&changed, &verdicts);
        touched.insert(CHECKPOINT.into(), log[CHECKPOINT].clone());
        checked(&touched)
    };
    assert!(with_entries(frames.clone()).is_ok());
    let mut dropped = frames.clone();
    dropped.remove(3);
    assert!(!with_entries(dropped).is_ok());
    let mut swapped = frames.clone();
    swapped.swap(3, 4);
    assert!(with_entries(swapped).findings.iter().any(|f| f.leaf == Some(3)));
    let mut inserted = frames.clone();
    inserted.insert(3, frames[7].clone());
    assert!(!with_entries(inserted).is_ok());
}

#[test]
fn a_log_under_another_key_is_refused() {
    let log = good(3);
    let keys =
        [VerifierKey::new("acme.example/audit", KeyKind::Ed25519, SigningKey::from_seed(&[9; 32]).public()).unwrap()];
    let report = verify(&Memory(&log), &keys, 1, &check, &|_| {});
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(report.findings[0].file, CHECKPOINT);
    assert_eq!(report.leaves_checked, 3);
}

#[test]
fn a_bad_record_is_a_leaf_and_its_verdict_is_compared() {
    let payloads: Vec<String> =
        ["a|one", "b|bad", "a|one", "a|other", "no id"].iter().map(|text| (*text).to_owned()).collect();
    let line = |leaf, record: Option<&str>, verdict: &str, first| {
        VerdictLine { leaf, record: record.map(str::to_owned), verdict: verdict.into(), first }.text()
    };
    let verdicts = [
        line(0, Some("a"), "valid", None),
        line(1, Some("b"), "signature_invalid", None),
        line(2, Some("a"), "duplicate", Some(0)),
        line(3, Some("a"), "conflict", Some(0)),
        line(4, None, "valid", None),
    ]
    .concat();
    let report = checked(&log_of(&frames(&payloads), &verdicts));
    assert!(report.is_ok(), "{:?}", report.findings);
    assert_eq!(report.verdicts["valid"], 2);
    let whitewashed = verdicts.replace("signature_invalid", "valid");
    let report = checked(&log_of(&frames(&payloads), &whitewashed));
    assert!(report.findings.iter().any(|f| f.file == VERDICTS && f.leaf == Some(1)), "{:?}", report.findings);
}

#[test]
fn a_checkpoint_that_claims_a_huge_tree_is_bounded() {
    let mut log = good(3);
    let checkpoint = Checkpoint { origin: "acme.example/audit".into(), size: u64::MAX, root: Hash::leaf(b"") };
    log.insert(CHECKPOINT.into(), checkpoint.sign(&key()).unwrap().into_bytes());
    let report = checked(&log);
    assert!(!report.is_ok() && report.findings.len() <= 1000);
}
