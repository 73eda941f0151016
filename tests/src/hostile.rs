//! What parsers get from outside, as plain functions: whatever the bytes, nothing panics. `tests/fuzz` runs them
//! under a fuzzer, `tests/hostile.rs` as property tests. Where bytes are taken, what must then hold is asserted.

mod doors;
mod gatekeeper;
mod lines;
mod peers;
mod proofs;

use std::sync::OnceLock;

use marque_credential::{Constraint, IdentityCredential, Tools};
use marque_identity::{Did, Digest, TaskId, TrustDomain, UnixMillis, UnixSeconds};
use marque_json::{Json, Limits};
use marque_judgement::record::{Record, judge};
use marque_judgement::sealed::Payload;
use marque_judgement::{
    Audience, Call, ChainLimits, ProofPolicy, TrustAnchor, VerifiedChain, check_proof, verify_chain,
};
use marque_ledger::{Checkpoint, Entry, Hash, Note, TileId, VerifierKey, decode_bundle, encode_bundle};
use marque_revocation::{Ack, DirectiveRequest, Heartbeat, Opener, SignedDirective};
use marque_signing::xkey::{PublicXkey, SealingKey};
use marque_signing::{Algorithms, Compact, PublicKey, SigningKey, TrustBundle, jws};

use crate::vectors::token::{
    AUDIENCE, ISSUER, NOW, Q3, Token, Who, numbered, proof as sealed, proof_claims, root, root_claims,
};

pub use doors::{
    attest_line, audit_question, blueprint, callout_question, cosignature, decide_question, enrol_request,
    issue_request, join_token, jwks, manifest, oidc_token, presentation, process_evidence, renew_request,
    status_request, token_inspect, vkey,
};
pub use lines::{index_lines, policy, sidecar_line, trace_context};
pub use peers::{health_answer, http_answer, proxy_connect, proxy_frames, proxy_greeting};
pub use proofs::{add_checkpoint, genesis, tlog_policy, tlog_proof};

pub use gatekeeper::{connections_question, server_event, server_kick, server_page, statement_subject};

/// A target: its name and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target; `tests/fuzz/fuzz_targets` has a file for each.
pub const TARGETS: &[Target] = &[
    ("json", json),
    ("jws", jws_compact),
    ("chain", chain),
    ("proof", proof),
    ("constraint", constraint),
    ("credential", credential),
    ("directive", directive),
    ("directive_request", directive_request),
    ("heartbeat", heartbeat),
    ("ack", ack),
    ("record", record),
    ("payload", payload),
    ("bundle", bundle),
    ("checkpoint", checkpoint),
    ("note", note),
    ("tile", tile),
    ("leaf_frame", leaf_frame),
    ("proof_plumbing", proof_plumbing),
    ("verify_plumbing", verify_plumbing),
    ("did", did),
    ("subjects", subjects),
    ("enrol_request", enrol_request),
    ("issue_request", issue_request),
    ("renew_request", renew_request),
    ("join_token", join_token),
    ("oidc_token", oidc_token),
    ("jwks", jwks),
    ("process_evidence", process_evidence),
    ("manifest", manifest),
    ("attest_line", attest_line),
    ("blueprint", blueprint),
    ("decide_question", decide_question),
    ("audit_question", audit_question),
    ("status_request", status_request),
    ("presentation", presentation),
    ("cosignature", cosignature),
    ("vkey", vkey),
    ("callout_question", callout_question),
    ("token_inspect", token_inspect),
    ("server_event", server_event),
    ("server_page", server_page),
    ("server_kick", server_kick),
    ("connections_question", connections_question),
    ("statement_subject", statement_subject),
    ("tlog_proof", tlog_proof),
    ("tlog_policy", tlog_policy),
    ("add_checkpoint", add_checkpoint),
    ("genesis", genesis),
    ("sidecar_line", sidecar_line),
    ("index_lines", index_lines),
    ("policy", policy),
    ("trace_context", trace_context),
    ("proxy_greeting", proxy_greeting),
    ("proxy_connect", proxy_connect),
    ("proxy_frames", proxy_frames),
    ("http_answer", http_answer),
    ("health_answer", health_answer),
];

