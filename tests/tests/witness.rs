//! Two sinks of one log, as real processes: what one signs is final when the other has cosigned it.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::time::{Duration, Instant};

use marque::dev::http;
use marque::service_config::Service;
use marque_audit_sink::seal::cosigner;
use marque_ledger::{KeyKind, LedgerError, Policy, VerifierKey, Witness, Witnessed};
use marque_signing::Role;
use marque_tests::system::{DEADLINE, TestSystem};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Each cosigns for the other; checkpoints come often.
const ONE_OTHER: &str = "audit_sink.cosignatures=1";
const OFTEN: &str = "audit_sink.checkpoint_interval_ms=100";
const SETTINGS: &str = "[audit_sink]\ncosignatures = 1\ncheckpoint_interval_ms = 100";

/// What an auditor trusts: either sink's log, cosigned by so many of both.
fn policy_of(system: &TestSystem, least: usize) -> Policy {
    let origin = marque_ledger::origin(system.domain());
    let keys = system.bundle().keys(Role::Sink);
    let log = |key: &_| VerifierKey::new(&origin, KeyKind::Ed25519, *key).unwrap();
    let witness = |key: &marque_signing::PublicKey| {
        let key = cosigner(&origin, &key.did()).unwrap();
        Witness { name: key.name().to_owned(), key, url: None }
    };
    Policy::at_least(keys.iter().map(log).collect(), least, keys.iter().map(witness).collect()).unwrap()
}

/// The checkpoint that a sink's page shows, once it is over so many leaves.
async fn shown(page: &str, size: u64, policy: &Policy) -> Witnessed {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Ok((200, note)) = http::get(page, "/log/checkpoint", DEADLINE).await {
            let held = policy.open(note.as_bytes()).unwrap_or_else(|error| panic!("{error}: {note}"));
            if held.checkpoint.size >= size {
                return held;
            }
        }
        assert!(Instant::now() < deadline, "no checkpoint over {size} leaves is shown");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_shown_when_the_other_sink_has_cosigned_it() {
    let mut system = TestSystem::start_with(&[], &[(Service::Sink, SETTINGS)]).await.unwrap();
    let policy = policy_of(&system, 1);
    let first = std::fs::read_to_string(system.directory().sink_page_file()).unwrap().trim().to_owned();
    let write = |system: &TestSystem, task: &str| {
        let (code, said) = system.marque(&["suspend", "task", task, "--reason", "a record"]);
        assert_eq!(code, 0, "{said}");
    };
    // 1. Alone, it takes in and signs, and shows nothing.
    write(&system, "urn:task:one");
    let logged = system.stream_size().await.unwrap();
    assert!(logged > 0);
    until_metric(&system, "audit_checkpoint_size", logged).await;
    assert_eq!(http::get(&first, "/log/checkpoint", DEADLINE).await.unwrap().0, 404);
    // 2. With the other, both show what the other has cosigned.
    let second = system.start_second_sink(&[ONE_OTHER, OFTEN]).await.unwrap();
    for page in [&first, &second] {
        let held = shown(page, logged, &policy).await;
        assert_eq!(held.by.len(), 1, "its own cosignature counts for nothing: {held:?}");
    }
    let (_, note) = http::get(&first, "/log/checkpoint", DEADLINE).await.unwrap();
    // Nobody cosigns its own: both of two is never met.
    assert_eq!(policy_of(&system, 2).open(note.as_bytes()), Err(LedgerError::QuorumMissing));
    // 3. The other is killed: nothing new is shown; it comes back, and what was logged meanwhile is.
    system.kill_second(Service::Sink);
    let before = shown(&first, logged, &policy).await.checkpoint.size;
    write(&system, "urn:task:two");
    let grown = system.stream_size().await.unwrap();
    assert!(grown > before);
    until_metric(&system, "audit_checkpoint_size", grown).await;
    assert_eq!(shown(&first, 0, &policy).await.checkpoint.size, before);
    let second = system.start_second_sink(&[ONE_OTHER, OFTEN]).await.unwrap();
    let (a, b) = (shown(&first, grown, &policy).await, shown(&second, grown, &policy).await);
    assert_eq!(a.checkpoint.root, b.checkpoint.root);
    // 4. A copy of either verifies.
    assert!(system.copy_log().await.unwrap().verified);
    system.stop().await;
}

async fn until_metric(system: &TestSystem, name: &str, least: u64) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let (_, page) = system.page(Service::Sink, "/metrics").await;
        let line = page.lines().find(|line| line.split(' ').next().is_some_and(|word| word.ends_with(name)));
        if line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).is_some_and(|value: f64| value >= least as f64) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} does not reach {least}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
