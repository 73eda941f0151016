use std::ops::Range;

use super::batch::BATCH_BYTES_MAX;
use super::*;
use crate::intake::BATCH_MESSAGES_MAX;
use crate::seal::cosigner;
use crate::tiles::{PIECE_BYTES_MAX, Tile, TileRequest, bytes};
use marque_bus::Stored;
use marque_identity::UnixSeconds;
use marque_ledger::{Hash, KeyKind, Note, TileId, TileKind, TileSource as _, VerifierKey, Witness, cosign, root_at};
use marque_signing::SigningKey;

const ORIGIN: &str = "acme.example/audit";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// The leaf of this message; every thirtieth is as long as the stream lets it be.
fn leaf(sequence: u64, payload: &str) -> Vec<u8> {
    let length = if sequence.is_multiple_of(30) { 60_000 } else { 9 };
    let payload = format!("{payload} {sequence} {}", "x".repeat(length)).into_bytes().into();
    let subject = "marque.record.decided.none".into();
    frame(&Stored { sequence, time_ns: 5, subject, payload }).unwrap()
}

fn leaves(sequences: Range<u64>) -> Vec<Vec<u8>> {
    sequences.map(|sequence| leaf(sequence, "good")).collect()
}

/// A log of the first messages, so many.
fn log(size: u64) -> (tempfile::TempDir, LogStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = LogStore::open(&directory.path().join("audit.redb"), ORIGIN).unwrap();
    store.append(0, &leaves(1..size + 1)).unwrap();
    (directory, store)
}

fn checkpoint(store: &LogStore, size: u64) -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size, root: root_at(&store.view().unwrap(), size).unwrap() }
}

/// What another's log hands over, byte for byte.
async fn handed(theirs: &LogStore, leaves: Range<u64>, size: u64) -> Result<Vec<Vec<u8>>, SinkError> {
    let view = theirs.view().unwrap();
    let piece = |id: TileId, entry: u16, byte: u32| {
        let asked = TileRequest { path: id.path(), entry, byte };
        let tile = Tile::of(&view, &asked);
        async move { bytes(tile?.entries) }
    };
    entries(leaves, size, piece).await
}

/// Whether these may come behind a log of `ours` leaves, under this checkpoint of `theirs`.
async fn may_follow(ours: u64, batch: Vec<Vec<u8>>, theirs: &LogStore, vouched: &Checkpoint) -> Result<(), SinkError> {
    let (_directory, store) = log(ours);
    let grown = Batch { first: ours, first_sequence: 1, entries: batch }.extend(store.edge())?;
    let view = theirs.view().unwrap();
    let hashes = |id: TileId| {
        let tile = Tile::of(&view, &TileRequest { path: id.path(), ..TileRequest::default() });
        async move { bytes(tile?.hashes) }
    };
    let proof = consistency(grown.size(), vouched.size, hashes).await?;
    agree(&grown, vouched, &proof)
}

#[tokio::test]
async fn what_the_checkpoint_covers_follows() {
    let (_directory, theirs) = log(600);
    for (ours, until, size) in [
        (0, 1, 1),
        (0, 600, 600),
        (5, 8, 8),
        (5, 8, 9),
        (20, 31, 600),
        (255, 256, 256),
        (255, 257, 600),
        (250, 520, 521),
        (512, 513, 600),
    ] {
        let vouched = checkpoint(&theirs, size);
        covers(&vouched, until).unwrap();
        let batch = handed(&theirs, ours..until, size).await.unwrap();
        assert_eq!(batch, leaves(ours + 1..until + 1), "{ours} {until} {size}");
        may_follow(ours, batch, &theirs, &vouched).await.unwrap();
    }
}

#[tokio::test]
async fn a_long_range_comes_in_batches_of_bounded_size() {
    let directory = tempfile::tempdir().unwrap();
    let theirs = LogStore::open(&directory.path().join("audit.redb"), ORIGIN).unwrap();
    let long: Vec<_> = (1..=200).map(|sequence| leaf(sequence * 30, "good")).collect();
    theirs.append(0, &long).unwrap();
    let batch = handed(&theirs, 0..200, 200).await.unwrap();
    let held: usize = batch.iter().map(Vec::len).sum();
    assert!(batch.len() < 200 && (BATCH_BYTES_MAX..BATCH_BYTES_MAX + 2 * 60_100).contains(&held), "{held}");
    let short: Vec<_> = (0..BATCH_MESSAGES_MAX + 1000).map(|_| vec![7]).collect();
    theirs.append(200, &short).unwrap();
    let batch = handed(&theirs, 200..theirs.head().size, theirs.head().size).await.unwrap();
    assert!((BATCH_MESSAGES_MAX..BATCH_MESSAGES_MAX + 256).contains(&batch.len()), "{}", batch.len());
}

