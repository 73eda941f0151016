//! Sinks that cosign each other's checkpoints over a real broker, and a witness outside over HTTP.
#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use marque_audit_sink::SinkError;
use marque_audit_sink::desk::Halted;
use marque_audit_sink::finality::WAITING_MAX;
use marque_audit_sink::metrics::Metrics;
use marque_audit_sink::outside::Outside;
use marque_audit_sink::parted::{Partings, SIGNAL};
use marque_audit_sink::peers::Peers;
use marque_audit_sink::seal::{COSIGNED_FILE, Cosigned, Sealer, cosigner};
use marque_audit_sink::store::LogStore;
use marque_audit_sink::tiles::{Tile, TileRequest};
use marque_bus::permissions::BusRole;
use marque_bus::service::Request;
use marque_bus::streams::AUDIT;
use marque_bus::{Bus, Endpoint, Service, subjects};
use marque_identity::{Did, Refusal, UnixSeconds};
use marque_judgement::record::{Body, Record};
use marque_ledger::witness::{AddCheckpoint, admissible, cosignature};
use marque_ledger::{Checkpoint, Hash, KeyKind, Note, Policy, VerifierKey, Witness};
use marque_runtime::Clock;
use marque_signing::{Role, ServiceKey, SigningKey, TrustBundle};
use marque_test_support::{Broker, eventually};
use tokio::sync::watch;

const ORIGIN: &str = "acme.example/audit";
const DEADLINE: Duration = Duration::from_secs(30);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// Sinks 3, 4 and 5.
fn bundle() -> TrustBundle {
    let sink = |seed: u8| ServiceKey { role: Role::Sink, name: format!("sink-{seed}"), did: key(seed).did() };
    TrustBundle {
        trust_domain: "acme.example".parse().unwrap(),
        version: 1,
        issued_at: UnixSeconds(1_700_000_000),
        issuers: vec![],
        services: vec![sink(3), sink(4), sink(5)],
        operators: vec![],
    }
}

fn log_key(seed: u8) -> VerifierKey {
    VerifierKey::new(ORIGIN, KeyKind::Ed25519, key(seed).public()).unwrap()
}

fn policy(own: u8, least: usize) -> Policy {
    let witness = |seed: u8| {
        let key = cosigner(ORIGIN, &key(seed).did()).unwrap();
        Witness { name: key.name().to_owned(), key, url: None }
    };
    let others = [3, 4, 5].into_iter().filter(|seed| *seed != own).map(witness).collect();
    Policy::at_least(vec![log_key(own)], least, others).unwrap()
}

/// A sink's log and checkpoints, without its intake.
struct Replica {
    did: Did,
    store: Arc<LogStore>,
    sealer: Arc<Sealer>,
    halted: Halted,
    partings: Arc<Partings>,
    directory: tempfile::TempDir,
}

impl Replica {
    fn new(seed: u8, least: usize) -> Self {
        Self::with(seed, policy(seed, least))
    }

    fn with(seed: u8, policy: Policy) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(LogStore::open(&directory.path().join("audit.redb"), ORIGIN).unwrap());
        let sealer = Arc::new(Sealer::open(directory.path(), ORIGIN, key(seed), Some(policy)).unwrap());
        let partings = Arc::new(Partings::new(directory.path().to_owned(), key(seed), Clock::new()));
        Self { did: key(seed).did(), store, sealer, halted: Halted::default(), partings, directory }
    }

    /// Leaves up to this size, one of them another's.
    fn grow(&self, size: u64, forged: Option<u64>) {
        let first = self.store.head().size;
        let entry = |leaf: u64| if forged == Some(leaf) { vec![0xff] } else { leaf.to_be_bytes().to_vec() };
        self.store.append(first, &(first..size).map(entry).collect::<Vec<_>>()).unwrap();
    }

    fn peers(&self) -> Peers {
        let (sealer, store, partings) = (self.sealer.clone(), self.store.clone(), self.partings.clone());
        Peers::new(&bundle(), sealer, store, Clock::new(), Metrics::default(), partings, self.halted.clone()).unwrap()
    }

    fn final_size(&self) -> u64 {
        self.sealer.last().map_or(0, |last| last.checkpoint.size)
    }

    async fn until_final(&self, size: u64) {
        let mut sizes = self.sealer.finality().sizes();
        let reached = sizes.wait_for(|(last, _)| *last >= size);
        tokio::time::timeout(DEADLINE, reached).await.expect("it becomes final").unwrap();
    }
}

