use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use marque_identity::TaskId;
use marque_judgement::record::Record;
use marque_signing::{jws, sha256};
use serde_json::{Value, json};

use super::*;
use crate::commitment::About;
use crate::testing;

const NOW: i64 = 1_700_000_000;

/// A log that stores by digest, as the stream does, and fails as it is told.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<LogState>>);

#[derive(Default)]
struct LogState {
    stored: Vec<(RecordKind, Did, String)>,
    /// The next publishes: *lost* (nothing stored) or *done but reported lost*.
    failures: Vec<Failure>,
}

#[derive(Clone, Copy, PartialEq)]
enum Failure {
    Lost,
    StoredButUnanswered,
}

impl Log {
    pub(super) fn of(&self, kind: RecordKind) -> Vec<String> {
        let state = self.0.lock().unwrap();
        state.stored.iter().filter(|(k, _, _)| *k == kind).map(|(_, _, record)| record.clone()).collect()
    }

    fn fail_next(&self, failure: Failure) {
        self.0.lock().unwrap().failures.push(failure);
    }
}

impl Records for Log {
    async fn publish(&self, kind: RecordKind, key: &Did, record: &str) -> Result<(), Refusal> {
        let mut state = self.0.lock().unwrap();
        let failure = state.failures.pop();
        if failure != Some(Failure::Lost) && !state.stored.iter().any(|(_, _, stored)| stored == record) {
            state.stored.push((kind, *key, record.to_owned()));
        }
        if failure.is_some() { Err(Refusal::new(Code::OutcomeUnknown, "no ack")) } else { Ok(()) }
    }
}

/// Directives that refuse from the n-th question on.
#[derive(Clone, Default)]
pub(super) struct Standing {
    refuse_from: Option<usize>,
    code: Option<Code>,
    asked: Arc<AtomicUsize>,
}

impl Directives for Standing {
    fn check(&self, about: &About) -> Result<(), Refusal> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        assert_eq!(about.blueprint.as_str(), "orchestrator");
        match (self.refuse_from, self.code) {
            (Some(from), Some(code)) if asked >= from => Err(Refusal::at("9", code, "directive")),
            (_, _) => Ok(()),
        }
    }
}

pub(super) struct Office {
    dir: tempfile::TempDir,
    pub(super) log: Log,
    clock: Arc<AtomicI64>,
}

impl Office {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, log: Log::default(), clock: Arc::new(AtomicI64::new(NOW * 1000)) }
    }

    /// A desk as a fresh process would set it up on the same disk.
    fn desk(&self) -> Desk<Log, Standing> {
        self.desk_under(Standing::default())
    }

    fn desk_under(&self, directives: Standing) -> Desk<Log, Standing> {
        let path = self.dir.path().join("issuer.redb");
        let (domain, key) = (testing::bundle().trust_domain, testing::issuer());
        self.desk_with(Store::open(&path, &domain, &key.did()).unwrap(), directives)
    }

    /// The same stream and clock, as they are now, for another run.
    pub(super) fn fork(&self) -> Self {
        let stored = self.log.0.lock().unwrap().stored.clone();
        let log = Log(Arc::new(Mutex::new(LogState { stored, failures: Vec::new() })));
        Self { log, ..Self::new() }
    }

    pub(super) fn desk_with(&self, store: Store, directives: Standing) -> Desk<Log, Standing> {
        let (key, rules, clock) = (Arc::new(testing::issuer()), Arc::new(testing::rules()), self.clock.clone());
        Desk {
            store,
            key,
            rules,
            oidc: Arc::default(),
            records: self.log.clone(),
            directives,
            now: Arc::new(move || UnixMillis(clock.load(Ordering::Relaxed))),
            metrics: Metrics::default(),
        }
    }

    fn later(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    fn now(&self) -> i64 {
        self.clock.load(Ordering::Relaxed) / 1000
    }

    pub(super) fn join(&self, jti: &str) -> String {
        let now = self.now();
        let claims =
            json!({"jti": jti, "aud": "acme.example", "blueprint": "orchestrator", "iat": now, "exp": now + 600});
        jws::sign_as_did(&testing::operator(), crate::join::JOIN_TYP, &claims).unwrap()
    }

    fn request(&self, duty: Duty, jti: &str, signer: &SigningKey, matter: Value) -> Vec<u8> {
        let mut claims = json!({"iat": self.now(), "jti": jti, "aud": "acme.example"});
        claims.as_object_mut().unwrap().extend(matter.as_object().unwrap().clone());
        jws::sign_as_did(signer, duty.typ(), &claims).unwrap().into_bytes()
    }

    pub(super) fn enrolment(&self, jti: &str, join: &str, signer: &SigningKey) -> Vec<u8> {
        let matter =
            json!({"join_token": join, "jwk": signer.public().jwk(), "runtime": {"model_id": "example-large-1"}});
        self.request(Duty::Enrol, jti, signer, matter)
    }

    async fn enrolled(&self, desk: &Desk<Log, Standing>, signer: &SigningKey) -> String {
        let body = self.enrolment("enrol", &self.join("join"), signer);
        let answer = desk.answer(Duty::Enrol, &body).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["credential"].as_str().unwrap().to_owned()
    }

    fn commission(&self, jti: &str, credential: &str, signer: &SigningKey, change: Value) -> Vec<u8> {
        let mut matter = json!({
            "credential": credential, "task": "urn:task:q3", "purpose": "quarter report",
            "tools": {"nats:tools.crm.query": {"customer": {"constraint_type": "exact", "value": "acme"}}},
        });
        matter.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        self.request(Duty::Issue, jti, signer, matter)
    }
}

