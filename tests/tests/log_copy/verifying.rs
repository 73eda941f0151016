//! `marque log verify` as a script meets it: exit codes, one document, and plain words for what was not checked.

use marque_identity::UnixSeconds;
use marque_ledger::{KeyKind, Note, VerifierKey, cosign};
use marque_signing::SigningKey;
use marque_tests::exported::{Exported, acts, bundle_text, decided, framed, sink_key, sink_vkey};
use serde_json::Value;

use super::{answered, ran};

fn not_checked(document: &Value) -> String {
    document["not_checked"].as_array().unwrap().iter().map(|said| said.as_str().unwrap().to_owned() + "\n").collect()
}

#[test]
fn says_what_it_checked_and_what_it_could_not() {
    let exported = Exported::sound(30);
    let copy = exported.copy().display().to_string();
    let (code, document) = answered(&["log", "verify", &copy]);
    assert_eq!((code, &document["valid"]), (0, &Value::Bool(true)), "{document}");
    assert_eq!((&document["report"]["leaves_checked"], &document["chains"]["actions"]), (&30.into(), &30.into()));
    let said = not_checked(&document);
    for what in ["the copy's own, and was not compared", "no known witness", "signatures of the proofs", "may be old"] {
        assert!(said.contains(what), "{what}: {said}");
    }
    // A bundle that somebody names is taken as compared.
    let bundle = exported.copy().join("marque/bundle.jwt").display().to_string();
    let (code, document) = answered(&["log", "verify", &copy, "--bundle", &bundle]);
    assert!(code == 0 && !not_checked(&document).contains("was not compared"), "{document}");
    // For people: nothing but the answer, and no progress where nobody watches.
    let output = ran(&["log", "verify", &copy]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("holds") && text.contains("not checked") && output.stderr.is_empty(), "{text}");
    assert!(text.contains("the newest; none before it is kept") && !said.contains("kept checkpoint"), "{text}");
}

#[test]
fn a_touched_copy_is_a_no_and_a_missing_one_is_not_found() {
    let exported = Exported::sound(5);
    let copy = exported.copy().display().to_string();
    let mut bytes = exported.read("tile/0/000.p/5");
    bytes[40] ^= 1;
    std::fs::write(exported.copy().join("tile/0/000.p/5"), bytes).unwrap();
    let (code, document) = answered(&["log", "verify", &copy]);
    assert_eq!((code, &document["valid"]), (1, &Value::Bool(false)), "{document}");
    assert_eq!(document["report"]["findings"][0]["leaf"], 1);
    assert_eq!(answered(&["log", "verify", "/nonexistent"]).0, 6);
}

#[test]
fn asks_for_the_quorum_of_a_policy() {
    let exported = Exported::sound(5);
    let (copy, folder) = (exported.copy().display().to_string(), tempfile::tempdir().unwrap());
    let witness = SigningKey::from_seed(&[21; 32]);
    let vkey = VerifierKey::new("w.example", KeyKind::Cosignature, witness.public()).unwrap();
    let policy = folder.path().join("policy");
    std::fs::write(&policy, format!("log {}\nwitness w {vkey}\nquorum w\n", sink_vkey())).unwrap();
    let policy = policy.display().to_string();
    let (code, document) = answered(&["log", "verify", &copy, "--policy", &policy]);
    assert_eq!((code, &document["report"]["findings"][0]["file"]), (1, &"checkpoint".into()), "{document}");
    // Cosigned, it holds, and the witness is named.
    let mut note = Note::parse(&exported.read("checkpoint")).unwrap();
    note.add(cosign(note.text(), "w.example", &witness, UnixSeconds(1_700_000_000)).unwrap());
    std::fs::write(exported.copy().join("checkpoint"), note.to_string()).unwrap();
    let (code, document) = answered(&["log", "verify", &copy, "--policy", &policy]);
    assert_eq!((code, &document["report"]["witnesses"][0]["witness"]), (0, &"w".into()), "{document}");
    // A policy that is none is the caller's mistake.
    std::fs::write(&policy, "log nonsense\nquorum none\n").unwrap();
    assert_eq!(answered(&["log", "verify", &copy, "--policy", &policy]).0, 2);
    assert_eq!(answered(&["log", "verify", &copy, "--policy", &policy, "--key", &sink_vkey().to_string()]).0, 2);
    assert_eq!(answered(&["log", "verify", &copy, "--key", "nonsense"]).0, 2);
}

