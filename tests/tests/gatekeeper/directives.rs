//! What directives do to connections that are open.

use marque_agent::Commission;
use marque_identity::Code;
use marque_judgement::record::{Body, Shown};
use marque_test_support::eventually;
use marque_tests::cast::{self, tools};
use marque_tests::system::{DEADLINE, TestSystem};
use serde_json::json;

use super::{
    HOSTED, blueprint, closed, commission, complaints, connect, enrol, grant, pattern, records, refused, revoke,
};

/// The connection ends with the directive, its holder does not come back, its sibling is not touched, and all of it is
/// in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_closes_the_connection_and_no_other() {
    let system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let (left, right) = (cast::delegate(&root, tools(grant()), 1), cast::delegate(&root, tools(grant()), 0));
    let below = cast::delegate(&left, tools(grant()), 0);
    let (left_bus, right_bus) = (connect(&system, &left).await.unwrap(), connect(&system, &right).await.unwrap());
    let below_bus = connect(&system, &below).await.unwrap();
    revoke(&system, &["token", &left.leaf_digest().to_string()]);
    closed(&left_bus).await;
    closed(&below_bus).await;
    refused(&system, &left).await;
    refused(&system, &below).await;
    // A child of the revoked link that nobody has seen.
    refused(&system, &cast::delegate(&left, tools(grant()), 0)).await;
    assert!(right_bus.is_connected());
    assert!(complaints(&right_bus, &[(true, "team.still".to_owned())]).await.is_empty());

    let kicked = eventually("kicks and ends are recorded", DEADLINE, || async {
        let records = records(&system).await;
        let of = |commission: &Commission| {
            let of_it = records.iter().filter(|record| record.agent == Some(commission.key().did()));
            let (mut kicks, mut ends) = (0, 0);
            for record in of_it {
                match &record.body {
                    Body::Kicked(kicked) => {
                        assert_eq!((kicked.code, kicked.directive.is_some()), (Code::Revoked, true));
                        kicks += 1;
                    }
                    Body::Disconnected(_) => ends += 1,
                    Body::Connected(connected) => assert_eq!(connected.shown, Shown::Chain),
                    _ => {}
                }
            }
            (kicks, ends)
        };
        match (of(&left), of(&below), of(&right)) {
            ((1, 1), (1, 1), (0, 0)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    kicked.await;
    // The kill switch closes whoever is left.
    revoke(&system, &["domain"]);
    closed(&right_bus).await;
    refused(&system, &right).await;
    system.stop().await;
}

/// A narrowing that the broker can enforce takes the grant away; a lift gives it back to whoever connects anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrowing_takes_from_the_wire_what_it_does_not_allow() {
    let system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let bus = connect(&system, &root).await.unwrap();
    let (token, publish) = (root.root_digest().to_string(), [(true, "team.a".to_owned())]);
    assert!(complaints(&bus, &publish).await.is_empty());
    // One that is about arguments of a tool alone changes nothing on the wire.
    let other =
        json!({ format!("nats:{HOSTED}"): { "account": { "constraint_type": "exact", "value": 1 } } }).to_string();
    let (code, reply) = system.marque(&["narrow", "token", &token, "--tools", &other, "--reason", "test"]);
    assert_eq!(code, 0, "{reply}");
    assert!(complaints(&bus, &publish).await.is_empty() && bus.is_connected());

    let narrow = json!({ "nats:publish": pattern("team.open.>") }).to_string();
    let (code, reply) = system.marque(&["narrow", "token", &token, "--tools", &narrow, "--reason", "test"]);
    assert_eq!(code, 0, "{reply}");
    // Closed, and back by itself with less: its client has the same chain.
    let narrowed = eventually("it comes back with less", DEADLINE, || async {
        match connect(&system, &root).await {
            Ok(bus) if complaints(&bus, &publish).await.len() == 1 => Ok(bus),
            Ok(_) => Err("it still has all".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    let left = [(true, "team.open.a".to_owned()), (false, "team.a".to_owned())];
    assert_eq!(complaints(&narrowed, &left).await, [""; 0], "what is left, and listening was not narrowed");
    let (code, reply) = system.marque(&["lift", reply["id"].as_str().unwrap(), "--reason", "test"]);
    assert_eq!(code, 0, "{reply}");
    eventually("it comes back with all", DEADLINE, || async {
        match connect(&system, &root).await {
            Ok(bus) if complaints(&bus, &publish).await.is_empty() => Ok(()),
            Ok(_) => Err("it has less still".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    system.stop().await;
}
