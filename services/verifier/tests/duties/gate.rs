//! The gate: a tool that knows nothing of us is reached through it alone, recorded before and after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use marque_agent::{CallError, DECIDED, Why};
use marque_bus::async_nats::{HeaderMap, Message};
use marque_bus::{Bus, header, subjects};
use marque_identity::Code;
use marque_judgement::record::{Outcome, Verb};
use marque_signing::sha256;
use marque_test_support::{DEADLINE, eventually};
use marque_verifier::Parts;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::stage::{Stage, TOOL, policy, verifier_key};

/// A plain NATS responder: what it is sent comes out of the channel, and it answers as told.
pub(crate) async fn plain_tool(
    bus: &Bus,
    subject: &'static str,
    reply: impl Fn(&Message) -> Reply + Send + 'static,
) -> Tool {
    let mut subscription = bus.client().subscribe(subject).await.unwrap();
    bus.client().flush().await.unwrap();
    let (sender, seen) = mpsc::unbounded_channel();
    let client = bus.client().clone();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    tokio::spawn(async move {
        while let Some(message) = subscription.next().await {
            counter.fetch_add(1, Ordering::SeqCst);
            match reply(&message) {
                Reply::Body(body) => client.publish(message.reply.clone().unwrap(), body.into()).await.unwrap(),
                Reply::Error => {
                    let mut headers = HeaderMap::new();
                    headers.insert(header::SERVICE_ERROR_CODE, "418");
                    headers.insert(header::SERVICE_ERROR, "teapot");
                    client.publish_with_headers(message.reply.clone().unwrap(), headers, "".into()).await.unwrap();
                }
                Reply::Silence => {}
            }
            let _ = sender.send(message);
        }
    });
    Tool { seen, calls }
}

pub(crate) struct Tool {
    pub(crate) seen: mpsc::UnboundedReceiver<Message>,
    calls: Arc<AtomicUsize>,
}

