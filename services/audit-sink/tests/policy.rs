//! `audit_sink.policy_file`: a checkpoint is final when the file's quorum has cosigned it, and a file that can't be gone
//! by is refused at the start.
#![allow(clippy::unwrap_used)]

mod house;

use house::process::{Sink, publish};
use house::{ORIGIN, SEEDS, key, three_sinks_text};
use marque_audit_sink::seal::cosigner;
use marque_bus::permissions::BusRole;
use marque_ledger::{KeyKind, Policy, VerifierKey};
use marque_test_support::{Broker, DEADLINE, eventually};

const SETTINGS: [&str; 1] = ["audit_sink.heads_interval_ms=3600000"];

fn log(seed: u8) -> String {
    format!("log {}\n", VerifierKey::new(ORIGIN, KeyKind::Ed25519, key(seed).public()).unwrap())
}

/// The first sink's log, and both others as witnesses of whom so many are needed.
fn policy(needed: &str) -> String {
    let witness = |seed: &u8| format!("witness w{seed} {}\n", cosigner(ORIGIN, &key(*seed).did()).unwrap());
    let witnesses: String = SEEDS[1..].iter().map(witness).collect();
    format!("{}{witnesses}group enough {needed} w6 w7\nquorum enough\n", log(3))
}

fn setting(sink: &Sink, text: &str) -> String {
    let path = sink.directory.path().join("policy");
    std::fs::write(&path, text).unwrap();
    format!("audit_sink.policy_file={}", path.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_final_when_the_files_quorum_has_cosigned_it() {
    let broker = Broker::start().await;
    let verifier = broker.connect(BusRole::Verifier).await;
    let [first, second, third] = SEEDS.map(|seed| Sink::of(&broker, seed, &three_sinks_text()));
    let both = setting(&first, &policy("all"));
    let _first = first.start_with(&[SETTINGS[0], &both]);
    let _second = second.start_with(&SETTINGS);
    publish(&verifier, 5, "nats:tools.one").await;
    second.reaches(5).await;
    // One of the two is not enough: nothing is shown.
    eventually("one has cosigned", DEADLINE, || async {
        match first.metric("marque_audit_cosignatures_taken") {
            Some(1..) => Ok(()),
            other => Err(format!("{other:?} {}", first.log())),
        }
    })
    .await;
    assert!(first.checkpoint().is_err());
    let _third = third.start_with(&SETTINGS);
    first.reaches(5).await;
    let note = first.get("/log/checkpoint").unwrap();
    let held = Policy::parse(&policy("all")).unwrap().open(&note).unwrap();
    assert_eq!((held.checkpoint.size, held.by.len()), (5, 2));
    // Nobody who goes by another policy takes it: the second's note has no cosignature.
    let alone = second.get("/log/checkpoint").unwrap();
    assert!(Policy::parse(&policy("all").replace(&log(3), &log(6))).unwrap().open(&alone).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_can_not_be_gone_by_is_refused_at_the_start() {
    let broker = Broker::start().await;
    let sink = Sink::new(&broker);
    let another = policy("any").replace(&log(3), &log(6));
    for (text, said) in [
        ("quorum nobody\n", "policy"),
        (&policy("3"), "policy"),
        (&another, "names no log `acme.example/audit` with this sink's key"),
    ] {
        let setting = setting(&sink, text);
        let mut child = sink.start_with(&[&setting]);
        assert!(!child.wait(DEADLINE).success());
        assert!(sink.log().contains(said), "{text}: {}", sink.log());
    }
    let mut child = sink.start_with(&["audit_sink.policy_file=/nowhere/policy"]);
    assert!(!child.wait(DEADLINE).success());
    assert!(sink.log().contains("/nowhere/policy"), "{}", sink.log());
}
