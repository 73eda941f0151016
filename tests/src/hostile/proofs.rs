//! What passes between a log, its witnesses and whoever checks a proof: C2SP tlog-proof, tlog-policy, tlog-witness.

use marque_identity::UnixSeconds;
use marque_ledger::epoch::Genesis;
use marque_ledger::witness::{self, AddCheckpoint};
use marque_ledger::{Checkpoint, Entry, Hash, KeyKind, Note, Policy, TlogProof, VerifierKey, cosign};

use super::{key, text};
use crate::vectors::token::{NOW, Who};

const ORIGIN: &str = "acme.example/audit";
const WITNESS: &str = "w.example";
const ENTRY: &[u8] = b"an entry";

fn log() -> VerifierKey {
    VerifierKey::new(ORIGIN, KeyKind::Ed25519, key().public()).expect("a name")
}

fn cosigner() -> VerifierKey {
    VerifierKey::new(WITNESS, KeyKind::Cosignature, Who::Worker.key().public()).expect("a name")
}

/// Two leaves; the entry is the second.
fn stated() -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size: 2, root: Hash::node(Hash::leaf(b"a"), Hash::leaf(ENTRY)) }
}

fn signed() -> String {
    stated().sign(&key()).expect("a checkpoint")
}

/// A proof's file: there is one text for each, and it proves nothing that the log did not sign.
pub fn tlog_proof(data: &[u8]) {
    let Ok(proof) = TlogProof::parse(data) else { return };
    assert_eq!(proof.to_string().as_bytes(), data);
    let entry = proof.extra.clone().unwrap_or_else(|| ENTRY.to_vec());
    if let Ok(witnessed) = proof.check(&entry, &Policy::of_logs(vec![log()])) {
        assert_eq!(witnessed.checkpoint, stated(), "the log signed nothing else");
        assert!([&b"a"[..], ENTRY].contains(&entry.as_slice()), "no other entry is in it");
    }
    assert!(proof.check(&entry, &Policy::default()).is_err(), "a checkpoint of a log that nobody trusts");
}

/// A policy's file, and a checkpoint judged by it.
pub fn tlog_policy(data: &[u8]) {
    let Ok(policy) = Policy::parse(&text(data)) else { return };
    let mut note = Note::parse(signed().as_bytes()).expect("a note");
    let believed = |note: &Note| policy.open(note.to_string().as_bytes()).is_ok();
    let unseen = believed(&note);
    assert!(!unseen || policy.logs().contains(&log()), "a log that the policy does not name");
    note.add(cosign(note.text(), WITNESS, &Who::Worker.key(), UnixSeconds(NOW)).expect("a cosignature"));
    assert!(!unseen || believed(&note), "a witness more makes it no worse");
}

/// What a witness is asked: one text for each request, and nothing is cosigned that the log did not sign.
pub fn add_checkpoint(data: &[u8]) {
    let Ok(asked) = AddCheckpoint::parse(data) else { return };
    assert_eq!(asked.to_string().as_bytes(), data);
    for last in [None, Some(stated()), Some(Checkpoint { size: 1, root: Hash::leaf(b"a"), ..stated() })] {
        match witness::admissible(&asked, &[log()], |_| last.clone()) {
            Ok(new) => assert_eq!(new, stated(), "the log signed nothing else"),
            Err(refused) => assert!((400..500).contains(&refused.status())),
        }
    }
    assert!(witness::admissible(&asked, &[], |_| None).is_err(), "a log that is not witnessed");
}

/// What a later epoch begins with: read again from its own leaf it is the same, and it is of the epoch after.
pub fn genesis(data: &[u8]) {
    let Ok(genesis) = Genesis::parse(data) else { return };
    let Ok(frame) = genesis.entry() else { return };
    let entry = Entry::decode(&frame).expect("what was framed");
    assert_eq!(Genesis::of(&entry).as_ref(), Ok(&genesis));
    assert_ne!(genesis.before().expect("it was read").origin, genesis.origin);
}

/// A valid sample for each target of this module.
pub(super) fn sample(target: &str) -> Vec<u8> {
    let text = match target {
        "tlog_proof" => {
            let hashes = vec![Hash::leaf(b"a")];
            TlogProof { extra: Some(ENTRY.to_vec()), index: 1, hashes, checkpoint: signed() }.to_string()
        }
        "tlog_policy" => {
            let other = VerifierKey::new("v.example", KeyKind::Cosignature, Who::Orchestrator.key().public());
            let (log, w, v) = (log(), cosigner(), other.expect("a name"));
            format!("# who\nlog {log}\nwitness w {w} http://127.0.0.1:1/\nwitness v {v}\ngroup g any w v\nquorum g\n")
        }
        "add_checkpoint" => {
            let proof = vec![Hash::leaf(ENTRY)];
            AddCheckpoint { old_size: 1, proof, checkpoint: signed() }.to_string()
        }
        "genesis" => {
            let genesis = Genesis::after(signed(), "the stream was purged".into(), NOW * 1000, 3, None);
            let frame = genesis.and_then(|genesis| genesis.entry()).expect("a genesis");
            text(Entry::decode(&frame).expect("what was framed").payload)
        }
        other => unreachable!("no sample for `{other}`: the tests ask for each"),
    };
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample that is refused at the door would leave what lies behind it untried.
    #[test]
    fn samples_come_through_their_doors() {
        let proof = TlogProof::parse(&sample("tlog_proof")).unwrap();
        assert_eq!(proof.check(ENTRY, &Policy::of_logs(vec![log()])).unwrap().checkpoint, stated());
        let policy = Policy::parse(&text(&sample("tlog_policy"))).unwrap();
        let mut note = Note::parse(signed().as_bytes()).unwrap();
        assert!(policy.open(note.to_string().as_bytes()).is_err());
        note.add(cosign(note.text(), WITNESS, &Who::Worker.key(), UnixSeconds(NOW)).unwrap());
        assert_eq!(policy.open(note.to_string().as_bytes()).unwrap().by, [("w".to_owned(), UnixSeconds(NOW))]);
        let asked = AddCheckpoint::parse(&sample("add_checkpoint")).unwrap();
        let last = Checkpoint { size: 1, root: Hash::leaf(b"a"), ..stated() };
        assert_eq!(witness::admissible(&asked, &[log()], |_| Some(last)).unwrap(), stated());
        assert_eq!(Genesis::parse(&sample("genesis")).unwrap().before().unwrap(), stated());
    }
}
