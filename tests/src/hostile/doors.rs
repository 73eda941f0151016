//! What the services, the command line and the broker's callout read from outside, each through its own door.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use marque_agent::enforce::{Chain, Presentation, Received};
use marque_attestor::read_request;
use marque_audit_sink::agents::AgentsRequest;
use marque_audit_sink::completeness::CompletenessRequest;
use marque_audit_sink::desk::asked;
use marque_audit_sink::explain::ExplainRequest;
use marque_audit_sink::prove::ProofRequest;
use marque_audit_sink::query::Query;
use marque_bus::async_nats::{HeaderMap, HeaderValue};
use marque_bus::callout::Questions;
use marque_bus::{Request, header};
use marque_credential::evidence::{ATTEST_REQUEST_TYPE, PROCESS_EVIDENCE_TYPE};
use marque_credential::{Manifest, ProcessEvidence};
use marque_identity::{Did, Refusal, TrustDomain, UnixMillis, UnixSeconds};
use marque_issuer::About;
use marque_issuer::attest::{Issuers, OidcConfig};
use marque_issuer::blueprint::{Blueprint, Blueprints};
use marque_issuer::desk::Desk;
use marque_issuer::join::JoinToken;
use marque_issuer::metrics::Metrics;
use marque_issuer::records::Records;
use marque_issuer::request::Duty;
use marque_issuer::rules::Rules;
use marque_issuer::standing::Directives;
use marque_issuer::store::Store;
use marque_json::Limits;
use marque_judgement::record::RecordKind;
use marque_ledger::{KeyKind, Note, VerifierKey, cosign, verify_cosignature};
use marque_revocation::StatusRequest;
use marque_signing::nkey::{self, Kind};
use marque_signing::xkey::{PublicXkey, SealingKey};
use marque_signing::{Anchor, Operator, Role, ServiceKey, SigningKey, TrustBundle, base64url, jws};
use serde_json::{Value, json};

use super::{key, text};
use crate::vectors::token::{NOW, Who};

const DOMAIN: &str = "acme.example";
const JOIN_TYP: &str = "marque-join+jwt";
const CI: &str = "https://ci.example";
const CI_HEADER: &[u8] = br#"{"alg":"EdDSA","typ":"JWT","kid":"ci-1"}"#;
const SERVER_HEADER: &[u8] = br#"{"typ":"JWT","alg":"ed25519-nkey"}"#;
const MODEL: &str = "example-large-1";
const AGENT: Who = Who::Orchestrator;
const OPERATOR: Who = Who::Worker2;
/// The machine's attestor, the broker's server, the witness, and another issuer.
const OTHER: Who = Who::Worker;
/// What a status request may weigh.
const STATUS_BYTES_MAX: usize = 1024;

/// Agents by an operator's word.
const ORCHESTRATOR: &str = r#"
name = "orchestrator"
description = "Plans."
sponsor = "team-research"
models = ["example-large-1"]
max_life_seconds = 7200
max_depth = 4

[tools."nats:tools.crm.query"]
customer = { constraint_type = "one_of", values = ["acme", "globex"] }
"#;

/// Agents by another issuer's.
const BUILDER: &str = r#"
name = "builder"
description = "Builds."
sponsor = "team-research"
models = ["example-large-1"]
max_life_seconds = 7200
max_depth = 0

[attest]
require = ["oidc"]

[attest.oidc]
issuers = ["ci"]
audience = "marque"
claims = { sub = "repo:acme/*" }

[tools."nats:tools.crm.query"]
customer = { constraint_type = "wildcard" }
"#;

fn domain() -> TrustDomain {
    DOMAIN.parse().expect("a domain")
}

fn bundle() -> TrustBundle {
    let attestor = ServiceKey { role: Role::Attestor, name: "machine".into(), did: OTHER.key().did() };
    TrustBundle {
        trust_domain: domain(),
        version: 1,
        issued_at: UnixSeconds(1),
        issuers: vec![Anchor { iss: "https://acme.example".into(), did: key().did() }],
        services: vec![attestor],
        operators: vec![Operator { name: "ada".into(), did: OPERATOR.key().did() }],
    }
}

/// A stream that stores everything.
struct Stored;

impl Records for Stored {
    async fn publish(&self, _: RecordKind, _: &Did, _: &str) -> Result<(), Refusal> {
        Ok(())
    }
}

/// No directive stands.
struct NoDirective;

impl Directives for NoDirective {
    fn check(&self, _: &About) -> Result<(), Refusal> {
        Ok(())
    }
}

