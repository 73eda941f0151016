//! Evidence, against the issuer's real process: each kind admits its own and nobody else, once.
#![allow(clippy::unwrap_used)]

mod house;
mod keys;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;

use house::scene::{ASK, Scene};
use house::{domain, now};
use keys::Kind;
use marque_agent::{Agent, AgentError, AgentKey, CommissionRequest, Evidence, RuntimeClaim};
use marque_bus::{CallError, streams, subjects};
use marque_credential::evidence::{Manifest, Process, ProcessEvidence};
use marque_credential::{Assurance, EvidenceKind, IdentityCredential, Tools, VerifiedCredential};
use marque_identity::{Code, Digest, TokenId};
use marque_json::Json;
use marque_judgement::record::{Body, Record};
use marque_signing::{SigningKey, jws};
use marque_test_support::{DEADLINE, eventually};
use serde_json::{Value, json};

const ISS: &str = "https://ci.example";
const WEB_ISS: &str = "https://web.example";
const MODEL: &str = "m-1";

/// The rest of a blueprint, below its `[attest]`.
fn blueprint(scene_dir: &Path, name: &str, attest: &str) {
    let text = format!(
        "name = \"{name}\"\ndescription = \"Tried.\"\nsponsor = \"team\"\nmodels = [\"{MODEL}\"]\n\
         max_life_seconds = 3600\nmax_depth = 1\n{attest}\n[tools.\"nats:tools.crm.query\"]\n"
    );
    std::fs::write(scene_dir.join(format!("{name}.toml")), text).unwrap();
}

const OIDC: &str = "[attest.oidc]\nissuers = [\"ci\", \"web\"]\naudience = \"marque\"\n\
                    claims = { sub = \"repo:acme/*\", \"kubernetes.io.namespace\" = \"agents\" }\n";

fn manifest(code: u8) -> Manifest {
    Manifest {
        model_id: MODEL.into(),
        model_digest: None,
        prompt_sha256: Some(Digest([1; 32])),
        tools_sha256: None,
        code_sha256: Some(Digest([code; 32])),
    }
}

/// A scene with blueprints that demand evidence, keys in a file and keys at a URL.
async fn scene() -> (tempfile::TempDir, Scene) {
    let dir = tempfile::tempdir().unwrap();
    let blueprints = dir.path().join("blueprints");
    std::fs::create_dir(&blueprints).unwrap();
    blueprint(&blueprints, "ci", &format!("[attest]\nrequire = [\"oidc\"]\n{OIDC}"));
    let exe = Digest([5; 32]);
    let process = format!("[attest.process]\nexe_sha256 = [\"{exe}\"]\nhosts = [\"node-1\"]\n");
    blueprint(&blueprints, "host", &format!("[attest]\nrequire = [\"process\"]\n{process}"));
    let allowed = format!(
        "[attest.manifest]\nprompt_sha256 = [\"{}\"]\ncode_sha256 = [\"{exe}\", \"{}\"]\n",
        Digest([1; 32]),
        Digest([6; 32])
    );
    let all = "[attest]\nrequire = [\"join_token\", \"oidc\", \"process\", \"manifest\"]\n";
    blueprint(&blueprints, "all", &format!("{all}{OIDC}{process}{allowed}"));
    blueprint(&blueprints, "plain", "");
    let jwks = dir.path().join("keys.json");
    std::fs::write(&jwks, keys::key_set()).unwrap();
    let url = serve(keys::key_set());
    let section = format!(
        "blueprints = {blueprints:?}\n[[issuer.oidc]]\nname = \"ci\"\niss = \"{ISS}\"\njwks_file = {jwks:?}\n\
         [[issuer.oidc]]\nname = \"web\"\niss = \"{WEB_ISS}\"\njwks_url = \"{url}\"\n"
    );
    (dir, Scene::new(&section).await)
}

/// A web server on this machine that says one thing.
fn serve(body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let lines = BufReader::new(&connection).lines();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let length = body.len();
            let _ =
                write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        }
    });
    url
}

