//! A sink's rooms on a directory, and records to put in them.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

pub mod admin;
pub mod process;

use std::path::Path;
use std::sync::Arc;

use marque_audit_sink::index::Index;
use marque_audit_sink::intake::{Intake, Source};
use marque_audit_sink::inventory::Inventory;
use marque_audit_sink::judge::Judge;
use marque_audit_sink::metrics::Metrics;
use marque_audit_sink::reader::{Library, Reading};
use marque_audit_sink::seal::Sealer;
use marque_audit_sink::store::LogStore;
use marque_audit_sink::{SinkError, files};
use marque_bus::{BusError, Stored};
use marque_identity::{Did, Digest, Epoch, UnixMillis, UnixSeconds};
use marque_judgement::record::{
    Body, Carried, Completed, Connected, Connection, Decided, Delegated, DirectiveIssued, Disconnected, Issued, Kicked,
    Outcome, Record, Requested, Shown, Verb, What,
};
use marque_ledger::verify::{RecordCheck, Report, verify};
use marque_ledger::{Directory, KeyKind, VerifierKey};
use marque_signing::bundle::fingerprint;
use marque_signing::{Anchor, Compact, Role, ServiceKey, SigningKey, TrustBundle, jws};
use serde_json::json;
use tokio::sync::watch;

pub const ORIGIN: &str = "acme.example/audit";

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// Issuer 1, verifier 2, sink 3, gatekeeper 4, broadcaster 5.
pub fn bundle() -> TrustBundle {
    let service = |role, name: &str, seed| ServiceKey { role, name: name.into(), did: key(seed).did() };
    TrustBundle {
        trust_domain: "acme.example".parse().unwrap(),
        version: 1,
        issued_at: UnixSeconds(1_700_000_000),
        issuers: vec![Anchor { iss: "https://acme.example".into(), did: key(1).did() }],
        services: vec![
            service(Role::Issuer, "issuer", 1),
            service(Role::Verifier, "verifier", 2),
            service(Role::Sink, "sink", 3),
            service(Role::Gatekeeper, "gatekeeper", 4),
            service(Role::Broadcaster, "broadcaster", 5),
        ],
        operators: vec![],
    }
}

pub fn bundle_text() -> String {
    bundle().sign(&key(1)).unwrap()
}

/// The sinks of [`three_sinks_text`].
pub const SEEDS: [u8; 3] = [3, 6, 7];

/// The bundle with three sinks.
pub fn three_sinks_text() -> String {
    let mut bundle = bundle();
    for seed in &SEEDS[1..] {
        bundle.services.push(ServiceKey { role: Role::Sink, name: format!("sink-{seed}"), did: key(*seed).did() });
    }
    bundle.sign(&key(1)).unwrap()
}

/// Verifies a copy of sink 3's log of this name, as an auditor with the bundle would.
pub fn checked(copy: &Path, origin: &str) -> Report {
    let key = VerifierKey::new(origin, KeyKind::Ed25519, key(3).public()).unwrap();
    let bundle = bundle();
    let check = |entry: &marque_ledger::Entry<'_>| {
        let judged = marque_judgement::record::judge(entry.payload, &bundle);
        RecordCheck { record: judged.id, verdict: judged.verdict }
    };
    verify(&Directory::new(copy), &[key], 2, &check)
}

/// Everything of a sink but the broker.
pub struct House {
    pub intake: Intake,
    pub library: Library,
    pub sealer: Arc<Sealer>,
}

impl House {
    pub fn open(directory: &Path) -> Self {
        Self::try_open(directory).unwrap()
    }

    pub fn try_open(directory: &Path) -> Result<Self, SinkError> {
        let text = bundle_text();
        std::fs::write(directory.join(files::BUNDLE_FILE), &text).unwrap();
        let store = Arc::new(LogStore::open(&directory.join(files::LOG_FILE), ORIGIN)?);
        let size = store.head().size;
        let print = fingerprint(&text).to_string();
        let index = Arc::new(Index::open(&directory.join(files::INDEX_FILE), &print, size)?);
        let judge = Arc::new(Judge::new(bundle()));
        let sealer = Arc::new(Sealer::open(directory, ORIGIN, key(3), None)?);
        let inventory = Arc::new(Inventory::open(&directory.join(files::INVENTORY_FILE), bundle(), &print, size)?);
        let library = Library { store: store.clone(), index: index.clone(), judge: judge.clone() };
        let intake = Intake { store, index, inventory, judge, threads: 2, metrics: Metrics::default() };
        Ok(Self { intake, library, sealer })
    }

