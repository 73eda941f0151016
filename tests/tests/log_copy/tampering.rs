//! An exported log, touched in every way that we could think of: the check finds it and names the place.

use std::path::Path;

use marque::log::verify::{Verified, verify};
use marque_identity::UnixSeconds;
use marque_judgement::record::BrokenRule;
use marque_ledger::layout::{BUNDLE, CHECKPOINT, KEPT_CHECKPOINTS, VERDICTS, kept_checkpoint};
use marque_ledger::{Checkpoint, Entry, Note, decode_bundle, encode_bundle};
use marque_signing::SigningKey;
use marque_tests::exported::{Exported, acts, framed, sink_key, trust};

/// Files up to here are touched at every byte, larger ones at some.
const WHOLE_BYTES_MAX: usize = 4 * 1024;
const SAMPLES: usize = 40;

fn verified(copy: &Path) -> Verified {
    verify(copy, &trust(), None, &|_, _| {})
}

/// A finding stands in the file, or names it.
fn names(verified: &Verified, path: &str) -> bool {
    verified.report.findings.iter().any(|finding| finding.file == path || finding.what.contains(path))
}

fn stated(exported: &Exported) -> Checkpoint {
    let note = Note::parse(&exported.read(CHECKPOINT)).unwrap();
    Checkpoint::parse(note.text()).unwrap()
}

/// Flips a byte at each of these places in turn.
fn flip_each(exported: &Exported, path: &str, places: impl Iterator<Item = usize>) {
    let file = exported.copy().join(path);
    let good = exported.read(path);
    for at in places {
        let mut touched = good.clone();
        touched[at] ^= 1 << (at % 8);
        std::fs::write(&file, &touched).unwrap();
        let verified = verified(&exported.copy());
        assert!(!verified.valid && names(&verified, path), "{path} byte {at}: {:?}", verified.report.findings);
    }
    std::fs::write(&file, &good).unwrap();
}

#[test]
fn names_every_flipped_byte_of_a_small_copy() {
    let exported = Exported::sound(7);
    assert!(verified(&exported.copy()).valid);
    for path in exported.files() {
        let bytes = exported.read(&path).len();
        let stride = if bytes <= WHOLE_BYTES_MAX { 1 } else { bytes / SAMPLES };
        flip_each(&exported, &path, (0..bytes).step_by(stride));
    }
    assert!(verified(&exported.copy()).valid);
}

#[test]
fn names_a_flipped_byte_in_every_file_of_a_larger_copy() {
    let exported = Exported::sound(520);
    assert!(verified(&exported.copy()).valid);
    let files = exported.files();
    assert!(files.len() >= 10, "three bundles, four tiles, and what stands beside them: {files:?}");
    for path in files {
        let bytes = exported.read(&path).len();
        flip_each(&exported, &path, [0, bytes / 2, bytes - 1].into_iter());
    }
}

/// A copy of so many leaves that had these sizes before.
fn grown(count: usize, before: &[usize]) -> Exported {
    let exported = Exported::sound(count);
    std::fs::create_dir(exported.copy().join(KEPT_CHECKPOINTS)).unwrap();
    for size in before {
        let note = Exported::sound(*size).read(CHECKPOINT);
        std::fs::write(exported.copy().join(kept_checkpoint(*size as u64)), note).unwrap();
    }
    exported
}

#[test]
fn names_a_kept_checkpoint_that_was_touched_swapped_or_renamed() {
    let exported = grown(300, &[5, 256, 299]);
    let verified_kept = verified(&exported.copy());
    assert!(verified_kept.valid && verified_kept.report.kept.checked == 3, "{:?}", verified_kept.report);
    let paths = [5, 256, 299].map(kept_checkpoint);
    for path in &paths {
        flip_each(&exported, path, 0..exported.read(path).len());
        let (file, good) = (exported.copy().join(path), exported.read(path));
        for bytes in [&good[..0], &good[..good.len() - 1], &[good.as_slice(), b"\n"].concat()] {
            std::fs::write(&file, bytes).unwrap();
            assert!(names(&verified(&exported.copy()), path), "{path} of {} bytes", bytes.len());
        }
        std::fs::write(&file, &good).unwrap();
    }
    // Two of them under each other's names; one under the newest one's size, which it is not.
    let [small, middle, _] = &paths;
    let notes = [exported.read(small), exported.read(middle)];
    std::fs::write(exported.copy().join(small), &notes[1]).unwrap();
    std::fs::write(exported.copy().join(middle), &notes[0]).unwrap();
    let swapped = verified(&exported.copy());
    assert!(names(&swapped, small) && names(&swapped, middle), "{:?}", swapped.report.findings);
    std::fs::write(exported.copy().join(small), &notes[0]).unwrap();
    std::fs::rename(exported.copy().join(small), exported.copy().join(kept_checkpoint(300))).unwrap();
    std::fs::write(exported.copy().join(middle), &notes[1]).unwrap();
    assert!(names(&verified(&exported.copy()), &kept_checkpoint(300)));
}