#[tokio::test]
async fn nothing_else_follows() {
    let (_directory, theirs) = log(40);
    let vouched = checkpoint(&theirs, 40);
    let good = leaves(21..26);
    let changed = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut batch = good.clone();
        change(&mut batch);
        batch
    };
    may_follow(20, good.clone(), &theirs, &vouched).await.unwrap();
    for (what, batch, why) in [
        ("another entry", changed(&|batch| batch[2] = leaf(23, "bad")), "does not begin with"),
        ("another time", changed(&|batch| batch[2][16] ^= 1), "does not begin with"),
        ("one left out", changed(&|batch| drop(batch.remove(2))), "is message 24, not 23"),
        // The same with the sequences made to fit.
        (
            "one left out and renumbered",
            changed(&|batch| {
                batch.remove(2);
                batch.iter_mut().zip(21_u64..).for_each(|(entry, due)| entry[1..9].copy_from_slice(&due.to_be_bytes()));
            }),
            "does not begin with",
        ),
        ("the first left out", changed(&|batch| drop(batch.remove(0))), "is message 22, not 21"),
        ("one twice", changed(&|batch| batch.insert(1, batch[0].clone())), "is message 21, not 22"),
        ("two swapped", changed(&|batch| batch.swap(0, 1)), "is message 22, not 21"),
        ("another sequence", changed(&|batch| batch[4][8] += 1), "is message 26, not 25"),
        ("no entry", changed(&|batch| batch[1] = b"noise".to_vec()), "unknown version"),
    ] {
        let refused = may_follow(20, batch, &theirs, &vouched).await.unwrap_err();
        assert!(refused.to_string().contains(why), "{what}: {refused}");
    }
    // Ours is another log than theirs.
    let other = Checkpoint { root: Hash::leaf(b"x"), ..vouched.clone() };
    assert!(may_follow(20, good.clone(), &theirs, &other).await.is_err());
    let (_directory, parted) = log(19);
    parted.append(19, &[leaf(20, "parted")]).unwrap();
    parted.append(20, &leaves(21..41)).unwrap();
    assert!(may_follow(20, good, &parted, &checkpoint(&parted, 40)).await.is_err());
}

#[tokio::test]
async fn a_log_that_hands_over_less_than_it_states_gives_nothing() {
    let (_directory, theirs) = log(40);
    let view = theirs.view().unwrap();
    let whole = view.file(TileId { kind: TileKind::Entries, index: 0, width: 40 }).unwrap();
    for (what, answers) in [
        ("nothing", vec![Vec::new()]),
        ("the beginning of an entry, and then nothing", vec![whole[..5].to_vec(), Vec::new()]),
        ("more than was asked for", vec![vec![0; PIECE_BYTES_MAX + 1]]),
    ] {
        let mut answers = answers.into_iter();
        let piece = |_: TileId, _: u16, _: u32| {
            let answer = answers.next().unwrap();
            async move { Ok(answer) }
        };
        let refused = entries(0..40, 40, piece).await.unwrap_err();
        assert!(refused.to_string().contains("ends before leaf"), "{what}: {refused}");
    }
    // Beyond its own end it has nothing to hand over.
    assert!(handed(&theirs, 20..45, 45).await.is_err());
    // Tiles of another width are none.
    let short = |_: TileId| async { Ok(vec![0; 31]) };
    assert!(consistency(20, 40, short).await.is_err());
}

#[tokio::test]
async fn the_stream_holds_the_next_leaf_right_behind() {
    let (_directory, theirs) = log(600);
    let tiles = |id: TileId| {
        let tile = theirs.view().unwrap().tile(id).unwrap();
        async move { Ok(tile[..usize::from(id.width) * Hash::BYTES].to_vec()) }
    };
    for (at, size) in [(0, 1), (8, 9), (255, 600), (256, 600), (599, 600)] {
        let vouched = checkpoint(&theirs, size);
        is_behind(at, &leaf(at + 1, "good"), &vouched, tiles).await.unwrap();
        for other in [leaf(at + 1, "made anew"), leaf(at + 2, "good")] {
            let refused = is_behind(at, &other, &vouched, tiles).await.unwrap_err();
            assert!(refused.to_string().contains("not what the stream holds there"), "{refused}");
        }
    }
    assert!(is_behind(9, &leaf(10, "good"), &checkpoint(&theirs, 9), tiles).await.is_err());
}

