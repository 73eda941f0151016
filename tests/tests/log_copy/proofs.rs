//! `marque audit check`: a proof's file without network, by whatever the reader trusts.

use marque_identity::UnixSeconds;
use marque_ledger::{Entry, KeyKind, Note, TlogProof, VerifierKey, cosign};
use marque_signing::SigningKey;
use marque_tests::exported::{Exported, acts, bundle_text, decided, framed, sink_key, sink_vkey};
use serde_json::Value;

use super::{answered, ran};

/// A proof, and what a reader may have beside it.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bundle.jwt"), bundle_text()).unwrap();
        Self { folder }
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let file = self.folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        file.display().to_string()
    }

    fn check(&self, proof: &TlogProof, flags: &[&str]) -> (i32, Value) {
        let file = self.put("x.tlog-proof", proof.to_string());
        answered(&[&["audit", "check", &file], flags].concat())
    }

    fn bundle(&self) -> String {
        self.folder.path().join("bundle.jwt").display().to_string()
    }
}

#[test]
fn a_proof_holds_by_key_policy_or_bundle() {
    let (exported, desk) = (Exported::sound(20), Desk::new());
    let (proof, key) = (exported.proof(7), sink_vkey().to_string());
    let (code, said) = desk.check(&proof, &["--key", &key]);
    assert_eq!((code, &said["valid"], &said["leaf"]), (0, &true.into(), &7.into()), "{said}");
    assert_eq!((&said["verdict"], &said["checkpoint"]["size"]), (&Value::Null, &20.into()), "unjudged");
    assert_eq!(
        (&said["record"]["kind"], &said["bus_subject"]),
        (&"decided".into(), &"marque.record.decided.none".into())
    );
    let (code, said) = desk.check(&proof, &["--bundle", &desk.bundle()]);
    assert_eq!((code, &said["verdict"]), (0, &"valid".into()), "{said}");
    let policy = desk.put("policy", format!("log {key}\nquorum none\n"));
    assert_eq!(desk.check(&proof, &["--policy", &policy, "--bundle", &desk.bundle()]).0, 0);
    // Several keys: the one that signed is among them.
    let other = VerifierKey::new("other.example", KeyKind::Ed25519, SigningKey::from_seed(&[5; 32]).public()).unwrap();
    assert_eq!(desk.check(&proof, &["--key", &other.to_string(), "--key", &key]).0, 0);
    // The key is printed where the bundle is, and named where it is missing.
    let printed = ran(&["log", "key", "--bundle", &desk.bundle()]);
    assert_eq!((printed.status.code(), String::from_utf8(printed.stdout).unwrap().trim()), (Some(0), &key[..]));
    let (code, said) = answered(&["log", "key", "--bundle", &desk.bundle(), "--epoch", "2"]);
    assert_eq!(code, 0, "{said}");
    assert!(said["keys"][0].as_str().unwrap().starts_with("acme.example/audit/e2+"), "{said}");
    assert_eq!(answered(&["log", "key", "--bundle", &desk.bundle(), "--epoch", "0"]).0, 2);
    let (code, said) = desk.check(&proof, &[]);
    assert_eq!(code, 2, "{said}");
    assert!(said["error"]["hint"].as_str().unwrap().contains("marque log key"), "{said}");
    // For people.
    let file = desk.put("x.tlog-proof", proof.to_string());
    let text = String::from_utf8(ran(&["audit", "check", &file, "--key", &key]).stdout).unwrap();
    for word in ["holds", "acme.example/audit", "20 leaves", "UNJUDGED", "the customer asked", "2023-11-14"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn names_the_witnesses_and_when_they_cosigned() {
    let (exported, desk) = (Exported::sound(20), Desk::new());
    let witness = SigningKey::from_seed(&[21; 32]);
    let vkey = VerifierKey::new("w.example", KeyKind::Cosignature, witness.public()).unwrap();
    let policy = desk.put("policy", format!("log {}\nwitness w1 {vkey}\nquorum w1\n", sink_vkey()));
    let mut proof = exported.proof(7);
    assert_eq!(desk.check(&proof, &["--policy", &policy]).0, 1, "no witness has seen it");
    let mut note = Note::parse(proof.checkpoint.as_bytes()).unwrap();
    note.add(cosign(note.text(), "w.example", &witness, UnixSeconds(1_700_000_123)).unwrap());
    proof.checkpoint = note.to_string();
    let (code, said) = desk.check(&proof, &["--policy", &policy]);
    assert_eq!(
        (code, &said["witnesses"][0]["witness"], &said["witnesses"][0]["at"]),
        (0, &"w1".into(), &1_700_000_123.into())
    );
}

#[test]
fn refuses_another_entry_leaf_path_key_or_size() {
    let (exported, desk) = (Exported::sound(20), Desk::new());
    let (proof, key) = (exported.proof(7), sink_vkey().to_string());
    let other_key = VerifierKey::new("acme.example/audit", KeyKind::Ed25519, SigningKey::from_seed(&[5; 32]).public());
    let other_key = other_key.unwrap().to_string();
    assert_eq!(desk.check(&proof, &["--key", &other_key]).0, 1);
    let other = exported.proof(8);
    for (how, touched) in [
        ("entry", TlogProof { extra: other.extra.clone(), ..proof.clone() }),
        ("leaf", TlogProof { index: 8, ..proof.clone() }),
        ("path", TlogProof { hashes: other.hashes.clone(), ..proof.clone() }),
        ("checkpoint", TlogProof { checkpoint: Exported::sound(19).proof(7).checkpoint, ..proof.clone() }),
    ] {
        assert_eq!(desk.check(&touched, &["--key", &key]).0, 1, "{how}");
    }
    // Whatever byte is touched.
    let good = proof.to_string().into_bytes();
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut touched = good.clone();
        touched[at] ^= 1;
        let file = desk.put("touched.tlog-proof", touched);
        assert_eq!(answered(&["audit", "check", &file, "--key", &key]).0, 1, "byte {at}");
    }
}

#[test]
fn exit_codes_tell_a_no_from_a_mistake() {
    let (exported, desk) = (Exported::sound(3), Desk::new());
    let proof = exported.proof(1);
    let key = sink_vkey().to_string();
    assert_eq!(desk.check(&proof, &[]).0, 2, "nobody is trusted");
    assert_eq!(desk.check(&proof, &["--key", &key, "--pin", &"00".repeat(32)]).0, 2, "a pin of no bundle");
    assert_eq!(answered(&["audit", "check", "/nonexistent", "--key", &key]).0, 6);
    assert_eq!(desk.check(&proof, &["--policy", "/nonexistent"]).0, 6);
    let bare = TlogProof { extra: None, ..proof.clone() };
    assert_eq!(desk.check(&bare, &["--key", &key]).0, 2, "nothing says what it is about");
    let entry = desk.put("entry", proof.extra.clone().unwrap());
    assert_eq!(desk.check(&bare, &["--key", &key, "--entry", &entry]).0, 0);
    assert_eq!(desk.check(&proof, &["--bundle", &desk.bundle(), "--pin", &"00".repeat(32)]).0, 1);
}

#[test]
fn a_leaf_that_is_no_valid_record_is_proven_and_not_believed() {
    let mut payloads = acts(4);
    // Flipped in the stream before the log took it in: it is a leaf all the same.
    let end = payloads[1].len() - 4;
    payloads[1].replace_range(end.., "AAAA");
    payloads[2] = "noise".into();
    let (exported, desk) = (Exported::of(&framed(&payloads), sink_key()), Desk::new());
    for leaf in [1, 2] {
        let proof = exported.proof(leaf);
        assert_eq!(desk.check(&proof, &["--key", &sink_vkey().to_string()]).0, 0, "it stands in the log");
        let (code, said) = desk.check(&proof, &["--bundle", &desk.bundle()]);
        assert_eq!((code, &said["valid"]), (1, &false.into()), "{said}");
    }
}

#[test]
fn a_leaf_that_claims_another_place_is_refused() {
    let mut frames = framed(&acts(4));
    frames[2] = Entry { stream_seq: 9, ..Entry::decode(&frames[2]).unwrap() }.encode().unwrap();
    let (exported, desk) = (Exported::of(&frames, sink_key()), Desk::new());
    assert_eq!(desk.check(&exported.proof(2), &["--key", &sink_vkey().to_string()]).0, 1);
}

#[test]
fn a_proof_of_the_largest_record_is_taken() {
    let mut payloads = acts(3);
    payloads.push(decided(3, 11, 2, None, "p", &"x".repeat(43_000)));
    assert!(payloads[3].len() > 57_000);
    let (exported, desk) = (Exported::of(&framed(&payloads), sink_key()), Desk::new());
    let (code, said) = desk.check(&exported.proof(3), &["--bundle", &desk.bundle()]);
    assert_eq!((code, &said["verdict"]), (0, &"valid".into()));
}
