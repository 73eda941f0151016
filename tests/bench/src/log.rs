//! The log as proof: what a proof, a query and a whole verification cost, as the log grows.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ed25519_dalek::{Signature, VerifyingKey};
use marque_audit_sink::index::{Index, Indexed};
use marque_audit_sink::query::{Query, query};
use marque_audit_sink::reader::Library;
use marque_audit_sink::seal::Sealer;
use marque_audit_sink::store::{LogStore, frame};
use marque_audit_sink::{export, files};
use marque_bus::Stored;
use marque_identity::{TaskId, UnixMillis, UnixSeconds};
use marque_judgement::record::{Body, Completed, Judge, Outcome, Record, VALID};
use marque_ledger::verify::{RecordCheck, verify};
use marque_ledger::{Directory, Entry, Hash, KeyKind, VerifierKey, prove_inclusion, root_at, verify_inclusion};
use marque_signing::bundle::fingerprint;
use marque_signing::{Anchor, Compact, Role, ServiceKey, SigningKey, TrustBundle};

use crate::fixture::seeded;
use crate::measure::percentile;
use crate::report::Row;

const ORIGIN: &str = "bench.example/audit";
/// Sizes at which proofs are made.
const PROOF_SIZES: [u64; 3] = [10_000, 1_000_000, 10_000_000];
/// How far the log may have grown beyond the checkpoint that a proof is made against.
const BEHIND: u64 = 1_000;
/// Proofs made at each.
const PROOFS: u64 = 2_000;
/// Leaves of the log that is searched and verified: small, and large.
const SMALL: usize = 10_000;
const LARGE: usize = 1_000_000;
/// Agents and tasks among which its records are spread.
const AGENTS: usize = 1_000;
const TASKS: usize = 5_000;
/// Leaves in one transaction.
const BATCH: usize = 8_192;
/// Questions of each kind.
const QUESTIONS: usize = 200;

/// The rows about the log.
pub fn rows() -> Vec<Row> {
    let mut rows = proofs();
    rows.extend(searched_and_verified());
    rows
}

/// Inclusion proofs out of a store that grows.
fn proofs() -> Vec<Row> {
    let directory = tempfile::tempdir().expect("a folder");
    let store = LogStore::open(&directory.path().join("audit.redb"), ORIGIN).expect("a new store");
    let entry = |leaf: u64| [&leaf.to_be_bytes()[..], &[0x5a; 24]].concat();
    let mut taken = Vec::new();
    for size in PROOF_SIZES {
        let mut first = store.head().size;
        while first < size {
            let end = size.min(first + BATCH as u64);
            store.append(first, &(first..end).map(entry).collect::<Vec<_>>()).expect("the store grows");
            first = end;
        }
        taken.push(proof_time(&store, size, &entry));
    }
    let [small, middle, large] = [0, 1, 2].map(|at: usize| taken[at]);
    let behind = proof_time(&store, store.head().size - BEHIND, &entry);
    vec![
        Row::plain("inclusion proof out of 10 million leaves, p50", format!("{large:.1} µs"), "≤ 200 µs"),
        Row::ratio("  the same", large, "out of 10 thousand", small, "flat"),
        Row::ratio("  out of a million", middle, "out of 10 thousand", small, "flat"),
        Row::ratio("  out of 10 million, under a checkpoint 1000 behind", behind, "under the head", large, "flat"),
    ]
}

/// Median time of a proof that some leaf is in the tree of `size`.
fn proof_time(store: &LogStore, size: u64, entry: &impl Fn(u64) -> Vec<u8>) -> f64 {
    let root = root_at(&store.view().expect("a view"), size).expect("a root");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut samples = Vec::new();
    for _ in 0..PROOFS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let leaf = (state >> 16) % size;
        let begun = Instant::now();
        let view = store.view().expect("a view");
        let proof = prove_inclusion(&view, leaf, size).expect("a proof");
        samples.push(begun.elapsed().as_secs_f64() * 1e6);
        verify_inclusion(leaf, size, Hash::leaf(&entry(leaf)), &proof, root).expect("it holds");
    }
    percentile(&mut samples, 0.5)
}

