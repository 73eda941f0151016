//! Streams are created once and compared ever after.

use marque_bus::permissions::BusRole;
use marque_bus::streams::{self, AUDIT, DIRECTIVES, PROOFS, SEALED, SEALING_KEYS};
use marque_bus::{Bus, BusError};
use marque_test_support::Broker;

#[tokio::test]
async fn bootstrap_twice_is_as_once_and_services_agree() {
    let broker = Broker::start().await;
    broker.connect(BusRole::Bootstrap).await.bootstrap_streams(1).await.unwrap();
    let (verifier, operator) = (broker.connect(BusRole::Verifier).await, broker.connect(BusRole::Operator).await);
    for spec in streams::specs(1) {
        // What a stream says of itself lists its subjects: of sealed payloads, whom they are about.
        let sealed = [SEALED, SEALING_KEYS].contains(&spec.name);
        if sealed { &operator } else { &verifier }.expect_stream(spec.name).await.unwrap();
    }
}

#[tokio::test]
async fn an_absent_stream_is_named_and_not_made() {
    let broker = Broker::start_empty(false);
    let verifier = broker.connect(BusRole::Verifier).await;
    for _ in 0..2 {
        let outcome = verifier.expect_stream(DIRECTIVES).await;
        let Err(BusError::StreamDiffers { stream, differences }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(stream, DIRECTIVES);
        assert!(differences[0].contains("does not exist"), "{differences:?}");
    }
}

/// Makes a stream that is ours but for one setting.
async fn create_differently(bus: &Bus, name: &str, change: impl Fn(&mut serde_json::Value)) {
    let mut settings = streams::specs(1).into_iter().find(|spec| spec.name == name).unwrap().settings;
    change(&mut settings);
    let subject = format!("$JS.API.STREAM.CREATE.{name}");
    let reply = bus.client().request(subject, settings.to_string().into()).await.unwrap();
    assert!(!String::from_utf8_lossy(&reply.payload).contains("\"error\""), "{:?}", reply.payload);
}

#[tokio::test]
async fn each_difference_is_named_and_nothing_is_changed() {
    let broker = Broker::start_empty(false);
    let bootstrap = broker.connect(BusRole::Bootstrap).await;
    create_differently(&bootstrap, AUDIT, |settings| {
        settings["deny_delete"] = false.into();
        settings["max_age"] = 3_600_000_000_000u64.into();
        settings["max_msgs"] = 5.into();
    })
    .await;
    create_differently(&bootstrap, PROOFS, |settings| settings["allow_msg_ttl"] = true.into()).await;
    for _ in 0..2 {
        let outcome = bootstrap.bootstrap_streams(1).await;
        let Err(BusError::StreamDiffers { stream, differences }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(stream, AUDIT);
        let text = differences.join("\n");
        for named in ["deny_delete is not set, must be true", "max_age is 3600000000000", "max_msgs is 5"] {
            assert!(text.contains(named), "{text}");
        }
        assert_eq!(differences.len(), 3, "{text}");
    }
    let outcome = broker.connect(BusRole::Verifier).await.expect_stream(PROOFS).await;
    assert!(outcome.unwrap_err().to_string().contains("allow_msg_ttl is true, must be not set"));
}