/// The key under which valid samples are signed: nothing else may come through.
fn key() -> SigningKey {
    Who::ControlPlane.key()
}

fn keys() -> [PublicKey; 1] {
    [key().public()]
}

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// Strict JSON: what is read canonicalizes to something that reads the same and canonicalizes to itself.
pub fn json(data: &[u8]) {
    let limits = Limits { bytes_max: 1 << 20, depth_max: 64 };
    let _ = marque_json::parse_members(data, limits);
    let _ = marque_json::from_slice::<serde_json::Value>(data, limits);
    if let Ok(value) = marque_json::parse(data, limits) {
        let canonical = value.canonical();
        if value.is_admissible() {
            let again = marque_json::parse(&canonical, limits).expect("a canonical form is JSON");
            assert_eq!(again.canonical(), canonical);
        }
        let _ = value.into_owned();
    }
}

/// A compact JWS: only what is signed verifies.
pub fn jws_compact(data: &[u8]) {
    let text = text(data);
    if let Ok(compact) = Compact::split(&text) {
        let _ = compact.check_header("aat+jwt", Algorithms::Ed25519OrEdDsa);
        let _ = (compact.header_bytes(), compact.payload(), compact.signing_digest(), compact.header_member("kid"));
        let _ = compact.verify(&key().public(), "aat+jwt", Algorithms::Ed25519);
    }
    let _ = jws::claimed_signer(&text);
    let _ = jws::unverified_payload::<serde_json::Value>(&text, 1 << 16);
}

fn anchors() -> [TrustAnchor; 1] {
    [TrustAnchor { iss: ISSUER.to_owned(), key: key().public() }]
}

/// A chain joined by `~`; and a payload signed by the anchor, so that the steps behind the signature see it too.
pub fn chain(data: &[u8]) {
    let text = text(data);
    let tokens: Vec<&str> = text.split('~').collect();
    if let Ok(chain) = verify_chain(&tokens, &anchors(), UnixSeconds(NOW), &ChainLimits::default()) {
        assert_eq!(chain.links().len(), tokens.len());
        assert_eq!(chain.text(), text);
    }
    let signed = Token::seal_bytes(br#"{"alg":"Ed25519","typ":"aat+jwt"}"#.to_vec(), data.to_vec(), Who::ControlPlane);
    let _ = verify_chain(&[&signed.compact], &anchors(), UnixSeconds(NOW), &ChainLimits::default());
}

struct Presented {
    chain: VerifiedChain,
    leaf: Token,
}

fn presented() -> &'static Presented {
    static PRESENTED: OnceLock<Presented> = OnceLock::new();
    PRESENTED.get_or_init(|| {
        let leaf = root(&root_claims(&numbered(1), serde_json::json!({"read_file": {}})));
        let chain = verify_chain(&[&leaf.compact], &anchors(), UnixSeconds(NOW), &ChainLimits::default());
        Presented { chain: chain.expect("a valid vector"), leaf }
    })
}

/// A proof, as it comes and as the holder might sign it.
pub fn proof(data: &[u8]) {
    let args = serde_json::json!({"path": Q3}).to_string();
    let args = marque_json::parse(args.as_bytes(), Limits::DEFAULT).expect("written here");
    let call = Call { tool: "read_file", args: &args };
    let audience = Audience::new(vec![AUDIENCE.to_owned()]);
    let policy = ProofPolicy::new(&audience);
    let check = |proof: &str| check_proof(&presented().chain, &call, proof, &policy, UnixSeconds(NOW));
    let _ = check(&text(data));
    let header = br#"{"alg":"Ed25519","typ":"aat-pop+jwt"}"#.to_vec();
    let _ = check(&Token::seal_bytes(header, data.to_vec(), Who::Orchestrator).compact);
}