    /// Takes in what a stream holds, from where the log ends, until the stream is used up.
    pub async fn take_in(&self, stream: &[Stored]) -> Result<(), SinkError> {
        self.take_in_as(stream, self.intake.store.head().size as usize, 7).await
    }

    /// The same from another place of the stream, in deliveries of so many.
    pub async fn take_in_as(&self, stream: &[Stored], from: usize, share: usize) -> Result<(), SinkError> {
        self.intake.catch_up().await?;
        let (stop, stopped) = watch::channel(false);
        let rest = stream.get(from..).unwrap_or_default().to_vec();
        self.intake.run(Replay { rest, share, stop }, stopped).await?;
        // Whatever the verdicts were behind.
        self.intake.catch_up().await
    }

    pub fn read(&self) -> Reading {
        self.library.read().unwrap()
    }
}

/// A stream that was stored before.
pub struct Replay {
    rest: Vec<Stored>,
    share: usize,
    stop: watch::Sender<bool>,
}

impl Source for Replay {
    async fn next(&mut self, messages_max: usize) -> Result<Vec<Stored>, BusError> {
        if self.rest.is_empty() {
            self.stop.send_replace(true);
            std::future::pending::<()>().await;
        }
        let share = self.share.min(messages_max).min(self.rest.len());
        Ok(self.rest.drain(..share).collect())
    }
}

