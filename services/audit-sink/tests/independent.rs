//! A sink that crashes again and again, and a verifier that shares no code with it: leaves framed here by hand, trees and
//! proofs of the crate `tlog_tiles`, notes of `signed_note`. It agrees on every root and every proof.
#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

mod house;

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use house::{House, ORIGIN, key, mixed};
use marque_audit_sink::prove::{ProofRequest, prove};
use marque_bus::Stored;
use marque_ledger::{KeyKind, VerifierKey, prove_consistency};
use proptest::prelude::*;
use signed_note::{Note, StandardVerifier, VerifierList};
use tempfile::tempdir;
use tlog_tiles::{Hash, HashReader};

/// The other's tree: every stored hash in a row.
#[derive(Default)]
struct Row(Vec<Hash>);

impl Row {
    fn of(entries: &[Vec<u8>]) -> Self {
        let mut row = Self::default();
        for (index, entry) in (0..).zip(entries) {
            let new = tlog_tiles::stored_hashes(index, entry, &row).unwrap();
            row.0.extend(new);
        }
        row
    }
}

impl HashReader for Row {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

/// A leaf's entry as the log's specification says: `0x01 | u64 sequence | i64 time | u16 length | bus subject | payload`.
fn entry(message: &Stored) -> Vec<u8> {
    let length = u16::try_from(message.subject.len()).unwrap();
    [
        &[1][..],
        &message.sequence.to_be_bytes(),
        &message.time_ns.to_be_bytes(),
        &length.to_be_bytes(),
        message.subject.as_bytes(),
        &message.payload,
    ]
    .concat()
}

fn hash(base64: &str) -> Hash {
    Hash(STANDARD.decode(base64).unwrap().try_into().unwrap())
}

/// The size and root of a checkpoint that the sink's key signed, as another reads it.
fn opened(note: &str) -> (u64, Hash) {
    let vkey = VerifierKey::new(ORIGIN, KeyKind::Ed25519, key(3).public()).unwrap().to_string();
    let known = VerifierList::new(vec![Box::new(StandardVerifier::new(&vkey).unwrap())]);
    let note = Note::from_bytes(note.as_bytes()).unwrap();
    let (verified, _) = note.verify(&known).unwrap();
    assert_eq!(verified.len(), 1);
    let text = String::from_utf8(note.text().to_vec()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], ORIGIN);
    (lines[1].parse().unwrap(), hash(lines[2]))
}

/// Runs until a moment, or to the end; then as if killed.
fn run(state: &Path, messages: &[Stored], upto: usize, share: usize, micros: Option<u64>) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let house = House::open(state);
    let from = house.intake.store.head().size as usize;
    let run = house.take_in_as(&messages[..upto.max(from)], from, share);
    match micros {
        Some(micros) => {
            let _ = runtime.block_on(async { tokio::time::timeout(Duration::from_micros(micros), run).await });
        }
        None => runtime.block_on(run).unwrap(),
    }
    let signed = house.sealer.seal(&house.intake.store).unwrap().map(|signed| signed.note);
    house::wait_for_the_last(house);
    signed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_independent_verifier_agrees_on_every_root_and_proof(
        count in 1_usize..400,
        lives in proptest::collection::vec((any::<prop::sample::Index>(), 1_usize..40, prop::option::of(200_u64..4000)), 1..6),
        asked in proptest::collection::vec(any::<prop::sample::Index>(), 12),
    ) {
        let messages = mixed(count);
        let entries: Vec<Vec<u8>> = messages.iter().map(entry).collect();
        let row = Row::of(&entries);
        let state = tempdir().unwrap();
        // 1. Its lives: each takes in up to some message, is killed or not, and signs what it has.
        let mut notes: Vec<String> = Vec::new();
        for (upto, share, micros) in lives {
            notes.extend(run(state.path(), &messages, upto.index(count + 1), share, micros));
        }
        notes.extend(run(state.path(), &messages, count, 7, None));
        // 2. Every checkpoint that it ever signed is a root of the other's tree.
        let checkpoints: Vec<(u64, Hash)> = notes.iter().map(|note| opened(note)).collect();
        for (size, root) in &checkpoints {
            prop_assert_eq!(*root, tlog_tiles::tree_hash(*size, &row).unwrap(), "size {}", size);
        }
        prop_assert!(checkpoints.is_sorted_by_key(|(size, _)| *size));
        let (size, root) = *checkpoints.last().unwrap();
        prop_assert_eq!(size, count as u64);
        // 3. Every proof that is asked for holds by the other's check, and each checkpoint leads to the last.
        let house = House::open(state.path());
        let reading = house.read();
        for leaf in asked.iter().map(|asked| asked.index(count) as u64) {
            let request = ProofRequest { leaf: Some(leaf), ..ProofRequest::default() };
            let proof = prove(&reading, &house.sealer, &request).unwrap();
            prop_assert_eq!((proof.tree_size, hash(&proof.root)), (size, root));
            let hashes: Vec<Hash> = proof.proof.iter().map(|text| hash(text)).collect();
            let of_leaf = tlog_tiles::record_hash(&entries[leaf as usize]);
            prop_assert!(tlog_tiles::check_record(&hashes, size, root, leaf, of_leaf).is_ok(), "leaf {} of {}", leaf, size);
        }
        for (earlier, its_root) in checkpoints.iter().filter(|(earlier, _)| *earlier > 0) {
            let proof = prove_consistency(&reading.log, *earlier, size).unwrap();
            let hashes: Vec<Hash> = proof.iter().map(|hash| Hash(hash.0)).collect();
            prop_assert!(tlog_tiles::check_tree(&hashes, size, root, *earlier, *its_root).is_ok(), "{} to {}", earlier, size);
        }
    }
}
