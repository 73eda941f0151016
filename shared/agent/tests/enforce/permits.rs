//! Record before running, record the outcome, and answer either way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use marque_agent::enforce::{EnforcementPoint, Invocation, Ruling, ToolError};
use marque_agent::{AgentKey, CallError, Commission, Delegation, History, Why};
use marque_bus::permissions::BusRole;
use marque_credential::{ProofRequest, make_proof};
use marque_identity::{Blame, Code, Digest, TokenId};
use marque_json::Json;
use marque_judgement::record::{Body, Outcome, RecordKind, Verb, may_sign};
use marque_runtime::Clock;
use marque_signing::{SigningKey, sha256};
use serde_json::json;

use crate::replay::Presented;
use crate::stage::{DOMAIN, Stage, TOOL, crm, host_key, policy, records};

#[tokio::test]
async fn runs_a_tool_only_after_its_decided_record_is_stored() {
    let stage = Stage::set().await;
    let sink = stage.sink.clone();
    let handler = move |invocation: Invocation| {
        let sink = sink.clone();
        async move {
            // What the stream holds at the moment in which the tool runs.
            let stored = records(&sink).await;
            let found = stored.iter().find(|record| record.id == invocation.record);
            let Some(Body::Decided(decided)) = found.map(|record| &record.body) else {
                return Err(ToolError("not recorded before it runs".into()));
            };
            assert_eq!(decided.decision, Verb::Permit);
            assert_eq!(&invocation.args[..], br#"{"region":"eu"}"#);
            Ok(Bytes::from_static(b"[1,2]"))
        }
    };
    let served = stage.enforcer().serve_tool(TOOL, handler).await.unwrap();
    let actor = stage.actor(crm());
    let answer = actor.call(TOOL, &json!({"region": "eu"}), Why::because("the report needs it")).await.unwrap();
    assert_eq!(&answer.payload[..], b"[1,2]");

    let id = answer.record.expect("the answer names its record");
    let (record, decided) = stage.decided(&id).await;
    assert_eq!(record.agent, Some(actor.commission().key().did()));
    assert_eq!(record.task.unwrap().as_str(), "urn:task:q3");
    assert_eq!(record.token, Some(actor.commission().leaf_digest()));
    assert_eq!(decided.why.as_deref(), Some("the report needs it"));
    assert_eq!(decided.audience, Some(format!("nats://{DOMAIN}/{TOOL}")));
    assert_eq!((decided.seq, decided.prev), (Some(1), None));
    assert!(decided.view_age_ms.is_some() && decided.epoch.0 > 0);
    let completed = stage.completed(&id).await.expect("completed before the answer");
    assert_eq!((completed.outcome, completed.reply_sha256), (Outcome::Ok, Some(sha256(b"[1,2]"))));
    served.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn counts_and_links_one_keys_actions() {
    let stage = Stage::set().await;
    let (_served, _) = stage.serve_counting().await;
    let actor = stage.actor(crm());
    for _ in 0..3 {
        actor.call(TOOL, &json!({"region": "us"}), Why::default()).await.unwrap();
    }
    let decided = stage.of_kind(RecordKind::Decided).await;
    let mut prev = None;
    for (n, record) in (1..).zip(&decided) {
        let Body::Decided(decided) = &record.body else { panic!() };
        assert_eq!((decided.seq, decided.prev), (Some(n), prev));
        let proof = decided.proof.as_ref().and_then(|proof| proof.compact()).expect("the proof is carried");
        prev = Some(sha256(proof.as_bytes()));
    }
    assert_eq!(decided.len(), 3);
    assert_eq!(actor.commission().key().history().last, prev);
}

#[tokio::test]
async fn repeats_the_manifest_and_denies_another_as_a_risk() {
    let stage = Stage::set().await;
    let (_served, ran) = stage.serve_counting().await;
    let holder = SigningKey::from_seed(&[0x21; 32]);
    let key = AgentKey::resumed(SigningKey::from_seed(&[0x21; 32]), History::default());
    let root = stage.root_of_manifest(&key.public(), crm(), 1, Some(Digest([7; 32])));
    let actor = Commission::adopt(key.clone(), root.clone()).unwrap().on(&stage.agent);
    let args = json!({"region": "eu"});
    let answer = actor.call(TOOL, &args, Why::default()).await.unwrap();
    let (_, decided) = stage.decided(&answer.record.unwrap()).await;
    assert_eq!(decided.manifest_hash, Some(Digest([7; 32])));

    // A sub-agent acts under its principal's manifest.
    let sub = AgentKey::generate().unwrap();
    let chain = actor.commission().delegate(&sub.public(), Delegation::new(crm())).unwrap();
    Commission::adopt(sub, chain).unwrap().on(&stage.agent).call(TOOL, &args, Why::default()).await.unwrap();

    // The same key and chain, but it says that something else runs.
    let parsed = Json::from_serde(&args).unwrap();
    let request = ProofRequest {
        jti: TokenId::generate(),
        iat: Clock::new().unix(),
        tool: "nats:tools.crm.query",
        args: &parsed,
        aud: Some(format!("nats://{DOMAIN}/{TOOL}")),
        nonce: None,
        seq: 9,
        prev: None,
        task: None,
        why: None,
        cause: None,
        traceparent: None,
        manifest_hash: Some(Digest([6; 32])),
    };
    let proof = make_proof(&holder, &root, &request).unwrap();
    let ruling = Presented::of(root, proof, args.to_string()).at(&stage.point(policy())).await;
    let Ruling::Denied(denied) = ruling else { panic!("{ruling:?}") };
    assert_eq!((denied.refusal.code, denied.refusal.step), (Code::ManifestChanged, Some("14")));
    let risks = stage.of_kind(RecordKind::Risk).await;
    let [risk] = risks.as_slice() else { panic!("{risks:?}") };
    assert_eq!(risk.agent, Some(key.did()));
    assert!(may_sign(&stage.bundle, risk), "the host may say so");
    assert_eq!(ran.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn denies_outside_the_grant_with_the_step_and_runs_nothing() {
    let stage = Stage::set().await;
    let (_served, ran) = stage.serve_counting().await;
    let actor = stage.actor(crm());
    let denied = |error: CallError| {
        let denial = error.denial().expect("a denial").clone();
        assert_eq!((denial.step.as_deref(), denial.blame), (Some("6b"), Blame::Caller));
        denial
    };
    let refused = denied(actor.call(TOOL, &json!({"region": "cn"}), Why::default()).await.unwrap_err());
    assert_eq!(refused.code, Code::ArgumentRefused);
    let missing = denied(actor.call(TOOL, &json!({}), Why::default()).await.unwrap_err());
    assert_eq!(missing.code, Code::ArgumentMissing);
    let number = actor.call_bytes(TOOL, br#"{"region":1.00000000000000001}"#.as_slice().into(), Why::default()).await;
    assert!(matches!(number, Err(CallError::Proof(_))), "the agent's own side refuses to sign it");

    let (record, decided) = stage.decided(&refused.record.expect("the denial names its record")).await;
    assert_eq!((decided.decision, decided.code), (Verb::Deny, Some(Code::ArgumentRefused)));
    assert!(decided.constraint.unwrap().contains("one_of"));
    assert_eq!(record.agent, Some(actor.commission().key().did()));
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    assert!(stage.of_kind(RecordKind::Completed).await.is_empty());

    actor.call(TOOL, &json!({"region": "eu"}), Why::default()).await.unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_tool_that_panics_fails_or_hangs_is_recorded_and_stops_nothing() {
    let stage = Stage::set().await;
    let handler = |invocation: Invocation| async move {
        let args: serde_json::Value = serde_json::from_slice(&invocation.args).unwrap();
        match args["region"].as_str() {
            Some("eu") => panic!("on purpose"),
            Some("us") => std::future::pending().await,
            _ => Err(ToolError("out of stock".into())),
        }
    };
    let enforcer = stage.enforcer().tool_timeout(Duration::from_millis(200));
    let _served = enforcer.serve_tool(TOOL, handler).await.unwrap();
    let actor = stage.actor(crate::stage::tools(json!({ "nats:tools.crm.query": {} })));
    for (region, status) in [("eu", "panic"), ("us", "timeout"), ("cn", "tool_error")] {
        let failed = actor.call(TOOL, &json!({ "region": region }), Why::default()).await.unwrap_err();
        assert_eq!(failed.code(), Code::ToolFailed, "{region}");
        let CallError::ToolFailed(denial) = failed else { panic!("{failed:?}") };
        let completed = stage.completed(&denial.record.unwrap()).await.expect("its outcome is stored");
        assert_eq!((completed.outcome, completed.status.as_deref()), (Outcome::Error, Some(status)));
    }
}

#[tokio::test]
async fn no_ack_no_permit() {
    let stage = Stage::set().await;
    // A user who may not publish *decided* records: the ack never comes.
    let mute = stage.broker.connect(BusRole::Sink).await;
    let point = EnforcementPoint::new(&mute, host_key(), "host", &stage.bundle, stage.feed.clone(), policy());
    let presented = Presented::new(&stage.actor(crm()), r#"{"region":"eu"}"#);
    let Ruling::Denied(denied) = presented.at(&point).await else { panic!("permitted without an ack") };
    assert_eq!((denied.refusal.code, denied.record), (Code::NotRecorded, None));
    // The twin, on a connection that may.
    let presented = Presented::new(&stage.actor(crm()), r#"{"region":"eu"}"#);
    assert!(matches!(presented.at(&stage.point(policy())).await, Ruling::Permitted(_)));
}