/// A constraint and a map of tools: what is read writes itself, reads again the same, and subsumes itself.
pub fn constraint(data: &[u8]) {
    let Ok(value) = marque_json::parse(data, Limits { bytes_max: 1 << 16, depth_max: 128 }) else { return };
    if let Ok(constraint) = Constraint::parse(&value, 1) {
        let written = constraint.to_json().to_string();
        let read = marque_json::parse(written.as_bytes(), Limits { bytes_max: 1 << 20, depth_max: 128 });
        let again = Constraint::parse(&read.expect("written here"), 1);
        assert_eq!(again.as_ref(), Ok(&constraint));
        assert!(constraint.subsumes(&constraint));
        assert!(Constraint::Wildcard.subsumes(&constraint));
        for value in [Json::Null, Json::Bool(true), value.clone(), Json::Array(vec![value.clone()])] {
            let _ = constraint.check(&value);
        }
    }
    if let Ok(tools) = Tools::parse(&value) {
        assert!(tools.subsumes(&tools).is_ok());
        for (tool, _) in tools.iter() {
            let _ = tools.check_call(tool, &value);
        }
    }
}

/// An identity credential.
pub fn credential(data: &[u8]) {
    let _ = IdentityCredential::verify(&text(data), &keys(), UnixSeconds(NOW));
    if let Ok(payload) = std::str::from_utf8(data) {
        let kid = key().did().url();
        let signed = jws::sign(&key(), "vc+jwt", Some(&kid), payload.as_bytes());
        let _ = IdentityCredential::verify(&signed, &keys(), UnixSeconds(NOW));
    }
}

/// The same bytes as the payload of a JWS that the right key signs.
fn signed(typ: &str, data: &[u8]) -> Vec<u8> {
    let kid = key().did().url();
    jws::sign(&key(), typ, Some(&kid), data).into_bytes()
}

/// A directive on the feed, raw or committed.
pub fn directive(data: &[u8]) {
    let mut opener = Opener::new(keys().to_vec());
    for bytes in [data.to_vec(), signed(marque_revocation::DIRECTIVE_TYP, data)] {
        if let Ok(directive) = SignedDirective::verify(&bytes, &keys()) {
            assert_eq!(directive.compact().as_bytes(), bytes);
        }
        let _ = opener.directive(&bytes);
        let _ = opener.item(&bytes);
    }
}

/// A request for a directive, from anyone.
pub fn directive_request(data: &[u8]) {
    let _ = DirectiveRequest::open(data);
    let _ = DirectiveRequest::open(&signed("marque-directive-request+jwt", data));
}

/// A heartbeat on the feed.
pub fn heartbeat(data: &[u8]) {
    let _ = Heartbeat::verify(data, &keys());
    let _ = Heartbeat::verify(&signed(marque_revocation::HEARTBEAT_TYP, data), &keys());
}

/// A verifier's acknowledgement.
pub fn ack(data: &[u8]) {
    let _ = Ack::verify(data, &key().public());
    let _ = Ack::verify(&signed(marque_revocation::ACK_TYP, data), &key().public());
}

/// A stored record.
pub fn record(data: &[u8]) {
    let bundle = TrustBundle {
        trust_domain: "acme.example".parse::<TrustDomain>().expect("a domain"),
        version: 1,
        issued_at: UnixSeconds(NOW),
        issuers: Vec::new(),
        services: Vec::new(),
        operators: Vec::new(),
    };
    for bytes in [data.to_vec(), signed(marque_judgement::record::RECORD_TYPE, data)] {
        let judged = judge(&bytes, &bundle);
        assert_eq!(judged.record.is_some(), judged.verdict == marque_judgement::record::VALID);
        let _ = Record::open(&text(&bytes), |_, _| true);
    }
}