fn bundle(host: &SigningKey, sink: &SigningKey) -> TrustBundle {
    let service = |role, name: &str, key: &SigningKey| ServiceKey { role, name: name.into(), did: key.did() };
    TrustBundle {
        trust_domain: "bench.example".parse().expect("a fixed, valid name"),
        version: 1,
        issued_at: UnixSeconds(1_700_000_000),
        issuers: vec![Anchor { iss: "https://bench.example".into(), did: seeded(1).did() }],
        services: vec![service(Role::Host, "host", host), service(Role::Sink, "sink", sink)],
        operators: vec![],
    }
}

/// A record of some agent and task, as the stream stores it.
fn message(n: usize, host: &SigningKey, agents: &[marque_identity::Did], tasks: &[TaskId]) -> (Record, Stored) {
    let completed = Completed {
        decided: format!("{n:036}"),
        outcome: Outcome::Ok,
        status: None,
        reply_sha256: None,
        reply_bytes: Some(128),
        duration_us: 1500,
    };
    let record = Record {
        agent: Some(agents[n % AGENTS]),
        task: Some(tasks[n * 7 % TASKS].clone()),
        tool: Some("nats:tools.crm.query".into()),
        ..Record::new(UnixMillis(1_800_000_000_000), host.did(), Body::Completed(completed))
    };
    let stored = Stored {
        sequence: n as u64 + 1,
        time_ns: 1_800_000_000_000_000_000 + n as i64 * 1_000,
        subject: format!("marque.record.completed.{}", record.key()),
        payload: record.seal(host).expect("a record").into_bytes().into(),
    };
    (record, stored)
}

/// A log as a sink keeps it, without the broker.
struct Kept {
    library: Library,
    sealer: Sealer,
    agents: Vec<marque_identity::Did>,
    tasks: Vec<TaskId>,
}

impl Kept {
    fn open(directory: &Path, bundle: &TrustBundle, text: &str, sink: SigningKey) -> Self {
        std::fs::write(directory.join(files::BUNDLE_FILE), text).expect("a file");
        let store = LogStore::open(&directory.join(files::LOG_FILE), ORIGIN).expect("a new store");
        let print = fingerprint(text).to_string();
        let index = Index::open(&directory.join(files::INDEX_FILE), &print, 0).expect("a new index");
        let judge = Arc::new(Judge::new(bundle.clone()));
        let library = Library { store: Arc::new(store), index: Arc::new(index), judge };
        let agents = (0..AGENTS).map(|n| seeded(10_000 + n).did()).collect();
        let task = |n: usize| format!("urn:task:bench-{n}").parse().expect("a URN");
        let tasks = (0..TASKS).map(task).collect();
        let sealer = Sealer::open(directory, ORIGIN, sink, None).expect("a sealer");
        Self { library, sealer, agents, tasks }
    }

    fn grow(&self, upto: usize, host: &SigningKey) {
        let mut first = self.library.store.head().size as usize;
        while first < upto {
            let end = upto.min(first + BATCH);
            let made: Vec<_> = (first..end).map(|n| message(n, host, &self.agents, &self.tasks)).collect();
            let frames: Vec<_> = made.iter().map(|(_, stored)| frame(stored).expect("a frame")).collect();
            self.library.store.append(first as u64, &frames).expect("the log grows");
            let indexed: Vec<Indexed> = (first as u64..)
                .zip(made)
                .map(|(leaf, (record, stored))| Indexed {
                    leaf,
                    broker_ts_ns: stored.time_ns,
                    verdict: Ok(Box::new(record)),
                })
                .collect();
            self.library.index.apply(&indexed, |_, _| Ok(false)).expect("the index grows");
            first = end;
        }
    }

    /// Median time of one answer with the newest ten records of an agent, and of a task.
    fn questions(&self) -> (f64, f64) {
        let ask = |question: &dyn Fn(usize) -> Query| {
            let mut samples: Vec<f64> = (0..QUESTIONS)
                .map(|n| {
                    let question = question(n * 37);
                    let begun = Instant::now();
                    let found = query(&self.library.read().expect("a view"), &question).expect("an answer");
                    let taken = begun.elapsed().as_secs_f64() * 1e6;
                    assert!(!found.records.is_empty(), "there are records of it");
                    taken
                })
                .collect();
            percentile(&mut samples, 0.5)
        };
        // Two records of each at any size: what is shown does not grow, only what is searched.
        let limited = Query { limit: Some(2), newest_first: true, ..Query::default() };
        let agent = |n: usize| Query { agent: Some(self.agents[n % AGENTS]), ..limited.clone() };
        let task = |n: usize| Query { task: Some(self.tasks[n % TASKS].to_string()), ..limited.clone() };
        (ask(&agent), ask(&task))
    }
}