#[test]
fn goes_on_from_an_earlier_checkpoint_and_says_what_lies_before_it() {
    let (earlier, now) = (Exported::sound(11), Exported::sound(30));
    let from = earlier.copy().join("checkpoint").display().to_string();
    let (code, document) = answered(&["log", "verify", &now.copy().display().to_string(), "--from", &from]);
    assert_eq!((code, &document["report"]["leaves_checked"]), (0, &19.into()), "{document}");
    let said = not_checked(&document);
    assert!(said.contains("leaves 0 to 10") && said.contains("the beginning of 3 chains, before leaf 11"), "{said}");
    // Backwards there is no way, and another's signature is no checkpoint of this log.
    let newer = now.copy().join("checkpoint").display().to_string();
    assert_eq!(answered(&["log", "verify", &earlier.copy().display().to_string(), "--from", &newer]).0, 1);
    let foreign = Exported::of(&framed(&acts(11)), SigningKey::from_seed(&[9; 32]));
    let foreign = foreign.copy().join("checkpoint").display().to_string();
    assert_eq!(answered(&["log", "verify", &now.copy().display().to_string(), "--from", &foreign]).0, 1);
}

#[test]
fn says_what_it_looked_at_of_the_kept_checkpoints() {
    let exported = Exported::sound(9);
    let (copy, folder) = (exported.copy().display().to_string(), exported.copy().join("marque/checkpoints"));
    std::fs::create_dir(&folder).unwrap();
    for size in [2, 7] {
        std::fs::write(folder.join(size.to_string()), Exported::sound(size).read("checkpoint")).unwrap();
    }
    std::fs::write(folder.join("notes"), "x").unwrap();
    let text = String::from_utf8(ran(&["log", "verify", &copy]).stdout).unwrap();
    assert!(text.contains("the newest, and 2 before it, each of which it goes on from"), "{text}");
    assert!(text.contains("1 file in marque/checkpoints: not named as a checkpoint is there"), "{text}");
    // A policy that asks for a witness now did not when they were copied; that is told, and no finding.
    let witness = SigningKey::from_seed(&[21; 32]);
    let vkey = VerifierKey::new("w.example", KeyKind::Cosignature, witness.public()).unwrap();
    let mut note = Note::parse(&exported.read("checkpoint")).unwrap();
    note.add(cosign(note.text(), "w.example", &witness, UnixSeconds(1_700_000_000)).unwrap());
    std::fs::write(exported.copy().join("checkpoint"), note.to_string()).unwrap();
    let policy = exported.copy().join("policy");
    std::fs::write(&policy, format!("log {}\nwitness w {vkey}\nquorum w\n", sink_vkey())).unwrap();
    let (code, document) = answered(&["log", "verify", &copy, "--policy", &policy.display().to_string()]);
    assert_eq!((code, &document["report"]["kept"]["unwitnessed"]), (0, &2.into()), "{document}");
    assert!(not_checked(&document).contains("witnesses have seen 2 kept checkpoints"), "{document}");
    // One that another key signed is a finding in its file.
    let foreign = Exported::of(&framed(&acts(7)), SigningKey::from_seed(&[9; 32]));
    std::fs::copy(foreign.copy().join("checkpoint"), folder.join("7")).unwrap();
    let (code, document) = answered(&["log", "verify", &copy]);
    assert_eq!((code, &document["report"]["findings"][0]["file"]), (1, &"marque/checkpoints/7".into()), "{document}");
    let text = String::from_utf8(ran(&["log", "verify", &copy]).stdout).unwrap();
    assert!(text.contains("NOT EACH of which it goes on from"), "{text}");
}

#[test]
fn without_a_bundle_the_tree_holds_and_nothing_is_said_of_records() {
    let exported = Exported::sound(9);
    std::fs::remove_file(exported.copy().join("marque/bundle.jwt")).unwrap();
    let copy = exported.copy().display().to_string();
    // Nobody says whose log it is.
    assert_eq!(answered(&["log", "verify", &copy]).0, 2);
    let (code, document) = answered(&["log", "verify", &copy, "--key", &sink_vkey().to_string()]);
    assert_eq!((code, document["report"]["findings"].as_array().unwrap().len()), (1, 1), "the bundle is missing");
    assert_eq!(document["report"]["verdicts"], serde_json::json!({}));
    assert!(not_checked(&document).contains("there is no trust bundle"));
    std::fs::write(exported.copy().join("marque/bundle.jwt"), bundle_text()).unwrap();
    assert_eq!(answered(&["log", "verify", &copy, "--key", &sink_vkey().to_string()]).0, 0);
}

#[test]
fn a_broken_chain_is_told_and_is_a_no_where_that_is_asked_for() {
    // The first agent's second action is missing: it could as well have been sent to nobody.
    let mut payloads = acts(12);
    payloads.remove(3);
    payloads.push(decided(50, 12, 1, None, "another.proof.altogether", "a second hand has the key"));
    let exported = Exported::of(&framed(&payloads), sink_key());
    let copy = exported.copy().display().to_string();
    let (code, document) = answered(&["log", "verify", &copy]);
    assert_eq!((code, &document["valid"]), (0, &Value::Bool(true)), "{document}");
    let rules: Vec<&str> = document["chains"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["rule"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["gap", "fork", "misstated"], "{document}");
    assert_eq!(document["chains"]["findings"][0]["leaf"], 5);
    let (code, document) = answered(&["log", "verify", &copy, "--strict"]);
    assert_eq!((code, &document["valid"]), (1, &Value::Bool(true)));
}