/// A trust bundle, pinned or not.
pub fn bundle(data: &[u8]) {
    for bytes in [data.to_vec(), signed("marque-bundle+jwt", data)] {
        let text = text(&bytes);
        let _ = TrustBundle::open(&text, None);
        let _ = TrustBundle::open(&text, Some(Digest([0; 32])));
    }
}

/// A checkpoint: there is one text for each.
pub fn checkpoint(data: &[u8]) {
    let text = text(data);
    if let Ok(checkpoint) = Checkpoint::parse(&text) {
        assert_eq!(checkpoint.text(), text);
    }
    let _ = Checkpoint::open(data, &[]);
}

/// A signed note, and a verifier key.
pub fn note(data: &[u8]) {
    if let Ok(note) = Note::parse(data) {
        assert_eq!(note.to_string().as_bytes(), data);
        let _ = note.verify(&[]);
    }
    if let Ok(key) = text(data).parse::<VerifierKey>() {
        assert_eq!(key.to_string().as_bytes(), data);
    }
}

/// A tile's path, and an entry bundle.
pub fn tile(data: &[u8]) {
    let text = text(data);
    if let Ok(tile) = TileId::parse(&text) {
        assert_eq!(tile.path(), text);
    }
    for width in [0, 1, 2, 255, 256, u16::MAX] {
        if let Ok(entries) = decode_bundle(data, width) {
            assert_eq!(encode_bundle(entries).expect("they came out of one"), data);
        }
    }
}

/// A leaf's frame: there is one for each message.
pub fn leaf_frame(data: &[u8]) {
    if let Ok(entry) = Entry::decode(data) {
        assert_eq!(entry.encode().expect("it was one"), data);
    }
    let _ = Hash::leaf(data);
}

/// A sealed payload as it is found, and as whoever knows the data subject's public key might seal it.
pub fn payload(data: &[u8]) {
    let key = reader();
    let _ = (Payload::reader(data), Payload::open(data, &key));
    let sender = SealingKey::from_seed(&[2; 32]);
    let boxed = sender.seal(data, &public(&key)).expect("a box");
    let sealed = [key.public().as_bytes(), sender.public().as_bytes(), &boxed].concat();
    assert_eq!(Payload::reader(&sealed), Some(key.public().as_str()));
    let payload = Payload::open(&sealed, &key).expect("sealed for this key");
    assert_eq!(payload.commitment(), marque_signing::sha256(data));
    // A record that commits to whatever it is.
    let decided = serde_json::json!({
        "kind": "decided", "decision": "permit", "epoch": 1, "staleness_bound_ms": 1, "side_effecting": false,
        "sealed": { "commitment": payload.commitment() },
    });
    let body = serde_json::from_value(decided).expect("a decided body");
    let record = Record::new(UnixMillis(1), Did::from_key_bytes([7; 32]), body);
    assert!(payload.of(&record).is_err(), "the record names another proof");
}

fn reader() -> SealingKey {
    SealingKey::from_seed(&[1; 32])
}

fn public(key: &SealingKey) -> PublicXkey {
    PublicXkey::parse(&key.public()).expect("its own text")
}

/// A payload's frame: version, salt, four parts.
fn framed() -> Vec<u8> {
    let parts = [b"0190".as_slice(), b"a.b.c", b"{}", b"no"];
    let part = |part: &[u8]| [&u32::try_from(part.len()).expect("short").to_be_bytes(), part].concat();
    [vec![1], vec![9; 32], parts.map(part).concat()].concat()
}

/// A line of `marque log verify-proof --stdin`.
pub fn proof_plumbing(data: &[u8]) {
    let answer = marque_ledger::plumbing::answer(&text(data));
    assert!(answer.starts_with('{') && !answer.contains('\n'));
}

/// A line of `marque verify --stdin`.
pub fn verify_plumbing(data: &[u8]) {
    let answer = marque_judgement::plumbing::answer(data);
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("an answer is JSON");
    assert!(answer["decision"] == "permit" || (answer["decision"] == "deny" && answer["code"].is_string()));
}