/// A replica at work; its end, if it has one.
fn run(
    replica: &Replica,
    bus: &Bus,
    stopped: &watch::Receiver<bool>,
) -> tokio::task::JoinHandle<Result<(), SinkError>> {
    let (peers, bus, stopped) = (replica.peers(), bus.clone(), stopped.clone());
    tokio::spawn(async move { peers.run(&bus, stopped).await })
}

#[tokio::test]
async fn a_checkpoint_is_final_when_enough_others_have_the_same_root() {
    let broker = Broker::start().await;
    let bus = broker.connect(BusRole::Sink).await;
    let (a, b, c) = (Replica::new(3, 2), Replica::new(4, 2), Replica::new(5, 2));
    let (stop, stopped) = watch::channel(false);
    let mut running = vec![run(&a, &bus, &stopped), run(&b, &bus, &stopped)];
    a.grow(300, None);
    a.sealer.seal(&a.store).unwrap().unwrap();
    // One that lags cosigns when it gets there; two of two must.
    b.grow(100, None);
    b.grow(310, None);
    assert_eq!(a.final_size(), 0);
    c.grow(300, None);
    running.push(run(&c, &bus, &stopped));
    a.until_final(300).await;
    let note = a.sealer.last().unwrap().note;
    let held = policy(3, 2).open(note.as_bytes()).unwrap();
    assert_eq!((held.checkpoint.size, held.by.len()), (300, 2));
    // Anyone's policy of the same sinks holds for it, nobody else's.
    assert!(Policy::at_least(vec![log_key(4)], 0, vec![]).unwrap().open(note.as_bytes()).is_err());
    // And the other way round, at once.
    c.grow(310, None);
    a.grow(310, None);
    b.sealer.seal(&b.store).unwrap().unwrap();
    b.until_final(310).await;
    stop.send_replace(true);
    for end in running {
        end.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_sink_that_has_another_root_halts_and_names_the_leaf() {
    let broker = Broker::start().await;
    let (ours, theirs) = (broker.connect(BusRole::Sink).await, broker.connect(BusRole::Sink).await);
    let (a, b) = (Replica::new(3, 1), Replica::new(4, 1));
    let (_stop, stopped) = watch::channel(false);
    a.grow(700, None);
    b.grow(700, Some(433));
    // The other one answers with its tiles, as a sink's desk does.
    let store = b.store.clone();
    let answer = move |request: Request| {
        let store = store.clone();
        async move {
            let asked: TileRequest = serde_json::from_slice(&request.payload).unwrap();
            let tile = Tile::of(&store.view().unwrap(), &asked).unwrap();
            Ok::<_, Refusal>(serde_json::to_vec(&tile).unwrap())
        }
    };
    let tiles =
        Service::new("tiles", "1.0.0", "tiles").endpoint(Endpoint::new("tile", subjects::audit_tile(&b.did), answer));
    let tiles = tiles.start(&theirs).await.unwrap();
    let running = run(&a, &ours, &stopped);
    let other = run(&b, &theirs, &stopped);
    b.sealer.seal(&b.store).unwrap().unwrap();
    let end = tokio::time::timeout(DEADLINE, running).await.expect("it halts").unwrap();
    let SinkError::Halted(why) = end.unwrap_err() else { panic!("it does not halt") };
    assert!(why.contains("size 700") && why.contains("they part at leaf 433"), "{why}");
    assert_eq!(a.halted.why().as_deref(), Some(why.as_str()));
    let kept = std::fs::read_to_string(a.directory.path().join("parted-700")).unwrap();
    // What the other signed is there as it signed it: evidence for whoever has its key.
    let (_, note) = kept.split_once(&format!("theirs, signed by {}\n", b.did)).unwrap();
    assert_eq!(Checkpoint::open(note.as_bytes(), &[log_key(4)]).unwrap().root, b.store.head().root);
    for root in [a.store.head().root, b.store.head().root] {
        assert!(kept.contains(&root.to_base64()), "{kept}");
    }
    assert_eq!((a.final_size(), b.final_size()), (0, 0));
    // Whoever reads the stream is told, once; what is due when it starts is said, too.
    let told = async |stop: watch::Sender<bool>, stopped: watch::Receiver<bool>| {
        let (partings, bus) = (a.partings.clone(), ours.clone());
        let saying = tokio::spawn(async move { partings.run(&bus, stopped).await });
        let said = eventually("the record of the parting", DEADLINE, || async {
            let stream = ours.read(AUDIT, 1, 10).await.map_err(|error| error.to_string())?.messages;
            if stream.is_empty() { Err("nothing".to_owned()) } else { Ok(stream) }
        })
        .await;
        stop.send_replace(true);
        saying.await.unwrap();
        said
    };
    for _ in 0..2 {
        let (stop, stopped) = watch::channel(false);
        let said = told(stop, stopped).await;
        assert_eq!(said.len(), 1);
        let (record, _) = Record::open_any(std::str::from_utf8(&said[0].payload).unwrap()).unwrap();
        let Body::Risk(risk) = &record.body else { panic!("{record:?}") };
        assert_eq!((record.by, risk.signal.as_str()), (a.did, SIGNAL));
        for fact in ["they part at leaf 433", "size 700", &b.did.to_string(), &b.store.head().root.to_base64()] {
            assert!(risk.message.contains(fact), "{fact}: {}", risk.message);
        }
    }
    other.abort();
    tiles.drain(DEADLINE).await;
}

#[tokio::test]
async fn refuses_what_no_sink_of_the_bundle_signed() {
    let broker = Broker::start().await;
    let bus = broker.connect(BusRole::Sink).await;
    let (a, b) = (Replica::new(3, 1), Replica::new(4, 1));
    let (_stop, stopped) = watch::channel(false);
    let mut answers = bus.client().subscribe(subjects::witness(&a.did)).await.unwrap();
    a.grow(4, None);
    b.grow(5, None);
    a.sealer.seal(&a.store).unwrap().unwrap();
    let good = b.sealer.seal(&b.store).unwrap().unwrap();
    let mut running = run(&a, &bus, &stopped);
    // It asks: so it listens.
    tokio::time::timeout(DEADLINE, answers.next()).await.expect("it asks").unwrap();
    a.grow(5, None);
    let forged = Checkpoint { root: Hash::leaf(b"x"), ..good.checkpoint.clone() };
    // Another's key, one of no sink, another's subject, another log, noise: nothing of it is heard.
    for (subject, note) in [
        (subjects::witness(&b.did), forged.sign(&key(5)).unwrap()),
        (subjects::witness(&key(9).did()), forged.sign(&key(9)).unwrap()),
        (subjects::witness(&key(5).did()), forged.sign(&key(4)).unwrap()),
        (subjects::witness(&b.did), Checkpoint { origin: "o.example".into(), ..forged }.sign(&key(4)).unwrap()),
        (subjects::witness(&b.did), "noise".into()),
        (subjects::witness(&b.did), "x".repeat(60_000)),
        (subjects::witness(&b.did), good.note.clone()),
    ] {
        bus.client().publish(subject, note.into()).await.unwrap();
    }
    // Beside its own question, which it goes on asking, it says one thing alone.
    let mut told = async || loop {
        let message = answers.next().await.unwrap();
        let note = Note::parse(&message.payload).unwrap();
        if Checkpoint::parse(note.text()).unwrap().size != 4 {
            return note;
        }
    };
    let note = tokio::time::timeout(DEADLINE, told()).await.expect("the good one is cosigned");
    assert_eq!(note.text(), good.checkpoint.text());
    assert!(futures::poll!(&mut running).is_pending());
    running.abort();
}

#[test]
fn what_was_cosigned_is_held_against_the_log_after_a_restart() {
    let a = Replica::new(3, 1);
    a.grow(20, None);
    let theirs = Checkpoint { origin: ORIGIN.into(), size: 20, root: a.store.head().root };
    let now = UnixSeconds(1_700_000_000);
    let line = |sealer: &Sealer| matches!(sealer.cosign(&a.store, &theirs, now).unwrap(), Cosigned::Line(_));
    assert!(line(&a.sealer) && line(&a.sealer));
    let smaller =
        Checkpoint { size: 19, root: marque_ledger::root_at(&a.store.view().unwrap(), 19).unwrap(), ..theirs.clone() };
    let kept = std::fs::read_to_string(a.directory.path().join(COSIGNED_FILE)).unwrap();
    assert_eq!(a.sealer.cosign(&a.store, &smaller, now).unwrap(), Cosigned::Older { last: Some(kept) });
    // The store is another's, the file is not.
    let b = tempfile::tempdir().unwrap();
    std::fs::copy(a.directory.path().join(COSIGNED_FILE), b.path().join(COSIGNED_FILE)).unwrap();
    let store = LogStore::open(&b.path().join("audit.redb"), ORIGIN).unwrap();
    let sealer = Sealer::open(b.path(), ORIGIN, key(3), Some(policy(3, 1))).unwrap();
    store.append(0, &(0..25u64).map(|leaf| vec![leaf as u8]).collect::<Vec<_>>()).unwrap();
    assert!(matches!(sealer.seal(&store), Err(SinkError::Halted(why)) if why.contains("size 20")));
    // A file that our key did not sign is not ours.
    std::fs::write(b.path().join(COSIGNED_FILE), theirs.sign(&key(4)).unwrap()).unwrap();
    assert!(matches!(Sealer::open(b.path(), ORIGIN, key(3), None), Err(SinkError::Halted(_))));
}

/// A witness as the protocol has it, one request at a time.
struct TestWitness {
    url: String,
    last: Arc<Mutex<Option<Checkpoint>>>,
}

impl TestWitness {
    fn start(seed: u8) -> Self {
        Self::late(seed, |_| {})
    }

    /// One that answers when `due` returns, which is told the size that it is asked for.
    fn late(seed: u8, due: impl Fn(u64) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/w", listener.local_addr().unwrap());
        let last = Arc::new(Mutex::new(None));
        let kept = last.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), seed, &kept, &due);
            }
        });
        Self { url, last }
    }
}

