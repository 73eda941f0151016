//! A log that a sink's own rooms have kept and exported, without a broker: for whoever tampers with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use marque::trust::Trust;
use marque_audit_sink::desk::{Desk, Halted};
use marque_audit_sink::export;
use marque_audit_sink::files::{BUNDLE_FILE, INDEX_FILE, INVENTORY_FILE, LOG_FILE};
use marque_audit_sink::index::Index;
use marque_audit_sink::inventory::Inventory;
use marque_audit_sink::judge::Judge;
use marque_audit_sink::reader::Library;
use marque_audit_sink::seal::Sealer;
use marque_audit_sink::store::LogStore;
use marque_identity::{Digest, Epoch, UnixMillis, UnixSeconds};
use marque_judgement::record::{Body, Carried, Decided, Record, Verb};
use marque_ledger::{Entry, KeyKind, TlogProof, VerifierKey, prove_inclusion};
use marque_runtime::Clock;
use marque_signing::bundle::fingerprint;
use marque_signing::{Anchor, Role, ServiceKey, SigningKey, TrustBundle, jws, sha256};
use serde_json::json;

/// The log's name.
pub const ORIGIN: &str = "acme.example/audit";
/// Whose key signs what, by its seed.
const ISSUER: u8 = 1;
const VERIFIER: u8 = 2;
const SINK: u8 = 3;
const AGENTS: [u8; 3] = [11, 12, 13];

/// The sink's key.
pub fn sink_key() -> SigningKey {
    SigningKey::from_seed(&[SINK; 32])
}

/// The sink's key as a `vkey`.
pub fn sink_vkey() -> VerifierKey {
    VerifierKey::new(ORIGIN, KeyKind::Ed25519, sink_key().public()).expect("a name")
}

/// The bundle under which the records of these logs are valid.
pub fn bundle() -> TrustBundle {
    let service = |role, name: &str, seed| {
        let did = SigningKey::from_seed(&[seed; 32]).did();
        ServiceKey { role, name: name.into(), did }
    };
    TrustBundle {
        trust_domain: "acme.example".parse().expect("a domain"),
        version: 1,
        issued_at: UnixSeconds(1_700_000_000),
        issuers: vec![Anchor { iss: "https://acme.example".into(), did: SigningKey::from_seed(&[ISSUER; 32]).did() }],
        services: vec![service(Role::Verifier, "verifier", VERIFIER), service(Role::Sink, "sink", SINK)],
        operators: vec![],
    }
}

/// The same as it is signed.
pub fn bundle_text() -> String {
    bundle().sign(&SigningKey::from_seed(&[ISSUER; 32])).expect("a bundle")
}

/// Trust in that bundle.
pub fn trust() -> Trust {
    Trust::of_bundle(bundle()).expect("it names a sink")
}

/// Payloads of so many actions, by three agents in turn, each with a sound chain of proofs.
pub fn acts(count: usize) -> Vec<String> {
    let mut ends: [(u64, Option<Digest>); AGENTS.len()] = [(0, None); AGENTS.len()];
    (0..count)
        .map(|at| {
            let (agent, end) = (AGENTS[at % AGENTS.len()], &mut ends[at % AGENTS.len()]);
            let (seq, prev) = (end.0 + 1, end.1);
            let claims = json!({ "jti": format!("p{at}"), "seq": seq, "prev": prev.map(|prev| prev.to_string()) });
            let proof = jws::sign_json(&SigningKey::from_seed(&[agent; 32]), "aat-pop+jwt", None, &claims);
            let proof = proof.expect("a proof");
            *end = (seq, Some(sha256(proof.as_bytes())));
            decided(at, agent, seq, prev, &proof, "the customer asked")
        })
        .collect()
}

/// One decision, signed by the verifier.
pub fn decided(at: usize, agent: u8, seq: u64, prev: Option<Digest>, proof: &str, why: &str) -> String {
    let decided = Decided {
        decision: Verb::Permit,
        code: None,
        step: None,
        message: None,
        blame: None,
        proof: Some(Carried::of(proof)),
        audience: None,
        why: Some(why.to_owned()),
        cause: None,
        manifest_hash: None,
        seq: Some(seq),
        prev,
        epoch: Epoch(5),
        view_age_ms: Some(120),
        staleness_bound_ms: 2000,
        directive: None,
        constraint: None,
        side_effecting: true,
        input: None,
        sealed: None,
    };
    let key = SigningKey::from_seed(&[VERIFIER; 32]);
    let record = Record {
        id: format!("01890000-0000-7000-8000-{at:012x}"),
        agent: Some(SigningKey::from_seed(&[agent; 32]).did()),
        tool: Some("nats:tools.crm.query".into()),
        ..Record::new(UnixMillis(1_700_000_000_000), key.did(), Body::Decided(Box::new(decided)))
    };
    record.seal(&key).expect("a record")
}

