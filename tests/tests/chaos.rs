//! `kill -9` of each service in the middle of a run, with the real processes: what was acked is there once, and what
//! can't be decided is denied (ARCHITECTURE promises 1, 2, 3, 4, 6 and 10).

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt;
use marque::service_config::Service;
use marque_agent::enforce::Policy;
use marque_agent::{Agent, CallError, Commission};
use marque_bus::async_nats::client::RequestErrorKind;
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, subjects};
use marque_identity::Code;
use marque_judgement::record::{Body, Record};
use marque_test_support::eventually;
use marque_tests::cast::{self, GATED, call, call_gated, denied};
use marque_tests::system::{DEADLINE, LogCopy, TestSystem};

/// Actions in a run; the kill comes in their middle.
const CALLS: u64 = 60;
/// A call that a broker loses on its way back is not waited for longer: the next one is made.
const LOOK: Duration = Duration::from_secs(5);

async fn stage() -> (TestSystem, Bus, Agent, Commission) {
    stage_with(&[]).await
}

async fn stage_with(settings: &[(Service, &str)]) -> (TestSystem, Bus, Agent, Commission) {
    let system = TestSystem::start_with(&[cast::blueprint()], settings).await.unwrap();
    let bus = cast::carrier(&system).await;
    let agent = cast::enrol(&system).await;
    let root = cast::commission(&agent).await;
    (system, bus, agent, root)
}

/// Each id once.
fn assert_none_twice(copy: &LogCopy) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for record in copy.records.iter().flatten() {
        *seen.entry(&record.id).or_default() += 1;
    }
    let twice: Vec<_> = seen.into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