/// An issuer without a bus.
struct Office {
    desk: Desk<Stored, NoDirective>,
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    credential: String,
}

impl Office {
    fn open() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let keys = dir.path().join("ci.json");
        std::fs::write(&keys, key_set().to_string()).expect("a file");
        let blueprint = |name: &str, text| Blueprint::parse(Path::new(name), text).expect("a blueprint");
        let blueprints =
            Blueprints::of([blueprint("orchestrator.toml", ORCHESTRATOR), blueprint("builder.toml", BUILDER)]);
        let store = Store::open(&dir.path().join("issuer.redb"), &domain(), &key().did()).expect("a store");
        let desk = Desk {
            key: Arc::new(key()),
            rules: Arc::new(Rules::new(bundle(), blueprints, &key().public()).expect("an issuer of the bundle")),
            oidc: Arc::new(Issuers::new(&[ci(&keys)]).expect("a key set")),
            store,
            records: Stored,
            directives: NoDirective,
            now: Arc::new(|| UnixMillis(NOW * 1000)),
            metrics: Metrics::default(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let mut office = Self { desk, runtime, dir, credential: String::new() };
        let enrolled = office.answer(Duty::Enrol, &signed_by(AGENT, Duty::Enrol.typ(), &enrolment()));
        let enrolled: Value = serde_json::from_slice(&enrolled.expect("the sample enrols")).expect("JSON");
        office.credential = enrolled["credential"].as_str().expect("a credential").to_owned();
        office
    }

    fn answer(&self, duty: Duty, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.runtime.block_on(self.desk.answer(duty, body))
    }
}

fn office() -> &'static Office {
    static OFFICE: OnceLock<Office> = OnceLock::new();
    OFFICE.get_or_init(Office::open)
}

/// Whatever `who` may sign as this type.
fn signed_by(who: Who, typ: &str, payload: &[u8]) -> Vec<u8> {
    let key = who.key();
    jws::sign(&key, typ, Some(&key.did().url()), payload).into_bytes()
}

fn ascii(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("a compact JWS is ASCII")
}

fn bytes(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}

/// A JWT of this header and payload.
fn jwt(key: &SigningKey, header: &[u8], payload: &[u8]) -> String {
    let signed = format!("{}.{}", base64url(header), base64url(payload));
    let signature = base64url(&key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn enrolment() -> Vec<u8> {
    let token = ascii(signed_by(OPERATOR, JOIN_TYP, &sample("join_token")));
    bytes(&json!({
        "iat": NOW, "jti": "enrol", "aud": DOMAIN, "jwk": AGENT.jwk(),
        "runtime": {"model_id": MODEL}, "join_token": token,
    }))
}

/// Bytes that nobody signed are refused; signed, they are granted what is in them, or refused.
fn request(duty: Duty, data: &[u8]) {
    assert!(office().answer(duty, data).is_err(), "what nobody signed is granted");
    if let Ok(answer) = office().answer(duty, &signed_by(AGENT, duty.typ(), data)) {
        let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
        assert!(answer["expires_at"].is_i64());
    }
}

/// A request to enrol.
pub fn enrol_request(data: &[u8]) {
    request(Duty::Enrol, data);
}

/// A request for a root token.
pub fn issue_request(data: &[u8]) {
    request(Duty::Issue, data);
}

/// A request for a new credential.
pub fn renew_request(data: &[u8]) {
    request(Duty::Renew, data);
}

/// A join token, as it comes and as an operator might sign it.
pub fn join_token(data: &[u8]) {
    let (bundle, now) = (bundle(), UnixSeconds(NOW));
    let by = |who| ascii(signed_by(who, JOIN_TYP, data));
    let _ = JoinToken::verify(&by(OPERATOR), &bundle, now);
    assert!(JoinToken::verify(&text(data), &bundle, now).is_err(), "what no operator signed is taken");
    assert!(JoinToken::verify(&by(Who::Attacker), &bundle, now).is_err(), "what an attacker signed is taken");
}

fn key_set() -> Value {
    let mut key = OTHER.jwk();
    key["kid"] = "ci-1".into();
    json!({"keys": [key]})
}

fn ci(keys: &Path) -> OidcConfig {
    OidcConfig { name: "ci".into(), iss: CI.into(), jwks_file: Some(keys.to_owned()), jwks_url: None, ca_file: None }
}

fn enrol_by_oidc(token: &str) -> Result<Vec<u8>, Refusal> {
    let jti = marque_signing::sha256(token.as_bytes()).to_string();
    let claims = json!({
        "iat": NOW, "jti": jti, "aud": DOMAIN, "jwk": OTHER.jwk(),
        "runtime": {"model_id": MODEL}, "blueprint": "builder", "oidc_token": token,
    });
    office().answer(Duty::Enrol, &signed_by(OTHER, Duty::Enrol.typ(), &bytes(&claims)))
}

/// A token of an OpenID Connect issuer or a JWT-SVID: raw, as payload and as header, in a request to enrol.
pub fn oidc_token(data: &[u8]) {
    let _ = enrol_by_oidc(&jwt(&OTHER.key(), CI_HEADER, data));
    let _ = enrol_by_oidc(&jwt(&OTHER.key(), data, &sample("oidc_token")));
    assert!(enrol_by_oidc(&text(data)).is_err(), "what nobody signed enrols");
    assert!(enrol_by_oidc(&jwt(&Who::Attacker.key(), CI_HEADER, data)).is_err(), "what an attacker signed enrols");
}

/// Another issuer's JWK set, in a file.
pub fn jwks(data: &[u8]) {
    static FILES: AtomicU64 = AtomicU64::new(0);
    let file = office().dir.path().join(format!("{}.json", FILES.fetch_add(1, Ordering::Relaxed)));
    std::fs::write(&file, data).expect("a file");
    let _ = Issuers::new(&[ci(&file)]);
    std::fs::remove_file(&file).expect("it was written");
}

/// An attestor's statement.
pub fn process_evidence(data: &[u8]) {
    let attestors = [OTHER.key().public()];
    let _ = ProcessEvidence::open(&ascii(signed_by(OTHER, PROCESS_EVIDENCE_TYPE, data)), &attestors);
    assert!(ProcessEvidence::open(&text(data), &attestors).is_err(), "what no attestor signed is taken");
}

/// What an agent says was deployed: one digest for one meaning.
pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        let written = serde_json::to_vec(&manifest).expect("it was read from JSON");
        let again = Manifest::parse(&written).expect("it was written here");
        assert_eq!(again.digest().ok(), manifest.digest().ok());
    }
}