fn code<T>(outcome: Result<T, Refusal>) -> Code {
    outcome.map(drop).unwrap_err().code
}

#[tokio::test]
async fn enrols_then_issues_then_renews() {
    let (office, agent) = (Office::new(), testing::agent());
    let desk = office.desk();
    let credential = office.enrolled(&desk, &agent).await;

    let body = office.commission("i1", &credential, &agent, json!({"del_max_depth": 2, "ttl_seconds": 60}));
    let answer: Value = serde_json::from_slice(&desk.answer(Duty::Issue, &body).await.unwrap()).unwrap();
    assert_eq!(answer["expires_at"], NOW + 60);
    let root: Value = jws::unverified_payload(answer["token"].as_str().unwrap(), 65_536).unwrap();
    assert_eq!(root["iss"], "https://acme.example");
    assert_eq!((&root["del_depth"], &root["del_max_depth"]), (&json!(0), &json!(2)));
    assert_eq!(root["task"], "urn:task:q3");
    assert_eq!(root["agent"]["blueprint"], "orchestrator");
    let vc_hash = marque_signing::Compact::split(&credential).unwrap().signing_digest();
    assert_eq!(root["agent"]["vc_hash"], vc_hash.to_string());

    office.later(3_600);
    let body = office.request(Duty::Renew, "r1", &agent, json!({ "credential": credential }));
    let answer: Value = serde_json::from_slice(&desk.answer(Duty::Renew, &body).await.unwrap()).unwrap();
    assert_eq!(answer["expires_at"], NOW + 3_600 + 7_200);
    assert_eq!(office.log.of(RecordKind::Issued).len(), 3, "each is recorded");
    assert!(office.log.of(RecordKind::Refused).is_empty());
}

#[tokio::test]
async fn a_retry_gets_the_same_bytes_whatever_was_lost() {
    for failure in [Failure::Lost, Failure::StoredButUnanswered] {
        let (office, agent) = (Office::new(), testing::agent());
        let body = office.enrolment("e1", &office.join("j1"), &agent);
        office.log.fail_next(failure);
        assert_eq!(code(office.desk().answer(Duty::Enrol, &body).await), Code::NotRecorded);
        // The process dies here; another one takes over the disk, long after the window for new requests.
        office.later(WINDOW_AND_MORE);
        let first = office.desk().answer(Duty::Enrol, &body).await.unwrap();
        let again = office.desk().answer(Duty::Enrol, &body).await.unwrap();
        assert_eq!(first, again);
        let issued = office.log.of(RecordKind::Issued);
        assert_eq!(issued.len(), 1, "one credential, one record");
    }
}
const WINDOW_AND_MORE: i64 = 120;