fn claims(change: Value) -> Value {
    let mut claims = json!({
        "iss": ISS, "sub": "repo:acme/agents", "aud": "marque", "iat": now(), "exp": now().plus(300),
        "jti": TokenId::generate(), "kubernetes.io": {"namespace": "agents"},
    });
    claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    claims
}

fn token(change: Value) -> String {
    Kind::Ed.token(&claims(change))
}

fn statement(scene: &Scene, key: &SigningKey, exe: u8) -> String {
    let attestor = &scene.house.attestor;
    let evidence = ProcessEvidence {
        jti: TokenId::generate(),
        iss: attestor.did(),
        aud: domain(),
        sub: key.did(),
        iat: now(),
        exp: now().plus(60),
        host: "node-1".into(),
        process: Process {
            pid: 42,
            started_ticks: 7,
            uid: 1000,
            gid: 1000,
            exe: "/usr/bin/agent".into(),
            exe_sha256: Digest([exe; 32]),
            command_line: vec!["agent".into()],
            command_line_cut: false,
            cgroup: None,
            container_id: None,
        },
    };
    evidence.sign(attestor).unwrap()
}

fn as_a(blueprint: &str) -> Evidence {
    Evidence::of(blueprint.parse().unwrap())
}

/// The body of an enrolment, as the SDK makes it.
fn body(key: &SigningKey, evidence: &Evidence) -> String {
    let mut request = json!({
        "iat": now(), "jti": TokenId::generate(), "aud": domain(), "jwk": key.public().jwk(),
        "runtime": {"model_id": MODEL},
    });
    request.as_object_mut().unwrap().extend(json!(evidence).as_object().unwrap().clone());
    jws::sign_as_did(key, "marque-enrol+jwt", &request).unwrap()
}

fn code<T>(outcome: Result<T, CallError>) -> Result<(), Code> {
    outcome.map(drop).map_err(|error| error.code())
}

async fn enrol(scene: &Scene, key: &SigningKey, evidence: &Evidence) -> Result<(), Code> {
    code(scene.ask(subjects::issuer::ENROL, &body(key, evidence)).await)
}

fn fresh_key() -> SigningKey {
    SigningKey::generate().unwrap()
}

fn credential(scene: &Scene, agent: &str) -> VerifiedCredential {
    IdentityCredential::verify(agent, &[scene.house.issuer.public()], now()).unwrap()
}

fn kinds(credential: &VerifiedCredential) -> Vec<EvidenceKind> {
    credential.claims().evidence.iter().map(|piece| piece.kind).collect()
}

/// Until its view is fresh the issuer refuses, and evidence stays good.
async fn warm(scene: &Scene) {
    eventually("an agent enrols", DEADLINE, async || {
        enrol(scene, &fresh_key(), &Evidence::from(scene.house.join_as("plain"))).await
    })
    .await;
}