/// Payloads as a stream stores them, a minute apart.
pub fn framed(payloads: &[String]) -> Vec<Vec<u8>> {
    framed_from(1, payloads)
}

/// The same from this sequence on.
pub fn framed_from(first: u64, payloads: &[String]) -> Vec<Vec<u8>> {
    let frame = |(seq, payload): (u64, &String)| {
        let broker_ts_ns = 1_700_000_000_000_000_000 + seq as i64 * 60_000_000_000;
        let bus_subject = "marque.record.decided.none";
        Entry { stream_seq: seq, broker_ts_ns, bus_subject, payload: payload.as_bytes() }.encode().expect("a frame")
    };
    (first..).zip(payloads).map(frame).collect()
}

/// A sink's state, and the copy that was exported from it.
pub struct Exported {
    folder: tempfile::TempDir,
}

impl Exported {
    /// Of these frames, signed by this key.
    pub fn of(frames: &[Vec<u8>], key: SigningKey) -> Self {
        Self::of_log(ORIGIN, frames, key)
    }

    /// The same of a log of this name.
    pub fn of_log(origin: &str, frames: &[Vec<u8>], key: SigningKey) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let exported = Self { folder };
        let state = exported.state();
        std::fs::create_dir(&state).expect("a folder");
        std::fs::write(state.join(BUNDLE_FILE), bundle_text()).expect("a file");
        {
            let store = LogStore::open(&state.join(LOG_FILE), origin).expect("a store");
            store.append(0, frames).expect("leaves");
            let sealer = Sealer::open(&state, origin, key, None).expect("a sealer");
            sealer.seal(&store).expect("a checkpoint");
        }
        export(&state, &exported.copy()).expect("a copy");
        exported
    }

    /// Of so many sound actions.
    pub fn sound(count: usize) -> Self {
        Self::of(&framed(&acts(count)), sink_key())
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// What a sink on this state answers.
    pub fn desk(&self) -> Desk {
        let state = self.state();
        let print = fingerprint(&bundle_text()).to_string();
        let store = Arc::new(LogStore::open(&state.join(LOG_FILE), ORIGIN).expect("a store"));
        let size = store.head().size;
        let index = Arc::new(Index::open(&state.join(INDEX_FILE), &print, size).expect("an index"));
        let inventory = Inventory::open(&state.join(INVENTORY_FILE), bundle(), &print, size).expect("an inventory");
        Desk {
            library: Library { store, index, judge: Arc::new(Judge::new(bundle())) },
            inventory: Arc::new(inventory),
            clock: Clock::new(),
            sealer: Arc::new(Sealer::open(&state, ORIGIN, sink_key(), None).expect("a sealer")),
            bundle: bundle_text().into(),
            halted: Halted::default(),
        }
    }

    /// The copy.
    pub fn copy(&self) -> PathBuf {
        self.folder.path().join("copy")
    }

    /// A file of the copy.
    pub fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.copy().join(path)).expect("a file of the copy")
    }

    /// Every file of the copy, by its path in it.
    pub fn files(&self) -> Vec<String> {
        let (root, mut open, mut files) = (self.copy(), vec![self.copy()], Vec::new());
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(std::fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
            } else {
                let path: &Path = path.strip_prefix(&root).expect("it lies in the copy");
                files.push(path.to_str().expect("our paths are ASCII").to_owned());
            }
        }
        files.sort();
        files
    }

    /// A leaf's proof under the copy's checkpoint, as `marque audit prove` writes it.
    pub fn proof(&self, leaf: u64) -> TlogProof {
        let store = LogStore::open(&self.state().join(LOG_FILE), ORIGIN).expect("a store");
        let view = store.view().expect("a view");
        let hashes = prove_inclusion(&view, leaf, view.size()).expect("a proof");
        let entry = view.entry(leaf).expect("an entry");
        let checkpoint = String::from_utf8(self.read("checkpoint")).expect("a note");
        TlogProof { extra: Some(entry), index: leaf, hashes, checkpoint }
    }
}
