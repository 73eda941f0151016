//! A service answers each request once, in an inbox, whatever its handler does.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use futures::{StreamExt, future::join_all};
use marque_bus::permissions::BusRole;
use marque_bus::service::Request;
use marque_bus::{Bus, CallError, Endpoint, RunningService, Service, subjects};
use marque_identity::{Code, Refusal};
use marque_test_support::{Broker, DEADLINE, eventually};
use tokio::sync::Semaphore;

/// On the audit subjects, which operators may ask and sinks serve.
async fn start(bus: &Bus, gate: Arc<Semaphore>) -> RunningService {
    let handler = move |request: Request| {
        let gate = gate.clone();
        async move {
            match request.payload.as_ref() {
                b"panic" => panic!("as asked"),
                b"refuse" => Err(Refusal::at("4p", Code::AuthorityWidened, "wider than `the parent`")),
                b"wait" => {
                    let _pass = gate.acquire().await.unwrap();
                    Ok(b"waited".to_vec())
                }
                b"header" => Ok(request.header("x-one").unwrap_or("none").as_bytes().to_vec()),
                other => Ok(other.to_vec()),
            }
        }
    };
    Service::new("test-service", "0.1.0", "answers")
        .endpoint(Endpoint::new("query", subjects::AUDIT_QUERY, handler).bytes_max(100).concurrency(2))
        .stats(|| serde_json::json!({ "view_age_ms": 7 }))
        .start(bus)
        .await
        .unwrap()
}

async fn ask(bus: &Bus, payload: &'static str) -> Result<Vec<u8>, CallError> {
    let reply = bus.request(subjects::AUDIT_QUERY, HeaderMap::new(), payload.as_bytes(), DEADLINE).await?;
    Ok(reply.payload.to_vec())
}

#[tokio::test]
async fn refusals_keep_code_step_message_blame_and_hint() {
    let broker = Broker::start_empty(false);
    let _service = start(&broker.connect(BusRole::Sink).await, Arc::new(Semaphore::new(0))).await;
    // From the agents' account, through the import.
    let asker = broker.connect(BusRole::Operator).await;
    assert_eq!(ask(&asker, "echo").await.unwrap(), b"echo");
    let Err(CallError::Refused(refusal)) = ask(&asker, "refuse").await else { panic!() };
    assert_eq!((refusal.code, refusal.step.as_deref()), (Code::AuthorityWidened, Some("4p")));
    assert_eq!(refusal.message, "wider than `the parent`");
    assert_eq!(refusal.blame, Code::AuthorityWidened.blame());
    assert_eq!(refusal.hint, Code::AuthorityWidened.hint());
}

#[tokio::test]
async fn a_panic_an_oversize_body_and_noise_stop_nothing() {
    let broker = Broker::start_empty(false);
    let _service = start(&broker.connect(BusRole::Sink).await, Arc::new(Semaphore::new(0))).await;
    let asker = broker.connect(BusRole::Operator).await;
    for _ in 0..5 {
        assert_eq!(ask(&asker, "panic").await.unwrap_err().code(), Code::Internal);
    }
    let large = vec![b'x'; 101];
    let outcome = asker.request(subjects::AUDIT_QUERY, HeaderMap::new(), large, DEADLINE).await;
    assert_eq!(outcome.unwrap_err().code(), Code::Oversize);
    let mut twice = HeaderMap::new();
    twice.append("x-one", "a");
    twice.append("x-one", "b");
    let reply = asker.request(subjects::AUDIT_QUERY, twice, "header", DEADLINE).await.unwrap();
    assert_eq!(reply.payload, "none");
    assert_eq!(ask(&asker, "echo").await.unwrap(), b"echo");
}

