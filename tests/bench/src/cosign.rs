//! From a record's ack to a checkpoint over it that another sink has cosigned, while records come at a steady rate.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use marque::dev::http;
use marque::service_config::Service;
use marque_bus::permissions::BusRole;
use marque_bus::subjects;
use marque_tests::system::TestSystem;

use crate::measure::percentile;
use crate::report::Row;
use crate::sink::record;

/// How long records come.
const SPAN: Duration = Duration::from_secs(10);
/// Between two shares of them.
const SHARE_EVERY: Duration = Duration::from_millis(5);
/// Publishes under way at once.
const PUBLISHES_AT_ONCE: usize = 256;
/// Between two looks at what is final.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long the last of them may take.
const SETTLE: Duration = Duration::from_secs(30);
/// Two sinks, each asking for the other's cosignature, a checkpoint ten times a second.
const SETTINGS: &str = "[audit_sink]\ncosignatures = 1\ncheckpoint_interval_ms = 100";
const SECOND: [&str; 2] = ["audit_sink.cosignatures=1", "audit_sink.checkpoint_interval_ms=100"];

/// The row, at so many records a second.
pub async fn rows(rate: f64) -> Vec<Row> {
    let mut system = TestSystem::start_with(&[], &[(Service::Sink, SETTINGS)]).await.expect("a system");
    system.start_second_sink(&SECOND).await.expect("a second sink");
    let page = std::fs::read_to_string(system.directory().sink_page_file()).expect("its page").trim().to_owned();
    let host = system.directory().key("host").expect("the host's key");
    let share = (rate * SHARE_EVERY.as_secs_f64()).ceil() as usize;
    let shares = (SPAN.as_secs_f64() / SHARE_EVERY.as_secs_f64()) as usize;
    let records: Vec<String> = (0..share * shares).map(|_| record(&host)).collect();
    let bus = system.bus(BusRole::Host).await.expect("the host's connection");
    let subject = subjects::record("completed", Some(&host.did()));

    let (stop, mut stopped) = tokio::sync::watch::channel(0_u64);
    let looking = tokio::spawn(async move {
        let mut looks: Vec<(Instant, u64)> = Vec::new();
        let mut last = 0;
        loop {
            let wanted = *stopped.borrow_and_update();
            if let Some(size) = final_size(&page).await.filter(|size| *size > last) {
                last = size;
                looks.push((Instant::now(), size));
            }
            if wanted > 0 && last >= wanted {
                return looks;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    let begun = Instant::now();
    let mut acked: Vec<(u64, Instant)> = Vec::with_capacity(records.len());
    for (n, part) in records.chunks(share).enumerate() {
        tokio::time::sleep_until((begun + SHARE_EVERY * u32::try_from(n).unwrap_or(u32::MAX)).into()).await;
        let mut published = stream::iter(part)
            .map(|record| bus.publish_stored(&subject, record.as_bytes(), None, Duration::from_secs(30)))
            .buffer_unordered(PUBLISHES_AT_ONCE);
        while let Some(stored) = published.next().await {
            acked.push((stored.expect("the stream takes it").sequence, Instant::now()));
        }
    }
    let achieved = acked.len() as f64 / begun.elapsed().as_secs_f64();
    let last = acked.iter().map(|(sequence, _)| *sequence).max().expect("records were published");
    stop.send_replace(last);
    let looks = tokio::time::timeout(SETTLE, looking).await.expect("all becomes final").expect("it looks on");
    system.stop().await;
    let mut samples: Vec<f64> = acked
        .iter()
        .filter_map(|(sequence, at)| {
            let after = looks.partition_point(|(_, size)| size < sequence);
            looks.get(after).map(|(seen, _)| seen.saturating_duration_since(*at).as_secs_f64() * 1e3)
        })
        .collect();
    let (p50, p99) = (percentile(&mut samples, 0.5), percentile(&mut samples, 0.99));
    vec![Row::plain(
        format!("record acked → under a cosigned checkpoint, at {achieved:.0} records/s, p99"),
        format!("{p99:.0} ms (p50 {p50:.0} ms)"),
        "≤ 500 ms",
    )]
}

/// Leaves under the newest final checkpoint that the first sink tells of.
async fn final_size(page: &str) -> Option<u64> {
    let (_, metrics) = http::get(page, "/metrics", Duration::from_secs(2)).await.ok()?;
    let line =
        metrics.lines().find(|line| line.split(' ').next().is_some_and(|name| name.ends_with("audit_final_size")))?;
    line.rsplit(' ').next()?.parse::<f64>().ok().map(|size| size as u64)
}