fn of_kind(copy: &LogCopy, wanted: impl Fn(&Body) -> bool) -> Vec<&Record> {
    copy.records.iter().flatten().filter(|record| wanted(&record.body)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sink_loses_and_doubles_nothing() {
    let (mut system, bus, _agent, root) = stage().await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let mut acked = Vec::new();
    for n in 0..CALLS {
        if n == CALLS / 3 || n == CALLS / 2 {
            system.kill(Service::Sink);
            system.start_service(Service::Sink);
        }
        acked.push(call(&root, &bus, n).await.unwrap().record.expect("a permit names its record"));
    }
    system.until_ready(Service::Sink).await.unwrap();
    let copy = system.copy_log().await.unwrap();
    assert!(copy.verified, "{}", copy.report);
    assert_eq!(copy.records.len() as u64, system.stream_size().await.unwrap());
    assert_eq!(copy.decided, acked, "each acked decision is one leaf, in order");
    assert_none_twice(&copy);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_verifier_permits_nothing_unrecorded() {
    let (mut system, bus, _agent, root) = stage().await;
    let runs = cast::plain_tool(&system).await;
    let mut acked = Vec::new();
    for n in 0..CALLS {
        if n == CALLS / 2 {
            system.kill_and_restart(Service::Verifier).await.unwrap();
        }
        acked.push(call_gated(&root, &bus, n).await.unwrap().record.expect("a permit names its record"));
    }
    // Killed while a call is under way: it may have been decided, then it is recorded; the tool never ran without.
    let actor = root.clone();
    let agents = bus.clone();
    let under_way =
        tokio::spawn(async move { cast::call_gated(&actor, &agents, 1).await.map(drop).map_err(|error| error.code()) });
    system.kill_and_restart(Service::Verifier).await.unwrap();
    call_gated(&root, &bus, 2).await.unwrap();
    under_way.abort();

    // Before the log is copied: the call under way may still reach the tool, and its record is stored before that.
    let ran = runs.load(Ordering::SeqCst);
    let copy = system.copy_log().await.unwrap();
    assert!(copy.verified, "{}", copy.report);
    assert!(acked.iter().all(|record| copy.decided.contains(record)));
    assert_none_twice(&copy);
    assert!(ran <= copy.decided.len() as u64);
    system.stop().await;
}

/// Asked to stop, it takes no more calls, and answers the one that is under way: its outcome is in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verifier_that_is_asked_to_stop_answers_the_call_under_way() {
    let (mut system, bus, _agent, root) = stage().await;
    // A tool that answers at once, but for one call, which it keeps until it is told.
    let tool = system.bus(BusRole::Host).await.unwrap();
    let mut requests = tool.client().subscribe(GATED).await.unwrap();
    tool.client().flush().await.unwrap();
    let (kept, held) = tokio::sync::oneshot::channel();
    let answering = tool.clone();
    tokio::spawn(async move {
        let mut kept = Some(kept);
        while let Some(request) = requests.next().await {
            match kept.take() {
                Some(kept) => kept.send(request).unwrap(),
                None => answering.client().publish(request.reply.unwrap(), request.payload).await.unwrap(),
            }
        }
    });
    let (actor, agents) = (root.clone(), bus.clone());
    let under_way = tokio::spawn(async move { call_gated(&actor, &agents, 1).await });
    let request = tokio::time::timeout(DEADLINE, held).await.unwrap().unwrap();

    system.terminate(Service::Verifier);
    // It drains once nobody serves the gate any more. Asked by what is no call: the broker drops what it was handing on
    // while the subscription ended, and a call that fell in there would be waited for as long as a tool may take.
    eventually("the gate is closed", DEADLINE, || async {
        let asked = bus.client().request(subjects::gate(GATED), "no call".into());
        match tokio::time::timeout(LOOK, asked).await {
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(_)) => Err("it takes calls still".to_owned()),
            Err(_) => Err("it fell between".to_owned()),
        }
    })
    .await;
    assert_eq!(call_gated(&root, &bus, 2).await.unwrap_err().code(), Code::Unavailable);
    assert!(system.is_running(Service::Verifier), "a call is under way");
    assert!(!under_way.is_finished());
    tool.client().publish(request.reply.unwrap(), request.payload).await.unwrap();
    let answer = tokio::time::timeout(DEADLINE, under_way).await.unwrap().unwrap().unwrap();
    assert_eq!(system.until_ended(Service::Verifier), Some(0));

    let record = answer.record.expect("a permit names its record");
    let copy = system.copy_log().await.unwrap();
    assert!(copy.verified, "{}", copy.report);
    assert!(copy.decided.contains(&record));
    let completed = of_kind(&copy, |body| matches!(body, Body::Completed(completed) if completed.decided == record));
    assert_eq!(completed.len(), 1, "its outcome is stored, once");
    assert_none_twice(&copy);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_issuer_issues_each_credential_once() {
    let (mut system, _bus, agent, _root) = stage().await;
    let join = system.join_token("tester").unwrap();
    let first = cast::enrol_with(&system, &join).await.unwrap();
    let mut roots = Vec::new();
    for n in 0..12 {
        if n % 4 == 2 {
            system.kill(Service::Issuer);
            system.start_service(Service::Issuer);
            system.until_ready(Service::Issuer).await.unwrap();
        }
        roots.push(cast::commission(&agent).await.root_digest());
    }
    // A join token stays used up across the kill.
    system.kill_and_restart(Service::Issuer).await.unwrap();
    let again = cast::enrol_with(&system, &join).await.map(|_| ()).unwrap_err();
    assert_eq!(again.code(), Code::JoinTokenUsed);
    // What was issued before still stands, and was recorded before it left.
    cast::commission(&first).await;
    let copy = system.copy_log().await.unwrap();
    assert!(copy.verified, "{}", copy.report);
    assert_none_twice(&copy);
    let issued = of_kind(&copy, |body| matches!(body, Body::Issued(_)));
    for root in roots {
        assert_eq!(issued.iter().filter(|record| record.token == Some(root)).count(), 1, "{root}");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broadcaster_publishes_an_accepted_directive_once() {
    let (mut system, bus, _agent, root) = stage().await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let child = cast::delegate(&root, cast::both_tools(), 0);
    call(&child, &bus, 1).await.unwrap();
    let digest = child.leaf_digest().to_string();
    let key = "0199aaaa-0000-7000-8000-00000000c4a5";
    let ask = ["revoke", "token", &digest, "--reason", "test", "--retry-key", key];

    // Killed while the request is under way, wherever that finds it; then asked again with the same key.
    let asked = system.marque_command(&ask).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    system.kill_and_restart(Service::Broadcaster).await.unwrap();
    let first = tokio::task::spawn_blocking(|| asked.wait_with_output()).await.unwrap().unwrap();
    let (code, again) = system.marque(&ask);
    // Who acked to the process that was killed does not ack again: durable, and its reach may stay unknown (exit 4).
    assert!([0, 4].contains(&code), "{again}");
    if first.status.success() {
        let first: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
        assert_eq!(first["id"], again["id"], "the same key gives the same directive");
    }
    assert_eq!(denied(call(&child, &bus, 2).await), Code::Revoked);

    let copy = system.copy_log().await.unwrap();
    assert!(copy.verified, "{}", copy.report);
    assert_eq!(of_kind(&copy, |body| matches!(body, Body::Directive(_))).len(), 1);
    system.stop().await;
}

/// Without heartbeats nothing proves that no directive was missed: past the bound every call is denied, in the
/// host and at the gate, until the feed has caught up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_view_denies_and_permits_again_after_catching_up() {
    let settings = [(Service::Verifier, "[verifier]\nstaleness_critical_ms = 1000\nstaleness_standard_ms = 1500")];
    let (mut system, bus, _agent, root) = stage_with(&settings).await;
    let bound = Duration::from_millis(1500);
    let policy = Policy::new(system.domain().clone()).with_bounds(bound, bound);
    let _host = cast::host(&system, policy).await;
    let _tool = cast::plain_tool(&system).await;
    // By such short bounds a slow machine denies now and then, too.
    until_permitted(|n| call(&root, &bus, n)).await;
    until_permitted(|n| call_gated(&root, &bus, n)).await;

    system.kill(Service::Broadcaster);
    until_stale(|n| call(&root, &bus, n)).await;
    until_stale(|n| call_gated(&root, &bus, n)).await;
    assert_ne!(system.page(Service::Verifier, "/readyz").await.0, 200, "a stale verifier is not ready");
    assert_eq!(system.page(Service::Verifier, "/livez").await.0, 200, "and lives");

    system.start_service(Service::Broadcaster);
    system.until_ready(Service::Broadcaster).await.unwrap();
    system.until_ready(Service::Verifier).await.unwrap();
    until_permitted(|n| call(&root, &bus, n)).await;
    until_permitted(|n| call_gated(&root, &bus, n)).await;
    system.stop().await;
}

/// The broker itself is killed: what was acked is in the log, and the system goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_loses_nothing_that_was_acked() {
    let (mut system, bus, _agent, root) = stage().await;
    let host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let mut acked = Vec::new();
    for n in 0..CALLS / 2 {
        acked.push(call(&root, &bus, n).await.unwrap().record.expect("a permit names its record"));
    }
    let ran = host.runs.load(Ordering::SeqCst);
    system.kill_broker();
    system.start_broker().unwrap();
    until_permitted(|n| call(&root, &bus, n)).await;
    assert!(host.runs.load(Ordering::SeqCst) > ran);
    for service in Service::ALL {
        system.until_ready(service).await.unwrap();
    }
    let copy = system.copy_log().await.unwrap();
    assert!(copy.verified, "{}", copy.report);
    assert!(acked.iter().all(|record| copy.decided.contains(record)));
    assert_none_twice(&copy);
    system.stop().await;
}

/// Calls until the view is too old; anything but a permit before that is a failure.
async fn until_stale<F: Future<Output = Result<marque_agent::Answer, CallError>>>(mut call: impl FnMut(u64) -> F) {
    let deadline = Instant::now() + DEADLINE;
    for n in 0.. {
        match call(n).await {
            Ok(_) => assert!(Instant::now() < deadline, "still permitted without heartbeats"),
            denial => {
                assert_eq!(denied(denial), Code::ViewStale);
                return;
            }
        }
    }
}

/// Calls until one is permitted; until then whatever fails is a stale view or a broker on its way back.
async fn until_permitted<F: Future<Output = Result<marque_agent::Answer, CallError>>>(mut call: impl FnMut(u64) -> F) {
    let deadline = Instant::now() + DEADLINE;
    for n in 0.. {
        let failure = match tokio::time::timeout(LOOK, call(n)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => {
                let passing = [Code::ViewStale, Code::NotRecorded, Code::Unavailable, Code::OutcomeUnknown];
                assert!(passing.contains(&error.code()), "{error}");
                tokio::task::yield_now().await;
                error.to_string()
            }
            Err(_) => format!("no answer within {LOOK:?}"),
        };
        assert!(Instant::now() < deadline, "not permitted again: {failure}");
    }
}
