//! The real process on a real nats-server: records in, checkpoints out, killed and started again, copied and verified.
#![allow(clippy::unwrap_used)]

mod house;

use std::time::Duration;

use house::process::{Sink, publish};
use house::{ORIGIN, acted, checked, completed, connected, decided, delegated, disconnected, granting, issued, key};
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, subjects};
use marque_judgement::record::{Record, Verb};
use marque_ledger::{Checkpoint, KeyKind, VerifierKey};
use marque_test_support::{Broker, DEADLINE, eventually};
use serde_json::{Value, json};

async fn ask(bus: &Bus, subject: &str, body: Value) -> Result<Value, String> {
    let reply =
        bus.client().request(subject.to_owned(), body.to_string().into()).await.map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_slice(&reply.payload).map_err(|error| error.to_string())?;
    if reply.headers.as_ref().is_some_and(|headers| headers.get("Nats-Service-Error-Code").is_some()) {
        return Err(value.to_string());
    }
    Ok(value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again_it_loses_and_doubles_nothing() {
    let mut broker = Broker::start().await;
    let (verifier, operator) = (broker.connect(BusRole::Verifier).await, broker.connect(BusRole::Operator).await);
    let sink = Sink::new(&broker);
    let mut child = sink.start();
    let mut ids = publish(&verifier, 60, "nats:tools.one").await;
    sink.reaches(60).await;
    // Killed in the middle of what comes in, and again.
    for round in 0..2 {
        ids.extend(publish(&verifier, 15, "nats:tools.two").await);
        child.kill();
        ids.extend(publish(&verifier, 10, "nats:tools.three").await);
        child = sink.start();
        sink.reaches(85 + 25 * round).await;
    }
    // The broker is killed under it.
    broker.kill();
    broker.restart();
    eventually("the verifier's connection", DEADLINE, || async {
        let record = decided(key(10).did(), &[], "nats:tools.one", Verb::Permit);
        let compact = record.seal(&key(2)).unwrap();
        verifier.publish_record("decided", Some(&key(10).did()), &compact).await.map(|_| ())
    })
    .await;
    let size = eventually("the stream's size", DEADLINE, || async {
        verifier.stream_state("MARQUE_AUDIT").await.map(|state| state.last_sequence)
    })
    .await;
    let checkpoint = sink.reaches(size).await;
    // Noise at every subject is refused and stops nothing.
    let asked = [
        subjects::AUDIT_QUERY,
        subjects::AUDIT_EXPLAIN,
        subjects::AUDIT_PROOF,
        subjects::AUDIT_AGENTS,
        subjects::AUDIT_COMPLETENESS,
    ];
    for subject in asked {
        for body in [&b"\xff\xfe"[..], b"{", b"{\"id\":1}", b"{\"leaf\":0,\"leaf\":1}", b"[]", &[b'['; 4000]] {
            let reply = operator.client().request(subject, body.to_vec().into()).await.unwrap();
            assert!(reply.headers.unwrap().get("Nats-Service-Error-Code").is_some(), "{subject} {body:?}");
        }
    }
    // Every record is there once, found by what it is, and proven.
    let mut cursor = json!(0);
    let mut seen = Vec::new();
    while !cursor.is_null() {
        let page =
            ask(&operator, subjects::AUDIT_QUERY, json!({ "agent": key(10).did(), "cursor": cursor })).await.unwrap();
        seen.extend(
            page["records"].as_array().unwrap().iter().map(|row| row["record"]["id"].as_str().unwrap().to_owned()),
        );
        cursor = page["next"].clone();
    }
    assert_eq!(seen[..ids.len()], ids);
    assert_eq!(seen.len() as u64, size);
    let proof = ask(&operator, subjects::AUDIT_PROOF, json!({ "id": ids[70] })).await.unwrap();
    assert_eq!(proof["leaf"], 70);
    let explained = ask(&operator, subjects::AUDIT_EXPLAIN, json!({ "id": ids[70] })).await.unwrap();
    assert_eq!(explained["claimed"]["why"], "the customer asked");
    let standing = ask(&operator, subjects::AUDIT_CHECKPOINT, json!({})).await.unwrap();
    assert_eq!(standing["checkpoint_size"], size);
    // The published checkpoint is the one that the page shows, under the key that the bundle names.
    let keys = [VerifierKey::new(ORIGIN, KeyKind::Ed25519, key(3).public()).unwrap()];
    let published = eventually("the published checkpoint", DEADLINE, || async {
        let last = operator.read_last("MARQUE_CHECKPOINTS", &subjects::checkpoint(&key(3).did())).await;
        let last = last.map_err(|error| error.to_string())?.ok_or("none")?;
        let checkpoint = Checkpoint::open(&last.payload, &keys).map_err(|error| error.to_string())?;
        if checkpoint.size == size { Ok(checkpoint) } else { Err(format!("at {}", checkpoint.size)) }
    })
    .await;
    assert_eq!(published, checkpoint);
    // A copy of its files verifies offline; so does what the stopped sink exports.
    let copy = tempfile::tempdir().unwrap();
    sink.copy(copy.path(), size).await;
    let report = checked(copy.path(), ORIGIN);
    assert!(report.is_ok(), "{:?}", report.findings);
    assert_eq!(report.verdicts["valid"], size);
    child.terminate();
    assert_eq!(child.wait(Duration::from_secs(20)).code(), Some(0), "{}", child.said());
    let exported = tempfile::tempdir().unwrap();
    assert_eq!(marque_audit_sink::export(&sink.directory.path().join("state"), exported.path()).unwrap(), size);
    assert!(checked(exported.path(), ORIGIN).is_ok());
}

/// The records of a kind, as an auditor gets them.
async fn of_kind(operator: &Bus, kind: &str) -> Result<Vec<Value>, String> {
    let found = ask(operator, subjects::AUDIT_QUERY, json!({ "kind": kind, "verdict": "valid" })).await?;
    Ok(found["records"].as_array().cloned().unwrap_or_default())
}

async fn many(operator: &Bus, kind: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} records of kind {kind}"), DEADLINE, || async {
        let found = of_kind(operator, kind).await?;
        if found.len() >= count { Ok(found) } else { Err(format!("{}", found.len())) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tells_of_agents_says_that_a_key_is_cloned_once_and_states_heads() {
    let broker = Broker::start().await;
    let operator = broker.connect(BusRole::Operator).await;
    let (issuer, verifier) = (broker.connect(BusRole::Issuer).await, broker.connect(BusRole::Verifier).await);
    let gatekeeper = broker.connect(BusRole::Gatekeeper).await;
    let publish = async |bus: &Bus, record: &Record, seed: u8| {
        let compact = record.seal(&key(seed)).unwrap();
        bus.publish_record(record.kind().as_str(), record.agent.as_ref(), &compact).await.unwrap();
    };
    let sink = Sink::new(&broker);
    let heads = "audit_sink.heads_interval_ms=200";
    let mut child = sink.start_with(&[heads]);
    // A commission, a connection, a delegation, and a helper whose key is in two hands.
    let (boss, helper) = (key(20).did(), key(21).did());
    let (root, root_digest) = granting("root", &["nats:a", "nats:b"], 4_000_000_000, 1);
    let (link, link_digest) = granting("link", &["nats:a"], 4_000_000_000, 20);
    let links = [root_digest, link_digest];
    publish(&issuer, &issued(boss, &root, root_digest), 1).await;
    publish(&gatekeeper, &connected(helper, 1, &links, &[boss, helper]), 4).await;
    publish(&verifier, &delegated(helper, &link, link_digest, root_digest), 2).await;
    for proof in ["one", "another"] {
        let action = acted(helper, &links, "nats:a", Verb::Permit, 1, proof);
        publish(&verifier, &action, 2).await;
        publish(&verifier, &completed(&action), 2).await;
    }
    publish(&gatekeeper, &disconnected(helper, 1, 6), 4).await;
    let risks = many(&operator, "risk", 1).await;
    let risk = &risks[0]["record"];
    assert_eq!(
        (&risk["signal"], &risk["agent"], &risk["by"]),
        (&json!("key_cloned"), &json!(helper), &json!(key(3).did()))
    );
    let stated = many(&operator, "heads", 1).await;
    assert_eq!(stated[0]["record"]["heads"][0]["seq"], 1);
    // Asked through the bus.
    let listed = eventually("both agents", DEADLINE, || async {
        let listed = ask(&operator, subjects::AUDIT_AGENTS, json!({})).await?;
        let all = listed["agents"].as_array().is_some_and(|agents| agents.len() == 2);
        let whole = listed["inventory_upto"] == listed["tree_size"];
        if all && whole { Ok(listed) } else { Err(listed.to_string()) }
    })
    .await;
    assert!(listed["tree_size"].as_u64().unwrap() >= 9, "{listed}");
    let tree = ask(&operator, subjects::AUDIT_AGENTS, json!({ "view": "tree" })).await.unwrap();
    assert_eq!(tree["credentials"].as_array().unwrap().len(), 2);
    let report = ask(&operator, subjects::AUDIT_COMPLETENESS, json!({ "agent": helper })).await.unwrap();
    let kinds: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|finding| finding["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["published_unsigned", "key_forked"], "{report}");
    assert_eq!(report["findings"][0]["counts"]["unsigned_at_least"], 3);
    // Killed; started without its inventory, then without anything of its own: it says nothing twice.
    for (round, lost) in [vec!["inventory.redb"], vec!["inventory.redb", "index.redb", "audit.redb"]].iter().enumerate()
    {
        child.kill();
        lost.iter().for_each(|file| std::fs::remove_file(sink.directory.path().join("state").join(file)).unwrap());
        child = sink.start_with(&[heads]);
        let seed = 30 + u8::try_from(round).unwrap();
        for proof in ["one", "another"] {
            publish(&verifier, &acted(key(seed).did(), &[], "nats:a", Verb::Deny, 1, proof), 2).await;
        }
        many(&operator, "risk", 2 + round).await;
    }
    let cloned = of_kind(&operator, "risk").await.unwrap();
    let mut agents: Vec<String> = cloned.iter().map(|row| row["record"]["agent"].to_string()).collect();
    agents.sort();
    agents.dedup();
    assert_eq!((cloned.len(), agents.len()), (3, 3), "{cloned:?}");
    let doubled = ask(&operator, subjects::AUDIT_QUERY, json!({ "verdict": "duplicate" })).await.unwrap();
    assert_eq!(doubled["records"], json!([]), "the same word twice in the stream");
}
