//! A gatekeeper that hangs where it stands: the broker asks it, and gives up by its own `authorization.timeout`.

use std::sync::Arc;

use marque::service_config::Service;
use marque_agent::Delegation;
use marque_agent::enforce::Policy;
use marque_bus::permissions::BusRole;
use marque_bus::subjects;
use marque_identity::{Code, Did};
use marque_signing::SigningKey;
use marque_test_support::eventually;
use marque_tests::cast::{self, tools};
use marque_tests::noise::RawClient;
use marque_tests::system::{DEADLINE, TestSystem};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{blueprint, closed, commission, connect, enrol, grant, records, refused, request};

/// Agents that come while it hangs.
const COMERS: usize = 20;

/// Stopped, not killed: it is asked, and does not answer. Nobody gets in, whoever is in goes on, and once it goes on
/// itself everybody gets in who should, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_gatekeeper_hangs_nobody_gets_in_and_nobody_is_held_up() {
    let system = Arc::new(TestSystem::start(&[blueprint()]).await.unwrap());
    let _host = cast::host(&system, Policy::new(system.domain().clone())).await;
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let [inside, ended] = [0; 2].map(|_| cast::delegate(&root, tools(grant()), 0));
    let inside_bus = connect(&system, &inside).await.unwrap();
    let ended_bus = connect(&system, &ended).await.unwrap();

    system.freeze(Service::Gatekeeper, true);
    let mut waiting = JoinSet::new();
    for _ in 0..COMERS {
        let (system, seed) = (system.clone(), SigningKey::generate().unwrap());
        let chain = root.delegate(&seed.public(), Delegation::new(tools(grant()))).unwrap();
        waiting.spawn(async move {
            let outcome = RawClient::connect_by(&system, &seed, Some(&chain)).await;
            (seed, chain, outcome.map(drop).expect_err("let in by nobody"))
        });
    }
    // Whoever is in, and whoever needs no gatekeeper, goes on; what it can't close now, the tool denies.
    cast::call(&inside, &inside_bus, 1).await.unwrap();
    let (code, reply) = system.marque(&["revoke", "token", &ended.leaf_digest().to_string(), "--reason", "test"]);
    assert!([0, 4].contains(&code), "{reply}");
    assert_eq!(cast::denied(cast::call(&ended, &ended_bus, 2).await), Code::Revoked);
    let operator = system.bus(BusRole::Operator).await.unwrap();
    let mut comers = Vec::new();
    while let Some(outcome) = waiting.join_next().await {
        let (seed, chain, heard) = outcome.unwrap();
        // The broker's own word, after its timeout.
        assert!(heard.contains("-ERR"), "{heard}");
        comers.push((seed, chain));
    }
    assert!(inside_bus.is_connected() && ended_bus.is_connected());
    cast::call(&inside, &inside_bus, 3).await.unwrap();
    agent.commission(&request()).await.unwrap();
    let came: Vec<Option<Did>> = comers.iter().map(|(seed, _)| Some(seed.public().did())).collect();
    let answered = records(&system).await.into_iter().find(|record| came.contains(&record.agent));
    assert!(answered.is_none(), "it did not hang: {answered:?}");

    system.freeze(Service::Gatekeeper, false);
    closed(&ended_bus).await;
    eventually("it is ready again", DEADLINE, || async {
        let (status, said) = system.page(Service::Gatekeeper, "/readyz").await;
        if status == 200 { Ok(()) } else { Err(said) }
    })
    .await;
    refused(&system, &ended).await;
    let mut in_now = Vec::new();
    for (seed, chain) in &comers {
        let thief = SigningKey::generate().unwrap();
        assert!(RawClient::connect_by(&system, &thief, Some(chain)).await.is_err(), "a thief was let in");
        in_now.push(eventually("it is let in", DEADLINE, || RawClient::connect_by(&system, seed, Some(chain))).await);
    }
    assert!(inside_bus.is_connected());
    // Those who came, the one that stayed, and the agent's own. Who gave up, and was answered late, is forgotten.
    let wanted = comers.len() as u64 + 2;
    eventually("the gatekeeper counts those who are inside", DEADLINE, || async {
        let asked = operator.request(subjects::GATEKEEPER_CONNECTIONS, Default::default(), "", DEADLINE).await;
        let listed: Value = serde_json::from_slice(&asked.map_err(|error| error.to_string())?.payload).unwrap();
        if listed["count"] == wanted { Ok(()) } else { Err(format!("{} of {wanted}", listed["count"])) }
    })
    .await;
    drop(in_now);
    Arc::into_inner(system).unwrap().stop().await;
}
