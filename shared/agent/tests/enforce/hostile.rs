//! Bad input at a tool's subject: each has its code, is recorded with its digest and size, and stops nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use marque_agent::Why;
use marque_bus::async_nats::HeaderMap;
use marque_bus::{CallError, header};
use marque_identity::{Blame, Code};
use marque_judgement::record::{InputDigest, Verb};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::replay::Presented;
use crate::stage::{Stage, TOOL, crm};

const TIMEOUT: Duration = Duration::from_secs(10);

/// What a host answers to these headers and this payload: code and record id.
async fn refused(stage: &Stage, headers: &[(&str, &str)], payload: &[u8]) -> (Code, String) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, *value);
    }
    match stage.agent.request(TOOL, map, payload.to_vec(), TIMEOUT).await {
        Err(CallError::Refused(refusal)) => {
            assert_eq!(refusal.blame, Blame::Caller);
            assert!(!refusal.message.is_empty() && !refusal.hint.is_empty());
            (refusal.code, refusal.record.expect("every denial is recorded"))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_kind_of_garbage_has_its_code_and_its_record() {
    let stage = Stage::set().await;
    let (_served, ran) = stage.serve_counting().await;
    let actor = stage.actor(crm());
    let good = Presented::new(&actor, r#"{"region":"eu"}"#);
    let (chain, proof) = (good.chain(), good.proof());
    let deep = format!("{}1{}", r#"{"a":"#.repeat(500), "}".repeat(500));
    let digest = format!("sha-256:{}", "0".repeat(64));
    let whole = [(header::CHAIN, chain), (header::PROOF, proof)];
    let eu = br#"{"region":"eu"}"#.as_slice();

    assert_eq!(refused(&stage, &[], b"").await.0, Code::ChainEmpty);
    assert_eq!(refused(&stage, &[(header::CHAIN, chain)], eu).await.0, Code::ProofMalformed);
    assert_eq!(refused(&stage, &[(header::CHAIN, "a~b"), (header::PROOF, "x")], eu).await.0, Code::Malformed);
    assert_eq!(refused(&stage, &[(header::CHAIN_REF, "md5:0"), (header::PROOF, "x")], eu).await.0, Code::Malformed);
    assert_eq!(refused(&stage, &[(header::CHAIN_REF, &digest), (header::PROOF, "x")], eu).await.0, Code::ChainUnknown);
    let twice = [(header::CHAIN, chain), (header::CHAIN, chain), (header::PROOF, proof)];
    assert_eq!(refused(&stage, &twice, eu).await.0, Code::Malformed);
    assert_eq!(refused(&stage, &whole, b"\xff\xfe\x00").await.0, Code::Malformed);
    assert_eq!(refused(&stage, &whole, br#"{"region":"eu","region":"us"}"#).await.0, Code::DuplicateMember);
    assert_eq!(refused(&stage, &whole, deep.as_bytes()).await.0, Code::TooDeep);
    assert_eq!(refused(&stage, &whole, b"[]").await.0, Code::Malformed);
    assert_eq!(refused(&stage, &whole, br#"{"region":"us"}"#).await.0, Code::ProofArgumentsMismatch);
    assert_eq!(refused(&stage, &[(header::CHAIN, chain), (header::PROOF, "a.b.c")], eu).await.0, Code::Malformed);
    assert_eq!(ran.load(Ordering::SeqCst), 0);

    let (_, id) = refused(&stage, &[], b"\xc3\x28 not text").await;
    let (record, decided) = stage.decided(&id).await;
    assert_eq!((decided.decision, decided.input), (Verb::Deny, Some(InputDigest::of(b"\xc3\x28 not text"))));
    assert_eq!(record.tool, Some(format!("nats:{TOOL}")));
    actor.call(TOOL, &json!({"region": "eu"}), Why::default()).await.unwrap();
}

#[tokio::test]
async fn random_bytes_stop_nothing() {
    let stage = Stage::set().await;
    let (_served, ran) = stage.serve_counting().await;
    let actor = stage.actor(crm());
    let good = Presented::new(&actor, r#"{"region":"eu"}"#);
    let mut runner = TestRunner::deterministic();
    let noise = (
        prop_oneof![Just(good.chain().to_owned()), "[ -~]{0,200}", "([A-Za-z0-9_-]{0,40}\\.){2}[A-Za-z0-9_-]{86}"],
        prop_oneof![Just(good.proof().to_owned()), "[ -~]{0,200}"],
        prop::collection::vec(any::<u8>(), 0..300),
    );
    for _ in 0..60 {
        let (chain, proof, payload) = noise.new_tree(&mut runner).unwrap().current();
        // A header's value is trimmed on the wire; the empty one stands.
        let headers = [(header::CHAIN, chain.trim()), (header::PROOF, proof.trim())];
        let (code, _) = refused(&stage, &headers, &payload).await;
        assert_ne!(code, Code::Internal);
    }
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    actor.call(TOOL, &json!({"region": "eu"}), Why::default()).await.unwrap();
}

#[tokio::test]
async fn a_large_input_is_recorded_in_small() {
    let stage = Stage::set().await;
    let (_served, _) = stage.serve_counting().await;
    let large = "x".repeat(50_000);
    let (code, id) = refused(&stage, &[(header::CHAIN, &large), (header::PROOF, "y")], b"{}").await;
    assert_eq!(code, Code::Malformed);
    let (_, decided) = stage.decided(&id).await;
    assert_eq!(decided.input.unwrap().bytes, 50_000 + 1 + 1 + 1 + 2);
    let (_, id) = refused(&stage, &[(header::CHAIN, "x"), (header::PROOF, &large)], b"{}").await;
    assert_eq!(stage.decided(&id).await.1.proof.unwrap().compact(), None);
}
