//! How fast the log takes in a stream, stage by stage. Prints; asserts nothing about time.
//!
//! `cargo test --release -p marque-audit-sink --test rate -- --ignored --nocapture`
#![allow(clippy::unwrap_used)]

mod house;

use std::time::Instant;

use futures::{StreamExt as _, stream as futures_stream};
use house::{House, bundle, completed, decided, key, sealed};
use marque_audit_sink::intake::Source as _;
use marque_audit_sink::judge::Judge;
use marque_audit_sink::pull::Pull;
use marque_audit_sink::store::frame;
use marque_bus::Stored;
use marque_bus::permissions::BusRole;
use marque_judgement::record::Verb;
use marque_signing::{Compact, sha256};
use marque_test_support::Broker;
use tokio::sync::watch;

const RECORDS: usize = 60_000;

fn payloads() -> Vec<(String, Vec<u8>)> {
    let agents: Vec<_> = (10..40).map(|seed| key(seed).did()).collect();
    let mut out = Vec::with_capacity(RECORDS);
    for at in 0..RECORDS / 2 {
        let links = [sha256(&[(at % 50) as u8]), sha256(&[1, (at % 200) as u8])];
        let action = decided(agents[at % 30], &links, &format!("nats:tools.t{}", at % 20), Verb::Permit);
        out.push(sealed(&action, 2));
        out.push(sealed(&completed(&action), 2));
    }
    out
}

/// Wall time says what a shared machine left us; processor time says what it costs.
struct Begun(Instant, u64);

impl Begun {
    fn now() -> Self {
        Self(Instant::now(), processor_ticks())
    }
}

/// This process's user and system time, in hundredths of a second.
fn processor_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn rate(what: &str, count: usize, begun: &Begun) {
    let spent = (processor_ticks() - begun.1) as f64 * 10_000.0 / count as f64;
    println!("{what}: {:.0}/s, {spent:.1} µs of processor each", count as f64 / begun.0.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn stages_and_the_whole() {
    let payloads = payloads();
    println!("bytes of a record: {}", payloads[0].1.len());
    let messages = house::stream(payloads.clone());
    let verifier = key(2).public();
    let begun = Begun::now();
    std::thread::scope(|scope| {
        for part in payloads.chunks(RECORDS / 2) {
            scope.spawn(move || {
                for (_, payload) in part {
                    let compact = Compact::split(std::str::from_utf8(payload).unwrap()).unwrap();
                    compact.check_signature(&verifier).unwrap();
                }
            });
        }
    });
    rate("strict verification, two threads", RECORDS, &begun);
    let judge = Judge::new(bundle());
    let begun = Begun::now();
    messages[..10_000].iter().for_each(|message| drop(judge.judge(&message.payload).unwrap()));
    rate("judge, one thread", 10_000, &begun);
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path());
    let begun = Begun::now();
    for (at, batch) in messages.chunks(2000).enumerate() {
        let frames: Vec<_> = batch.iter().map(|message| frame(message).unwrap()).collect();
        house.intake.store.append(at as u64 * 2000, &frames).unwrap();
    }
    rate("store alone", RECORDS, &begun);
    let begun = Begun::now();
    house.intake.catch_up().await.unwrap();
    rate("judge and index out of the log, two threads", RECORDS, &begun);
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path());
    let begun = Begun::now();
    house.take_in_as(&messages, 0, 1000).await.unwrap();
    rate("whole intake from memory", RECORDS, &begun);

    let broker = Broker::start().await;
    let publisher = broker.connect(BusRole::Verifier).await;
    let begun = Begun::now();
    let mut publishing = futures_stream::iter(&payloads)
        .map(|(subject, payload)| publisher.publish_stored(subject, payload, None, std::time::Duration::from_secs(30)))
        .buffer_unordered(256);
    while let Some(recorded) = publishing.next().await {
        recorded.unwrap();
    }
    rate("published", RECORDS, &begun);
    let sink = broker.connect(BusRole::Sink).await;
    let mut reader = sink.reader("MARQUE_AUDIT", "marque.record.>", 1).await.unwrap();
    let begun = Begun::now();
    let mut read: Vec<Stored> = Vec::new();
    while read.len() < RECORDS {
        read.extend(reader.next(1000).await.unwrap());
    }
    rate("bare read", RECORDS, &begun);
    drop(reader);
    let mut pull = Pull::begin(&sink, 1).await.unwrap();
    let begun = Begun::now();
    let mut count = 0;
    while count < RECORDS {
        count += pull.next(2048).await.unwrap().len();
    }
    rate("bare pull", RECORDS, &begun);
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path());
    let other = broker.connect(BusRole::Sink).await;
    let reader = Pull::begin(&other, 1).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let (store, index) = (house.intake.store.clone(), house.intake.index.clone());
    let begun = Begun::now();
    let watching = async {
        let mut logged = false;
        while index.upto() < RECORDS as u64 {
            if !logged && store.head().size == RECORDS as u64 {
                logged = true;
                rate("whole intake from the broker, logged", RECORDS, &begun);
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        rate("whole intake from the broker, indexed", RECORDS, &begun);
        stop.send_replace(true);
    };
    tokio::select! {
        ran = house.intake.run(reader, stopped) => ran.unwrap(),
        () = watching => {}
    }
}
