//! What is asked of the log: by every field, in pages, both ways; explained; proven.
#![allow(clippy::unwrap_used)]

mod house;

use house::{House, completed, decided, delegated, issued, key, mixed, root_claims, sealed, stream, token};
use marque_audit_sink::explain::{ExplainRequest, explain};
use marque_audit_sink::prove::{ProofRequest, prove};
use marque_audit_sink::query::{Query, query};
use marque_judgement::record::Verb;
use marque_ledger::{Checkpoint, Hash, verify_inclusion};
use serde_json::json;
use tempfile::tempdir;

fn leaves(house: &House, ask: serde_json::Value) -> Vec<u64> {
    let mut query_now: Query = serde_json::from_value(ask).unwrap();
    let reading = house.read();
    let mut leaves = Vec::new();
    loop {
        let found = query(&reading, &query_now).unwrap();
        leaves.extend(found.records.iter().map(|row| row.leaf));
        let Some(next) = found.next else { return leaves };
        assert_ne!(Some(next), query_now.cursor, "no progress");
        query_now.cursor = Some(next);
    }
}

#[tokio::test]
async fn finds_by_every_field_with_the_index_and_without() {
    let state = tempdir().unwrap();
    let messages = mixed(220);
    let agent = key(11).did();
    let plain = |at: u64| !matches!(at % 11, 4..=8);
    let all = |holds: &dyn Fn(u64) -> bool| (0..220).filter(|at| holds(*at)).collect::<Vec<u64>>();
    let check = |house: &House, indexed: bool| {
        assert_eq!(leaves(house, json!({})), all(&|_| true));
        assert_eq!(leaves(house, json!({ "limit": 3 })), all(&|_| true));
        // A duplicate shows as one once the index knows it.
        let first = |at: u64| plain(at) || (!indexed && at % 11 == 8);
        assert_eq!(
            leaves(house, json!({ "agent": agent })),
            all(&|at| first(at) && (at - if at % 11 == 8 { 8 } else { 0 }) % 4 == 1)
        );
        let denied = |at: u64| plain(at) && at.is_multiple_of(3);
        if indexed {
            assert_eq!(leaves(house, json!({ "decision": "deny" })), all(&denied));
            let tool = json!({ "decision": "deny", "tool": "nats:tools.t2", "kind": "decided", "limit": 2 });
            assert_eq!(leaves(house, tool), all(&|at| denied(at) && at % 5 == 2));
            let third = marque_signing::sha256(&[2]);
            assert_eq!(leaves(house, json!({ "token": third })), all(&|at| plain(at) && at % 3 == 2));
            assert_eq!(leaves(house, json!({ "verdict": "duplicate" })), all(&|at| at % 11 == 8));
            assert_eq!(leaves(house, json!({ "verdict": "valid" })), all(&plain));
            let mut backwards = all(&denied);
            backwards.reverse();
            assert_eq!(leaves(house, json!({ "decision": "deny", "newest_first": true, "limit": 5 })), backwards);
        }
        assert_eq!(leaves(house, json!({ "verdict": "signature_invalid" })), all(&|at| at % 11 == 5));
        assert_eq!(leaves(house, json!({ "task": "urn:marque:task:t1" })), all(&first));
        assert_eq!(leaves(house, json!({ "task": "urn:marque:task:none" })), [0_u64; 0]);
        let base = 1_700_000_000_000_i64;
        let between = json!({ "from_ms": base + 50_000, "to_ms": base + 60_000 });
        assert_eq!(leaves(house, between), all(&|at| (49..59).contains(&at)));
        let late = json!({ "from_ms": base + 999_000 });
        assert_eq!(leaves(house, late), [0_u64; 0]);
    };
    let house = House::open(state.path());
    house.take_in(&messages).await.unwrap();
    check(&house, true);
    // A log whose index is empty: everything is read from the tail.
    let tail = tempdir().unwrap();
    let house = House::open(tail.path());
    let frames: Vec<_> = messages.iter().map(|m| marque_audit_sink::store::frame(m).unwrap()).collect();
    house.intake.store.append(0, &frames).unwrap();
    check(&house, false);
}

