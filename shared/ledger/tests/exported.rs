//! An exported log, touched in every way: the check finds it and names it.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use std::collections::BTreeMap;

use marque_ledger::layout::{
    BUNDLE, CHECKPOINT, KEPT_CHECKPOINTS, VALID, VERDICTS, VerdictLine, kept_checkpoint, kept_size,
};
use marque_ledger::verify::{KEPT_BYTES_MAX, KEPT_MAX, Kept, RecordCheck, Report, Verification, verify};
use marque_ledger::{Checkpoint, Edge, Entry, Files, Hash, KeyKind, Policy, TileId, TileKind, VerifierKey, Witness};
use marque_ledger::{cosign, encode_bundle};
use marque_signing::SigningKey;

type Log = BTreeMap<String, Vec<u8>>;

struct Memory<'a>(&'a Log);

impl Files for Memory<'_> {
    fn read(&self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
        let file = self.0.get(path).cloned();
        if file.as_ref().is_some_and(|file| file.len() as u64 > bytes_max) { Err("too long".into()) } else { Ok(file) }
    }

    fn names(&self, folder: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<(), String> {
        let within = |path: &str| path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
        self.0.keys().filter_map(|path| within(path)).all(|name| each(&name));
        Ok(())
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
    verify(&Memory(log), &keys, 2, &check)
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

/// A file that is cut is the one fault: not the index, whose lines are still those of the leaves, nor the checkpoint.
#[test]
fn what_follows_from_a_file_that_was_cut_is_not_told_as_another_fault() {
    let log = good(600);
    for path in ["tile/entries/000", "tile/entries/001", "tile/entries/002.p/88", "tile/0/001", "tile/0/002.p/88"] {
        for kept in [None, Some(40)] {
            let mut touched = log.clone();
            match kept {
                None => drop(touched.remove(path)),
                Some(kept) => touched.get_mut(path).unwrap().truncate(kept),
            }
            let findings = checked(&touched).findings;
            assert!(findings.len() == 1 && findings[0].file == path, "{path}: {findings:?}");
        }
    }
    // What is wrong with the index beside it is told.
    let mut both = log.clone();
    both.remove("tile/entries/001");
    let verdicts = String::from_utf8(both[VERDICTS].clone()).unwrap();
    let less: String = verdicts.lines().take(590).map(|line| format!("{line}\n")).collect();
    for wrong in [verdicts.replacen(r#"{"leaf":5,"#, r#"{"leaf":6,"#, 1), format!("{verdicts}{{}}\n"), less] {
        both.insert(VERDICTS.into(), wrong.into_bytes());
        let findings = checked(&both).findings;
        assert!(findings.iter().any(|finding| finding.file == VERDICTS), "{findings:?}");
    }
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
    let report = verify(&Memory(&log), &keys, 1, &check);
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

/// Keys that any log of these tests is checked under, and what else is asked for.
fn checked_as(log: &Log, policy: &Policy, from: Option<&Checkpoint>) -> Report {
    let check = |entry: &Entry<'_>| (check(entry), Some(()));
    let mut followed = Vec::new();
    let report = Verification { policy, from, threads: 2 }.run(
        &Memory(log),
        Some(&check),
        &mut |leaf, _, ()| followed.push(leaf),
        &|_, _| {},
    );
    assert!(followed.windows(2).all(|pair| pair[0] < pair[1]), "each leaf in its turn");
    assert!(followed.iter().all(|leaf| *leaf >= report.from));
    report
}

fn trusted() -> Policy {
    Policy::of_logs(vec![VerifierKey::new("acme.example/audit", KeyKind::Ed25519, key().public()).unwrap()])
}

fn stated(log: &Log) -> Checkpoint {
    let note = marque_ledger::Note::parse(&log[CHECKPOINT]).unwrap();
    Checkpoint::parse(note.text()).unwrap()
}

#[test]
fn goes_on_from_every_earlier_checkpoint() {
    let log = good(600);
    for size in [0, 1, 255, 256, 257, 511, 512, 599, 600] {
        let report = checked_as(&log, &trusted(), Some(&stated(&good(size))));
        assert!(report.is_ok(), "{size}: {:?}", report.findings);
        assert_eq!((report.from, report.leaves_checked), (size as u64, 600 - size as u64));
    }
}

#[test]
fn refuses_a_copy_that_does_not_go_on_from_the_earlier_checkpoint() {
    let log = good(600);
    let refused = |earlier: &Checkpoint| {
        let findings = checked_as(&log, &trusted(), Some(earlier)).findings;
        assert!(findings.iter().any(|finding| finding.file == CHECKPOINT), "{findings:?}");
    };
    let true_one = stated(&good(257));
    refused(&Checkpoint { root: Hash::leaf(b"other"), ..true_one.clone() });
    refused(&Checkpoint { size: 256, ..true_one.clone() });
    refused(&Checkpoint { origin: "other.example/audit".into(), ..true_one.clone() });
    refused(&Checkpoint { size: 601, ..true_one.clone() });
    refused(&Checkpoint { size: 0, ..true_one });
}

#[test]
fn looks_at_every_byte_behind_the_earlier_checkpoint() {
    let (log, earlier) = (good(262), stated(&good(259)));
    // Leaves 259 to 261, and all that binds them.
    let each = log["tile/entries/001.p/6"].len() / 6;
    let reach =
        [("tile/entries/001.p/6", 3 * each), ("tile/0/001.p/6", 3 * 32), ("tile/1/000.p/1", 0), (CHECKPOINT, 0)];
    for (path, first) in reach {
        for at in first..log[path].len() {
            let mut touched = log.clone();
            touched.get_mut(path).unwrap()[at] ^= 1;
            let report = checked_as(&touched, &trusted(), Some(&earlier));
            assert!(!report.is_ok(), "{path} byte {at}");
        }
    }
    let lines = String::from_utf8(log[VERDICTS].clone()).unwrap();
    let cut = |range: std::ops::Range<usize>| {
        let kept: String =
            lines.lines().enumerate().filter(|(at, _)| !range.contains(at)).map(|(_, l)| format!("{l}\n")).collect();
        let mut touched = log.clone();
        touched.insert(VERDICTS.into(), kept.into_bytes());
        checked_as(&touched, &trusted(), Some(&earlier)).is_ok()
    };
    assert!(cut(0..0));
    assert!(!cut(2..3) && !cut(100..262) && !cut(261..262));
}

#[test]
fn a_repetition_of_a_record_before_the_earlier_checkpoint_is_taken_as_the_index_says() {
    let payloads: Vec<String> = ["a|one", "b|one", "a|one", "c|x"].iter().map(|text| (*text).to_owned()).collect();
    let line = |leaf, record: &str, verdict: &str, first| {
        VerdictLine { leaf, record: Some(record.into()), verdict: verdict.into(), first }.text()
    };
    let index = |verdict: &str, first| {
        [
            line(0, "a", "valid", None),
            line(1, "b", "valid", None),
            line(2, "a", verdict, first),
            line(3, "c", "valid", None),
        ]
        .concat()
    };
    let earlier = stated(&log_of(&frames(&payloads[..2]), ""));
    let checked = |verdict: &str, first| {
        checked_as(&log_of(&frames(&payloads), &index(verdict, first)), &trusted(), Some(&earlier))
    };
    let report = checked("duplicate", Some(0));
    assert!(report.is_ok(), "{:?}", report.findings);
    assert_eq!(report.repeats_unchecked, 1);
    assert!(!checked("duplicate", Some(2)).is_ok() && !checked("duplicate", None).is_ok());
    assert!(!checked("signature_invalid", Some(0)).is_ok());
    // All of it: then the index is held to what stands there.
    assert!(!checked_as(&log_of(&frames(&payloads), &index("conflict", Some(0))), &trusted(), None).is_ok());
}

#[test]
fn asks_for_the_witnesses_of_a_policy() {
    let (log, witness) = (good(5), SigningKey::from_seed(&[8; 32]));
    let vkey = VerifierKey::new("w.example", KeyKind::Cosignature, witness.public()).unwrap();
    let own = trusted().logs().to_vec();
    let known = Witness { name: "w".into(), key: vkey, url: None };
    let policy = Policy::at_least(own, 1, vec![known]).unwrap();
    let report = checked_as(&log, &policy, None);
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert!(report.findings[0].what.contains("witnesses") && report.findings[0].file == CHECKPOINT);
    let mut note = marque_ledger::Note::parse(&log[CHECKPOINT]).unwrap();
    note.add(cosign(note.text(), "w.example", &witness, marque_identity::UnixSeconds(9)).unwrap());
    let mut seen = log.clone();
    seen.insert(CHECKPOINT.into(), note.to_string().into_bytes());
    let report = checked_as(&seen, &policy, None);
    assert!(report.is_ok(), "{:?}", report.findings);
    assert_eq!((report.witnesses[0].witness.as_str(), report.witnesses[0].at), ("w", 9));
}

#[test]
fn a_check_that_breaks_off_is_a_finding() {
    let log = good(300);
    let check = |entry: &Entry<'_>| {
        assert!(entry.stream_seq != 280, "a record that the check cannot take");
        (check(entry), None::<()>)
    };
    let report = Verification { policy: &trusted(), from: None, threads: 2 }.run(
        &Memory(&log),
        Some(&check),
        &mut |_, _, ()| {},
        &|_, _| {},
    );
    assert!(report.findings.iter().any(|finding| finding.what.contains("broke off")), "{:?}", report.findings);
}

#[test]
fn without_a_check_the_tree_is_checked_alone() {
    let log = good(300);
    let run = |log: &Log| {
        let verification = Verification { policy: &trusted(), from: None, threads: 1 };
        verification.run::<()>(&Memory(log), None, &mut |_, _, ()| {}, &|_, _| {})
    };
    let report = run(&log);
    assert!(report.is_ok() && report.verdicts.is_empty() && report.leaves_checked == 300);
    let mut touched = log.clone();
    touched.get_mut("tile/entries/000").unwrap()[50] ^= 1;
    assert!(!run(&touched).is_ok());
}

/// A log of so many leaves that was copied at these sizes before.
fn grown(count: usize, before: &[usize]) -> Log {
    let mut log = good(count);
    for size in before {
        log.insert(kept_checkpoint(*size as u64), good(*size)[CHECKPOINT].clone());
    }
    log
}

fn kept_files(log: &Log) -> Vec<String> {
    log.keys().filter(|path| path.starts_with(KEPT_CHECKPOINTS)).cloned().collect()
}

const BEFORE: [usize; 9] = [0, 1, 2, 255, 256, 257, 511, 599, 600];

#[test]
fn every_kept_checkpoint_is_gone_on_from() {
    let report = checked(&grown(600, &BEFORE));
    assert!(report.is_ok(), "{:?}", report.findings);
    assert_eq!(report.kept, Kept { checked: 9, ..Kept::default() });
    // What lies before an earlier checkpoint is not read again; the checkpoints are.
    let report = checked_as(&grown(600, &BEFORE), &trusted(), Some(&stated(&good(300))));
    assert!(report.is_ok() && report.kept.checked == 9, "{:?}", report.findings);
    assert_eq!(checked(&good(600)).kept, Kept::default());
}

#[test]
fn names_a_kept_checkpoint_that_was_touched_swapped_or_is_not_what_its_name_says() {
    let log = grown(40, &[1, 9, 25, 40]);
    let names = |log: &Log, path: &str| checked(log).findings.iter().any(|finding| finding.file == path);
    for path in kept_files(&log) {
        for at in 0..log[&path].len() {
            let mut touched = log.clone();
            touched.get_mut(&path).unwrap()[at] ^= 1;
            assert!(names(&touched, &path), "{path} byte {at}");
        }
        for bytes in [&b""[..], &log[&path][..log[&path].len() - 1], &[log[&path].as_slice(), b"\n"].concat()] {
            assert!(names(&Log::from_iter(log.clone().into_iter().chain([(path.clone(), bytes.to_vec())])), &path));
        }
    }
    let two = [kept_checkpoint(9), kept_checkpoint(25)];
    let mut swapped = log.clone();
    swapped.insert(two[0].clone(), log[&two[1]].clone());
    swapped.insert(two[1].clone(), log[&two[0]].clone());
    assert!(two.iter().all(|path| names(&swapped, path)));
    // A later one than the newest; one of another log; one that another key signed.
    let origin = "other.example/audit".to_owned();
    for (note, size) in [
        (good(41)[CHECKPOINT].clone(), 41),
        (Checkpoint { origin, ..stated(&good(9)) }.sign(&key()).unwrap().into_bytes(), 9),
        (stated(&good(9)).sign(&SigningKey::from_seed(&[9; 32])).unwrap().into_bytes(), 9),
        (vec![b'x'; KEPT_BYTES_MAX as usize + 1], 9),
    ] {
        let mut other = log.clone();
        other.insert(kept_checkpoint(size), note);
        assert!(names(&other, &kept_checkpoint(size)), "{size}");
    }
}

/// The log's own key under a history that was rewritten, at each size: no tile and no entry of the copy is wrong.
#[test]
fn a_log_that_was_rewritten_under_its_own_key_is_told_by_what_the_copy_kept() {
    let mut payloads = payloads(600);
    payloads[300] = "300|another".into();
    let rewritten = log_of(&frames(&payloads), std::str::from_utf8(&good(600)[VERDICTS]).unwrap());
    assert!(checked(&rewritten).is_ok());
    for (size, holds) in [(299, true), (300, true), (301, false), (512, false), (600, false)] {
        let mut log = rewritten.clone();
        log.insert(kept_checkpoint(size), good(size as usize)[CHECKPOINT].clone());
        let findings = checked(&log).findings;
        let named = findings.iter().any(|f| f.file == kept_checkpoint(size) && f.what.contains("does not go on"));
        assert_eq!((findings.is_empty(), named), (holds, !holds), "{size}: {findings:?}");
    }
}

/// That a kept one is gone leaves no trace, and is no finding.
#[test]
fn a_kept_checkpoint_that_was_dropped_is_not_noticed() {
    let mut log = grown(600, &BEFORE);
    log.remove(&kept_checkpoint(511));
    let report = checked(&log);
    assert!(report.is_ok() && report.kept.checked == 8, "{report:?}");
}

#[test]
fn of_very_many_kept_checkpoints_the_largest_are_looked_at_and_strange_names_are_counted() {
    let mut log = grown(600, &[255]);
    let more = 3;
    // The largest sizes lie beyond the log: each that is looked at is a finding, up to as many as are told.
    for at in 0..(KEPT_MAX - 1 + more) as u64 {
        log.insert(kept_checkpoint(u64::MAX - at), Vec::new());
    }
    let report = checked(&log);
    assert_eq!(report.kept.checked + report.kept.unchecked, (KEPT_MAX + more) as u64);
    assert!(report.is_full() && report.kept.unchecked > more as u64);
    let mut log = grown(600, &[255]);
    for name in ["x", "0255", "255.part", "+1"] {
        assert_eq!(kept_size(name), None);
        log.insert(format!("{KEPT_CHECKPOINTS}/{name}"), b"noise".to_vec());
    }
    let report = checked(&log);
    assert!(report.is_ok(), "{:?}", report.findings);
    assert_eq!(report.kept, Kept { checked: 1, strange: 4, ..Kept::default() });
}

#[test]
fn a_kept_checkpoint_may_lack_the_witnesses_that_the_newest_one_has() {
    let witness = SigningKey::from_seed(&[8; 32]);
    let vkey = VerifierKey::new("w.example", KeyKind::Cosignature, witness.public()).unwrap();
    let known = Witness { name: "w".into(), key: vkey, url: None };
    let policy = Policy::at_least(trusted().logs().to_vec(), 1, vec![known]).unwrap();
    let mut log = grown(9, &[5, 7]);
    for path in [CHECKPOINT, &kept_checkpoint(5)] {
        let mut note = marque_ledger::Note::parse(&log[path]).unwrap();
        note.add(cosign(note.text(), "w.example", &witness, marque_identity::UnixSeconds(9)).unwrap());
        log.insert(path.into(), note.to_string().into_bytes());
    }
    let report = checked_as(&log, &policy, None);
    assert!(report.is_ok(), "{:?}", report.findings);
    assert_eq!((report.kept.checked, report.kept.unwitnessed), (2, 1));
}

#[test]
fn lists_a_folder_that_is_not_there_as_empty_and_stops_when_no_more_is_wanted() {
    let folder = std::env::temp_dir().join(format!("marque-names-{}", std::process::id()));
    let files = marque_ledger::Directory::new(&folder);
    let names = |most: usize| {
        let mut names = Vec::new();
        files.names(KEPT_CHECKPOINTS, &mut |name| {
            names.push(name.to_owned());
            names.len() < most
        })?;
        names.sort();
        Ok::<_, String>(names)
    };
    assert_eq!(names(9), Ok(Vec::new()));
    std::fs::create_dir_all(folder.join(KEPT_CHECKPOINTS)).unwrap();
    for name in ["1", "20", "x"] {
        std::fs::write(folder.join(KEPT_CHECKPOINTS).join(name), "").unwrap();
    }
    assert_eq!(names(9).unwrap(), ["1", "20", "x"]);
    assert_eq!(names(2).unwrap().len(), 2);
    std::fs::remove_dir_all(folder.join(KEPT_CHECKPOINTS)).unwrap();
    std::fs::write(folder.join(KEPT_CHECKPOINTS), "").unwrap();
    assert!(names(9).is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}