/// Payloads as a stream stores them, a second apart.
pub fn stream(payloads: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<Stored> {
    let store = |(at, (subject, payload)): (u64, (String, Vec<u8>))| Stored {
        sequence: at,
        time_ns: 1_700_000_000_000_000_000 + at as i64 * 1_000_000_000,
        subject,
        payload: payload.into(),
    };
    (1..).zip(payloads).map(store).collect()
}

pub fn sealed(record: &Record, seed: u8) -> (String, Vec<u8>) {
    let subject = format!("marque.record.{}.{}", record.kind(), record.key());
    (subject, record.seal(&key(seed)).unwrap().into_bytes())
}

fn about(record: Record, agent: Did, links: &[Digest]) -> Record {
    Record {
        agent: Some(agent),
        task: Some("urn:marque:task:t1".parse().unwrap()),
        token: links.last().copied(),
        links: links.to_vec(),
        ..record
    }
}

pub fn decided(agent: Did, links: &[Digest], tool: &str, verb: Verb) -> Record {
    let decided = Decided {
        decision: verb,
        code: (verb == Verb::Deny).then_some(marque_identity::Code::ArgumentRefused),
        step: (verb == Verb::Deny).then(|| "6b".to_owned()),
        message: None,
        blame: None,
        proof: None,
        audience: None,
        why: Some("the customer asked".into()),
        cause: Some("mail-1".into()),
        manifest_hash: None,
        seq: Some(1),
        prev: None,
        epoch: Epoch(5),
        view_age_ms: Some(120),
        staleness_bound_ms: 2000,
        directive: None,
        constraint: None,
        side_effecting: true,
        input: None,
        sealed: None,
    };
    let record = Record::new(UnixMillis(1_700_000_000_000), key(2).did(), Body::Decided(Box::new(decided)));
    Record { tool: Some(tool.into()), ..about(record, agent, links) }
}

pub fn completed(decided: &Record) -> Record {
    let body = Body::Completed(Completed {
        decided: decided.id.clone(),
        outcome: Outcome::Ok,
        status: None,
        reply_sha256: None,
        reply_bytes: Some(2),
        duration_us: 900,
    });
    let record = Record::new(UnixMillis(1_700_000_000_001), key(2).did(), body);
    Record { tool: decided.tool.clone(), ..about(record, decided.agent.unwrap(), &decided.links) }
}

/// A token as far as the log reads it: any signed payload.
pub fn token(claims: &serde_json::Value, seed: u8) -> (String, Digest) {
    let compact = jws::sign_json(&key(seed), "aat+jwt", None, claims).unwrap();
    let digest = Compact::split(&compact).unwrap().signing_digest();
    (compact, digest)
}

pub fn issued(agent: Did, root: &str, digest: Digest) -> Record {
    let body = Body::Issued(Issued {
        what: What::Root,
        credential: None,
        root: Some(Carried::of(root)),
        blueprint: "mailer".parse().unwrap(),
        sponsor: "team@acme.example".parse().unwrap(),
        expires_at: UnixSeconds(1_700_000_900),
        evidence: vec![],
    });
    about(Record::new(UnixMillis(1_700_000_000_000), key(1).did(), body), agent, &[digest])
}

pub fn delegated(agent: Did, link: &str, digest: Digest, parent: Digest) -> Record {
    let body = Body::Delegated(Delegated { link: Carried::of(link), parent, depth: 1 });
    about(Record::new(UnixMillis(1_700_000_000_000), key(2).did(), body), agent, &[parent, digest])
}

/// A few hundred different messages, good and bad.
pub fn mixed(count: usize) -> Vec<Stored> {
    let agents: Vec<Did> = (10..14).map(|seed| key(seed).did()).collect();
    let links: Vec<Digest> = (0..3).map(|n| marque_signing::sha256(&[n])).collect();
    let mut payloads: Vec<(String, Vec<u8>)> = Vec::new();
    for at in 0..count {
        let verb = if at % 3 == 0 { Verb::Deny } else { Verb::Permit };
        let record = decided(agents[at % 4], &links[..=at % 3], &format!("nats:tools.t{}", at % 5), verb);
        let mut next = sealed(&record, 2);
        match at % 11 {
            // Forged: another signer; a broken signature; noise; nothing; the same again.
            4 => {
                next.1 = jws::sign_as_did(&key(9), "marque-record+jwt", &Record { by: key(9).did(), ..record })
                    .unwrap()
                    .into_bytes()
            }
            5 => *next.1.last_mut().unwrap() ^= 0x10,
            6 => next.1 = vec![0xff, at as u8],
            7 => next.1.clear(),
            8 => next = payloads[at - 8].clone(),
            _ => {}
        }
        payloads.push(next);
    }
    stream(payloads)
}

pub fn root_claims() -> serde_json::Value {
    json!({ "jti": "root-1", "task": "urn:marque:task:t1", "purpose": "answer mail",
            "authorization_details": [{ "type": "attenuating_agent_token", "tools": { "nats:tools.t1": {} } }] })
}

/// A token that grants these tools until a time, as an issuer or a holder signs it.
pub fn granting(jti: &str, tools: &[&str], exp: i64, seed: u8) -> (String, Digest) {
    let tools: serde_json::Map<String, serde_json::Value> =
        tools.iter().map(|tool| ((*tool).to_owned(), json!({}))).collect();
    let details = json!([{ "type": "attenuating_agent_token", "tools": tools }]);
    token(&json!({ "jti": jti, "exp": exp, "authorization_details": details }), seed)
}

/// An action with its number and its proof.
pub fn acted(agent: Did, links: &[Digest], tool: &str, verb: Verb, seq: u64, proof: &str) -> Record {
    let record = decided(agent, links, tool, verb);
    let Body::Decided(mut body) = record.body else { panic!("not decided") };
    (body.seq, body.proof) = (Some(seq), Some(Carried::of(proof)));
    Record { body: Body::Decided(body), ..record }
}

/// An agent's own statement of an action.
pub fn requested(seed: u8, seq: u64) -> Record {
    let proof = jws::sign_json(&key(seed), "aat-pop+jwt", None, &json!({ "seq": seq })).unwrap();
    let body = Body::Requested(Requested { proof: Carried::of(&proof) });
    Record { agent: Some(key(seed).did()), ..Record::new(UnixMillis(1_700_000_000_000), key(seed).did(), body) }
}

fn connection(cid: u64) -> Connection {
    Connection { server: "NSERVER".into(), cid }
}

fn by_gatekeeper(agent: Did, body: Body) -> Record {
    Record { agent: Some(agent), ..Record::new(UnixMillis(1_700_000_000_000), key(4).did(), body) }
}

pub fn connected(agent: Did, cid: u64, links: &[Digest], holders: &[Did]) -> Record {
    let body = Connected {
        connection: connection(cid),
        shown: if links.is_empty() { Shown::Key } else { Shown::Chain },
        holders: holders.to_vec(),
        issuer: None,
        blueprint: None,
        manifest_hash: None,
        expires_at: Some(UnixSeconds(1_700_009_000)),
        publish: vec![],
        subscribe: vec![],
        epoch: Epoch(5),
        narrowed_by: vec![],
        host: None,
        client: None,
    };
    let record = by_gatekeeper(agent, Body::Connected(Box::new(body)));
    Record { links: links.to_vec(), token: links.last().copied(), ..record }
}

pub fn disconnected(agent: Did, cid: u64, messages_sent: u64) -> Record {
    let body = Disconnected {
        connection: connection(cid),
        messages_sent,
        messages_received: 0,
        reason: "Client Closed".into(),
    };
    by_gatekeeper(agent, Body::Disconnected(body))
}

pub fn kicked(agent: Did, cid: u64) -> Record {
    let body = Kicked { connection: connection(cid), code: marque_identity::Code::Revoked, directive: None };
    by_gatekeeper(agent, Body::Kicked(body))
}

/// A directive; with `lifts`, the end of another.
pub fn directive(op: &str, kind: &str, value: &str, id: &str, lifts: Option<&str>) -> Record {
    let mut said = json!({ "id": id, "op": op, "target": { "kind": kind, "value": value } });
    if let Some(lifts) = lifts {
        said["lifts"] = json!(lifts);
    }
    let claims = json!({ "jti": id, "events": { "urn:marque:event:directive": said } });
    let directive = jws::sign_json(&key(5), "secevent+jwt", None, &claims).unwrap();
    let body = DirectiveIssued { directive, epoch: Epoch(6), requested_by: key(5).did() };
    Record::new(UnixMillis(1_700_000_000_000), key(5).did(), Body::Directive(body))
}

/// A stream of records, each with the seed of its signer.
pub fn told<'r>(records: impl IntoIterator<Item = (&'r Record, u8)>) -> Vec<Stored> {
    stream(records.into_iter().map(|(record, seed)| sealed(record, seed)))
}

