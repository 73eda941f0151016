//! A service answers each request once, in an inbox, whatever its handler does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use futures::{StreamExt, future::join_all};
use marque_bus::permissions::BusRole;
use marque_bus::service::Request;
use marque_bus::{Bus, CallError, Endpoint, RunningService, Service, subjects};
use marque_identity::{Code, Refusal};
use marque_test_support::{Broker, DEADLINE, eventually, until};
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

/// Drains in a row: each has its own moment between the unsubscribe and the broker's hearing of it.
const DRAINS: usize = 20;
/// Who asks at once, without a pause.
const ASKERS: usize = 16;

/// Of two instances one drains and another begins, again and again: what the broker had given the one that goes is
/// answered by it, once, and the rest by the one that stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_falls_between_an_instance_that_drains_and_the_next() {
    let broker = Broker::start_empty(false);
    let serve = async |handled: Arc<AtomicU64>| {
        let handler = move |request: Request| {
            handled.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok(request.payload.to_vec()))
        };
        let endpoint = Endpoint::new("query", subjects::AUDIT_QUERY, handler);
        let bus = broker.connect(BusRole::Sink).await;
        Service::new("test-service", "0.1.0", "answers").endpoint(endpoint).start(&bus).await.unwrap()
    };
    let by_who_stays = Arc::new(AtomicU64::new(0));
    let _stays = serve(by_who_stays.clone()).await;
    let enough = Arc::new(AtomicBool::new(false));
    let mut asking = tokio::task::JoinSet::new();
    for asker in 0..ASKERS {
        let (bus, enough) = (broker.connect(BusRole::Operator).await, enough.clone());
        asking.spawn(async move {
            let mut asked = 0;
            while !enough.load(Ordering::SeqCst) {
                let word = format!("{asker} {asked}");
                let reply = bus.request(subjects::AUDIT_QUERY, HeaderMap::new(), word.clone(), DEADLINE).await;
                assert_eq!(reply.unwrap().payload, word.as_bytes());
                asked += 1;
            }
            asked
        });
    }
    let mut by_who_went = 0;
    for _ in 0..DRAINS {
        let handled = Arc::new(AtomicU64::new(0));
        let goes = serve(handled.clone()).await;
        until("it is asked too", || handled.load(Ordering::SeqCst) > 0).await;
        goes.drain(DEADLINE).await;
        by_who_went += handled.load(Ordering::SeqCst);
    }
    enough.store(true, Ordering::SeqCst);
    let asked: u64 = asking.join_all().await.into_iter().sum();
    assert_eq!(by_who_stays.load(Ordering::SeqCst) + by_who_went, asked, "handled twice, or by nobody");
}

/// What the broker had taken before it heard of the end comes, and nothing after.
#[tokio::test]
async fn a_subscription_that_is_retired_gives_all_that_was_sent_and_ends() {
    let broker = Broker::start_empty(false);
    let (sink, operator) = (broker.connect(BusRole::Sink).await, broker.connect(BusRole::Operator).await);
    let mut requests = sink.client().subscribe(subjects::AUDIT_QUERY).await.unwrap();
    sink.settle().await.unwrap();
    for n in 0..100 {
        operator.client().publish(subjects::AUDIT_QUERY, n.to_string().into()).await.unwrap();
    }
    // Its answer to a later message, whatever it is: the broker has taken the hundred.
    operator.request(subjects::AUDIT_PROOF, HeaderMap::new(), "", DEADLINE).await.unwrap_err();
    sink.retire(&mut requests).await.unwrap();
    // The broker has ended it: who asks now is told that nobody is there.
    let asked = operator.request(subjects::AUDIT_QUERY, HeaderMap::new(), "late", DEADLINE).await;
    assert_eq!(asked.unwrap_err().code(), Code::Unavailable);
    let got: Vec<_> = requests.map(|message| message.payload).collect().await;
    let wanted: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(got, wanted);
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
