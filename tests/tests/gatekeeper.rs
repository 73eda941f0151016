//! The broker holds agents to their chains: who is let in, what they reach, how they are closed; with the real broker,
//! the real gatekeeper, and clients that don't cooperate.

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use marque::service_config::Service;
use marque_agent::{Agent, AgentKey, Commission, CommissionRequest, Delegation};
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, BusError, Presented, streams, subjects};
use marque_credential::{RootRequest, mint_root};
use marque_identity::{Code, Did, TokenId};

use marque_judgement::record::{Body, Carried, Delegated, Record, Shown};
use marque_runtime::Clock;
use marque_signing::{Compact, SigningKey, base64url, nkey};
use marque_test_support::{eventually, until};
use marque_tests::cast::{self, tools};
use marque_tests::noise::RawClient;
use marque_tests::system::{DEADLINE, TestSystem};
use serde_json::{Value, json};

const BLUEPRINT: &str = "wired";
const MODEL: &str = "test/model-1";
const HOSTED: &str = "tools.ledger.read";
/// Connects at once: as many as one process may have sockets, twice, with room.
const CROWD: usize = 1000;

fn blueprint() -> (String, String) {
    let text = format!(
        "name = \"{BLUEPRINT}\"\ndescription = \"tests of the broker\"\nsponsor = \"tests\"\nmodels = [\"{MODEL}\"]\n\
         max_life_seconds = 3600\nmax_depth = 4\n[tools.\"nats:{HOSTED}\"]\n\
         [tools.\"nats:publish\"]\n[tools.\"nats:subscribe\"]\n"
    );
    (BLUEPRINT.to_owned(), text)
}

fn pattern(pattern: &str) -> Value {
    json!({ "subject": { "constraint_type": "nats_subject", "pattern": pattern } })
}

/// A tool, and everything below `team.` both ways.
fn grant() -> Value {
    json!({ format!("nats:{HOSTED}"): {}, "nats:publish": pattern("team.>"), "nats:subscribe": pattern("team.>") })
}

async fn enrol(system: &TestSystem) -> Agent {
    enrol_key(system, AgentKey::generate().unwrap()).await
}

async fn enrol_key(system: &TestSystem, key: AgentKey) -> Agent {
    let join = system.join_token(BLUEPRINT).unwrap();
    cast::enrol_key(system, key, &join, MODEL).await.unwrap()
}

async fn commission(agent: &Agent) -> Commission {
    let task = "urn:task:wire".parse().unwrap();
    agent.commission(&CommissionRequest::new(task, "to be tried", tools(grant())).depth_max(3)).await.unwrap()
}

async fn connect(system: &TestSystem, commission: &Commission) -> Result<Bus, BusError> {
    commission.connect(system.url(), "test-agent", DEADLINE).await
}

/// Waits until the broker has closed it.
async fn closed(bus: &Bus) {
    until("the broker closes the connection", || !bus.is_connected()).await;
}

/// A connect that must be refused.
async fn refused(system: &TestSystem, commission: &Commission) {
    let outcome = connect(system, commission).await;
    assert!(matches!(outcome, Err(BusError::Forbidden(_))), "{:?}", outcome.map(|_| "let in"));
}

fn revoke(system: &TestSystem, args: &[&str]) -> Value {
    let all = [&["revoke"], args, &["--reason", "test"]].concat();
    let (code, reply) = system.marque(&all);
    assert_eq!(code, 0, "{reply}");
    reply
}

/// Attempts between two looks at the complaints: fewer than are kept for whoever has not looked yet.
const ATTEMPTS_AT_ONCE: usize = 16;

/// Complaints of the broker about publishes and subscriptions, one for each that it denied.
async fn complaints(bus: &Bus, attempts: &[(bool, String)]) -> Vec<String> {
    let mut heard = Vec::new();
    for some in attempts.chunks(ATTEMPTS_AT_ONCE) {
        heard.extend(complaints_about(bus, some).await);
    }
    heard
}

async fn complaints_about(bus: &Bus, attempts: &[(bool, String)]) -> Vec<String> {
    let mut violations = bus.violations();
    let mut kept = Vec::new();
    for (publish, subject) in attempts {
        if *publish {
            bus.client().publish(subject.clone(), "x".into()).await.unwrap();
        } else {
            kept.push(bus.client().subscribe(subject.clone()).await.unwrap());
        }
    }
    // One more, which is always denied, closes the row.
    bus.client().publish("zzz.last", "x".into()).await.unwrap();
    let mut heard = Vec::new();
    loop {
        let text = tokio::time::timeout(DEADLINE, violations.recv()).await.unwrap().unwrap().to_string();
        if text.contains("\"zzz.last\"") {
            return heard;
        }
        heard.push(text);
    }
}