pub(crate) enum Reply {
    Body(&'static str),
    Error,
    Silence,
}

#[tokio::test]
async fn forwards_a_permitted_call_and_records_both_ends() {
    let stage = Stage::set().await;
    let verifier = stage.verifier(1, policy()).await;
    let mut tool = plain_tool(&stage.host, TOOL, |_| Reply::Body("[7]")).await;
    let actor = stage.actor();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let why = Why { traceparent: Some(trace.into()), ..Why::because("the report needs it") };
    let answer = actor.call_via_gate(TOOL, &json!({"region": "eu"}), why).await.unwrap();
    assert_eq!(&answer.payload[..], b"[7]");

    let id = answer.record.unwrap();
    let seen = tool.seen.recv().await.unwrap();
    let headers = seen.headers.unwrap();
    assert_eq!(headers.get(DECIDED).unwrap().as_str(), id);
    assert_eq!(headers.get(header::TRACEPARENT).unwrap().as_str(), trace);
    assert!(headers.get(header::CHAIN).is_none() && headers.get(header::PROOF).is_none(), "no authority travels on");
    assert_eq!(&seen.payload[..], br#"{"region":"eu"}"#);

    let decided = stage.decided(&id).await;
    assert_eq!((decided.decision, decided.why.as_deref()), (Verb::Permit, Some("the report needs it")));
    let completed = stage.completed(&id).await.unwrap();
    assert_eq!((completed.outcome, completed.reply_sha256), (Outcome::Ok, Some(sha256(b"[7]"))));
    verifier.drain().await;
}

#[tokio::test]
async fn denies_and_forwards_nothing() {
    let stage = Stage::set().await;
    let _verifier = stage.verifier(1, policy()).await;
    let tool = plain_tool(&stage.host, TOOL, |_| Reply::Body("[]")).await;
    let actor = stage.actor();
    let denied = actor.call_via_gate(TOOL, &json!({"region": "cn"}), Why::default()).await.unwrap_err();
    assert_eq!((denied.code(), denied.denial().unwrap().step.as_deref()), (Code::ArgumentRefused, Some("6b")));
    assert_eq!(stage.decided(denied.denial().unwrap().record.as_ref().unwrap()).await.decision, Verb::Deny);
    assert_eq!(tool.calls.load(Ordering::SeqCst), 0);
    actor.call_via_gate(TOOL, &json!({"region": "us"}), Why::default()).await.unwrap();
    assert_eq!(tool.calls.load(Ordering::SeqCst), 1);
}

/// The chain grants both; the gate still serves `gated.>` alone, or an agent could borrow the verifier's own rights.
#[tokio::test]
async fn reaches_gated_tools_alone_whatever_a_chain_grants() {
    let stage = Stage::set().await;
    let _verifier = stage.verifier(1, policy()).await;
    let actor = stage.actor();
    for subject in ["marque.record.decided.none", "tools.crm.query"] {
        let denied = actor.call_via_gate(subject, &json!({}), Why::default()).await.unwrap_err();
        let denial = denied.denial().unwrap();
        assert_eq!((denial.code, denial.step.as_deref()), (Code::PolicyDenied, Some("14")), "{subject}");
        let record = stage.record(denial.record.as_ref().unwrap()).await;
        assert_eq!(record.tool, Some(format!("nats:{subject}")));
    }
}

#[tokio::test]
async fn a_tool_that_errs_hangs_or_is_absent_has_failed_and_that_is_recorded() {
    let stage = Stage::set().await;
    let patient = stage.verifier(1, policy()).await;
    let actor = stage.actor();
    let fails = async |status: &str| {
        let failed = actor.call_via_gate(TOOL, &json!({"region": "eu"}), Why::default()).await.unwrap_err();
        let CallError::ToolFailed(denial) = failed else { panic!("{failed:?}") };
        let completed = stage.completed(denial.record.as_ref().unwrap()).await.unwrap();
        assert_eq!((completed.outcome, completed.status.as_deref()), (Outcome::Error, Some(status)));
        (denial.code, denial.message)
    };
    let absent = fails("tool_unserved").await;
    assert_eq!(absent, (Code::ToolUnserved, format!("no tool host serves `{TOOL}`")));
    let turn = Arc::new(AtomicUsize::new(0));
    let _tool = plain_tool(&stage.host, TOOL, move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Error,
        _ => Reply::Silence,
    })
    .await;
    let (code, told) = fails("418").await;
    assert!(code == Code::ToolFailed && told.contains("teapot"), "{code}: {told}");
    // A tool that says nothing is waited for by one that soon gives up.
    patient.drain().await;
    let impatient = Parts { tool_timeout: Duration::from_millis(500), ..stage.parts(2, policy()) };
    let _impatient = stage.verifier_of(impatient).await;
    assert_eq!(fails("outcome_unknown").await.0, Code::ToolFailed);
}

/// Who calls at once, without a pause.
const CALLERS: usize = 8;

/// Calls come without a pause while one of two verifiers drains: each is answered by one of them, and its tool runs once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_falls_between_a_verifier_that_drains_and_the_other() {
    let stage = Arc::new(Stage::set().await);
    let (goes, _stays) = (stage.verifier(1, policy()).await, stage.verifier(2, policy()).await);
    let tool = plain_tool(&stage.host, TOOL, |_| Reply::Body("[7]")).await;
    let (gone, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut calling = JoinSet::new();
    for _ in 0..CALLERS {
        let (actor, gone, calls) = (stage.actor(), gone.clone(), calls.clone());
        calling.spawn(async move {
            while !gone.load(Ordering::SeqCst) {
                let answer = actor.call_via_gate(TOOL, &json!({"region": "eu"}), Why::default()).await;
                assert_eq!(&answer.unwrap().payload[..], b"[7]");
                calls.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    eventually("the one that goes has decided some", DEADLINE, || async {
        let first = verifier_key(1).did();
        stage.records().await.iter().find(|record| record.by == first).map(drop).ok_or("none yet")
    })
    .await;
    goes.drain().await;
    gone.store(true, Ordering::SeqCst);
    calling.join_all().await;
    assert_eq!(tool.calls.load(Ordering::SeqCst), calls.load(Ordering::SeqCst));
}

#[tokio::test]
async fn garbage_at_the_gate_is_recorded_and_stops_nothing() {
    let stage = Stage::set().await;
    let _verifier = stage.verifier(1, policy()).await;
    let _tool = plain_tool(&stage.host, TOOL, |_| Reply::Body("[]")).await;
    for payload in [&b""[..], b"\xff\xfe", b"{", &[b'['; 50_000], br#"{"a":1,"a":2}"#] {
        let answer = stage
            .agent
            .request(&subjects::gate(TOOL), HeaderMap::new(), payload.to_vec(), Duration::from_secs(10))
            .await;
        let Err(marque_bus::CallError::Refused(refusal)) = answer else { panic!("{answer:?}") };
        let decided = stage.decided(&refusal.record.unwrap()).await;
        assert_eq!((decided.decision, decided.input.unwrap().bytes), (Verb::Deny, payload.len() as u64));
    }
    stage.actor().call_via_gate(TOOL, &json!({"region": "eu"}), Why::default()).await.unwrap();
}
