//! A store whose file was touched: a flipped bit, a torn page, an older copy. It halts, or goes on where it was; it never
//! signs a root that is not the stream's.
#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

mod house;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use house::{House, ORIGIN, mixed};
use marque_audit_sink::files::{LEAF_HASHES_FILE, LOG_FILE};
use marque_audit_sink::store::{LogStore, frame};
use marque_bus::Stored;
use marque_ledger::{Checkpoint, Hash, Note};
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

/// Messages in the log before it is touched, and after.
const BEFORE: usize = 700;
const AFTER: usize = 760;

fn frames(messages: &[Stored]) -> Vec<Vec<u8>> {
    messages.iter().map(|message| frame(message).unwrap()).collect()
}

fn root_of(messages: &[Stored]) -> Hash {
    let directory = tempdir().unwrap();
    let store = LogStore::open(&directory.path().join("l"), ORIGIN).unwrap();
    store.append(0, &frames(messages)).unwrap().root
}

/// A log of [`BEFORE`] messages, with its checkpoint.
fn log(messages: &[Stored]) -> TempDir {
    let directory = tempdir().unwrap();
    let house = House::open(directory.path());
    house.intake.store.append(0, &frames(&messages[..BEFORE])).unwrap();
    house.sealer.seal(&house.intake.store).unwrap().unwrap();
    directory
}

/// What is signed after the log has been opened again and has grown; none where it halts or can't be opened.
fn signed_after(directory: &Path, messages: &[Stored]) -> Option<Checkpoint> {
    // A damaged page may make the store's library panic: the process ends, and nothing is signed.
    let grown = catch_unwind(AssertUnwindSafe(|| {
        let house = House::try_open(directory).ok()?;
        let size = usize::try_from(house.intake.store.head().size).ok()?;
        house.intake.store.append(size as u64, &frames(messages.get(size..)?)).ok()?;
        house.sealer.seal(&house.intake.store).ok()?
    }));
    let signed = grown.ok()??;
    Some(Checkpoint::parse(Note::parse(signed.note.as_bytes()).unwrap().text()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_touched_store_never_signs_another_root(
        at in any::<prop::sample::Index>(),
        how in prop_oneof![
            (0_u8..8).prop_map(|bit| vec![1 << bit]),
            proptest::collection::vec(any::<u8>(), 1..64),
            Just(vec![0xff; 4096]),
        ],
    ) {
        let messages = mixed(AFTER);
        let directory = log(&messages);
        let path = directory.path().join(LOG_FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes.iter_mut().skip(at).zip(&how).for_each(|(byte, change)| *byte ^= change);
        std::fs::write(&path, &bytes).unwrap();
        if let Some(signed) = signed_after(directory.path(), &messages) {
            let size = usize::try_from(signed.size).unwrap();
            prop_assert_eq!(signed.root, root_of(&messages[..size]), "size {}, touched at {}", size, at);
        }
    }
}

/// Where the hashes that the next root is made of stand in the files, each touched by itself.
#[test]
fn a_touched_hash_is_not_signed_over() {
    let messages = mixed(AFTER);
    let untouched = log(&messages);
    let tiles = {
        let house = House::open(untouched.path());
        let log = house.read().log;
        let of = |path: &str| log.file(marque_ledger::TileId::parse(path).unwrap()).unwrap();
        [of("tile/0/000"), of("tile/0/001"), of("tile/0/002.p/188"), of("tile/1/000.p/2")]
    };
    for tile in &tiles {
        let needle = &tile[tile.len() - Hash::BYTES..];
        let mut touched = 0;
        for name in [LOG_FILE, LEAF_HASHES_FILE] {
            let whole = std::fs::read(untouched.path().join(name)).unwrap();
            for at in (0..=whole.len() - Hash::BYTES).filter(|at| &whole[*at..*at + Hash::BYTES] == needle) {
                let mut bytes = whole.clone();
                bytes[at] ^= 1;
                let copy = log(&messages);
                std::fs::write(copy.path().join(name), &bytes).unwrap();
                touched += 1;
                if let Some(signed) = signed_after(copy.path(), &messages) {
                    let size = usize::try_from(signed.size).unwrap();
                    assert_eq!(signed.root, root_of(&messages[..size]), "{name}: size {size}, touched at {at}");
                } else {
                    assert_eq!(name, LOG_FILE, "nothing rests on the hashes of the leaves");
                }
            }
        }
        assert!(touched > 0, "the hash stands nowhere");
    }
}

#[test]
fn an_untouched_store_goes_on() {
    let messages = mixed(AFTER);
    let directory = log(&messages);
    let signed = signed_after(directory.path(), &messages).unwrap();
    assert_eq!((signed.size, signed.root), (AFTER as u64, root_of(&messages)));
}

#[test]
fn a_truncated_store_does_not_open_or_signs_nothing_else() {
    let messages = mixed(AFTER);
    let whole = std::fs::read(log(&messages).path().join(LOG_FILE)).unwrap();
    for kept in [0, 1, 100, whole.len() / 3, whole.len() - 4096, whole.len() - 1] {
        let directory = log(&messages);
        std::fs::write(directory.path().join(LOG_FILE), &whole[..kept]).unwrap();
        if let Some(signed) = signed_after(directory.path(), &messages) {
            let size = usize::try_from(signed.size).unwrap();
            assert_eq!(signed.root, root_of(&messages[..size]), "{kept} bytes kept");
        }
    }
}
