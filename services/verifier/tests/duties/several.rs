//! Several verifiers share the requests; one that starts says when it is ready.

use marque_agent::Why;
use marque_bus::async_nats::HeaderMap;
use marque_bus::permissions::BusRole;
use marque_bus::subjects;
use marque_judgement::record::{Body, RecordKind};
use marque_runtime::{Health, Shutdown};
use marque_test_support::until;
use marque_verifier::{SPEC, Verifier, serve_on};
use serde_json::{Value, json};
use std::time::Duration;

use crate::stage::{DOMAIN, Stage, TOOL, policy, question, side_effecting, verifier_key};

const TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_side_effecting_proof_is_permitted_once_whoever_is_asked() {
    let stage = Stage::set().await;
    let tool = format!("nats:{TOOL}");
    let strict = || policy().with(side_effecting(&tool));
    let (_one, _two) = (stage.verifier(1, strict()).await, stage.verifier(2, strict()).await);
    let (actor, args) = (stage.actor(), json!({"region": "eu"}));
    let signed = actor
        .prove(&tool, args.to_string().as_bytes(), Some(format!("nats://{DOMAIN}/{TOOL}")), None, Why::default())
        .unwrap();
    let body = question(&actor, &tool, &args, &signed.proof).to_string();
    let asked = (0..24).map(|_| stage.host.request(subjects::VERIFIER_DECIDE, HeaderMap::new(), body.clone(), TIMEOUT));
    let answers = futures::future::join_all(asked).await;
    let permits = answers.into_iter().filter(|answer| {
        let answer: Value = serde_json::from_slice(&answer.as_ref().unwrap().payload).unwrap();
        answer["decision"] == json!(true)
    });
    assert_eq!(permits.count(), 1);

    let records = stage.records().await;
    let decided = records.iter().filter(|record| record.kind() == RecordKind::Decided);
    let by = |n| decided.clone().filter(|record| record.by == verifier_key(n).did()).count();
    assert_eq!(by(1) + by(2), 24);
    assert!(by(1) > 0 && by(2) > 0, "the queue group shares: {} and {}", by(1), by(2));
}

#[tokio::test]
async fn tells_its_freshness_in_readiness_and_stats_and_drains() {
    let stage = Stage::set().await;
    let bus = stage.broker.connect(BusRole::Verifier).await;
    let (health, (trigger, shutdown)) = (Health::new(), Shutdown::manual());
    let (parts, page) = (stage.parts(1, policy()), health.clone());
    let serving = tokio::spawn(async move { serve_on(&bus, parts, page, shutdown).await });
    until("it is ready", || health.what_is_pending().is_empty() && health.metrics_text().contains("state_age")).await;

    let asker = stage.broker.connect(BusRole::Operator).await;
    let stats = format!("$SRV.STATS.{}", SPEC.name);
    let answer = asker.request(&stats, HeaderMap::new(), "", TIMEOUT).await.unwrap();
    let stats: Value = serde_json::from_slice(&answer.payload).unwrap();
    let data = &stats["endpoints"][0]["data"];
    assert_eq!((&data["fresh"], &data["directives_active"]), (&json!(true), &json!(0)), "{stats}");
    assert!(data["view_age_ms"].is_u64() && data["epoch"].as_u64().unwrap() > 0);

    let args = json!({"region": "cn"});
    let denied = stage.actor().call_via_gate(TOOL, &args, Why::default()).await.unwrap_err();
    let metrics = health.metrics_text();
    let line = format!(r#"marque_verifier_decisions_total{{decision="deny",code="{}"}} 1"#, denied.code());
    assert!(metrics.lines().any(|there| there == line), "{metrics}");
    assert!(!metrics.contains("did:key"), "no agent is a label");

    trigger.ask();
    serving.await.unwrap().unwrap();
    assert!(stage.actor().call_via_gate(TOOL, &args, Why::default()).await.unwrap_err().denial().is_none());
}

#[tokio::test]
async fn a_cold_one_denies_and_says_so() {
    // A bundle with another broadcaster: its heartbeats never count, so that the view stays cold.
    let mut stage = Stage::set().await;
    stage.bundle.services.retain(|service| service.role != marque_signing::Role::Broadcaster);
    let bus = stage.broker.connect(BusRole::Verifier).await;
    let health = Health::new();
    let _verifier = Verifier::build(&bus, stage.parts(1, policy()), &health).await.unwrap();
    assert!(health.what_is_pending().iter().any(|(what, _)| what == "view"));
    let denied = stage.actor().call_via_gate(TOOL, &json!({"region": "eu"}), Why::default()).await.unwrap_err();
    assert_eq!(denied.code(), marque_identity::Code::ViewStale);
    let record = stage.record(denied.denial().unwrap().record.as_ref().unwrap()).await;
    let Body::Decided(decided) = record.body else { panic!() };
    assert_eq!(decided.view_age_ms, None);
}