/// Every subject of the system, and the server's own: each is denied but the agent's own and what its chain grants.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_reaches_what_its_chain_grants_and_nothing_else() {
    let system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let bus = connect(&system, &root).await.unwrap();
    let key = root.key().did().multibase();
    let other = Did::from_key_bytes([7; 32]).multibase();

    let mut subjects: Vec<String> =
        subjects::SUBJECTS.iter().map(|row| row.wildcard().replace(['*', '>'], "x")).collect();
    for beyond in [
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.USER.AUTH",
        "$SYS.ACCOUNT.AGENTS.CONNECT",
        "$JS.API.INFO",
        "$JS.API.STREAM.CREATE.X",
        "$JS.API.STREAM.DELETE.MARQUE_AUDIT",
        "$JS.API.DIRECT.GET.MARQUE_AUDIT",
        "$JS.ACK.MARQUE_AUDIT.c.1.1.1.1.1",
        "$KV.bucket.key",
        "$O.bucket.C.x",
        "$SRV.PING",
        "$G.x",
        "_R_.x.y",
        "other.x",
        "team",
        "tools.ledger",
        "tools.ledger.read.more",
        "tools.ledger.write",
    ] {
        subjects.push(beyond.to_owned());
    }
    for kind in ["decided", "issued", "connected", "completed", "risk", "kicked"] {
        subjects.push(format!("marque.record.{kind}.{key}"));
    }
    for kind in ["delegated", "requested"] {
        subjects.push(format!("marque.record.{kind}.{other}"));
    }
    subjects.push(format!("_INBOX.{other}.reply"));
    let allowed_to_publish = [
        "marque.issuer.issue".to_owned(),
        "marque.issuer.renew".to_owned(),
        "marque.issuer.bundle".to_owned(),
        "marque.revocation.request".to_owned(),
    ];
    let mut attempts = Vec::new();
    for subject in &subjects {
        if !allowed_to_publish.contains(subject) {
            attempts.push((true, subject.clone()));
        }
        attempts.push((false, subject.clone()));
    }
    for wide in [">", "*", "*.>", "*.x", "_INBOX.>", "_INBOX.*.x", "marque.>", "tools.>", "$SYS.>", "$JS.>", "team2.>"]
    {
        attempts.push((false, wide.to_owned()));
    }
    let heard = complaints(&bus, &attempts).await;
    for ((publish, subject), text) in attempts.iter().zip(&heard) {
        let way = if *publish { "Publish" } else { "Subscription" };
        assert!(text.contains(way) && text.contains(&format!("\"{subject}\"")), "{way} {subject}: heard {text}");
    }
    assert_eq!(heard.len(), attempts.len(), "exactly what is beyond is denied");

    // And its own works: what it was granted, its inbox, its statements, its questions.
    let own = [
        (true, "team.a.b".to_owned()),
        (true, format!("_INBOX.{key}.self")),
        (true, HOSTED.to_owned()),
        (true, format!("marque.gate.{HOSTED}")),
        (true, format!("marque.record.delegated.{key}")),
        (true, format!("marque.record.requested.{key}")),
        (false, "team.a.*".to_owned()),
        (false, "team.>".to_owned()),
        (false, format!("_INBOX.{key}.>")),
    ];
    let own: Vec<_> = own.into_iter().chain(allowed_to_publish.map(|subject| (true, subject))).collect();
    assert!(complaints(&bus, &own).await.is_empty());

    // Whoever shows nothing but a key, or a credential, reaches less.
    let visitor_key = AgentKey::generate().unwrap();
    let options = visitor_key.connect_options(system.url(), "visitor", Presented::new(Presented::ENROL));
    let visitor = Bus::connect_now(options, DEADLINE).await.unwrap();
    let beyond: Vec<_> =
        ["marque.issuer.issue", "marque.revocation.request", HOSTED, "team.a"].map(|s| (true, s.to_owned())).into();
    assert_eq!(complaints(&visitor, &beyond).await.len(), beyond.len());
    let beyond: Vec<_> =
        ["marque.issuer.enrol", HOSTED, "team.a", "marque.gate.x"].map(|s| (true, s.to_owned())).into();
    assert_eq!(complaints(agent.bus(), &beyond).await.len(), beyond.len());
    system.stop().await;
}

