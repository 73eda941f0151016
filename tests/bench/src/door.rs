//! Being let in at the broker, and being closed: the real gatekeeper against the least that could answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use marque::service_config::Service;
use marque_agent::{AgentKey, Commission, CommissionRequest, Delegation};
use marque_bus::callout::{Admission, Answerer, QUEUE_GROUP, Questions, SERVER_XKEY};
use marque_bus::permissions::{Allowed, BusRole, system};
use marque_bus::{Bus, ConnectOptions, subjects};
use marque_credential::Tools;
use marque_identity::TokenId;
use marque_revocation::{DirectiveRequest, Op, Target, Wait};
use marque_runtime::Clock;
use marque_signing::SigningKey;
use marque_signing::xkey::SealingKey;
use marque_tests::cast;
use marque_tests::noise::RawClient;
use marque_tests::system::TestSystem;
use serde_json::json;

use crate::measure::percentile;
use crate::report::Row;

/// Connects that are timed, each by a key and a chain of its own.
const CONNECTS: usize = 1000;
/// Under way at once.
const AT_ONCE: usize = 16;
/// Each contender is timed so many times, in turns; the median counts. Of a ratio that of what each round gives, whose
/// turns are next to each other in time: the machine's speed drifts by a fifth.
const ROUNDS: usize = 7;
/// Between two rates: that hundreds of connections end, and are recorded, is not to weigh on the next one.
const SETTLE: Duration = Duration::from_secs(3);
/// Connections that are closed one by one.
const KICKS: usize = 100;
const MODEL: &str = "bench/model-1";
const BLUEPRINT: &str = "bench";
/// What one wait may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// An agent that connects below any client library.
struct Caller {
    key: SigningKey,
    commission: Commission,
}

/// The rows about the door.
pub async fn rows() -> Vec<Row> {
    let text = format!(
        "name = \"{BLUEPRINT}\"\ndescription = \"bench\"\nsponsor = \"bench\"\nmodels = [\"{MODEL}\"]\n\
         max_life_seconds = 3600\nmax_depth = 4\n[tools.\"nats:tools.a\"]\n[tools.\"nats:publish\"]\n"
    );
    let mut system = TestSystem::start(&[(BLUEPRINT.to_owned(), text)]).await.expect("the system starts");
    let root = commission(&system).await;
    let callers = |count: usize| (0..count).map(|_| caller(&root)).collect::<Vec<_>>();

    let (mut closed, mut kick) = closings(&system, &callers(KICKS)).await;
    let operator = system.directory().key("operator").expect("the operator's key");
    let [mut bare, mut ours, mut again, mut least, mut keeping] = [const { Vec::new() }; 5];
    system.kill(Service::Gatekeeper);
    for round in 0..ROUNDS {
        let fresh = callers(CONNECTS);
        bare.push(rate(&system, stream::iter((0..CONNECTS).map(|_| (&operator, None))).boxed()).await);
        // Who is first changes from round to round.
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                system.start_service(Service::Gatekeeper);
                system.until_ready(Service::Gatekeeper).await.expect("a gatekeeper");
                ours.push(rate(&system, presenting(&fresh)).await);
                again.push(rate(&system, presenting(&fresh)).await);
                system.kill(Service::Gatekeeper);
            } else {
                for (rates, secrets) in [(&mut least, Secrets::Anew), (&mut keeping, Secrets::Kept)] {
                    let responder = responder(&system, secrets).await;
                    rates.push(rate(&system, presenting(&fresh)).await);
                    responder.abort();
                }
            }
        }
    }
    system.stop().await;

    let p99 = |samples: &mut Vec<f64>| percentile(samples, 0.99);
    let p50s = (percentile(&mut closed, 0.5), percentile(&mut kick, 0.5));
    vec![
        Row::rates(
            "connects with a chain of 3, never seen",
            &ours,
            "a responder that opens, signs, seals",
            &least,
            "≥ 0.7",
        ),
        Row::rates("  the same, chains seen before", &again, "a responder that opens, signs, seals", &least, ""),
        Row::rates("  never seen", &ours, "that responder with our kept xkey secrets", &keeping, ""),
        Row::rates("  the same", &ours, "bare nkey connects", &bare, ""),
        Row::ratio(
            "directive → socket closed, p99",
            p99(&mut closed),
            "bare KICK round trip, p99",
            p99(&mut kick),
            "≤ 3",
        ),
        Row::ratio("directive → socket closed, p50", p50s.0, "bare KICK round trip, p50", p50s.1, ""),
    ]
}