/// The line that a process sends the attestor.
pub fn attest_line(data: &[u8]) {
    let now = UnixSeconds(NOW);
    assert!(read_request(data, &domain(), now).is_err(), "what nobody signed is attested");
    let request = ascii(signed_by(AGENT, ATTEST_REQUEST_TYPE, data));
    if let Ok(agent) = read_request(&bytes(&json!({"request": request})), &domain(), now) {
        assert_eq!(agent, AGENT.key().public());
    }
}

/// A blueprint's file.
pub fn blueprint(data: &[u8]) {
    if let Ok(blueprint) = Blueprint::parse(Path::new("orchestrator.toml"), &text(data)) {
        assert_eq!(blueprint.name.as_str(), "orchestrator");
        assert!(serde_json::to_string(&blueprint.info(true)).is_ok());
    }
}

/// A question to the verifier.
pub fn decide_question(data: &[u8]) {
    if let Ok(question) = marque_verifier::authzen::read(data) {
        let _ = question.args.canonical();
    }
}

/// A question to the audit log, of each kind.
pub fn audit_question(data: &[u8]) {
    let _ = asked::<Query>(data);
    let _ = asked::<ExplainRequest>(data);
    let _ = asked::<ProofRequest>(data);
    let _ = asked::<AgentsRequest>(data);
    let _ = asked::<CompletenessRequest>(data);
}

/// A question about the directives that stand.
pub fn status_request(data: &[u8]) {
    let _ = marque_json::from_slice::<StatusRequest>(data, Limits::bytes(STATUS_BYTES_MAX));
}