/// A root that another domain's issuer signed, or one whose issuer is none of ours.
fn foreign_root(holder: &SigningKey, issuer: &SigningKey, iss: &str) -> String {
    let marque = json!({
        "task": "urn:task:one", "purpose": "p",
        "agent": { "did": holder.did(), "blueprint": BLUEPRINT, "sponsor": "tests", "vc_hash": "00".repeat(32) },
    });
    let now = Clock::new().unix();
    let request = RootRequest {
        iss: iss.to_owned(),
        jti: TokenId::generate(),
        iat: now,
        exp: now.plus(900),
        del_max_depth: 0,
        holder: holder.public(),
        aud: None,
        tools: tools(grant()),
        marque: serde_json::from_value(marque).unwrap(),
    };
    mint_root(issuer, &request).unwrap()
}

/// Stolen, forged, foreign, expired, replayed, malformed, oversize: nobody of these gets in, each is recorded with its
/// reason, and none hears more than that it is not let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_hold_a_chain_of_ours_is_turned_away() {
    let system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let (thief, issuer) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let domain = system.domain().issuer_uri();
    let wider = {
        let (signed, _) = root.leaf().rsplit_once('.').unwrap();
        format!("{signed}.{}", base64url(&thief.sign(signed.as_bytes())))
    };
    let attempts: Vec<(Code, String)> = vec![
        (Code::PossessionUnproven, root.chain().to_owned()),
        (Code::PossessionUnproven, agent.credential().to_owned()),
        (Code::SignatureInvalid, foreign_root(&thief, &issuer, &domain)),
        (Code::SignatureInvalid, foreign_root(&thief, &issuer, "https://other.example")),
        (Code::SignatureInvalid, foreign_root(&thief, &thief, &domain)),
        (Code::SignatureInvalid, wider),
        (Code::Malformed, String::new()),
        (Code::Malformed, "x".to_owned()),
        (Code::Malformed, "enrol ".to_owned()),
        (Code::Malformed, "~~~".to_owned()),
    ];
    for (code, presented) in &attempts {
        let before = refusals(&system, *code).await;
        let outcome = RawClient::connect_by(&system, &thief, Some(presented)).await.err();
        let said = outcome.unwrap_or_else(|| panic!("let in with {presented:.60}"));
        assert!(said.contains("Authorization Violation"), "{said}");
        assert!(!said.contains(code.as_str()), "{said}");
        let wanted = before + 1;
        eventually("the refusal is recorded", DEADLINE, || async {
            let now = refusals(&system, *code).await;
            if now == wanted { Ok(()) } else { Err(format!("{code}: {now} of {wanted}")) }
        })
        .await;
    }
    // Without a key at all, and with the right key over another nonce.
    let seed = SigningKey::from_seed(&thief.seed());
    let own =
        cast::enrol_key(&system, AgentKey::new(seed), &system.join_token(BLUEPRINT).unwrap(), MODEL).await.unwrap();
    let chain = commission(&own).await;
    let stale = nkey::sign_nonce(&thief, b"anothernonce").unwrap();
    for signature in [None, Some(&stale)] {
        let outcome = RawClient::connect_with(&system, &thief, signature, Some(chain.chain())).await.err();
        assert!(outcome.is_some_and(|said| said.contains("Authorization Violation")));
    }
    // Larger than a control line: the broker itself closes it.
    let huge = "A".repeat(70_000);
    assert!(RawClient::connect_by(&system, &thief, Some(&huge)).await.is_err());
    // Expired: the same chain, a moment later.
    let task = "urn:task:brief".parse().unwrap();
    let brief = own.commission(&CommissionRequest::new(task, "p", tools(grant())).ttl_seconds(2)).await.unwrap();
    let bus = connect(&system, &brief).await.unwrap();
    // The connection ends with the chain, and it does not come back.
    closed(&bus).await;
    assert!(Clock::new().unix() >= brief.expires_at());
    refused(&system, &brief).await;
    // The honest one is let in all the while.
    connect(&system, &root).await.unwrap();
    system.stop().await;
}