/// An answer about agents, as of `now_ms`, every page of it: the rows of this name.
pub fn agents_rows(house: &House, ask: &serde_json::Value, rows: &str, now_ms: i64) -> Vec<serde_json::Value> {
    paged(ask, rows, |ask| {
        let reading = house.read();
        let stock = house.intake.inventory.view().unwrap();
        let asked = serde_json::from_value(ask.clone()).unwrap();
        let size = reading.log.size();
        let answer = marque_audit_sink::agents::agents(&stock, &reading.index, size, now_ms, &asked).unwrap();
        serde_json::to_value(answer).unwrap()
    })
}

/// The report on completeness, as of `now_ms`, every page of it.
pub fn missing(house: &House, ask: &serde_json::Value, now_ms: i64) -> Vec<serde_json::Value> {
    paged(ask, "findings", |ask| {
        let reading = house.read();
        let stock = house.intake.inventory.view().unwrap();
        let asked = serde_json::from_value(ask.clone()).unwrap();
        let size = reading.log.size();
        let report =
            marque_audit_sink::completeness::completeness(&stock, &reading.index, size, now_ms, &asked).unwrap();
        serde_json::to_value(report).unwrap()
    })
}

fn paged(
    ask: &serde_json::Value,
    rows: &str,
    answer: impl Fn(&serde_json::Value) -> serde_json::Value,
) -> Vec<serde_json::Value> {
    let (mut ask, mut found) = (ask.clone(), Vec::new());
    loop {
        let page = answer(&ask);
        assert!(page.to_string().len() < 60_000, "an answer passes the broker");
        found.extend(page[rows].as_array().cloned().unwrap_or_default());
        let Some(next) = page.get("next") else { return found };
        assert_ne!(Some(next), ask.get("cursor"), "no progress");
        ask["cursor"] = next.clone();
    }
}

/// Waits until nobody else holds the store: a commit in a thread of its own ends by itself.
pub fn wait_for_the_last(house: House) {
    let store = Arc::clone(&house.intake.store);
    let index = Arc::clone(&house.intake.index);
    let inventory = Arc::clone(&house.intake.inventory);
    drop(house);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let held = || [Arc::strong_count(&store), Arc::strong_count(&index), Arc::strong_count(&inventory)];
    while held().iter().any(|count| *count > 1) {
        assert!(std::time::Instant::now() < until, "a commit does not end");
        std::thread::yield_now();
    }
}