#[tokio::test]
async fn explains_an_action_down_its_path_and_proves_it() {
    let state = tempdir().unwrap();
    let house = House::open(state.path());
    let (boss, helper) = (key(20).did(), key(21).did());
    let (root, root_digest) = token(&root_claims(), 1);
    let (link, link_digest) = token(&json!({ "jti": "link-1", "authorization_details": [] }), 20);
    let action = decided(helper, &[root_digest, link_digest], "nats:tools.t1", Verb::Permit);
    let outcome = completed(&action);
    let messages = stream([
        sealed(&issued(boss, &root, root_digest), 1),
        sealed(&delegated(helper, &link, link_digest, root_digest), 2),
        sealed(&action, 2),
        sealed(&outcome, 2),
    ]);
    house.take_in(&messages).await.unwrap();
    let ask = |id: &str| explain(&house.read(), &house.sealer, &ExplainRequest { id: Some(id.into()), leaf: None });
    assert!(ask(&action.id).unwrap().inclusion.is_none());
    let signed = house.sealer.seal(&house.intake.store).unwrap().unwrap();
    for id in [&action.id, &outcome.id] {
        let answer = ask(id).unwrap();
        assert_eq!(answer.record.leaf, 2);
        assert_eq!(answer.path.iter().map(|link| link.leaf).collect::<Vec<_>>(), [Some(0), Some(1)]);
        assert_eq!(answer.path[0].sponsor.as_deref(), Some("team@acme.example"));
        assert_eq!(answer.path[0].claims.as_ref().unwrap()["purpose"], "answer mail");
        assert_eq!(answer.path[1].holder.as_deref(), Some(helper.to_string().as_str()));
        assert_eq!(answer.decided.as_ref().unwrap()["epoch"], 5);
        assert_eq!(answer.claimed.as_ref().unwrap()["why"], "the customer asked");
        assert_eq!(answer.completed.iter().map(|row| row.leaf).collect::<Vec<_>>(), [3]);
        assert_eq!(answer.inclusion.as_ref().unwrap().tree_size, 4);
    }
    assert_eq!(leaves(&house, json!({ "token": root_digest })), [0, 1, 2, 3]);
    assert_eq!(leaves(&house, json!({ "token": link_digest })), [1, 2, 3]);
    assert_eq!(leaves(&house, json!({ "task": "urn:marque:task:t1" })), [0, 1, 2, 3]);
    assert_eq!(leaves(&house, json!({ "task": "urn:marque:task:t1", "kind": "decided" })), [2]);
    assert_eq!(leaves(&house, json!({ "task": "urn:marque:task:t1", "agent": boss })), [0]);
    assert_eq!(leaves(&house, json!({ "blueprint": "mailer" })), [0]);
    assert_eq!(leaves(&house, json!({ "cause": "mail-1" })), [2]);
    let proof =
        prove(&house.read(), &house.sealer, &ProofRequest { id: Some(action.id.clone()), ..Default::default() })
            .unwrap();
    let hash = |text: &str| Hash::from_base64(text).unwrap();
    let path: Vec<Hash> = proof.proof.iter().map(|text| hash(text)).collect();
    verify_inclusion(proof.leaf, proof.tree_size, hash(&proof.leaf_hash), &path, hash(&proof.root)).unwrap();
    let keys = [house.sealer.verifier().clone()];
    let checkpoint = Checkpoint::open(proof.checkpoint.unwrap().as_bytes(), &keys).unwrap();
    assert_eq!((checkpoint.root, checkpoint.size), (hash(&proof.root), 4));
    assert_eq!(signed.checkpoint, checkpoint);
    assert!(ask("nobody").is_err());
    assert!(explain(&house.read(), &house.sealer, &ExplainRequest::default()).is_err());
    let beyond = ProofRequest { leaf: Some(9), ..Default::default() };
    assert!(prove(&house.read(), &house.sealer, &beyond).is_err());
    let early = ProofRequest { leaf: Some(3), tree_size: Some(3), ..Default::default() };
    assert!(prove(&house.read(), &house.sealer, &early).is_err());
}
