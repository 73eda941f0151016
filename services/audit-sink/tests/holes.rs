//! Messages that the stream lost before a sink had read them: it takes them over from the others' logs, or halts.
#![allow(clippy::unwrap_used)]

mod house;

use house::admin::{administrator, keep_the_last_of_each_subject, purge_to_the_last};
use house::process::{Sink, publish};
use house::{ORIGIN, SEEDS, checked, decided, key, three_sinks_text};
use marque_audit_sink::step::Step;
use marque_audit_sink::tiles::PIECE_BYTES_MAX;
use marque_bus::async_nats::Client;
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, subjects};
use marque_judgement::record::Verb;
use marque_test_support::{Broker, ChildGuard, DEADLINE, eventually};

/// Each needs the cosignature of one of the two others.
const SETTINGS: [&str; 2] = ["audit_sink.heads_interval_ms=3600000", "audit_sink.cosignatures=1"];

/// Three sinks of one log; the first is stopped, and the others run.
struct Three {
    _broker: Broker,
    admin: Client,
    verifier: Bus,
    sinks: [Sink; 3],
    others: Vec<ChildGuard>,
}

impl Three {
    /// All of them have read twenty messages, the last of which is the only one on its subject.
    async fn start() -> Self {
        let mut broker = Broker::start().await;
        let admin = administrator(&mut broker).await;
        let verifier = broker.connect(BusRole::Verifier).await;
        let sinks = SEEDS.map(|seed| Sink::of(&broker, seed, &three_sinks_text()));
        let mut running: Vec<_> = sinks.iter().map(|sink| sink.start_with(&SETTINGS)).collect();
        publish(&verifier, 19, "nats:tools.one").await;
        let agent = key(11).did();
        let record = decided(agent, &[], "nats:tools.one", Verb::Permit).seal(&key(2)).unwrap();
        verifier.publish_record("decided", Some(&agent), &record).await.unwrap();
        for sink in &sinks {
            sink.reaches(20).await;
        }
        running.remove(0).kill();
        Self { _broker: broker, admin, verifier, sinks, others: running }
    }

    /// All show the same root, and the first one's log verifies.
    async fn agree(&self, size: u64) {
        let mut roots = Vec::new();
        for sink in &self.sinks {
            roots.push(sink.reaches(size).await.root);
        }
        assert!(roots.iter().all(|root| *root == roots[0]), "{roots:?}");
        let copy = tempfile::tempdir().unwrap();
        self.sinks[0].copy(copy.path(), size).await;
        let report = checked(copy.path(), ORIGIN);
        assert!(report.is_ok() && report.leaves_checked == size, "{report:?}");
    }
}

async fn says(sink: &Sink, why: &str) {
    eventually(why, DEADLINE, || async { if sink.log().contains(why) { Ok(()) } else { Err(sink.log()) } }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_stream_lost_comes_from_another_sinks_log() {
    let three = Three::start().await;
    let [first, second, third] = &three.sinks;
    // 1. The others read what the stream then loses: a hole behind the log's end. One message is longer than a piece.
    let subject = subjects::record("decided", Some(&key(10).did()));
    three.admin.request(subject, vec![b'x'; PIECE_BYTES_MAX + 9000].into()).await.unwrap();
    publish(&three.verifier, 300, "nats:tools.two").await;
    for sink in [second, third] {
        sink.reaches(321).await;
    }
    keep_the_last_of_each_subject(&three.admin).await;
    let mut child = first.start_with(&SETTINGS);
    three.agree(321).await;
    // It says so: how many, from whom, under which checkpoint.
    assert_eq!(first.metric("marque_audit_records_mended"), Some(300), "{}", first.log());
    let from = SEEDS[1..].iter().find(|seed| first.log().contains(&key(**seed).did().to_string()));
    assert!(from.is_some() && first.log().contains("checkpoint_size"), "{}", first.log());
    // It goes on from the stream, and knows it again after a restart.
    publish(&three.verifier, 3, "nats:tools.three").await;
    three.agree(324).await;
    child.kill();
    // 2. Likewise where the stream begins behind the log's end; killed as soon as the range is there, it goes on.
    publish(&three.verifier, 9, "nats:tools.four").await;
    for sink in [second, third] {
        sink.reaches(333).await;
    }
    purge_to_the_last(&three.admin, 4).await;
    let mut child = first.start_killed_at(&SETTINGS, Step::Appended);
    child.wait(DEADLINE);
    let mut child = first.start_with(&SETTINGS);
    three.agree(333).await;
    assert_eq!(first.metric("marque_audit_halted"), Some(0));
    child.kill();
    // 3. An empty log is one that lacks everything.
    std::fs::remove_dir_all(first.directory.path().join("state")).unwrap();
    let _child = first.start_with(&SETTINGS);
    three.agree(333).await;
    assert_eq!(first.metric("marque_audit_records_mended"), Some(329), "{}", first.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_other_sink_has_halts_the_log() {
    let mut three = Three::start().await;
    // 1. The one other that read it has nobody's cosignature for it: its word alone is not taken.
    three.others.remove(1).kill();
    publish(&three.verifier, 5, "nats:tools.two").await;
    let second = &three.sinks[1];
    eventually("the second reads on", DEADLINE, || async {
        if second.metric("marque_audit_log_size") == Some(25) { Ok(()) } else { Err(second.log()) }
    })
    .await;
    keep_the_last_of_each_subject(&three.admin).await;
    let first = &three.sinks[0];
    let mut child = first.start_with(&SETTINGS);
    says(first, "THE LOG HALTS").await;
    let ready = first.get("/readyz").unwrap_err();
    for said in ["goes from sequence 20 to 25", "over 20 leaves, the range ends with 24", &key(6).did().to_string()] {
        assert!(ready.contains(said), "{said}: {ready}");
    }
    assert_eq!((first.metric("marque_audit_log_size"), first.metric("marque_audit_halted")), (Some(20), Some(1)));
    child.kill();
    // 2. One that nobody is ahead of: it says so of each.
    let third = &three.sinks[2];
    let _child = third.start_with(&SETTINGS);
    says(third, "THE LOG HALTS").await;
    let ready = third.get("/readyz").unwrap_err();
    for other in [3, 6] {
        assert!(ready.contains(&key(other).did().to_string()), "{ready}");
    }
    assert_eq!(third.metric("marque_audit_log_size"), Some(20));
}
