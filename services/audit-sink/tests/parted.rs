//! A sink whose log parts from another's, over a real broker: it halts, and the stream says so once, whatever fails.
#![allow(clippy::unwrap_used)]

mod house;

use house::admin::{administrator, api};
use house::process::{Sink, publish};
use house::{ORIGIN, key, three_sinks_text};
use marque_audit_sink::parted::SIGNAL;
use marque_audit_sink::store::{LogStore, frame};
use marque_audit_sink::tiles::{Tile, TileRequest};
use marque_bus::permissions::BusRole;
use marque_bus::service::Request;
use marque_bus::streams::{AUDIT, AuditLimits};
use marque_bus::{Bus, Endpoint, RunningService, Service, Stored, subjects};
use marque_identity::Refusal;
use marque_judgement::record::{Body, Record};
use marque_ledger::Checkpoint;
use marque_test_support::{Broker, ChildGuard, DEADLINE, eventually};
use serde_json::json;
use std::sync::Arc;

/// So many messages fill the stream.
const MESSAGES: u64 = 30;
/// The leaf that the other sink has another of.
const FORGED: usize = 17;
/// Nothing of its own but the word on the parting: no heads, and no alarm before the stream is full.
const QUIET: [&str; 2] = ["audit_sink.heads_interval_ms=3600000", "audit_sink.stream_alarm_percent=99"];

/// Another sink of the bundle, whose log is not the stream's.
struct Other {
    bus: Bus,
    note: String,
    root: String,
    _directory: tempfile::TempDir,
    _tiles: RunningService,
}

impl Other {
    async fn of(broker: &Broker, stream: &[Stored]) -> Self {
        let (bus, directory) = (broker.connect(BusRole::Sink).await, tempfile::tempdir().unwrap());
        let store = Arc::new(LogStore::open(&directory.path().join("audit.redb"), ORIGIN).unwrap());
        let mut leaves: Vec<_> = stream.iter().map(|message| frame(message).unwrap()).collect();
        leaves[FORGED] = leaves[FORGED - 1].clone();
        let head = store.append(0, &leaves).unwrap();
        let stated = Checkpoint { origin: ORIGIN.into(), size: head.size, root: head.root };
        let answer = move |request: Request| {
            let store = store.clone();
            async move {
                let asked: TileRequest = serde_json::from_slice(&request.payload).unwrap();
                Ok::<_, Refusal>(serde_json::to_vec(&Tile::of(&store.view().unwrap(), &asked).unwrap()).unwrap())
            }
        };
        let endpoint = Endpoint::new("tile", subjects::audit_tile(&key(6).did()), answer);
        let tiles = Service::new("tiles", "1.0.0", "tiles").endpoint(endpoint).start(&bus).await.unwrap();
        let (note, root) = (stated.sign(&key(6)).unwrap(), head.root.to_base64());
        Self { bus, note, root, _directory: directory, _tiles: tiles }
    }

    /// Asks for a cosignature, as a sink does again and again, until this one has halted.
    async fn asks_until_it_halts(&self, sink: &Sink) {
        eventually("it halts", DEADLINE, || async {
            let subject = subjects::witness(&key(6).did());
            self.bus.client().publish(subject, self.note.clone().into()).await.map_err(|error| error.to_string())?;
            match sink.get("/readyz") {
                Err(page) if page.contains(&format!("they part at leaf {FORGED}")) => Ok(()),
                other => Err(format!("{other:?} {}", sink.log())),
            }
        })
        .await;
    }
}

/// What the stream says of partings.
async fn told(verifier: &Bus) -> Vec<Record> {
    let held = verifier.read(AUDIT, 1, 100).await.unwrap().messages;
    let opened = held.iter().map(|one| Record::open_any(std::str::from_utf8(&one.payload).unwrap()).unwrap().0);
    opened.filter(|record| matches!(&record.body, Body::Risk(risk) if risk.signal == SIGNAL)).collect()
}

/// It could not publish it once more, in this run.
async fn fails_once_more(sink: &Sink) {
    const SAID: &str = "of a parting is not published yet";
    let before = sink.log().matches(SAID).count();
    eventually("a try that fails", DEADLINE, || async {
        if sink.log().matches(SAID).count() > before { Ok(()) } else { Err(sink.log()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parting_is_told_in_the_stream_once_however_often_that_fails_at_first() {
    let mut broker = Broker::start_empty(false);
    let limits = AuditLimits { messages: Some(MESSAGES), bytes: None };
    broker.connect(BusRole::Bootstrap).await.bootstrap_streams_limited(1, limits).await.unwrap();
    let admin = administrator(&mut broker).await;
    let verifier = broker.connect(BusRole::Verifier).await;
    let sink = Sink::of(&broker, 3, &three_sinks_text());
    let start = || -> ChildGuard { sink.start_with(&QUIET) };
    let mut child = start();
    publish(&verifier, MESSAGES as usize, "nats:tools.one").await;
    let ours = sink.reaches(MESSAGES).await;
    let other = Other::of(&broker, &verifier.read(AUDIT, 1, 100).await.unwrap().messages).await;
    // 1. The stream is full: it halts all the same, and tries again and again.
    other.asks_until_it_halts(&sink).await;
    fails_once_more(&sink).await;
    fails_once_more(&sink).await;
    assert!(told(&verifier).await.is_empty());
    // 2. Killed, what is to be said is there at the next start, before anybody has shown the parting again.
    child.kill();
    let mut child = start();
    fails_once_more(&sink).await;
    // 3. There is room: it is said, with what both have signed.
    let mut settings = api(&admin, format!("$JS.API.STREAM.INFO.{AUDIT}"), json!({})).await["config"].clone();
    settings["max_msgs"] = json!(10 * MESSAGES);
    api(&admin, format!("$JS.API.STREAM.UPDATE.{AUDIT}"), settings).await;
    let said = eventually("the record of the parting", DEADLINE, || async {
        let said = told(&verifier).await;
        if said.is_empty() { Err(sink.log()) } else { Ok(said) }
    })
    .await;
    let Body::Risk(risk) = &said[0].body else { panic!("{said:?}") };
    assert_eq!((said.len(), said[0].by, said[0].agent), (1, key(3).did(), None));
    for fact in [&other.root, &ours.root.to_base64(), &key(6).did().to_string(), &format!("leaf {FORGED}")] {
        assert!(risk.message.contains(fact.as_str()), "{fact}: {}", risk.message);
    }
    // 4. Parted again, in this run and in the next one, it is not said again.
    other.asks_until_it_halts(&sink).await;
    child.terminate();
    child.wait(DEADLINE);
    let mut child = start();
    other.asks_until_it_halts(&sink).await;
    child.terminate();
    child.wait(DEADLINE);
    assert_eq!(told(&verifier).await.len(), 1);
}