/// The headers and the payload of a call: chain, chain's name, proof, arguments, a line each. An empty line is a header
/// that is not there; one with a bar in it stands twice.
pub fn presentation(data: &[u8]) {
    let mut parts = data.splitn(4, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (chain, name, proof, args) = (part(), part(), part(), part());
    let mut headers = HeaderMap::new();
    for (header, values) in [(header::CHAIN, chain), (header::CHAIN_REF, name), (header::PROOF, proof)] {
        for value in values.split(|byte| *byte == b'|').filter(|value| !value.is_empty()) {
            if let Ok(value) = text(value).parse::<HeaderValue>() {
                headers.append(header, value);
            }
        }
    }
    let request = Request { subject: "marque.gate.tools.crm.query".into(), headers, payload: args.to_vec().into() };
    let _ = Received::of(&request).bytes();
    if let Ok(presentation) = Presentation::read(&request, "nats://acme.example/tools.crm.query".into()) {
        match presentation.chain {
            Chain::Whole(whole) => assert_eq!(Some(whole), request.header(header::CHAIN)),
            Chain::Digest(_) => assert!(request.header(header::CHAIN).is_none()),
        }
    }
}

const WITNESS: &str = "w.example";
const NOTE_TEXT: &str = "acme.example/audit\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

fn witness() -> VerifierKey {
    VerifierKey::new(WITNESS, KeyKind::Cosignature, OTHER.key().public()).expect("a name")
}

/// A witness's line under a note: none but the witness's own counts.
pub fn cosignature(data: &[u8]) {
    let Ok(note) = Note::parse(format!("{NOTE_TEXT}\n{}\n", text(data)).as_bytes()) else { return };
    if let Some(time) = verify_cosignature(&note, &witness()) {
        // Ed25519 signs one text in one way: whatever comes through here, the witness made.
        let own = cosign(note.text(), WITNESS, &OTHER.key(), time).expect("its time was read");
        assert!(note.signatures().contains(&own));
    }
}

/// A verifier key's line: one text for each key.
pub fn vkey(data: &[u8]) {
    let text = text(data);
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
        let again = VerifierKey::new(key.name(), key.kind(), *key.key()).expect("it was one");
        assert_eq!(again.key_id(), key.key_id());
    }
}

/// A responder's key and a server's.
fn xkeys() -> (SealingKey, SealingKey) {
    (SealingKey::from_seed(&[2; 32]), SealingKey::from_seed(&[6; 32]))
}

/// A server's question who may connect: raw, sealed, and signed by a server.
pub fn callout_question(data: &[u8]) {
    let (own, server) = xkeys();
    let reader = PublicXkey::parse(&own.public()).expect("an xkey");
    let questions = Questions::new(&OPERATOR.key().public(), own);
    let (sender, now) = (server.public(), UnixSeconds(NOW));
    assert!(questions.open(data, Some(&sender), now).is_err(), "what nobody sealed is answered");
    assert!(questions.open(data, Some(&text(data)), now).is_err(), "what nobody sealed is answered");
    let signed = jwt(&OTHER.key(), SERVER_HEADER, data);
    for token in [data, signed.as_bytes()] {
        if let Ok(sealed) = server.seal(token, &reader) {
            let _ = questions.open(&sealed, Some(&sender), now);
        }
    }
}

/// What `marque token inspect -` is given.
pub fn token_inspect(data: &[u8]) {
    if let Ok(tokens) = marque::inspect::tokens(data) {
        assert!(!tokens.is_empty());
        assert!(serde_json::to_string(&tokens).is_ok());
    }
}