/// Nothing says how often a copy was brought up to date; the check says that it can't say so.
#[test]
fn a_kept_checkpoint_that_was_dropped_is_not_noticed_and_that_is_said() {
    let exported = grown(12, &[5, 9]);
    std::fs::remove_file(exported.copy().join(kept_checkpoint(5))).unwrap();
    let verified = verified(&exported.copy());
    assert!(verified.valid && verified.report.kept.checked == 1);
    assert!(verified.not_checked.iter().any(|said| said.contains("dropped leaves no trace")));
}

/// The sink's own key under a rebuilt log: what a copy kept tells it, and needs nobody to have written anything down.
#[test]
fn a_log_that_its_own_operator_rebuilt_is_told_by_what_the_copy_kept() {
    for (how, _, edit) in EDITS {
        let mut frames = framed(&acts(12));
        edit(&mut frames);
        let rebuilt = Exported::of(&renumbered(&frames), sink_key());
        std::fs::create_dir(rebuilt.copy().join(KEPT_CHECKPOINTS)).unwrap();
        for (size, holds) in [(4, true), (9, false)] {
            let note = Exported::sound(size).read(CHECKPOINT);
            std::fs::write(rebuilt.copy().join(kept_checkpoint(size as u64)), note).unwrap();
            let verified = verified(&rebuilt.copy());
            assert_eq!((verified.valid, names(&verified, &kept_checkpoint(9))), (holds, !holds), "{how}");
        }
    }
}

#[test]
fn names_a_missing_truncated_or_longer_file() {
    let exported = Exported::sound(260);
    for path in exported.files() {
        let (file, good) = (exported.copy().join(&path), exported.read(&path));
        std::fs::remove_file(&file).unwrap();
        assert!(names(&verified(&exported.copy()), &path), "{path} missing");
        let longer = [good.as_slice(), b"\n"].concat();
        for (how, bytes) in [
            ("emptied", &good[..0]),
            ("cut", &good[..good.len() - 1]),
            ("halved", &good[..good.len() / 2]),
            ("longer", &longer),
        ] {
            std::fs::write(&file, bytes).unwrap();
            assert!(names(&verified(&exported.copy()), &path), "{path} {how}");
        }
        // A whole hash less: the file is still a row of hashes.
        if path.starts_with("tile/0") {
            std::fs::write(&file, &good[..good.len() - 32]).unwrap();
            assert!(names(&verified(&exported.copy()), &path), "{path} one hash short");
        }
        std::fs::write(&file, &good).unwrap();
    }
    assert!(verified(&exported.copy()).valid);
}