async fn commission(system: &TestSystem) -> Commission {
    let join = system.join_token(BLUEPRINT).expect("an invitation");
    let key = AgentKey::generate().expect("randomness");
    let agent = cast::enrol_key(system, key, &join, MODEL).await.expect("it is enrolled");
    let task = "urn:task:bench".parse().expect("a fixed, valid URN");
    let request = CommissionRequest::new(task, "to be timed", grant()).depth_max(3).ttl_seconds(3000);
    agent.commission(&request).await.expect("within the ceiling")
}

fn grant() -> Tools {
    let pattern = json!({ "subject": { "constraint_type": "nats_subject", "pattern": "team.>" } });
    serde_json::from_value(json!({ "nats:tools.a": {}, "nats:publish": pattern })).expect("our own tools map")
}

/// The holder of the third link.
fn caller(root: &Commission) -> Caller {
    let middle = cast::delegate(root, grant(), 1);
    let key = SigningKey::generate().expect("randomness");
    let chain = middle.delegate(&key.public(), Delegation::new(grant())).expect("as narrow as its parent");
    let own = AgentKey::new(SigningKey::from_seed(&key.seed()));
    Caller { commission: Commission::adopt(own, chain).expect("its own chain"), key }
}

type Connects<'a> = stream::BoxStream<'a, (&'a SigningKey, Option<&'a str>)>;

fn presenting(callers: &[Caller]) -> Connects<'_> {
    stream::iter(callers).map(|caller| (&caller.key, Some(caller.commission.chain()))).boxed()
}

/// Connects a second. All stay connected until the last one is.
async fn rate(system: &TestSystem, connects: Connects<'_>) -> f64 {
    tokio::time::sleep(SETTLE).await;
    let begun = Instant::now();
    let all = connects.map(|(key, presents)| RawClient::connect_by(system, key, presents)).buffer_unordered(AT_ONCE);
    let inside: Vec<RawClient> = all.map(|client| client.expect("it is let in")).collect().await;
    inside.len() as f64 / begun.elapsed().as_secs_f64()
}

/// How a responder comes by the secret that its xkey shares with the server's.
#[derive(Clone, Copy)]
enum Secrets {
    /// It finds it for each box, as nkeys' own implementations do.
    Anew,
    /// It keeps it, as ours does.
    Kept,
}