#[tokio::test]
async fn a_start_records_what_an_earlier_run_left() {
    let (office, agent) = (Office::new(), testing::agent());
    let body = office.enrolment("e1", &office.join("j1"), &agent);
    office.log.fail_next(Failure::Lost);
    assert_eq!(code(office.desk().answer(Duty::Enrol, &body).await), Code::NotRecorded);
    assert!(office.log.of(RecordKind::Issued).is_empty());

    let desk = office.desk();
    assert_eq!(desk.settle_pending().await.unwrap(), 1);
    assert_eq!(desk.settle_pending().await.unwrap(), 0);
    assert_eq!(office.log.of(RecordKind::Issued).len(), 1);
    desk.answer(Duty::Enrol, &body).await.unwrap();
    assert_eq!(office.log.of(RecordKind::Issued).len(), 1);
}

#[tokio::test]
async fn nothing_is_granted_before_its_record_is_stored() {
    let (office, agent) = (Office::new(), testing::agent());
    let desk = office.desk();
    for _ in 0..3 {
        office.log.fail_next(Failure::Lost);
    }
    let body = office.enrolment("e1", &office.join("j1"), &agent);
    for _ in 0..3 {
        assert_eq!(code(desk.answer(Duty::Enrol, &body).await), Code::NotRecorded);
    }
    assert!(office.log.of(RecordKind::Issued).is_empty());
    assert!(desk.answer(Duty::Enrol, &body).await.is_ok());
}

#[tokio::test]
async fn a_join_token_enrols_once() {
    let (office, agent) = (Office::new(), testing::agent());
    let desk = Arc::new(office.desk());
    let join = office.join("j1");
    desk.answer(Duty::Enrol, &office.enrolment("e1", &join, &agent)).await.unwrap();
    let thief = SigningKey::from_seed(&[8; 32]);
    for (jti, signer) in [("e2", &agent), ("e1", &thief), ("e3", &thief)] {
        assert_eq!(code(desk.answer(Duty::Enrol, &office.enrolment(jti, &join, signer)).await), Code::JoinTokenUsed);
    }
    assert_eq!(office.log.of(RecordKind::Refused).len(), 3);

    let join = office.join("j2");
    let racers = (10..26).map(|seed| {
        let (desk, signer) = (desk.clone(), SigningKey::from_seed(&[seed; 32]));
        let body = office.enrolment("race", &join, &signer);
        tokio::spawn(async move { desk.answer(Duty::Enrol, &body).await.is_ok() })
    });
    let racers: Vec<_> = racers.collect();
    let mut won = 0;
    for racer in racers {
        won += usize::from(racer.await.unwrap());
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn the_same_request_at_once_is_granted_once() {
    let (office, agent) = (Office::new(), testing::agent());
    let desk = Arc::new(office.desk());
    let body = office.enrolment("e1", &office.join("j1"), &agent);
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let (desk, body) = (desk.clone(), body.clone());
            tokio::spawn(async move { desk.answer(Duty::Enrol, &body).await.unwrap() })
        })
        .collect();
    let mut answers = std::collections::BTreeSet::new();
    for answer in tries {
        answers.insert(answer.await.unwrap());
    }
    assert_eq!((answers.len(), office.log.of(RecordKind::Issued).len()), (1, 1));
}