#[tokio::test]
async fn no_answer_goes_anywhere_but_to_an_inbox() {
    let broker = Broker::start().await;
    let sink = broker.connect(BusRole::Sink).await;
    let _service = start(&sink, Arc::new(Semaphore::new(0))).await;
    // A role of our own account: its reply subject reaches the service as it is.
    let operator = broker.connect(BusRole::Operator).await;
    let mut checkpoints = sink.client().subscribe(subjects::CHECKPOINTS_ALL).await.unwrap();
    sink.settle().await.unwrap();
    let client = operator.client();
    client.publish_with_reply(subjects::AUDIT_QUERY, "marque.checkpoint.forged", "echo".into()).await.unwrap();
    // The answer to this later request is proof that the earlier one was handled.
    assert_eq!(ask(&operator, "echo").await.unwrap(), b"echo");
    assert!(tokio::time::timeout(Duration::from_millis(100), checkpoints.next()).await.is_err());
    assert_eq!(sink.stream_state(marque_bus::streams::CHECKPOINTS).await.unwrap().messages, 0);
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_no_answer_is_an_unknown_outcome() {
    let broker = Broker::start_empty(false);
    let asker = broker.connect(BusRole::Operator).await;
    assert_eq!(ask(&asker, "echo").await.unwrap_err().code(), Code::Unavailable);
    let gate = Arc::new(Semaphore::new(0));
    let _service = start(&broker.connect(BusRole::Sink).await, gate).await;
    let short = Duration::from_millis(100);
    let outcome = asker.request(subjects::AUDIT_QUERY, HeaderMap::new(), "wait", short).await;
    assert_eq!(outcome.unwrap_err().code(), Code::OutcomeUnknown);
    let outcome = asker.request("marque.directive.key.x", HeaderMap::new(), "x", DEADLINE).await;
    assert_eq!(outcome.unwrap_err().code(), Code::NotAuthorized);
}

#[tokio::test]
async fn draining_finishes_what_was_begun() {
    let broker = Broker::start_empty(false);
    let gate = Arc::new(Semaphore::new(0));
    let service = start(&broker.connect(BusRole::Sink).await, gate.clone()).await;
    let asker = broker.connect(BusRole::Operator).await;
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let asker = asker.clone();
            tokio::spawn(async move { ask(&asker, "wait").await })
        })
        .collect();
    // Both places are taken once two requests are at the gate.
    let operator = broker.connect(BusRole::Operator).await;
    let draining = tokio::spawn(service.drain(DEADLINE));
    eventually("no more requests are taken", DEADLINE, async || {
        let probe = operator.request(subjects::AUDIT_QUERY, HeaderMap::new(), "x", Duration::from_millis(200)).await;
        match probe {
            Err(error) if error.code() == Code::Unavailable => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    gate.add_permits(2);
    draining.await.unwrap();
    // Taken or not taken, never lost in between: a request that was not taken says so.
    for outcome in join_all(waiting).await {
        match outcome.unwrap() {
            Ok(body) => assert_eq!(body, b"waited"),
            Err(error) => assert_eq!(error.code(), Code::Unavailable),
        }
    }
}

#[tokio::test]
async fn answers_the_verbs_of_micro_services() {
    let broker = Broker::start_empty(false);
    let service = start(&broker.connect(BusRole::Sink).await, Arc::new(Semaphore::new(0))).await;
    let operator = broker.connect(BusRole::Operator).await;
    ask(&operator, "echo").await.unwrap();
    let _ = ask(&operator, "refuse").await;
    let get = async |subject: String| {
        let reply = operator.request(&subject, HeaderMap::new(), "", DEADLINE).await.unwrap();
        serde_json::from_slice::<serde_json::Value>(&reply.payload).unwrap()
    };
    let ping = get("$SRV.PING".into()).await;
    assert_eq!(ping["type"], "io.nats.micro.v1.ping_response");
    assert_eq!((ping["name"].as_str(), ping["id"].as_str()), (Some("test-service"), Some(service.id())));
    let info = get("$SRV.INFO.test-service".into()).await;
    assert_eq!(info["endpoints"][0]["subject"], subjects::AUDIT_QUERY);
    let stats = get(format!("$SRV.STATS.test-service.{}", service.id())).await;
    let endpoint = &stats["endpoints"][0];
    assert_eq!((endpoint["num_requests"].as_u64(), endpoint["num_errors"].as_u64()), (Some(2), Some(1)));
    assert_eq!(endpoint["data"]["view_age_ms"], 7);
}
