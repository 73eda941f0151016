//! The sink's intake against what bounds it: pulling from the stream, and verifying signatures on the same cores.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use marque::service_config::Service;
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, streams, subjects};
use marque_identity::{TokenId, UnixMillis};
use marque_judgement::record::{Body, Completed, Outcome, Record};
use marque_signing::{Compact, SigningKey};
use marque_tests::system::TestSystem;

use crate::report::Row;

/// Records in the stream: some seconds of work, so that the first and the last batch weigh little.
const RECORDS: usize = 200_000;
/// Publishes under way at once.
const PUBLISHES_AT_ONCE: usize = 512;
/// A look is a page of metrics, written and read on the cores that are measured: every 5 ms they took 4 % of them.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The rows about the sink, and how many records a second it took into its log.
pub async fn rows() -> (Vec<Row>, f64) {
    let mut system = TestSystem::start(&[]).await.expect("a system");
    system.kill(Service::Sink);
    let host = system.directory().key("host").expect("the host's key");
    let records: Vec<String> = (0..RECORDS).map(|_| record(&host)).collect();
    let publisher = system.bus(BusRole::Host).await.expect("the host's connection");
    fill(&publisher, &records, &host).await;

    let verify = verification_rate(&records, &host);
    let pull = pull_rate(&system.bus(BusRole::Sink).await.expect("the sink's connection")).await;
    let (logged, indexed) = sink_rates(&mut system).await;
    system.stop().await;
    let bound = pull.min(verify);
    // Both on the same cores, one after the other: no more is to be had where each record costs both.
    let both = 1.0 / (1.0 / pull + 1.0 / verify);
    let rows = vec![
        Row::rate("sink: records/s into the log", logged, "min(bare pull, strict verification)", bound, "≥ 0.8"),
        Row::rate("  the same", logged, "bare pull and strict verification in turn", both, ""),
        Row::rate("  and into its index", indexed, "min(bare pull, strict verification)", bound, ""),
        Row::plain("  bare pull · strict verification, all cores", format!("{pull:.0}/s · {verify:.0}/s"), ""),
    ];
    (rows, logged)
}

pub(crate) fn record(host: &SigningKey) -> String {
    let completed = Completed {
        decided: TokenId::generate().to_string(),
        outcome: Outcome::Ok,
        status: None,
        reply_sha256: None,
        reply_bytes: Some(128),
        duration_us: 1500,
    };
    let mut record = Record::new(UnixMillis(1_800_000_000_000), host.did(), Body::Completed(completed));
    record.agent = Some(host.did());
    record.task = "urn:task:bench".parse().ok();
    record.tool = Some("nats:tools.crm.query".into());
    record.seal(host).expect("a record")
}

async fn fill(bus: &Bus, records: &[String], host: &SigningKey) {
    let subject = subjects::record("completed", Some(&host.did()));
    let mut published = stream::iter(records)
        .map(|record| bus.publish_stored(&subject, record.as_bytes(), None, Duration::from_secs(30)))
        .buffer_unordered(PUBLISHES_AT_ONCE);
    while let Some(recorded) = published.next().await {
        recorded.expect("the stream takes it");
    }
}

/// Strict verifications a second, over all cores.
fn verification_rate(records: &[String], host: &SigningKey) -> f64 {
    let key = ed25519_dalek::VerifyingKey::from_bytes(host.public().bytes()).expect("our own key");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for part in records.chunks(records.len().div_ceil(cores)) {
            scope.spawn(move || {
                for record in part {
                    let compact = Compact::split(record).expect("our own record");
                    let signature = ed25519_dalek::Signature::from_bytes(compact.signature());
                    key.verify_strict(compact.signing_input(), &signature).expect("our own record");
                }
            });
        }
    });
    records.len() as f64 / begun.elapsed().as_secs_f64()
}

/// Messages a second, pulled and dropped.
async fn pull_rate(bus: &Bus) -> f64 {
    let mut reader = bus.reader(streams::AUDIT, "marque.record.>", 1).await.expect("a reader");
    let begun = Instant::now();
    let mut pulled = 0;
    while pulled < RECORDS {
        pulled += reader.next(1000).await.expect("messages").len();
    }
    pulled as f64 / begun.elapsed().as_secs_f64()
}

/// Records a second that the real process takes into its log, and into its index, from the moment it has begun.
async fn sink_rates(system: &mut TestSystem) -> (f64, f64) {
    system.start_service(Service::Sink);
    let wanted = system.stream_size().await.expect("the stream's state") as f64;
    let begun = loop {
        if metric(system, "audit_log_size").await.is_some() {
            break Instant::now();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let already = metric(system, "audit_log_size").await.unwrap_or(0.0);
    let mut logged = None;
    loop {
        let (size, indexed) = (metric(system, "audit_log_size").await, metric(system, "audit_indexed_upto").await);
        let elapsed = begun.elapsed().as_secs_f64();
        if size >= Some(wanted) && logged.is_none() {
            logged = Some(elapsed);
        }
        if let (Some(logged), true) = (logged, indexed >= Some(wanted)) {
            return ((wanted - already) / logged, (wanted - already) / elapsed);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn metric(system: &TestSystem, name: &str) -> Option<f64> {
    let (status, page) = system.page(Service::Sink, "/metrics").await;
    let line = page.lines().find(|line| line.split([' ', '{']).next().is_some_and(|word| word.ends_with(name)))?;
    (status == 200).then(|| line.rsplit(' ').next()?.parse().ok())?
}
