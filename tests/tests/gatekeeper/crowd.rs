//! A crowd at the door.

use std::sync::Arc;

use marque_agent::Delegation;
use marque_bus::permissions::BusRole;
use marque_bus::subjects;
use marque_signing::SigningKey;
use marque_test_support::eventually;
use marque_tests::cast::tools;
use marque_tests::noise::RawClient;
use marque_tests::system::{DEADLINE, TestSystem};
use serde_json::Value;

use super::{blueprint, commission, enrol, grant, revoke};

/// Connects at once: as many as one process may have sockets, twice, with room.
const CROWD: usize = 1000;

/// A crowd at the door: everybody gets in who should, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_crowd_everybody_gets_in_who_should_and_nobody_else() {
    let system = Arc::new(TestSystem::start(&[blueprint()]).await.unwrap());
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..CROWD {
        let (system, root) = (system.clone(), root.clone());
        crowd.spawn(async move {
            if n % 10 == 0 {
                // A thief among ten: refused however often it asks.
                let thief = SigningKey::generate().unwrap();
                let refused = RawClient::connect_by(&system, &thief, Some(root.chain())).await.is_err();
                assert!(refused, "a thief was let in");
                return None;
            }
            let seed = SigningKey::generate().unwrap();
            let chain = root.delegate(&seed.public(), Delegation::new(tools(grant()))).unwrap();
            // The server gives up on an answer after some seconds; who asks again is let in.
            Some(eventually("it is let in", DEADLINE, || RawClient::connect_by(&system, &seed, Some(&chain))).await)
        });
    }
    // Held from the moment they are in: a connection that answers no ping is closed by the broker itself.
    let mut inside = tokio::task::JoinSet::new();
    while let Some(outcome) = crowd.join_next().await {
        if let Some(mut client) = outcome.unwrap() {
            inside.spawn(async move { client.closed().await });
        }
    }
    assert_eq!(inside.len(), CROWD - CROWD / 10);
    let operator = system.bus(BusRole::Operator).await.unwrap();
    // The agent's own connection, which shows its credential, is one more. Who gave up and came again is forgotten.
    let wanted = inside.len() as u64 + 1;
    eventually("the gatekeeper counts those who are inside", DEADLINE, || async {
        let asked = operator.request(subjects::GATEKEEPER_CONNECTIONS, Default::default(), "", DEADLINE).await;
        let listed: Value = serde_json::from_slice(&asked.map_err(|error| error.to_string())?.payload).unwrap();
        if listed["count"] == wanted { Ok(()) } else { Err(format!("{} of {wanted}", listed["count"])) }
    })
    .await;
    // One word ends them all.
    revoke(&system, &["token", &root.root_digest().to_string()]);
    let closed = async { while inside.join_next().await.is_some() {} };
    assert!(tokio::time::timeout(DEADLINE, closed).await.is_ok(), "a connection outlived its commission");
    Arc::into_inner(system).unwrap().stop().await;
}
