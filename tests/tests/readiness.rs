//! What a service says of itself while it can't do its duty: `/readyz` names the broker while there is no connection to
//! it, and takes it back by itself; `/livez` never depends on it (EXPERIENCE.md, services).

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use marque::service_config::Service;
use marque_signing::{SigningKey, nkey};
use marque_test_support::eventually;
use marque_tests::cast;
use marque_tests::system::{DEADLINE, TestSystem};

/// Waits until a service's page answers this status and says such lines as `is` wants.
async fn until_says(system: &TestSystem, service: Service, what: &str, status: u16, is: impl Fn(&str) -> bool) {
    eventually(&format!("{} says {what}", service.name()), DEADLINE, || async {
        match system.page(service, "/readyz").await {
            (answered, said) if answered == status && is(&said) => Ok(()),
            (answered, said) => Err(format!("{answered}: {said}")),
        }
    })
    .await;
}

fn has_line(said: &str, begin: &str) -> bool {
    said.lines().any(|line| line.starts_with(begin))
}

/// Waits until a service's page says that `what` is pending.
async fn until_pending(system: &TestSystem, service: Service, what: &str) {
    until_says(system, service, &format!("`{what}`"), 503, |said| has_line(said, what)).await;
}

/// Killed, the broker takes every service's readiness and nobody's life; started again, it gives it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_service_is_ready_without_the_broker_and_each_is_again_with_it() {
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    for _ in 0..2 {
        system.kill_broker();
        for service in Service::ALL {
            until_pending(&system, service, "broker: ").await;
            assert_eq!(system.page(service, "/livez").await.0, 200, "{} lives", service.name());
        }
        until_pending(&system, Service::Sink, "stream: ").await;
        system.start_broker().unwrap();
        for service in Service::ALL {
            system.until_ready(service).await.unwrap();
        }
    }
    cast::enrol(&system).await;
    system.stop().await;
}

/// Started without a broker, a service lives, waits, and says for what.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_starts_without_a_broker_says_that_it_waits_for_it() {
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    system.kill_broker();
    for service in Service::ALL {
        system.kill(service);
        system.start_service(service);
    }
    for service in Service::ALL {
        until_pending(&system, service, "broker: ").await;
        assert_eq!(system.page(service, "/livez").await.0, 200, "{} lives", service.name());
    }
    system.start_broker().unwrap();
    for service in Service::ALL {
        system.until_ready(service).await.unwrap();
    }
    system.stop().await;
}

/// The gatekeeper has a connection for each account. Where the broker takes one of them away, it is not ready, and
/// names it, though all the others stand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gatekeeper_is_not_ready_while_the_broker_can_not_ask_it() {
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let file = system.directory().nats_conf();
    let text = std::fs::read_to_string(&file).unwrap();
    let another = nkey::user_public(&SigningKey::generate().unwrap().public());
    for (key, which) in [("callout", "broker: auth callout: "), ("kicker", "broker: system account: ")] {
        let user = nkey::user_public(&system.directory().key(key).unwrap().public());
        let without = text.replace(&format!("nkey: {user}"), &format!("nkey: {another}"));
        assert_ne!(without, text);
        std::fs::write(&file, without).unwrap();
        system.reload_broker();
        // Its reload may shake the others, too; they come back, and this one does not.
        let alone = |said: &str| said.starts_with(which) && said.lines().count() == 1;
        until_says(&system, Service::Gatekeeper, &format!("`{which}` and nothing else"), 503, alone).await;
        assert_eq!(system.page(Service::Gatekeeper, "/livez").await.0, 200);
        assert_eq!(system.page(Service::Issuer, "/readyz").await.0, 200, "the issuer's connection stands");

        std::fs::write(&file, &text).unwrap();
        system.reload_broker();
        system.until_ready(Service::Gatekeeper).await.unwrap();
    }
    cast::enrol(&system).await;
    system.stop().await;
}

/// Without any gatekeeper nobody new gets in, and the services go on: the broadcaster, which hears who is there, says so
/// and stays ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broadcaster_says_while_no_gatekeeper_is_there() {
    const SAID: &str = "warning: gatekeeper: ";
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let agent = cast::enrol(&system).await;
    let warned = async |system: &TestSystem, wanted: bool| {
        let what = format!("`{SAID}`: {wanted}");
        until_says(system, Service::Broadcaster, &what, 200, |said| has_line(said, SAID) == wanted).await;
    };
    warned(&system, false).await;
    system.kill(Service::Gatekeeper);
    warned(&system, true).await;
    cast::commission(&agent).await; // whoever is inside works on
    system.start_service(Service::Gatekeeper);
    warned(&system, false).await;
    system.stop().await;
}

/// Asked to stop while there is no broker, a service that has nothing in hand waits for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_a_broker_ends_when_it_is_asked_to() {
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    system.kill_broker();
    for service in Service::ALL {
        until_pending(&system, service, "broker: ").await;
        system.terminate(service);
        assert_eq!(system.until_ended(service), Some(0), "{}", service.name());
        let said = system.telemetry(service);
        assert!(said.contains("disconnected from the broker"), "its telemetry is read: {said}");
        assert!(!said.contains("at the deadline"), "{} waited for its drain's deadline: {said}", service.name());
    }
}
