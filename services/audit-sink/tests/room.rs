//! The audit stream's limits on a real broker: the alarm comes first, then publishers are refused, and nothing is lost.
#![allow(clippy::unwrap_used)]

mod house;

use house::process::{Sink, publish};
use house::{decided, key};
use marque_audit_sink::headroom::{ALARM_FILE, SIGNAL};
use marque_bus::permissions::BusRole;
use marque_bus::streams::{AUDIT, AuditLimits};
use marque_bus::{BusError, Stored};
use marque_judgement::record::{Body, Record, Verb};
use marque_test_support::{Broker, DEADLINE, eventually};

const MESSAGES_MAX: u64 = 50;
/// A publisher that does not wait for room.
const SHORT: std::time::Duration = std::time::Duration::from_millis(200);

/// The alarms in the stream.
fn alarms(stream: &[Stored]) -> Vec<(u64, Record)> {
    let record = |message: &Stored| {
        let (record, _) = Record::open_any(std::str::from_utf8(&message.payload).unwrap()).unwrap();
        matches!(&record.body, Body::Risk(risk) if risk.signal == SIGNAL).then_some((message.sequence, record))
    };
    stream.iter().filter_map(record).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_alarm_comes_before_publishers_are_refused_and_nothing_is_lost() {
    let broker = Broker::start_empty(false);
    let limits = AuditLimits { messages: Some(MESSAGES_MAX), bytes: None };
    broker.connect(BusRole::Bootstrap).await.bootstrap_streams_limited(1, limits).await.unwrap();
    let verifier = broker.connect(BusRole::Verifier).await;
    let sink = Sink::new(&broker);
    let quiet = ["audit_sink.heads_interval_ms=3600000"];
    let mut child = sink.start_with(&quiet);
    // 1. Below the share: ready, and no word.
    let mut ids = publish(&verifier, 39, "nats:tools.one").await;
    sink.reaches(39).await;
    let warned = |page: Vec<u8>| String::from_utf8(page).unwrap().contains("warning: audit stream");
    assert!(!warned(sink.get("/readyz").unwrap()));
    // 2. At 80 %: the record is in the stream and in the log, the page warns and stays ready, the metric is set.
    ids.extend(publish(&verifier, 1, "nats:tools.one").await);
    sink.reaches(41).await;
    let stream = verifier.read(AUDIT, 1, 100).await.unwrap().messages;
    let raised = alarms(&stream);
    assert_eq!((raised.len(), raised[0].0, raised[0].1.by), (1, 41, key(3).did()));
    assert!(warned(eventually("a warning", DEADLINE, || async { sink.get("/readyz") }).await));
    let metrics = String::from_utf8(sink.get("/metrics").unwrap()).unwrap();
    for line in ["marque_audit_stream_alarm 1", "marque_audit_stream_messages_max 50"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    eventually("the alarm on disk", DEADLINE, || async {
        if sink.directory.path().join("state").join(ALARM_FILE).exists() { Ok(()) } else { Err("not there") }
    })
    .await;
    // 3. Started again it does not say so twice.
    child.kill();
    let _child = sink.start_with(&quiet);
    // 4. Full: publishers are refused, each time; before that each was stored.
    ids.extend(publish(&verifier, 9, "nats:tools.one").await);
    for _ in 0..3 {
        let record = decided(key(10).did(), &[], "nats:tools.one", Verb::Permit).seal(&key(2)).unwrap();
        let subject = marque_bus::subjects::record("decided", Some(&key(10).did()));
        let refused = verifier.publish_stored(&subject, record.as_bytes(), None, SHORT).await;
        // Nothing happened, and trying again later may help: somebody makes room.
        assert!(matches!(&refused, Err(BusError::Unavailable(why)) if why.contains("maximum messages")), "{refused:?}");
    }
    // 5. Nothing is lost: the stream is whole from its first message, and the log has every one of them.
    sink.reaches(MESSAGES_MAX).await;
    let stream = verifier.read(AUDIT, 1, 100).await.unwrap().messages;
    let sequences: Vec<u64> = stream.iter().map(|message| message.sequence).collect();
    assert_eq!(sequences, (1..=MESSAGES_MAX).collect::<Vec<u64>>());
    assert_eq!(alarms(&stream).len(), 1, "said twice");
    let held: Vec<String> = stream
        .iter()
        .map(|message| Record::open_any(std::str::from_utf8(&message.payload).unwrap()).unwrap().0.id)
        .filter(|id| *id != raised[0].1.id)
        .collect();
    assert_eq!(held, ids);
}
