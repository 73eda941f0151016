//! The main job, end to end: issued, delegated offline, verified, revoked, audited; with the real processes.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::sync::atomic::Ordering;
use std::time::Duration;

use marque_agent::enforce::Policy;
use marque_identity::Code;
use marque_judgement::record::Body;
use marque_tests::cast::{self, call, call_gated, denied, tools};
use marque_tests::system::TestSystem;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_tells_its_story() {
    let output = tokio::task::spawn_blocking(|| {
        let mut tour = std::process::Command::new(marque_tests::binaries::path("marque"));
        tour.args(["-j", "tour", "--no-build"]).output().expect("the command line starts")
    });
    let output = output.await.expect("the tour does not panic");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert!(document.is_object(), "{document}");
}

/// Revoking a root ends a grandchild minted offline that no service has seen; revoking one sub-agent leaves its
/// sibling working. Both in the tool's host and at the gate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_ends_all_below_it_and_nothing_beside_it() {
    let system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let bus = cast::carrier(&system).await;
    let host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let gated_runs = cast::plain_tool(&system).await;

    let agent = cast::enrol(&system).await;
    let root = cast::commission(&agent).await;
    let (left, right) = (cast::delegate(&root, cast::both_tools(), 1), cast::delegate(&root, cast::both_tools(), 1));
    let grandchild = cast::delegate(&left, cast::both_tools(), 0);
    for commission in [&root, &left, &right] {
        call(commission, &bus, 1).await.unwrap();
        call_gated(commission, &bus, 1).await.unwrap();
    }

    // One sub-agent is ended: its own child, never seen by any service, with it; its sibling goes on.
    let (code, reply) = system.marque(&["revoke", "token", &left.leaf_digest().to_string(), "--reason", "test"]);
    assert_eq!(code, 0, "{reply}");
    for ended in [&left, &grandchild] {
        assert_eq!(denied(call(ended, &bus, 2).await), Code::Revoked);
        assert_eq!(denied(call_gated(ended, &bus, 2).await), Code::Revoked);
    }
    for alive in [&root, &right] {
        call(alive, &bus, 2).await.unwrap();
        call_gated(alive, &bus, 2).await.unwrap();
    }

    // The root is ended: so is a grandchild of the sibling, minted now.
    let unseen = cast::delegate(&right, cast::both_tools(), 0);
    let (code, reply) = system.marque(&["revoke", "token", &root.root_digest().to_string(), "--reason", "test"]);
    assert_eq!(code, 0, "{reply}");
    for ended in [&root, &right, &unseen] {
        assert_eq!(denied(call(ended, &bus, 3).await), Code::Revoked);
        assert_eq!(denied(call_gated(ended, &bus, 3).await), Code::Revoked);
    }

    // The tools ran for what was permitted and for nothing else, and each decision is one leaf.
    assert_eq!(host.runs.load(Ordering::SeqCst), 5);
    assert_eq!(gated_runs.load(Ordering::SeqCst), 5);
    host.served.drain(Duration::from_secs(5)).await;
    let copy = system.copy_log().await.unwrap();
    assert!(copy.verified, "{}", copy.report);
    assert_eq!(copy.decided.len(), 20);
    let directives = copy.records.iter().flatten().filter(|record| matches!(record.body, Body::Directive(_))).count();
    assert_eq!(directives, 2);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_narrowing_takes_away_and_a_lift_returns_to_what_was_signed() {
    let system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let bus = cast::carrier(&system).await;
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let agent = cast::enrol(&system).await;
    let root = cast::commission(&agent).await;
    let only =
        tools(json!({ format!("nats:{}", cast::HOSTED): { "account": { "constraint_type": "range", "max": 9 } } }));
    let child = cast::delegate(&root, only, 0);

    call(&child, &bus, 5).await.unwrap();
    assert_eq!(denied(call(&child, &bus, 10).await), Code::ArgumentRefused);

    let narrow = json!({ format!("nats:{}", cast::HOSTED): { "account": { "constraint_type": "exact", "value": 5 } } });
    let digest = root.root_digest().to_string();
    let (code, reply) =
        system.marque(&["narrow", "token", &digest, "--tools", &narrow.to_string(), "--reason", "test"]);
    assert_eq!(code, 0, "{reply}");
    call(&child, &bus, 5).await.unwrap();
    assert_eq!(denied(call(&child, &bus, 6).await), Code::Narrowed);

    let id = reply["id"].as_str().expect("the directive's id");
    let (code, reply) = system.marque(&["lift", id, "--reason", "test"]);
    assert_eq!(code, 0, "{reply}");
    call(&child, &bus, 6).await.unwrap();
    assert_eq!(denied(call(&child, &bus, 10).await), Code::ArgumentRefused);
    system.stop().await;
}