/// The least that could answer: opens the question, signs a user, seals the answer.
async fn responder(system: &TestSystem, secrets: Secrets) -> tokio::task::JoinHandle<()> {
    let key = |name: &str| system.directory().key(name).expect("a bootstrapped key");
    let options = ConnectOptions::new(system.url(), "bench-callout").signing_key(Arc::new(key("callout")));
    let bus = Bus::connect_now(options, DEADLINE).await.expect("the broker");
    let (account, xkey) = (key("account").seed(), key("xkey").seed());
    let fresh = move || {
        let account = SigningKey::from_seed(&account);
        let questions = Questions::new(&account.public(), SealingKey::from_seed(&xkey));
        Arc::new(Answerer::new(account, questions))
    };
    // Made beforehand: what a box costs is to be timed, not what an answerer does. Each opens or seals one.
    let mut anew: Vec<_> = match secrets {
        Secrets::Anew => (0..2 * CONNECTS).map(|_| fresh()).collect(),
        Secrets::Kept => Vec::new(),
    };
    let kept = fresh();
    let asked = bus.client().queue_subscribe(system::AUTH_CALLOUT, QUEUE_GROUP.to_owned()).await;
    let mut asked = asked.expect("a subscription");
    bus.flush().await.expect("a live connection");
    let clock = Clock::new();
    tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            let client = bus.client().clone();
            let mut next = || match secrets {
                Secrets::Anew => anew.pop().expect("as many as there are connects"),
                Secrets::Kept => kept.clone(),
            };
            let [opener, sealer] = [(); 2].map(|()| next());
            tokio::spawn(async move {
                let xkey = message.headers.as_ref().and_then(|headers| headers.get(SERVER_XKEY));
                let now = clock.unix();
                let question = opener.questions().open(&message.payload, xkey.map(|x| x.as_str()), now);
                let question = question.expect("the server asks");
                let allowed = Allowed { publish: vec!["team.>".into()], subscribe: vec!["_INBOX.>".into()] };
                let expires_at = now.plus(3600);
                let admission = Admission { name: "bench".into(), allowed, responses: None, expires_at };
                let answer = sealer.admit(&question, &admission, now).expect("it can be written");
                let to = message.reply.expect("the server waits");
                client.publish(to, answer.into()).await.expect("a live connection");
            });
        }
    })
}

/// Microseconds from a directive, as it appears on the bus, to the closed socket; and of a kick's round trip.
async fn closings(system: &TestSystem, callers: &[Caller]) -> (Vec<f64>, Vec<f64>) {
    let operator = system.bus(BusRole::Operator).await.expect("the operator's connection");
    let watcher = system.bus(BusRole::Verifier).await.expect("a verifier's connection");
    let kicker = system.bus(BusRole::Kicker).await.expect("the kicker's connection");
    let mut raw = watcher.client().subscribe(subjects::DIRECTIVES_RAW).await.expect("a subscription");
    watcher.settle().await.expect("a live connection");
    let key = system.directory().key("operator").expect("the operator's key");
    let (mut closed, mut kicks) = (Vec::new(), Vec::new());
    for caller in callers {
        // The bare round trip first, on a connection like the other.
        let bare = RawClient::connect_by(system, &caller.key, Some(caller.commission.chain())).await;
        let (server, cid) = bare.expect("it is let in").place;
        let begun = Instant::now();
        let body = json!({ "cid": cid }).to_string();
        kicker.client().request(system::kick(&server), body.into()).await.expect("the server answers");
        kicks.push(begun.elapsed().as_secs_f64() * 1e6);

        let mut client =
            RawClient::connect_by(system, &caller.key, Some(caller.commission.chain())).await.expect("it is let in");
        let ends = tokio::spawn(async move {
            client.closed().await;
            Instant::now()
        });
        let request = DirectiveRequest {
            iat: Clock::new().unix(),
            jti: TokenId::generate().0,
            aud: system.domain().clone(),
            op: Op::Revoke,
            target: Some(Target::Token(caller.commission.leaf_digest())),
            until: None,
            narrow: None,
            lifts: None,
            reason: "bench".into(),
            chain: None,
            wait: Wait::Durable,
        };
        let signed = request.sign(&key).expect("our own request");
        let asked = operator.request(subjects::REVOCATION_REQUEST, Default::default(), signed.into_bytes(), DEADLINE);
        let appears = async {
            raw.next().await.expect("the directive appears");
            Instant::now()
        };
        let (appeared, asked) = tokio::join!(appears, asked);
        asked.expect("the broadcaster answers");
        let ended = tokio::time::timeout(DEADLINE, ends).await.expect("the socket closes").expect("it does not panic");
        closed.push(ended.saturating_duration_since(appeared).as_secs_f64() * 1e6);
    }
    (closed, kicks)
}