#[tokio::test]
async fn directives_and_a_stale_view_refuse() {
    let agent = testing::agent();
    for code_of in [Code::Revoked, Code::Suspended, Code::ViewStale] {
        // Before anything is signed: the join token is not used up.
        let office = Office::new();
        let join = office.join("j1");
        let body = office.enrolment("e1", &join, &agent);
        let under = Standing { refuse_from: Some(0), code: Some(code_of), ..Standing::default() };
        assert_eq!(code(office.desk_under(under).answer(Duty::Enrol, &body).await), code_of);
        assert!(office.log.of(RecordKind::Issued).is_empty());
        assert_eq!(office.log.of(RecordKind::Refused).len(), 1);
        assert!(office.desk().answer(Duty::Enrol, &office.enrolment("e2", &join, &agent)).await.is_ok());

        // While the record was on its way: it stands in the log, but nothing is handed out; nor on a retry.
        let office = Office::new();
        let body = office.enrolment("e1", &office.join("j1"), &agent);
        let under = Standing { refuse_from: Some(1), code: Some(code_of), ..Standing::default() };
        let desk = office.desk_under(under);
        assert_eq!(code(desk.answer(Duty::Enrol, &body).await), code_of);
        assert_eq!(code(desk.answer(Duty::Enrol, &body).await), code_of);
        assert_eq!(office.log.of(RecordKind::Issued).len(), 1);
    }
}

#[tokio::test]
async fn refusals_are_recorded_with_the_digest_of_their_input() {
    let (office, agent) = (Office::new(), testing::agent());
    let desk = office.desk();
    let garbage = b"\xff\xfenot a request".to_vec();
    assert_eq!(code(desk.answer(Duty::Issue, &garbage).await), Code::Malformed);
    let refused = office.log.of(RecordKind::Refused);
    let trusted = |by: &Did, _| *by == testing::issuer().did();
    assert!(Record::open(&refused[0], trusted).is_ok());
    let record: Value = jws::unverified_payload(&refused[0], 65_536).unwrap();
    assert_eq!(record["code"], "malformed");
    assert_eq!(record["input"], json!({"sha256": sha256(&garbage).to_string(), "bytes": garbage.len()}));
    assert!(record.get("agent").is_none(), "nobody is named who proved nothing");

    let body = office.enrolment("e1", "no.join.token", &agent);
    assert_eq!(code(desk.answer(Duty::Enrol, &body).await), Code::JoinTokenInvalid);
    let record: Value = jws::unverified_payload(&office.log.of(RecordKind::Refused)[1], 65_536).unwrap();
    assert_eq!(record["agent"], agent.did().to_string());
}