#[test]
fn the_checkpoint_reaches_to_the_end_of_the_range() {
    let (_directory, theirs) = log(40);
    for (size, leaves, reaches) in [(40, 40, true), (40, 39, true), (39, 40, false), (0, 1, false)] {
        assert_eq!(covers(&checkpoint(&theirs, size), leaves).is_ok(), reaches, "{size} {leaves}");
    }
}

/// Sinks 3, 4, 5 and 6, of which so many others must have cosigned.
fn trusted(least: usize) -> Vec<Policy> {
    let witness = |seed: u8| {
        let key = cosigner(ORIGIN, &key(seed).did()).unwrap();
        Witness { name: key.name().to_owned(), key, url: None }
    };
    let of = |seed: u8| {
        let log = VerifierKey::new(ORIGIN, KeyKind::Ed25519, key(seed).public()).unwrap();
        Policy::at_least(vec![log], least, (3..=6).filter(|other| *other != seed).map(witness).collect()).unwrap()
    };
    (3..=6).map(of).collect()
}

/// What sink 4 has signed, cosigned by these.
fn note(origin: &str, by: u8, cosigned_by: &[u8]) -> Vec<u8> {
    let stated = Checkpoint { origin: origin.into(), size: 40, root: Hash::leaf(b"root") };
    let mut note = Note::parse(stated.sign(&key(by)).unwrap().as_bytes()).unwrap();
    for seed in cosigned_by {
        let name = cosigner(ORIGIN, &key(*seed).did()).unwrap();
        note.add(cosign(note.text(), name.name(), &key(*seed), UnixSeconds(7)).unwrap());
    }
    note.to_string().into_bytes()
}

#[test]
fn another_sinks_word_alone_is_not_taken() {
    let four = key(4).public();
    let open = |note: &[u8], trusted: &[Policy]| vouched(note, ORIGIN, &four, trusted);
    assert_eq!(open(&note(ORIGIN, 4, &[5, 6]), &trusted(2)).unwrap().size, 40);
    for (what, note) in [
        ("its own signature", note(ORIGIN, 4, &[])),
        ("one of two", note(ORIGIN, 4, &[5])),
        ("one of two, and itself", note(ORIGIN, 4, &[4, 5])),
        ("one of two, and a stranger", note(ORIGIN, 4, &[5, 9])),
        ("what another sink signed", note(ORIGIN, 5, &[3, 6])),
        ("what a stranger signed", note(ORIGIN, 9, &[5, 6])),
        ("another log", note("o.example/audit", 4, &[5, 6])),
        ("noise", b"noise".to_vec()),
    ] {
        assert!(matches!(open(&note, &trusted(2)), Err(SinkError::Asked(_))), "{what}");
    }
    // A policy that names it among the witnesses of its own log.
    let log = VerifierKey::new(ORIGIN, KeyKind::Ed25519, four).unwrap();
    let own = cosigner(ORIGIN, &key(4).did()).unwrap();
    let itself = Policy::parse(&format!("log {log}\nwitness w {own}\nquorum w\n")).unwrap();
    assert!(open(&note(ORIGIN, 4, &[4]), &[itself]).is_err());
    assert!(open(&note(ORIGIN, 4, &[5, 6]), &[]).is_err());
}

#[test]
fn a_policy_without_a_quorum_believes_nobody() {
    let (_directory, store) = log(1);
    let bundle = TrustBundle {
        trust_domain: "acme.example".parse().unwrap(),
        version: 1,
        issued_at: UnixSeconds(1_700_000_000),
        issuers: vec![],
        services: vec![],
        operators: vec![],
    };
    let store = Arc::new(store);
    let of = |trusted| Mender::new(&bundle, &key(3).did(), ORIGIN, trusted, Arc::clone(&store), Metrics::default());
    assert_eq!((of(trusted(0)).trusted.len(), of(trusted(1)).trusted.len()), (0, 4));
}
