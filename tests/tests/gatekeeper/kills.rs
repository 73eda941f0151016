//! Gatekeepers, the broker and the broadcaster killed: nobody new gets in, and nobody is forgotten.

use std::time::Duration;

use marque::service_config::Service;
use marque_agent::Commission;
use marque_bus::{BusError, subjects};
use marque_identity::Code;
use marque_test_support::eventually;
use marque_tests::cast::{self, tools};
use marque_tests::system::{DEADLINE, TestSystem};

use super::{blueprint, closed, commission, complaints, connect, enrol, grant, refusals, refused, revoke};

/// Killed gatekeepers: nobody new gets in, whoever is in stays, and a new gatekeeper knows them, so that a directive
/// still ends them. With two, nobody notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_gatekeepers_let_nobody_in_and_forget_nobody() {
    let mut system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let [one, two, three] = [0; 3].map(|_| cast::delegate(&root, tools(grant()), 0));
    let one_bus = connect(&system, &one).await.unwrap();
    let two_bus = connect(&system, &two).await.unwrap();

    system.kill(Service::Gatekeeper);
    let outcome = connect(&system, &three).await;
    assert!(outcome.is_err(), "let in by nobody");
    assert!(one_bus.is_connected() && complaints(&one_bus, &[(true, "team.a".to_owned())]).await.is_empty());
    // Revoked while nobody watches: the next gatekeeper closes it as it starts.
    let (code, reply) = system.marque(&["revoke", "token", &one.leaf_digest().to_string(), "--reason", "test"]);
    assert!([0, 4].contains(&code), "{reply}");
    system.start_service(Service::Gatekeeper);
    system.until_ready(Service::Gatekeeper).await.unwrap();
    closed(&one_bus).await;
    assert!(two_bus.is_connected());
    connect(&system, &three).await.unwrap();

    // Two of them: one is killed, and what it let in is closed by the other.
    system.start_second_gatekeeper().await.unwrap();
    let four = cast::delegate(&root, tools(grant()), 0);
    let four_bus = connect(&system, &four).await.unwrap();
    system.kill(Service::Gatekeeper);
    let five = cast::delegate(&root, tools(grant()), 0);
    let five_bus = eventually("the other lets in", DEADLINE, || async {
        connect(&system, &five).await.map_err(|error| error.to_string())
    })
    .await;
    let (code, reply) = system.marque(&["revoke", "token", &root.root_digest().to_string(), "--reason", "test"]);
    assert!([0, 4].contains(&code), "{reply}");
    for bus in [&two_bus, &four_bus, &five_bus] {
        closed(bus).await;
    }
    refused(&system, &two).await;
    system.stop().await;
}

/// The broker is killed and comes back: whoever may comes back by itself, whoever was revoked meanwhile does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_the_broker_agents_come_back_by_their_chains() {
    let mut system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let children: Vec<Commission> = (0..20).map(|_| cast::delegate(&root, tools(grant()), 0)).collect();
    let mut buses = Vec::new();
    for child in &children {
        buses.push(connect(&system, child).await.unwrap());
    }
    revoke(&system, &["token", &children[0].leaf_digest().to_string()]);
    closed(&buses[0]).await;
    system.kill_broker();
    system.start_broker().unwrap();
    for bus in &buses[1..] {
        let back = eventually("it comes back", DEADLINE, || async {
            let asked = bus.request(subjects::issuer::BUNDLE, Default::default(), "", Duration::from_secs(2)).await;
            asked.map(drop).map_err(|error| error.to_string())
        });
        back.await;
    }
    for service in Service::ALL {
        system.until_ready(service).await.unwrap();
    }
    refused(&system, &children[0]).await;
    assert!(!buses[0].is_connected());
    system.stop().await;
}

/// A view that is not fresh lets nobody in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_view_lets_nobody_in() {
    let settings = [(Service::Gatekeeper, "staleness_ms = 2000")];
    let mut system = TestSystem::start_with(&[blueprint()], &settings).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let bus = connect(&system, &root).await.unwrap();
    system.kill(Service::Broadcaster);
    eventually("the view goes stale", DEADLINE, || async {
        match connect(&system, &root).await {
            Err(BusError::Forbidden(_)) => Ok(()),
            other => Err(format!("{:?}", other.map(|_| "let in"))),
        }
    })
    .await;
    assert_eq!(refusals(&system, Code::ViewStale).await, 1);
    assert!(bus.is_connected(), "whoever is in stays: the tools' own bounds hold");
    assert_ne!(system.page(Service::Gatekeeper, "/readyz").await.0, 200);
    system.start_service(Service::Broadcaster);
    system.until_ready(Service::Gatekeeper).await.unwrap();
    connect(&system, &root).await.unwrap();
    system.stop().await;
}