#[tokio::test]
async fn refuses_each_broken_rule_of_enrolment() {
    let (office, agent) = (Office::new(), testing::agent());
    let desk = office.desk();
    let other = SigningKey::from_seed(&[9; 32]);
    let refused = async |jti: &str, change: Value| {
        let mut matter = json!({
            "join_token": office.join("j"), "jwk": agent.public().jwk(), "runtime": {"model_id": "example-large-1"},
        });
        matter.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        code(desk.answer(Duty::Enrol, &office.request(Duty::Enrol, jti, &agent, matter)).await)
    };
    assert_eq!(refused("1", json!({"jwk": other.public().jwk()})).await, Code::PossessionUnproven);
    assert_eq!(refused("2", json!({"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}})).await, Code::HolderKeyInvalid);
    assert_eq!(refused("3", json!({"runtime": {"model_id": "other"}})).await, Code::ModelNotAllowed);
    assert_eq!(refused("4", json!({"runtime": {"model_id": ""}})).await, Code::ClaimsMalformed);
    assert_eq!(refused("5", json!({"surprise": 1})).await, Code::ClaimsMalformed);
    assert_eq!(refused("6", json!({"iat": NOW - 31})).await, Code::RequestStale);
    assert!(office.log.of(RecordKind::Issued).is_empty());
    assert_eq!(desk.store.totals().unwrap().evidence_remembered, 0, "no refusal uses the join token up");
}

#[tokio::test]
async fn refuses_each_broken_rule_of_issuing() {
    let (office, agent) = (Office::new(), testing::agent());
    let desk = office.desk();
    let credential = office.enrolled(&desk, &agent).await;
    let refused = async |jti: &str, change: Value| {
        code(desk.answer(Duty::Issue, &office.commission(jti, &credential, &agent, change)).await)
    };
    assert_eq!(refused("1", json!({"tools": {"nats:tools.shell.run": {}}})).await, Code::CeilingExceeded);
    assert_eq!(refused("2", json!({"del_max_depth": 5})).await, Code::CeilingExceeded);
    assert_eq!(refused("3", json!({"ttl_seconds": 3601})).await, Code::CeilingExceeded);
    assert_eq!(refused("4", json!({"ttl_seconds": 0})).await, Code::LifetimeInvalid);
    let unknown = json!({"tools": {"nats:tools.crm.query": {"customer": {"constraint_type": "regex"}}}});
    assert_eq!(refused("5", unknown).await, Code::ConstraintUnknown);
    assert_eq!(refused("6", json!({"tools": []})).await, Code::GrantMalformed);
    assert_eq!(refused("7", json!({"task": "q3"})).await, Code::ClaimsMalformed);
    assert_eq!(refused("8", json!({"purpose": ""})).await, Code::ClaimsMalformed);
    assert_eq!(refused("9", json!({"token_aud": []})).await, Code::ClaimsMalformed);
    assert_eq!(refused("10", json!({"credential": "a.b.c"})).await, Code::CredentialInvalid);
    assert_eq!(refused("11", json!({"ttl_second": 5})).await, Code::ClaimsMalformed);

    // The credential is not a bearer's.
    let thief = SigningKey::from_seed(&[9; 32]);
    let body = office.commission("12", &credential, &thief, json!({}));
    assert_eq!(code(desk.answer(Duty::Issue, &body).await), Code::PossessionUnproven);
    // One that an agent made for itself.
    office.later(7_200);
    assert_eq!(refused("13", json!({})).await, Code::CredentialInvalid, "expired");
    assert_eq!(office.log.of(RecordKind::Issued).len(), 1, "the credential's own");
}

#[tokio::test]
async fn one_jti_is_for_one_request() {
    let (office, agent) = (Office::new(), testing::agent());
    let desk = office.desk();
    let credential = office.enrolled(&desk, &agent).await;
    desk.answer(Duty::Issue, &office.commission("i1", &credential, &agent, json!({}))).await.unwrap();
    let other_task: TaskId = "urn:task:q4".parse().unwrap();
    let body = office.commission("i1", &credential, &agent, json!({ "task": other_task }));
    assert_eq!(code(desk.answer(Duty::Issue, &body).await), Code::Conflict);
}

#[tokio::test]
async fn tidying_forgets_answers_but_not_join_tokens() {
    let (office, agent) = (Office::new(), testing::agent());
    let desk = office.desk();
    let join = office.join("j1");
    let body = office.enrolment("e1", &join, &agent);
    desk.answer(Duty::Enrol, &body).await.unwrap();
    office.later(ANSWER_MEMORY_SECONDS + 1);
    desk.tidy().await.unwrap();
    let totals = desk.store.totals().unwrap();
    assert_eq!((totals.grants_remembered, totals.evidence_remembered, totals.credentials), (0, 1, 1));
    assert_eq!(code(desk.answer(Duty::Enrol, &body).await), Code::RequestStale);
}

#[tokio::test]
async fn hostile_matter_in_a_good_envelope_is_refused() {
    let (office, agent) = (Office::new(), testing::agent());
    let desk = office.desk();
    let frame = format!(r#""iat":{NOW},"jti":"x","aud":"acme.example""#);
    let deep = format!(r#"{{{frame},"tools":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let payloads: [&[u8]; 9] = [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"{\"iat\":1e400}",
        b"{\"iat\":1,\"jti\":\"\\ud800\",\"aud\":\"acme.example\"}",
        &format!("{{{frame}}}").into_bytes(),
        &format!(r#"{{{frame},"credential":1,"join_token":[],"runtime":"x","jwk":{{}}}}"#).into_bytes(),
        deep.as_bytes(),
    ];
    for duty in [Duty::Enrol, Duty::Issue, Duty::Renew] {
        for payload in payloads {
            let body = jws::sign(&agent, duty.typ(), Some(&agent.did().url()), payload);
            let code = code(desk.answer(duty, body.as_bytes()).await);
            assert!(
                matches!(code, Code::Malformed | Code::ClaimsMalformed | Code::TooDeep),
                "{duty:?} {payload:?}: {code}"
            );
        }
    }
    assert_eq!(office.log.of(RecordKind::Refused).len(), 27, "each is recorded");
}