/// Every record of a kind.
async fn records(scene: &Scene, kind: &str) -> Vec<Record> {
    let prefix = format!("marque.record.{kind}.");
    let stored = scene.sink.read(streams::AUDIT, 1, 1_000).await.unwrap();
    let of_kind = stored.messages.iter().filter(|message| message.subject.starts_with(&prefix));
    of_kind.map(|message| Record::open_any(std::str::from_utf8(&message.payload).unwrap()).unwrap().0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_a_configured_issuer_enrols_one_key_once() {
    let (_dir, scene) = scene().await;
    let _issuer = scene.issuer().await;
    warm(&scene).await;

    // Each algorithm; keys from a file, and from a URL.
    for kind in Kind::ALL {
        for iss in [ISS, WEB_ISS] {
            let token = kind.token(&claims(json!({ "iss": iss })));
            assert_eq!(enrol(&scene, &fresh_key(), &as_a("ci").oidc(token)).await, Ok(()), "{kind:?} {iss}");
        }
    }
    let refused = async |token: String| enrol(&scene, &fresh_key(), &as_a("ci").oidc(token)).await.unwrap_err();
    assert_eq!(refused(keys::hs256_with_the_public_key(&claims(json!({})))).await, Code::AlgorithmNotAllowed);
    let none = Kind::Rsa.token_with(&json!({"alg": "none", "kid": "rsa-1"}), &claims(json!({})));
    assert_eq!(refused(none).await, Code::AlgorithmNotAllowed);
    let foreign = Kind::Rsa.token_with(&json!({"alg": "RS256", "kid": "rsa-2"}), &claims(json!({})));
    assert_eq!(refused(foreign).await, Code::EvidenceInvalid, "no such key");
    let confused = Kind::Ed.token_with(&json!({"alg": "RS256", "kid": "rsa-1"}), &claims(json!({})));
    assert_eq!(refused(confused).await, Code::EvidenceInvalid, "another key's signature");
    assert_eq!(refused(token(json!({"exp": now().plus(-31)}))).await, Code::EvidenceInvalid);
    assert_eq!(refused(token(json!({"aud": "elsewhere"}))).await, Code::EvidenceMismatch);
    assert_eq!(refused(token(json!({"sub": "repo:evil/agents"}))).await, Code::EvidenceMismatch);
    assert_eq!(refused(token(json!({"iss": "https://evil.example"}))).await, Code::EvidenceMismatch);
    let others = json!({"cnf": {"jkt": fresh_key().public().thumbprint()}});
    assert_eq!(refused(token(others)).await, Code::EvidenceInvalid);
    assert_eq!(refused("x".repeat(17 * 1024)).await, Code::Oversize);

    // Stolen after it was used: it enrols no second key, nor the first one again.
    let (first, thief, token) = (fresh_key(), fresh_key(), token(json!({})));
    assert_eq!(enrol(&scene, &first, &as_a("ci").oidc(&token)).await, Ok(()));
    for key in [&thief, &first] {
        assert_eq!(enrol(&scene, key, &as_a("ci").oidc(&token)).await, Err(Code::EvidenceReused));
    }
    // Not demanded, and so not judged.
    let plain = Evidence::from(scene.house.join_as("plain")).oidc(self::token(json!({})));
    assert_eq!(enrol(&scene, &fresh_key(), &plain).await, Err(Code::EvidenceMismatch));
    assert_eq!(enrol(&scene, &fresh_key(), &Evidence::default()).await, Err(Code::EvidenceMissing));
    assert_eq!(enrol(&scene, &fresh_key(), &as_a("none")).await, Err(Code::BlueprintUnknown));

    let page = scene.ask(subjects::issuer::BLUEPRINTS, r#"{"name":"ci"}"#).await.unwrap();
    assert_eq!((&page["require"], &page["attest"]["oidc"]["audience"]), (&json!(["oidc"]), &json!("marque")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attestors_statement_enrols_the_process_that_it_saw() {
    let (_dir, scene) = scene().await;
    let _issuer = scene.issuer().await;
    warm(&scene).await;
    let (key, thief) = (fresh_key(), fresh_key());
    let statement_of = |exe| statement(&scene, &key, exe);
    let with = |statement: String| as_a("host").process(statement);
    assert_eq!(enrol(&scene, &thief, &with(statement_of(5))).await, Err(Code::EvidenceInvalid), "another key's");
    assert_eq!(enrol(&scene, &key, &with(statement_of(6))).await, Err(Code::EvidenceMismatch), "substituted binary");
    let forged = ProcessEvidence::open(&statement_of(5), &[scene.house.attestor.public()]).unwrap();
    let forged = ProcessEvidence { iss: key.did(), ..forged }.sign(&key).unwrap();
    assert_eq!(enrol(&scene, &key, &with(forged)).await, Err(Code::EvidenceInvalid), "its own word");

    let statement = statement_of(5);
    assert_eq!(enrol(&scene, &key, &with(statement.clone())).await, Ok(()));
    assert_eq!(enrol(&scene, &key, &with(statement)).await, Err(Code::EvidenceReused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_demanded_together_is_shown_together_and_told_in_record_credential_and_root() {
    let (_dir, scene) = scene().await;
    let _issuer = scene.issuer().await;
    warm(&scene).await;
    let key = AgentKey::generate().unwrap();
    let signing = fresh_key();
    let full = |join: String| {
        let process = statement(&scene, &signing, 5);
        Evidence::from(join).oidc(token(json!({}))).process(process).manifest(manifest(5))
    };
    // One missing, whichever.
    let join = scene.house.join_as("all");
    let whole = full(join.clone());
    for lacking in [
        Evidence { join_token: None, blueprint: Some("all".parse().unwrap()), ..whole.clone() },
        Evidence { oidc: None, ..whole.clone() },
        Evidence { process: None, ..whole.clone() },
        Evidence { manifest: None, ..whole.clone() },
    ] {
        assert_eq!(enrol(&scene, &signing, &lacking).await, Err(Code::EvidenceMissing));
    }
    // One wrong: nothing is used up by it.
    let named_otherwise = whole.clone().blueprint("ci".parse().unwrap());
    assert_eq!(enrol(&scene, &signing, &named_otherwise).await, Err(Code::JoinTokenInvalid));
    let other_code = whole.clone().manifest(manifest(9));
    assert_eq!(enrol(&scene, &signing, &other_code).await, Err(Code::EvidenceMismatch));
    let other_model = whole.clone().manifest(Manifest { model_id: "m-2".into(), ..manifest(5) });
    assert_eq!(enrol(&scene, &signing, &other_model).await, Err(Code::EvidenceInvalid));
    let reply = scene.ask(subjects::issuer::ENROL, &body(&signing, &whole)).await.unwrap();

    let held = credential(&scene, reply["credential"].as_str().unwrap());
    use EvidenceKind::{JoinToken, Oidc, Process as Measured, Request};
    assert_eq!(kinds(&held), [JoinToken, Oidc, Measured, EvidenceKind::Manifest, Request]);
    let digest = manifest(5).digest().unwrap();
    assert_eq!(held.claims().runtime.manifest_hash, Some(digest));
    assert_eq!(held.claims().runtime.assurance, Assurance::CodeMeasured);
    let vc: Value = jws::unverified_payload(reply["credential"].as_str().unwrap(), 65_536).unwrap();
    assert_eq!(vc["evidence"][0]["type"], "MarqueEvidence");
    assert_eq!(vc["credentialSubject"]["runtime"]["assurance"], "code_measured");
    let issued = records(&scene, "issued").await;
    let record = issued.iter().find(|record| record.agent == Some(signing.did())).unwrap();
    let Body::Issued(issued) = &record.body else { panic!("{record:?}") };
    assert_eq!(issued.evidence, held.claims().evidence);

    // Each piece has been used, whatever the others are.
    for reused in [
        Evidence { join_token: whole.join_token.clone(), ..full(join) },
        Evidence { oidc: whole.oidc.clone(), ..full(scene.house.join_as("all")) },
        Evidence { process: whole.process.clone(), ..full(scene.house.join_as("all")) },
    ] {
        let expected = if reused.join_token == whole.join_token { Code::JoinTokenUsed } else { Code::EvidenceReused };
        assert_eq!(enrol(&scene, &signing, &reused).await, Err(expected));
    }

    // By the SDK, where nobody measured the code; what the root names, actions repeat.
    let runtime = RuntimeClaim { model_id: MODEL.into(), manifest_hash: None };
    let evidence = Evidence::from(scene.house.join_as("plain")).manifest(manifest(9));
    let agent = Agent::enrol(&scene.bus, &domain(), key, evidence, &runtime).await.unwrap();
    let held = credential(&scene, agent.credential());
    assert_eq!(held.claims().runtime.assurance, Assurance::Claimed);
    let tools = Tools::parse(&Json::from_serde(&json!({"nats:tools.crm.query": {}})).unwrap()).unwrap();
    let asked = CommissionRequest::new("urn:task:q3".parse().unwrap(), "report", tools);
    let commission = agent.commission(&asked).await.unwrap();
    assert_eq!(commission.manifest_hash(), Some(manifest(9).digest().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_manifest_is_a_risk_and_renewed_only_where_the_blueprint_allows_it() {
    let (_dir, scene) = scene().await;
    let _issuer = scene.issuer().await;
    warm(&scene).await;
    let runtime = RuntimeClaim { model_id: MODEL.into(), manifest_hash: None };
    let renewed = async |agent: Agent| renewed_on(agent, None).await;

    // A blueprint that lists none: the same goes on, another does not.
    let evidence = Evidence::from(scene.house.join_as("plain")).manifest(manifest(5));
    let key = AgentKey::generate().unwrap();
    let agent = Agent::enrol(&scene.bus, &domain(), key, evidence, &runtime).await.unwrap();
    let agent = renewed(agent).await.unwrap();
    assert_eq!(
        kinds(&credential(&scene, agent.credential())),
        [EvidenceKind::JoinToken, EvidenceKind::Manifest, EvidenceKind::Credential]
    );
    assert!(records(&scene, "risk").await.is_empty());
    assert_eq!(renewed(agent.clone().with_manifest(manifest(6))).await.err(), Some(Code::ManifestChanged));
    let risks = records(&scene, "risk").await;
    let [risk] = risks.as_slice() else { panic!("{risks:?}") };
    let Body::Risk(body) = &risk.body else { panic!("{risk:?}") };
    assert_eq!((body.signal.as_str(), risk.agent), ("manifest_changed", Some(agent.did())));
    assert!(body.message.contains(&manifest(6).digest().unwrap().to_string()), "{}", body.message);

    // A blueprint that lists what may be deployed: a change to one of those goes on, is claimed again, and is told.
    let holder = SigningKey::from_seed(&[0x31; 32]);
    let key = AgentKey::resumed(SigningKey::from_seed(&[0x31; 32]), Default::default());
    let process = statement(&scene, &holder, 5);
    let evidence =
        Evidence::from(scene.house.join_as("all")).oidc(token(json!({}))).process(process).manifest(manifest(5));
    let agent = Agent::enrol(&scene.bus, &domain(), key, evidence, &runtime).await.unwrap();
    assert_eq!(credential(&scene, agent.credential()).claims().runtime.assurance, Assurance::CodeMeasured);
    let resumed =
        Agent::resume(&scene.bus, &domain(), agent.key().clone(), agent.credential().to_owned(), agent.expires_at());
    let renewed = async |agent: Agent| renewed_on(agent, Some(statement(&scene, &holder, 5))).await;
    assert_eq!(renewed(resumed).await.err(), Some(Code::EvidenceMissing), "its parts can't be judged unseen");
    assert_eq!(renewed(agent.clone().with_manifest(manifest(9))).await.err(), Some(Code::ManifestChanged));
    let agent = renewed(agent.with_manifest(manifest(6))).await.unwrap();
    let held = credential(&scene, agent.credential());
    assert_eq!(held.claims().runtime.manifest_hash, Some(manifest(6).digest().unwrap()));
    assert_eq!(held.claims().runtime.assurance, Assurance::Claimed, "what was measured was another");
    assert_eq!(records(&scene, "risk").await.len(), 3);
}

/// The agent with its next credential, asked for on this statement; or the code of the refusal.
async fn renewed_on(mut agent: Agent, statement: Option<String>) -> Result<Agent, Code> {
    let outcome = match &statement {
        Some(statement) => agent.renew_with(statement).await,
        None => agent.renew().await,
    };
    match outcome {
        Ok(()) => Ok(agent),
        Err(AgentError::Refused(denial)) => Err(denial.code),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_seen_anew_at_each_renewal() {
    let (_dir, scene) = scene().await;
    let _issuer = scene.issuer().await;
    warm(&scene).await;
    let (holder, other) = (SigningKey::from_seed(&[0x32; 32]), fresh_key());
    let key = AgentKey::resumed(SigningKey::from_seed(&[0x32; 32]), Default::default());
    let runtime = RuntimeClaim { model_id: MODEL.into(), manifest_hash: None };
    let first = statement(&scene, &holder, 5);
    let evidence = as_a("host").process(&first).manifest(manifest(5));
    let agent = Agent::enrol(&scene.bus, &domain(), key, evidence, &runtime).await.unwrap();

    // Its valid twin: a fresh statement, which takes the place of the first one.
    let fresh = statement(&scene, &holder, 5);
    let renewed = renewed_on(agent.clone(), Some(fresh.clone())).await.unwrap();
    let held = credential(&scene, renewed.credential());
    use EvidenceKind::{Credential, Manifest, Process};
    assert_eq!(kinds(&held), [Manifest, Process, Credential]);
    let before = credential(&scene, agent.credential());
    let of_process = |held: &VerifiedCredential| held.claims().evidence.iter().find(|e| e.kind == Process).copied();
    assert_ne!(of_process(&held), of_process(&before));
    assert_eq!(held.claims().runtime.assurance, Assurance::CodeMeasured);

    let refused = async |statement: Option<String>| renewed_on(renewed.clone(), statement).await.err().unwrap();
    assert_eq!(refused(None).await, Code::EvidenceMissing, "none");
    assert_eq!(refused(Some(first)).await, Code::EvidenceReused, "the one that it was enrolled on");
    assert_eq!(refused(Some(fresh)).await, Code::EvidenceReused, "the one that it was renewed on");
    assert_eq!(refused(Some(statement(&scene, &other, 5))).await, Code::EvidenceInvalid, "another key's");
    assert_eq!(refused(Some(statement(&scene, &holder, 6))).await, Code::EvidenceMismatch, "a substituted binary");
    let old = ProcessEvidence::open(&statement(&scene, &holder, 5), &[scene.house.attestor.public()]).unwrap();
    let old = ProcessEvidence { iat: now().plus(-90), exp: now().plus(-30), ..old };
    assert_eq!(refused(Some(old.sign(&scene.house.attestor).unwrap())).await, Code::EvidenceInvalid, "an old one");
    let own = ProcessEvidence { iss: holder.did(), iat: now(), exp: now().plus(60), ..old };
    assert_eq!(refused(Some(own.sign(&holder).unwrap())).await, Code::EvidenceInvalid, "its own word");
    // No refusal has used anything up.
    renewed_on(renewed.clone(), Some(statement(&scene, &holder, 5))).await.unwrap();

    // Where it is not demanded it may be shown, and is judged all the same; what was measured before is not known now.
    let plain =
        Evidence::from(scene.house.join_as("plain")).process(statement(&scene, &other, 5)).manifest(manifest(5));
    let other_key = AgentKey::resumed(SigningKey::from_seed(&other.seed()), Default::default());
    let agent = Agent::enrol(&scene.bus, &domain(), other_key, plain, &runtime).await.unwrap();
    assert_eq!(credential(&scene, agent.credential()).claims().runtime.assurance, Assurance::CodeMeasured);
    let posing = renewed_on(agent.clone(), Some(statement(&scene, &holder, 5))).await;
    assert_eq!(posing.err(), Some(Code::EvidenceInvalid));
    let changed = renewed_on(agent, Some(statement(&scene, &other, 6))).await.unwrap();
    assert_eq!(credential(&scene, changed.credential()).claims().runtime.assurance, Assurance::Claimed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_is_used_once_across_kills() {
    let (_dir, scene) = scene().await;
    let mut issuer = scene.issuer().await;
    warm(&scene).await;
    for round in 0..2 {
        let (key, other) = (fresh_key(), fresh_key());
        let evidence = match round {
            0 => as_a("ci").oidc(token(json!({}))),
            _ => as_a("host").process(statement(&scene, &key, 5)),
        };
        let before = records(&scene, "issued").await.len();
        let request = body(&key, &evidence);
        let (bus, asked) = (scene.bus.clone(), request.clone().into_bytes());
        let asked =
            tokio::spawn(async move { bus.request(subjects::issuer::ENROL, Default::default(), asked, ASK).await });
        eventually("the record is stored", DEADLINE, async || {
            if records(&scene, "issued").await.len() > before { Ok(()) } else { Err("not yet") }
        })
        .await;
        issuer.kill();
        asked.abort();
        issuer = scene.issuer().await;
        eventually("the same request is answered", DEADLINE, async || {
            scene.ask(subjects::issuer::ENROL, &request).await
        })
        .await;
        assert_eq!(records(&scene, "issued").await.len(), before + 1);
        // By the same key in a new request; by another key where the evidence does not name one.
        assert_eq!(enrol(&scene, &key, &evidence).await, Err(Code::EvidenceReused));
        if round == 0 {
            assert_eq!(enrol(&scene, &other, &evidence).await, Err(Code::EvidenceReused));
        }
    }
}