/// Names: DIDs, DID URLs, domains, tasks, digests.
pub fn did(data: &[u8]) {
    let text = text(data);
    if let Ok(did) = text.parse::<Did>() {
        assert_eq!(did.to_string(), text);
        let _ = PublicKey::from_did(&did);
    }
    if let Ok(did) = Did::from_url(&text) {
        assert_eq!(did.url(), text);
    }
    if let Ok(did) = Did::from_multibase(&text) {
        assert_eq!(did.multibase(), text);
    }
    let _ = (text.parse::<TrustDomain>(), text.parse::<TaskId>(), text.parse::<Digest>());
}

/// Bus subjects that come from outside.
pub fn subjects(data: &[u8]) {
    use marque_bus::subjects;
    let text = text(data);
    if subjects::is_token(&text) {
        assert!(subjects::is_publishable(&text));
    }
    if subjects::is_reply(&text) {
        assert!(subjects::is_publishable(&text));
    }
    let _ = (subjects::gated_tool(&text), subjects::committed(&text));
    for row in subjects::SUBJECTS {
        let _ = subjects::matches(&row.wildcard(), &text);
        let _ = subjects::matches(&text, row.pattern);
    }
}

/// A valid sample for each target, from which mutations are made.
pub fn sample(target: &str) -> Vec<u8> {
    let leaf = &presented().leaf;
    let args = serde_json::json!({"path": Q3});
    let proof = sealed(&proof_claims(&numbered(2), leaf, "read_file", &args), Who::Orchestrator);
    match target {
        "json" | "constraint" => br#"{"constraint_type":"all","constraints":[{"constraint_type":"range","min":-1.5e3,"max":10},{"constraint_type":"any","constraints":[{"constraint_type":"one_of","values":["a\u00e9",1,null,[{}]]}]}]}"#.to_vec(),
        "jws" | "chain" => leaf.compact.clone().into_bytes(),
        "proof" => proof.compact.into_bytes(),
        "credential" | "record" | "bundle" | "directive" | "directive_request" | "heartbeat" | "ack" => leaf.payload.clone(),
        "checkpoint" => b"acme.example/audit\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".to_vec(),
        "note" => {
            let checkpoint = Checkpoint { origin: "acme.example/audit".to_owned(), size: 7, root: Hash::leaf(b"x") };
            checkpoint.sign(&key()).expect("a checkpoint").into_bytes()
        }
        "tile" => b"tile/entries/x001/234.p/7".to_vec(),
        "leaf_frame" => {
            let entry = Entry { stream_seq: 7, broker_ts_ns: 1, bus_subject: "marque.record.decided.none", payload: b"x" };
            entry.encode().expect("an entry")
        }
        "payload" => framed(),
        "proof_plumbing" => br#"{"kind":"inclusion","leafIdx":0,"treeSize":1,"leafHash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","root":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","proof":[]}"#.to_vec(),
        "verify_plumbing" => serde_json::json!({
            "chain": [leaf.compact], "trust_anchors": [{"iss": ISSUER, "jwk": Who::ControlPlane.jwk()}],
            "tool": "read_file", "args": args, "pop": proof.compact, "now": NOW, "audience": AUDIENCE,
        })
        .to_string()
        .into_bytes(),
        "did" => key().did().url().into_bytes(),
        "subjects" => b"marque.gate.tools.crm.query".to_vec(),
        "sidecar_line" | "index_lines" | "policy" | "trace_context" => lines::sample(target),
        "proxy_greeting" | "proxy_connect" | "proxy_frames" | "http_answer" | "health_answer" => peers::sample(target),
        "tlog_proof" | "tlog_policy" | "add_checkpoint" | "genesis" => proofs::sample(target),
        at_a_door => gatekeeper::sample(at_a_door).unwrap_or_else(|| doors::sample(at_a_door)),
    }
}
