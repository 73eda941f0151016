//! Streams are created once and compared ever after.

use std::time::Duration;

use marque_bus::permissions::BusRole;
use marque_bus::streams::{self, AUDIT, AuditLimits, DIRECTIVES, PROOFS, SEALED, SEALING_KEYS};
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
        settings["max_msgs_per_subject"] = 5.into();
    })
    .await;
    create_differently(&bootstrap, PROOFS, |settings| settings["allow_msg_ttl"] = true.into()).await;
    for _ in 0..2 {
        let outcome = bootstrap.bootstrap_streams(1).await;
        let Err(BusError::StreamDiffers { stream, differences }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(stream, AUDIT);
        let text = differences.join("\n");
        for named in ["deny_delete is not set, must be true", "max_age is 3600000000000", "max_msgs_per_subject is 5"] {
            assert!(text.contains(named), "{text}");
        }
        assert_eq!(differences.len(), 3, "{text}");
    }
    let outcome = broker.connect(BusRole::Verifier).await.expect_stream(PROOFS).await;
    assert!(outcome.unwrap_err().to_string().contains("allow_msg_ttl is true, must be not set"));
}

/// The audit stream's limits are its operator's, as long as they push publishers back: nothing that is held goes.
#[tokio::test]
async fn a_full_audit_stream_refuses_its_publishers_and_loses_nothing() {
    let broker = Broker::start_empty(false);
    let bootstrap = broker.connect(BusRole::Bootstrap).await;
    let limits = AuditLimits { messages: Some(3), bytes: Some(1 << 20) };
    bootstrap.bootstrap_streams_limited(1, limits).await.unwrap();
    // Twice is as once; without a word about limits they are the operator's; other ones are not put in their place.
    bootstrap.bootstrap_streams_limited(1, limits).await.unwrap();
    bootstrap.bootstrap_streams(1).await.unwrap();
    let other = AuditLimits { messages: Some(4), ..AuditLimits::default() };
    let outcome = bootstrap.bootstrap_streams_limited(1, other).await.unwrap_err();
    assert!(outcome.to_string().contains("max_msgs is 3, must be 4"), "{outcome}");
    let verifier = broker.connect(BusRole::Verifier).await;
    verifier.expect_stream(AUDIT).await.unwrap();
    for number in 1..=3 {
        let stored = verifier.publish_record("decided", None, &format!("record {number}")).await.unwrap();
        assert_eq!(stored.sequence, number);
    }
    for _ in 0..2 {
        // Room may be made: it is tried again until the deadline, and then nothing has happened.
        let subject = marque_bus::subjects::record("decided", None);
        let refused = verifier.publish_stored(&subject, b"one too many", None, Duration::from_millis(200)).await;
        assert!(matches!(&refused, Err(BusError::Unavailable(why)) if why.contains("maximum messages")), "{refused:?}");
    }
    let state = verifier.stream_state(AUDIT).await.unwrap();
    assert_eq!((state.first_sequence, state.last_sequence, state.messages, state.limits()), (1, 3, 3, limits));
    assert!(state.bytes > 0);
    let held = verifier.read(AUDIT, 1, 10).await.unwrap().messages;
    let texts: Vec<&[u8]> = held.iter().map(|message| &message.payload[..]).collect();
    assert_eq!(texts, [&b"record 1"[..], b"record 2", b"record 3"]);
}

/// The same limits where the old is discarded would empty it.
#[tokio::test]
async fn limits_that_drop_evidence_are_a_difference() {
    let broker = Broker::start_empty(false);
    let bootstrap = broker.connect(BusRole::Bootstrap).await;
    create_differently(&bootstrap, AUDIT, |settings| {
        settings["discard"] = "old".into();
        settings["max_msgs"] = 5.into();
    })
    .await;
    let outcome = broker.connect(BusRole::Verifier).await.expect_stream(AUDIT).await.unwrap_err().to_string();
    assert!(outcome.contains("discard is \"old\"") && outcome.contains("max_msgs is 5"), "{outcome}");
}