/// A valid sample for each target of this module.
pub(super) fn sample(target: &str) -> Vec<u8> {
    let credential = || office().credential.clone();
    match target {
        "enrol_request" => enrolment(),
        "issue_request" => bytes(&json!({
            "iat": NOW, "jti": "issue", "aud": DOMAIN,
            "credential": credential(), "task": "urn:task:sample", "purpose": "to see",
            "tools": {"nats:tools.crm.query": {"customer": {"constraint_type": "exact", "value": "acme"}}},
            "ttl_seconds": 600, "del_max_depth": 2, "token_aud": ["nats://acme.example/tools.crm.query"],
        })),
        "renew_request" => bytes(&json!({"iat": NOW, "jti": "renew", "aud": DOMAIN, "credential": credential()})),
        "join_token" => bytes(&json!({
            "jti": "join", "aud": DOMAIN, "blueprint": "orchestrator", "iat": NOW, "exp": NOW + 600,
        })),
        "oidc_token" => bytes(&json!({
            "iss": CI, "sub": "repo:acme/x", "aud": ["marque"], "iat": NOW, "exp": NOW + 600, "jti": "ci",
        })),
        "jwks" => bytes(&key_set()),
        "process_evidence" => bytes(&json!({
            "jti": "p", "iss": OTHER.key().did(), "aud": DOMAIN, "sub": AGENT.key().did(), "iat": NOW, "exp": NOW + 60,
            "host": "machine", "process": {
                "pid": 7, "started_ticks": 9, "uid": 1000, "gid": 1000, "exe": "/bin/agent",
                "exe_sha256": "05".repeat(32), "command_line": ["agent", "--plan"],
            },
        })),
        "manifest" => bytes(&json!({"model_id": MODEL, "prompt_sha256": "05".repeat(32)})),
        "attest_line" => bytes(&json!({"aud": DOMAIN, "iat": NOW, "jti": "a"})),
        "blueprint" => ORCHESTRATOR.as_bytes().to_vec(),
        "decide_question" => bytes(&json!({
            "subject": {"type": "agent", "id": AGENT.key().did()}, "action": {"name": "call"},
            "resource": {"type": "tool", "id": "nats:tools.crm.query"},
            "context": {"chain": ["a.b.c", "d.e.f"], "proof": "g.h.i", "args": {"customer": "acme"}, "nonce": "n"},
        })),
        "audit_question" => bytes(&json!({
            "agent": AGENT.key().did(), "task": "urn:task:sample", "decision": "deny", "limit": 5, "newest_first": true,
        })),
        "status_request" => br#"{"after":null}"#.to_vec(),
        "presentation" => b"a.b.c~d.e.f\n\ng.h.i\n{\"customer\":\"acme\"}".to_vec(),
        "cosignature" => {
            let mut note = Note::new(NOTE_TEXT.into()).expect("a text");
            note.add(cosign(NOTE_TEXT, WITNESS, &OTHER.key(), UnixSeconds(NOW)).expect("a name and a time"));
            note.to_string().lines().last().unwrap_or_default().as_bytes().to_vec()
        }
        "vkey" => witness().to_string().into_bytes(),
        "callout_question" => {
            let server = nkey::public(Kind::Server, &OTHER.key().public());
            bytes(&json!({
                "iss": server, "sub": nkey::public(Kind::Account, &OPERATOR.key().public()),
                "aud": "nats-authorization-request", "iat": NOW, "exp": NOW + 5, "jti": "J",
                "nats": {
                    "type": "authorization_request", "version": 2, "server_id": {"id": server, "name": "n"},
                    "user_nkey": nkey::user_public(&key().public()),
                    "client_info": {"id": 10, "host": "127.0.0.1", "nonce": "nonce"},
                    "connect_opts": {
                        "nkey": nkey::user_public(&AGENT.key().public()),
                        "sig": base64url(&AGENT.key().sign(b"nonce")), "auth_token": "a~b", "lang": "rust",
                    },
                },
            }))
        }
        "token_inspect" => format!("{}~{}", credential(), credential()).into_bytes(),
        other => unreachable!("no sample for `{other}`: the tests ask for each"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample that is refused at the door would leave what lies behind it untried.
    #[test]
    fn samples_come_through_their_doors() {
        let now = UnixSeconds(NOW);
        for (duty, name) in
            [(Duty::Enrol, "enrol_request"), (Duty::Issue, "issue_request"), (Duty::Renew, "renew_request")]
        {
            office().answer(duty, &signed_by(AGENT, duty.typ(), &sample(name))).unwrap();
        }
        enrol_by_oidc(&jwt(&OTHER.key(), CI_HEADER, &sample("oidc_token"))).unwrap();
        JoinToken::verify(&ascii(signed_by(OPERATOR, JOIN_TYP, &sample("join_token"))), &bundle(), now).unwrap();
        let evidence = ascii(signed_by(OTHER, PROCESS_EVIDENCE_TYPE, &sample("process_evidence")));
        ProcessEvidence::open(&evidence, &[OTHER.key().public()]).unwrap();
        Manifest::parse(&sample("manifest")).unwrap();
        marque_verifier::authzen::read(&sample("decide_question")).unwrap();
        asked::<Query>(&sample("audit_question")).unwrap();
        let request = ascii(signed_by(AGENT, ATTEST_REQUEST_TYPE, &sample("attest_line")));
        read_request(&bytes(&json!({"request": request})), &domain(), now).unwrap();
        assert_eq!(marque::inspect::tokens(&sample("token_inspect")).unwrap().len(), 2);
        let (own, server) = xkeys();
        let token = jwt(&OTHER.key(), SERVER_HEADER, &sample("callout_question"));
        let sealed = server.seal(token.as_bytes(), &PublicXkey::parse(&own.public()).unwrap()).unwrap();
        let question = Questions::new(&OPERATOR.key().public(), own).open(&sealed, Some(&server.public()), now);
        assert_eq!(question.unwrap().possession, Some(AGENT.key().public()));
        let note = format!("{NOTE_TEXT}\n{}\n", text(&sample("cosignature")));
        assert_eq!(verify_cosignature(&Note::parse(note.as_bytes()).unwrap(), &witness()), Some(now));
        marque_json::from_slice::<StatusRequest>(&sample("status_request"), Limits::bytes(STATUS_BYTES_MAX)).unwrap();
    }
}
