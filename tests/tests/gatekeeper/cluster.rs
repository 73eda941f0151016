//! Two brokers that are a cluster, an agent at each, a gatekeeper at each.

use std::collections::BTreeSet;

use marque_identity::Did;
use marque_tests::cast::{self, tools};
use marque_tests::system::{DEADLINE, TestSystem};

use super::{blueprint, closed, commission, connect, enrol, grant, refused, revoke};

/// A directive ends connections at both, and whoever asked for it is told both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_closes_what_stands_at_either_broker() {
    let mut system = TestSystem::start_clustered(&[blueprint()]).await.unwrap();
    system.start_second_gatekeeper().await.unwrap();
    let there = system.second_url().unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let [near, far] = [0; 2].map(|_| cast::delegate(&root, tools(grant()), 0));
    let near_bus = connect(&system, &near).await.unwrap();
    let far_bus = far.connect(&there, "test-agent", DEADLINE).await.unwrap();
    let told = revoke(&system, &["token", &root.root_digest().to_string()]);
    closed(&near_bus).await;
    closed(&far_bus).await;
    let named = told["receipt"]["closed"]["named"].as_array().unwrap();
    let agents: BTreeSet<Did> = named.iter().map(|one| one["agent"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(agents, [near.key().did(), far.key().did()].into(), "{told}");
    let servers: BTreeSet<&str> = named.iter().map(|one| one["server"].as_str().unwrap()).collect();
    assert_eq!((servers.len(), named.len()), (2, 2), "each once: {told}");
    // Neither comes back, by either broker.
    refused(&system, &far).await;
    assert!(near.connect(&there, "test-agent", DEADLINE).await.is_err());
    system.stop().await;
}