/// What can be done to a row of leaves, and the first leaf that is then another's.
type Edit = (&'static str, u64, fn(&mut Vec<Vec<u8>>));

const EDITS: [Edit; 4] = [
    ("dropped", 4, |frames| {
        frames.remove(4);
    }),
    ("swapped", 4, |frames| frames.swap(4, 5)),
    ("inserted", 4, |frames| frames.insert(4, frames[8].clone())),
    ("replaced", 4, |frames| frames[4] = frames[8].clone()),
];

/// Each frame given the sequence of the place where it now stands: what an operator would do who cheats.
fn renumbered(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let numbered =
        |(stream_seq, frame): (u64, &Vec<u8>)| Entry { stream_seq, ..Entry::decode(frame).unwrap() }.encode().unwrap();
    (1..).zip(frames).map(numbered).collect()
}

#[test]
fn names_a_leaf_that_was_dropped_swapped_inserted_or_replaced_in_its_bundle() {
    let path = "tile/entries/000.p/12";
    for (how, leaf, edit) in EDITS {
        let exported = Exported::sound(12);
        let bytes = exported.read(path);
        let mut entries: Vec<Vec<u8>> = decode_bundle(&bytes, 12).unwrap().into_iter().map(<[u8]>::to_vec).collect();
        edit(&mut entries);
        let same_count = entries.len() == 12;
        std::fs::write(exported.copy().join(path), encode_bundle(entries.iter().map(Vec::as_slice)).unwrap()).unwrap();
        let verified = verified(&exported.copy());
        let found = |leaf| verified.report.findings.iter().any(|finding| finding.file == path && finding.leaf == leaf);
        // A bundle with another number of entries is no bundle of this tree.
        assert!(found(same_count.then_some(leaf)), "{how}: {:?}", verified.report.findings);
    }
}

#[test]
fn refuses_a_rebuilt_log_under_the_old_checkpoint() {
    let sound = Exported::sound(12);
    for (how, _, edit) in EDITS {
        let mut frames = framed(&acts(12));
        edit(&mut frames);
        let rebuilt = Exported::of(&renumbered(&frames), sink_key());
        std::fs::write(rebuilt.copy().join(CHECKPOINT), sound.read(CHECKPOINT)).unwrap();
        assert!(!verified(&rebuilt.copy()).valid, "{how}");
        if frames.len() == 12 {
            assert!(names(&verified(&rebuilt.copy()), CHECKPOINT), "{how}");
        }
    }
}

#[test]
fn refuses_a_rebuilt_log_that_another_key_signed() {
    for (how, _, edit) in EDITS {
        let mut frames = framed(&acts(12));
        edit(&mut frames);
        let rebuilt = Exported::of(&renumbered(&frames), SigningKey::from_seed(&[9; 32]));
        let verified = verified(&rebuilt.copy());
        let findings = &verified.report.findings;
        assert!(findings.iter().any(|finding| finding.file == CHECKPOINT), "{how}: {findings:?}");
    }
}

#[test]
fn names_the_leaf_of_a_rebuilt_log_whose_sequence_is_not_its_place() {
    for (how, leaf, edit) in EDITS {
        let mut frames = framed(&acts(12));
        edit(&mut frames);
        let verified = verified(&Exported::of(&frames, sink_key()).copy());
        let findings = &verified.report.findings;
        let found = findings.iter().any(|finding| finding.leaf == Some(leaf) && finding.what.contains("sequence"));
        assert!(found, "{how}: {findings:?}");
    }
}

/// The sink's own key under a rebuilt log: no file of the copy is wrong. What was verified before, and what agents have
/// signed of each other's order, still tells.
#[test]
fn a_log_that_its_own_operator_rebuilt_is_told_by_an_earlier_checkpoint_and_by_chains() {
    let earlier = stated(&Exported::sound(9));
    let sound = Exported::sound(12);
    let goes_on = verify(&sound.copy(), &trust(), Some(&earlier), &|_, _| {});
    assert!(goes_on.valid, "{:?}", goes_on.report.findings);
    assert_eq!((goes_on.report.from, goes_on.report.leaves_checked), (9, 3));
    for (how, _, edit) in EDITS {
        let mut frames = framed(&acts(12));
        edit(&mut frames);
        let rebuilt = Exported::of(&renumbered(&frames), sink_key());
        assert!(verified(&rebuilt.copy()).valid, "{how}: by itself it is a log");
        let held = verify(&rebuilt.copy(), &trust(), Some(&earlier), &|_, _| {});
        assert!(!held.valid && names(&held, CHECKPOINT), "{how}");
        let chains = verified(&rebuilt.copy()).chains;
        let gap = chains.findings.iter().find(|broken| broken.rule == BrokenRule::Gap);
        // Leaf 4 was the second agent's second action; its third stands in the leaf that shows the gap.
        match how {
            "dropped" => assert_eq!(gap.map(|gap| (gap.leaf, gap.seq)), Some((6, 2))),
            "replaced" => assert_eq!(gap.map(|gap| (gap.leaf, gap.seq)), Some((7, 2))),
            _ => assert!(gap.is_none(), "{how}: every action is still there"),
        }
    }
}

#[test]
fn an_index_that_lies_is_named_by_the_leaf() {
    let exported = Exported::sound(12);
    let file = exported.copy().join(VERDICTS);
    let good = String::from_utf8(exported.read(VERDICTS)).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let swapped = [&lines[..4], &[lines[5], lines[4]], &lines[6..]].concat().join("\n") + "\n";
    let denied = good.replacen(r#""leaf":4,"#, r#""leaf":4, "#, 1);
    let invalid =
        lines[..4].join("\n") + "\n" + &lines[4].replace("valid", "conflict") + "\n" + &lines[5..].join("\n") + "\n";
    let shorter = [&lines[..4], &lines[5..]].concat().join("\n") + "\n";
    for text in [swapped, denied, invalid, shorter] {
        std::fs::write(&file, text).unwrap();
        let verified = verified(&exported.copy());
        let found = verified.report.findings.iter().any(|f| f.file == VERDICTS && f.leaf == Some(4));
        assert!(found, "{:?}", verified.report.findings);
    }
}

#[test]
fn a_copy_with_another_domains_bundle_is_held_to_the_bundle_that_was_named() {
    let exported = Exported::sound(6);
    let mut other = marque_tests::exported::bundle();
    other.issued_at = UnixSeconds(1);
    let text = other.sign(&SigningKey::from_seed(&[1; 32])).unwrap();
    std::fs::write(exported.copy().join(BUNDLE), text).unwrap();
    let verified = verified(&exported.copy());
    assert!(verified.valid);
    assert!(verified.not_checked.iter().any(|said| said.contains("the copy's own trust bundle")));
}