fn searched_and_verified() -> Vec<Row> {
    let (host, sink) = (seeded(2), seeded(3));
    let bundle = bundle(&host, &sink);
    let text = bundle.sign(&seeded(1)).expect("a bundle");
    let (state, copy) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let keys = [VerifierKey::new(ORIGIN, KeyKind::Ed25519, sink.public()).expect("a key")];
    let kept = Kept::open(state.path(), &bundle, &text, sink);
    kept.grow(SMALL, &host);
    let (agent_small, task_small) = kept.questions();
    kept.grow(LARGE, &host);
    let (agent_large, task_large) = kept.questions();
    kept.sealer.seal(&kept.library.store).expect("it signs").expect("it has grown");
    // What it takes on disk, and what was given to it.
    let raw = raw_bytes(&kept);
    drop(kept);
    let bytes = |name: &str| std::fs::metadata(state.path().join(name)).map_or(0, |file| file.len()) as f64;
    let (log, index) = (bytes(files::LOG_FILE) + bytes(files::LEAF_HASHES_FILE), bytes(files::INDEX_FILE));
    export(state.path(), copy.path()).expect("a copy");
    let (ours, bare) = verified(copy.path(), &bundle, &keys, &host);
    vec![
        Row::ratio("query by agent, a million leaves", agent_large, "ten thousand", agent_small, "flat"),
        Row::ratio("query by task, a million leaves", task_large, "ten thousand", task_small, "flat"),
        Row::ratio("verify a copy of a million leaves, per leaf", ours, "its hash and signature alone", bare, "≤ 1.3"),
        Row::plain(
            "log on disk, against the records' raw bytes",
            format!("{:.2} (with its index {:.2})", log / raw, (log + index) / raw),
            "≤ 1.6",
        ),
    ]
}

fn raw_bytes(kept: &Kept) -> f64 {
    let mut bytes = 0;
    let view = kept.library.store.view().expect("a view");
    let size = view.size();
    let _ = root_at(&view, size).expect("a root");
    view.scan(0, size, |_, entry| {
        bytes += Entry::decode(entry)?.payload.len();
        Ok(true)
    })
    .expect("the entries");
    bytes as f64
}

/// Microseconds a leaf over all cores: our verification of a copy, and its bare hashes and signatures.
fn verified(copy: &Path, bundle: &TrustBundle, keys: &[VerifierKey], host: &SigningKey) -> (f64, f64) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let judge = Judge::new(bundle.clone());
    let check = |entry: &Entry<'_>| match judge.judge(entry.payload) {
        Ok(record) => RecordCheck { record: Some(record.id), verdict: VALID.to_owned() },
        Err(bad) => RecordCheck { record: bad.id, verdict: bad.verdict },
    };
    let begun = Instant::now();
    let report = verify(&Directory::new(copy), keys, cores, &check);
    let ours = begun.elapsed();
    assert!(report.is_ok(), "{:?}", report.findings.first());
    // The same bytes, in memory: one hash and one strict verification each.
    let key = VerifyingKey::from_bytes(host.public().bytes()).expect("our own key");
    let bundles: Vec<Vec<u8>> = marque_ledger::TileId::all(LARGE as u64)
        .filter(|id| id.kind == marque_ledger::TileKind::Entries)
        .map(|id| std::fs::read(copy.join(id.path())).expect("the copy's file"))
        .collect();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for part in bundles.chunks(bundles.len().div_ceil(cores)) {
            scope.spawn(move || {
                for bundle in part {
                    let mut rest = bundle.as_slice();
                    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
                        let (entry, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)));
                        rest = behind;
                        std::hint::black_box(Hash::leaf(entry));
                        let payload = Entry::decode(entry).expect("our own entry").payload;
                        let text = std::str::from_utf8(payload).expect("our own record");
                        let compact = Compact::split(text).expect("our own record");
                        let signature = Signature::from_bytes(compact.signature());
                        key.verify_strict(compact.signing_input(), &signature).expect("our own record");
                    }
                }
            });
        }
    });
    let bare = begun.elapsed();
    let per_leaf = |taken: std::time::Duration| taken.as_secs_f64() * 1e6 / LARGE as f64;
    (per_leaf(ours), per_leaf(bare))
}