fn answer(mut stream: TcpStream, seed: u8, last: &Mutex<Option<Checkpoint>>, due: &dyn Fn(u64)) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let body = loop {
        let read = stream.read(&mut buffer).unwrap();
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("POST /w/add-checkpoint "), "{head}");
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() == length.unwrap_or(0usize) {
            break body.to_owned();
        }
    };
    let asked = AddCheckpoint::parse(body.as_bytes()).unwrap();
    due(Checkpoint::stated(asked.checkpoint.as_bytes()).unwrap().size);
    let mut last = last.lock().unwrap();
    let (status, kind, body) = match admissible(&asked, &[log_key(3)], |_| last.clone()) {
        Ok(checkpoint) => {
            let line = cosignature(&checkpoint, &name(seed), &key(seed), UnixSeconds(1_700_000_000)).unwrap();
            *last = Some(checkpoint);
            (200, "text/plain", line)
        }
        Err(refused) => (refused.status(), refused.content_type(), refused.body()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} .\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    // Who asked may have given it up.
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

fn name(seed: u8) -> String {
    format!("w{seed}.example")
}

/// A sink that needs all of these witnesses, by seed and URL.
fn outside(witnesses: &[(u8, &str)]) -> Replica {
    let mut text = format!("log {}\n", log_key(3));
    let mut group = "group all all".to_owned();
    for (seed, url) in witnesses {
        let key = VerifierKey::new(&name(*seed), KeyKind::Cosignature, key(*seed).public()).unwrap();
        text += &format!("witness w{seed} {key} {url}\n");
        group += &format!(" w{seed}");
    }
    Replica::with(3, Policy::parse(&format!("{text}{group}\nquorum all\n")).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_outside_cosigns_what_goes_on_from_what_it_saw() {
    let witness = TestWitness::start(7);
    let a = outside(&[(7, &witness.url)]);
    let (stop, stopped) = watch::channel(false);
    let all = Outside::all(&a.sealer, &a.store, &Metrics::default()).unwrap();
    let running: Vec<_> = all.into_iter().map(|one| tokio::spawn(one.run(stopped.clone()))).collect();
    assert_eq!(running.len(), 1);
    for size in [1, 2, 300, 777] {
        a.grow(size, None);
        a.sealer.seal(&a.store).unwrap().unwrap();
        a.until_final(size).await;
    }
    assert_eq!(witness.last.lock().unwrap().as_ref().unwrap().size, 777);
    stop.send_replace(true);
    for end in running {
        end.await.unwrap();
    }
    // Begun anew, it learns from the witness where it stands.
    let text_of = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert!(text_of(&a.directory.path().join("final")).contains("— w7.example "));
    let (_stop, stopped) = watch::channel(false);
    for one in Outside::all(&a.sealer, &a.store, &Metrics::default()).unwrap() {
        tokio::spawn(one.run(stopped.clone()));
    }
    a.grow(800, None);
    a.sealer.seal(&a.store).unwrap().unwrap();
    a.until_final(800).await;
}

/// The log's size, for whoever waits for it to grow.
#[derive(Default)]
struct Growth {
    size: Mutex<u64>,
    grown: Condvar,
}

#[tokio::test(flavor = "multi_thread")]
async fn witnesses_that_answer_late_meet_though_the_log_grows_without_pause() {
    let growth = Arc::new(Growth::default());
    // Each answers when the log has gone on for longer than checkpoints wait, and one later than the other.
    let late = |seed: u8, behind: u64| {
        let growth = growth.clone();
        TestWitness::late(seed, move |size| {
            let lock = growth.size.lock().unwrap();
            drop(growth.grown.wait_timeout_while(lock, DEADLINE, |now| *now < size + behind).unwrap());
        })
    };
    let waiting = WAITING_MAX as u64;
    let (first, second) = (late(7, waiting + 1), late(8, waiting + 8));
    let a = outside(&[(7, &first.url), (8, &second.url)]);
    let (stop, stopped) = watch::channel(false);
    let all = Outside::all(&a.sealer, &a.store, &Metrics::default()).unwrap();
    let running: Vec<_> = all.into_iter().map(|one| tokio::spawn(one.run(stopped.clone()))).collect();
    let growing = async {
        for size in 1_u64.. {
            tokio::task::block_in_place(|| {
                a.grow(size, None);
                a.sealer.seal(&a.store).unwrap().unwrap();
                *growth.size.lock().unwrap() = size;
                growth.grown.notify_all();
            });
            tokio::task::yield_now().await;
        }
    };
    // Not once, by chance: again and again.
    let meeting = async {
        for _ in 0..3 {
            a.until_final(a.final_size() + 1).await;
        }
    };
    tokio::select! {
        () = growing => {}
        () = meeting => {}
    }
    let note = a.sealer.last().unwrap().note;
    assert!(note.contains("— w7.example ") && note.contains("— w8.example "), "{note}");
    stop.send_replace(true);
    for end in running {
        end.await.unwrap();
    }
}

#[tokio::test]
async fn a_sink_that_was_overtaken_asks_for_a_larger_checkpoint() {
    let broker = Broker::start().await;
    let bus = broker.connect(BusRole::Sink).await;
    let (a, b, c) = (Replica::new(3, 2), Replica::new(4, 2), Replica::new(5, 2));
    [&a, &b].iter().for_each(|sink| sink.grow(100, None));
    a.sealer.seal(&a.store).unwrap().unwrap();
    // It is to be asked for this one, and b has cosigned a larger one of c's in the meantime.
    assert!(a.sealer.finality().candidate().is_some());
    b.grow(105, None);
    let of_c = Checkpoint { origin: ORIGIN.into(), size: 105, root: b.store.head().root };
    assert!(matches!(b.sealer.cosign(&b.store, &of_c, UnixSeconds(1_700_000_000)).unwrap(), Cosigned::Line(_)));
    [&a, &b, &c].iter().for_each(|sink| sink.grow(110, None));
    a.sealer.seal(&a.store).unwrap().unwrap();
    let (_stop, stopped) = watch::channel(false);
    let running = [&a, &b, &c].map(|sink| run(sink, &bus, &stopped));
    a.until_final(110).await;
    running.iter().for_each(|one| one.abort());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_witness_finds_inconsistent_is_not_final_and_does_not_halt() {
    let witness = TestWitness::start(7);
    *witness.last.lock().unwrap() = Some(Checkpoint { origin: ORIGIN.into(), size: 5, root: Hash::leaf(b"fork") });
    let a = outside(&[(7, &witness.url)]);
    let metrics = Metrics::default();
    let (stop, stopped) = watch::channel(false);
    let one = Outside::all(&a.sealer, &a.store, &metrics).unwrap().remove(0);
    let running = tokio::spawn(one.run(stopped));
    a.grow(9, None);
    a.sealer.seal(&a.store).unwrap().unwrap();
    marque_test_support::until("the witness is asked in vain", || metrics.witness_failures() > 0).await;
    assert_eq!((a.final_size(), running.is_finished()), (0, false));
    stop.send_replace(true);
    running.await.unwrap();
}