/// How many *refused* records of the gatekeeper's bear this code.
async fn refusals(system: &TestSystem, code: Code) -> usize {
    let records = records(system).await;
    let is_it = |record: &&Record| matches!(&record.body, Body::Refused(refused) if refused.code == code && refused.service == "marque-gatekeeper");
    records.iter().filter(is_it).count()
}

/// Every valid record in the stream.
async fn records(system: &TestSystem) -> Vec<Record> {
    let bus = system.bus(BusRole::Sink).await.unwrap();
    let mut records = Vec::new();
    let mut next = 1;
    loop {
        let batch = bus.read(streams::AUDIT, next, 256).await.unwrap();
        let Some(last) = batch.messages.last() else { return records };
        next = last.sequence + 1;
        for stored in &batch.messages {
            records.extend(marque_judgement::record::judge(&stored.payload, system.bundle()).record);
        }
    }
}

/// The connection ends with the directive, its holder does not come back, its sibling is not touched, and all of it is
/// in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_closes_the_connection_and_no_other() {
    let system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let (left, right) = (cast::delegate(&root, tools(grant()), 1), cast::delegate(&root, tools(grant()), 0));
    let below = cast::delegate(&left, tools(grant()), 0);
    let (left_bus, right_bus) = (connect(&system, &left).await.unwrap(), connect(&system, &right).await.unwrap());
    let below_bus = connect(&system, &below).await.unwrap();
    revoke(&system, &["token", &left.leaf_digest().to_string()]);
    closed(&left_bus).await;
    closed(&below_bus).await;
    refused(&system, &left).await;
    refused(&system, &below).await;
    // A child of the revoked link that nobody has seen.
    refused(&system, &cast::delegate(&left, tools(grant()), 0)).await;
    assert!(right_bus.is_connected());
    assert!(complaints(&right_bus, &[(true, "team.still".to_owned())]).await.is_empty());

    let kicked = eventually("kicks and ends are recorded", DEADLINE, || async {
        let records = records(&system).await;
        let of = |commission: &Commission| {
            let of_it = records.iter().filter(|record| record.agent == Some(commission.key().did()));
            let (mut kicks, mut ends) = (0, 0);
            for record in of_it {
                match &record.body {
                    Body::Kicked(kicked) => {
                        assert_eq!((kicked.code, kicked.directive.is_some()), (Code::Revoked, true));
                        kicks += 1;
                    }
                    Body::Disconnected(_) => ends += 1,
                    Body::Connected(connected) => assert_eq!(connected.shown, Shown::Chain),
                    _ => {}
                }
            }
            (kicks, ends)
        };
        match (of(&left), of(&below), of(&right)) {
            ((1, 1), (1, 1), (0, 0)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    kicked.await;
    // The kill switch closes whoever is left.
    revoke(&system, &["domain"]);
    closed(&right_bus).await;
    refused(&system, &right).await;
    system.stop().await;
}

/// A narrowing that the broker can enforce takes the grant away; a lift gives it back to whoever connects anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrowing_takes_from_the_wire_what_it_does_not_allow() {
    let system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let bus = connect(&system, &root).await.unwrap();
    let (token, publish) = (root.root_digest().to_string(), [(true, "team.a".to_owned())]);
    assert!(complaints(&bus, &publish).await.is_empty());
    // One that is about arguments of a tool alone changes nothing on the wire.
    let other =
        json!({ format!("nats:{HOSTED}"): { "account": { "constraint_type": "exact", "value": 1 } } }).to_string();
    let (code, reply) = system.marque(&["narrow", "token", &token, "--tools", &other, "--reason", "test"]);
    assert_eq!(code, 0, "{reply}");
    assert!(complaints(&bus, &publish).await.is_empty() && bus.is_connected());

    let narrow = json!({ "nats:publish": pattern("team.open.>") }).to_string();
    let (code, reply) = system.marque(&["narrow", "token", &token, "--tools", &narrow, "--reason", "test"]);
    assert_eq!(code, 0, "{reply}");
    // Closed, and back by itself with less: its client has the same chain.
    let narrowed = eventually("it comes back with less", DEADLINE, || async {
        match connect(&system, &root).await {
            Ok(bus) if complaints(&bus, &publish).await.len() == 1 => Ok(bus),
            Ok(_) => Err("it still has all".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    assert!(complaints(&narrowed, &[(false, "team.a".to_owned())]).await.is_empty(), "listening was not narrowed");
    let (code, reply) = system.marque(&["lift", reply["id"].as_str().unwrap(), "--reason", "test"]);
    assert_eq!(code, 0, "{reply}");
    eventually("it comes back with all", DEADLINE, || async {
        match connect(&system, &root).await {
            Ok(bus) if complaints(&bus, &publish).await.is_empty() => Ok(()),
            Ok(_) => Err("it has less still".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    system.stop().await;
}

/// Killed gatekeepers: nobody new gets in, whoever is in stays, and a new gatekeeper knows them, so that a directive
/// still ends them. With two, nobody notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_gatekeepers_let_nobody_in_and_forget_nobody() {
    let mut system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let [one, two, three] = [0; 3].map(|_| cast::delegate(&root, tools(grant()), 0));
    let one_bus = connect(&system, &one).await.unwrap();
    let two_bus = connect(&system, &two).await.unwrap();

    system.kill(Service::Gatekeeper);
    let outcome = connect(&system, &three).await;
    assert!(outcome.is_err(), "let in by nobody");
    assert!(one_bus.is_connected() && complaints(&one_bus, &[(true, "team.a".to_owned())]).await.is_empty());
    // Revoked while nobody watches: the next gatekeeper closes it as it starts.
    let (code, reply) = system.marque(&["revoke", "token", &one.leaf_digest().to_string(), "--reason", "test"]);
    assert!([0, 4].contains(&code), "{reply}");
    system.start_service(Service::Gatekeeper);
    system.until_ready(Service::Gatekeeper).await.unwrap();
    closed(&one_bus).await;
    assert!(two_bus.is_connected());
    connect(&system, &three).await.unwrap();

    // Two of them: one is killed, and what it let in is closed by the other.
    system.start_second_gatekeeper().await.unwrap();
    let four = cast::delegate(&root, tools(grant()), 0);
    let four_bus = connect(&system, &four).await.unwrap();
    system.kill(Service::Gatekeeper);
    let five = cast::delegate(&root, tools(grant()), 0);
    let five_bus = eventually("the other lets in", DEADLINE, || async {
        connect(&system, &five).await.map_err(|error| error.to_string())
    })
    .await;
    let (code, reply) = system.marque(&["revoke", "token", &root.root_digest().to_string(), "--reason", "test"]);
    assert!([0, 4].contains(&code), "{reply}");
    for bus in [&two_bus, &four_bus, &five_bus] {
        closed(bus).await;
    }
    refused(&system, &two).await;
    system.stop().await;
}

/// The broker is killed and comes back: whoever may comes back by itself, whoever was revoked meanwhile does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_the_broker_agents_come_back_by_their_chains() {
    let mut system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let children: Vec<Commission> = (0..20).map(|_| cast::delegate(&root, tools(grant()), 0)).collect();
    let mut buses = Vec::new();
    for child in &children {
        buses.push(connect(&system, child).await.unwrap());
    }
    revoke(&system, &["token", &children[0].leaf_digest().to_string()]);
    closed(&buses[0]).await;
    system.kill_broker();
    system.start_broker().unwrap();
    for bus in &buses[1..] {
        let back = eventually("it comes back", DEADLINE, || async {
            let asked = bus.request(subjects::issuer::BUNDLE, Default::default(), "", Duration::from_secs(2)).await;
            asked.map(drop).map_err(|error| error.to_string())
        });
        back.await;
    }
    for service in Service::ALL {
        system.until_ready(service).await.unwrap();
    }
    refused(&system, &children[0]).await;
    assert!(!buses[0].is_connected());
    system.stop().await;
}

/// A view that is not fresh lets nobody in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_view_lets_nobody_in() {
    let settings = [(Service::Gatekeeper, "staleness_ms = 2000")];
    let mut system = TestSystem::start_with(&[blueprint()], &settings).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let bus = connect(&system, &root).await.unwrap();
    system.kill(Service::Broadcaster);
    eventually("the view goes stale", DEADLINE, || async {
        match connect(&system, &root).await {
            Err(BusError::Forbidden(_)) => Ok(()),
            other => Err(format!("{:?}", other.map(|_| "let in"))),
        }
    })
    .await;
    assert_eq!(refusals(&system, Code::ViewStale).await, 1);
    assert!(bus.is_connected(), "whoever is in stays: the tools' own bounds hold");
    assert_ne!(system.page(Service::Gatekeeper, "/readyz").await.0, 200);
    system.start_service(Service::Broadcaster);
    system.until_ready(Service::Gatekeeper).await.unwrap();
    connect(&system, &root).await.unwrap();
    system.stop().await;
}

/// Replies can't be aimed: neither at a stream nor, through another agent that answers, at a service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_subject_is_no_way_out_of_the_account() {
    let system = TestSystem::start(&[blueprint()]).await.unwrap();
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let deputy = cast::delegate(&root, tools(grant()), 0);
    let (bus, deputy_bus) = (connect(&system, &root).await.unwrap(), connect(&system, &deputy).await.unwrap());
    let directives = || async {
        let sink = system.bus(BusRole::Sink).await.unwrap();
        let batch = sink.read(streams::DIRECTIVES, 1, 256).await.unwrap();
        batch.messages.iter().filter(|message| message.subject.contains("forged")).count()
    };
    // A service of ours answers to an import's reply, which the server has rewritten.
    bus.client().publish_with_reply(subjects::issuer::BUNDLE, "marque.directive.key.forged", "".into()).await.unwrap();
    // An agent that answers whatever it is asked, wherever it is asked to.
    let mut asked = deputy_bus.client().subscribe("team.ask").await.unwrap();
    deputy_bus.settle().await.unwrap();
    let aims =
        ["marque.directive.key.forged", "marque.record.decided.forged", "$JS.API.STREAM.DELETE.MARQUE_AUDIT", HOSTED];
    for aim in aims {
        bus.client().publish_with_reply("team.ask", aim, "{}".into()).await.unwrap();
        let message = tokio::time::timeout(DEADLINE, asked.next()).await.unwrap_or_else(|_| panic!("{aim}")).unwrap();
        deputy_bus.client().publish(message.reply.unwrap(), "{\"account\":1}".into()).await.unwrap();
    }
    deputy_bus.settle().await.unwrap();
    // An honest answer comes through, so that what was sent before it has been handled.
    let answered = bus.request(subjects::issuer::BUNDLE, Default::default(), "", DEADLINE).await.unwrap();
    assert!(!answered.payload.is_empty());
    assert_eq!(directives().await, 0);
    let forged = records(&system).await.into_iter().filter(|record| matches!(record.body, Body::Decided(_))).count();
    assert_eq!(forged, 0, "nothing was decided, nothing ran");
    system.stop().await;
}

/// A parent states its delegation itself; nobody states another's, nor more than the link says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_state_their_delegations_and_nothing_else() {
    let system = TestSystem::start(&[blueprint()]).await.unwrap();
    let seed = SigningKey::generate().unwrap();
    let agent = enrol_key(&system, AgentKey::new(SigningKey::from_seed(&seed.seed()))).await;
    let root = commission(&agent).await;
    let bus = connect(&system, &root).await.unwrap();
    let child = AgentKey::generate().unwrap();
    let chain = root.delegate(&child.public(), Delegation::new(tools(grant()))).unwrap();
    let link = chain.rsplit('~').next().unwrap();
    let (parent, token) = (root.leaf_digest(), Compact::split(link).unwrap().signing_digest());
    let by = seed.did();
    let record = |body: Delegated| Record {
        agent: Some(child.did()),
        token: Some(token),
        links: vec![parent, token],
        ..Record::new(Clock::new().unix_millis(), by, Body::Delegated(body))
    };
    let good = record(Delegated { link: Carried::of(link), parent, depth: 1 });
    let at = |key: &Did| subjects::record("delegated", Some(key));
    let ask = |subject: String, compact: String| {
        let bus = bus.clone();
        async move { bus.request(&subject, Default::default(), compact.into_bytes(), DEADLINE).await }
    };
    let reply = ask(at(&by), good.seal(&seed).unwrap()).await.unwrap();
    let stored: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert!(stored["sequence"].as_u64().is_some(), "{stored}");
    let known = records(&system).await.into_iter().find(|record| record.id == good.id);
    assert_eq!(known.map(|record| record.by), Some(by), "it is a valid record");

    let more = Record { links: vec![parent, parent, token], ..good.clone() };
    let deeper = record(Delegated { link: Carried::of(link), parent, depth: 2 });
    let of_another = Record { agent: Some(by), ..good.clone() };
    let forged = {
        let other = AgentKey::generate().unwrap();
        let foreign = foreign_root(&seed, &SigningKey::generate().unwrap(), "https://x.example");
        Record { agent: Some(other.did()), ..record(Delegated { link: Carried::of(&foreign), parent, depth: 0 }) }
    };
    for bad in [more, deeper, of_another, forged] {
        let outcome = ask(at(&by), bad.seal(&seed).unwrap()).await;
        assert_eq!(outcome.unwrap_err().code(), Code::NotAuthorized, "{bad:?}");
    }
    for noise in ["", "x", "a.b.c", "{}"] {
        assert!(ask(at(&by), noise.to_owned()).await.is_err());
    }
    assert_eq!(ask(at(&child.did()), good.seal(&seed).unwrap()).await.unwrap_err().code(), Code::NotAuthorized);

    system.stop().await;
}

/// An agent that breaks the connection over which statements come breaks nothing else, and that one comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_breaks_a_client_library_does_not_close_the_door() {
    let mut system = TestSystem::start(&[blueprint()]).await.unwrap();
    let seed = SigningKey::generate().unwrap();
    let agent = enrol_key(&system, AgentKey::new(SigningKey::from_seed(&seed.seed()))).await;
    let root = commission(&agent).await;
    let mut raw = RawClient::connect_by(&system, &seed, Some(root.chain())).await.unwrap();
    let subject = subjects::record("delegated", Some(&seed.did()));
    for _ in 0..3 {
        let headers = b"NATS/1.0\r\nx: a\rb\r\n\r\n";
        raw.publish(subject.as_bytes(), b"_INBOX.raw.1", headers, b"{}").await.unwrap();
        raw.settle().await.unwrap();
        connect(&system, &root).await.unwrap();
    }
    let bus = connect(&system, &root).await.unwrap();
    eventually("statements are heard again", DEADLINE, || async {
        let answer = bus.request(&subject, Default::default(), "x", Duration::from_secs(2)).await;
        match answer.unwrap_err().code() {
            Code::Malformed => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    assert!(system.is_running(Service::Gatekeeper));
    assert_eq!(system.page(Service::Gatekeeper, "/readyz").await.0, 200);
    system.stop().await;
}

/// A crowd at the door: everybody gets in who should, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_crowd_everybody_gets_in_who_should_and_nobody_else() {
    let system = Arc::new(TestSystem::start(&[blueprint()]).await.unwrap());
    let agent = enrol(&system).await;
    let root = commission(&agent).await;
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..CROWD {
        let (system, root) = (system.clone(), root.clone());
        crowd.spawn(async move {
            if n % 10 == 0 {
                // A thief among ten: refused however often it asks.
                let thief = SigningKey::generate().unwrap();
                let refused = RawClient::connect_by(&system, &thief, Some(root.chain())).await.is_err();
                assert!(refused, "a thief was let in");
                return None;
            }
            let seed = SigningKey::generate().unwrap();
            let chain = root.delegate(&seed.public(), Delegation::new(tools(grant()))).unwrap();
            // The server gives up on an answer after some seconds; who asks again is let in.
            Some(eventually("it is let in", DEADLINE, || RawClient::connect_by(&system, &seed, Some(&chain))).await)
        });
    }
    let mut inside = Vec::new();
    while let Some(outcome) = crowd.join_next().await {
        inside.extend(outcome.unwrap());
    }
    assert_eq!(inside.len(), CROWD - CROWD / 10);
    let operator = system.bus(BusRole::Operator).await.unwrap();
    // The agent's own connection, which shows its credential, is one more. Who gave up and came again is forgotten.
    let wanted = inside.len() as u64 + 1;
    eventually("the gatekeeper counts those who are inside", DEADLINE, || async {
        let asked = operator.request(subjects::GATEKEEPER_CONNECTIONS, Default::default(), "", DEADLINE).await;
        let listed: Value = serde_json::from_slice(&asked.map_err(|error| error.to_string())?.payload).unwrap();
        if listed["count"] == wanted { Ok(()) } else { Err(format!("{} of {wanted}", listed["count"])) }
    })
    .await;
    // One word ends them all.
    revoke(&system, &["token", &root.root_digest().to_string()]);
    for mut client in inside {
        let closed = tokio::time::timeout(DEADLINE, client.closed()).await;
        assert!(closed.is_ok(), "a connection outlived its commission");
    }
    Arc::into_inner(system).unwrap().stop().await;
}
