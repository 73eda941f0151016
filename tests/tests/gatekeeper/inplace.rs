//! A second `CONNECT` over a link that is in: the broker has it judged like the first, and the link stands on that alone.

use marque::service_config::Service;
use marque_agent::{AgentKey, Commission, Delegation};
use marque_bus::permissions::BusRole;
use marque_bus::subjects;
use marque_identity::{Code, Did};
use marque_judgement::record::{Body, Connection, Record, Shown};
use marque_signing::SigningKey;
use marque_test_support::eventually;
use marque_tests::cast::tools;
use marque_tests::noise::RawClient;
use marque_tests::system::{DEADLINE, TestSystem};
use serde_json::{Value, json};

use super::{LOOK_EVERY, Stream, blueprint, commission, connect, enrol, grant, pattern, revoke};

/// Nearly as short as the configuration permits. The gatekeeper closes at half of it whoever does not renew.
const LIFE_SECONDS: i64 = 6;
/// Links in a row until both of two gatekeepers have answered, by chance.
const TRIES_MAX: usize = 64;

/// A sub-agent below any client library.
struct Sub {
    seed: SigningKey,
    chain: Commission,
}

impl Sub {
    fn of(parent: &Commission, granted: Value) -> Self {
        Self::by(SigningKey::generate().unwrap(), parent, granted)
    }

    /// Another chain for the same key.
    fn by(seed: SigningKey, parent: &Commission, granted: Value) -> Self {
        let chain = parent.delegate(&seed.public(), Delegation::new(tools(granted))).unwrap();
        let key = AgentKey::new(SigningKey::from_seed(&seed.seed()));
        Self { seed, chain: Commission::adopt(key, chain).unwrap() }
    }

    fn again(&self, parent: &Commission, granted: Value) -> Self {
        Self::by(SigningKey::from_seed(&self.seed.seed()), parent, granted)
    }

    fn did(&self) -> Did {
        self.seed.public().did()
    }

    async fn link(&self, system: &TestSystem) -> Result<RawClient, String> {
        RawClient::connect_by(system, &self.seed, Some(self.chain.chain())).await
    }

    async fn present(&self, link: &mut RawClient) -> Result<String, String> {
        link.present(&self.seed, Some(self.chain.chain())).await
    }

    /// Revokes the last link of its chain. Gives the numbers of the connections that were closed for it.
    fn revoke(&self, system: &TestSystem) -> Vec<u64> {
        closed_by(system, &["token", &self.chain.leaf_digest().to_string()])
    }
}

/// Revokes this. Gives the numbers of the connections that were closed for it.
fn closed_by(system: &TestSystem, revoked: &[&str]) -> Vec<u64> {
    let told = revoke(system, revoked);
    let named = told["receipt"]["closed"]["named"].as_array().cloned().unwrap_or_default();
    named.iter().map(|one| one["cid"].as_u64().unwrap()).collect()
}

fn place(link: &RawClient) -> Connection {
    Connection { server: link.place.0.clone(), cid: link.place.1 }
}

/// What the log has of one link, in order.
fn of_link<'a>(records: &'a [Record], link: &'a Connection) -> impl Iterator<Item = &'a Record> {
    records.iter().filter(move |record| match &record.body {
        Body::Connected(connected) => connected.connection == *link,
        Body::Kicked(kicked) => kicked.connection == *link,
        Body::Disconnected(disconnected) => disconnected.connection == *link,
        _ => false,
    })
}

/// Whether the broker says that this is denied, when it is tried.
async fn is_denied(link: &mut RawClient, command: &str) -> bool {
    link.send(command.as_bytes()).await.unwrap();
    link.settle().await.unwrap().contains("Permissions Violation")
}

/// Whether it hears what it says itself.
async fn hears(link: &mut RawClient, subject: &str) -> bool {
    link.send(format!("PUB {subject} 1\r\nx\r\n").as_bytes()).await.unwrap();
    link.settle().await.unwrap().contains(&format!("MSG {subject} "))
}

/// Who is connected, by what, as operators are told.
async fn listed(system: &TestSystem, link: &Connection) -> Option<Value> {
    let operator = system.bus(BusRole::Operator).await.unwrap();
    let asked = operator.request(subjects::GATEKEEPER_CONNECTIONS, Default::default(), "", DEADLINE).await.unwrap();
    let listed: Value = serde_json::from_slice(&asked.payload).unwrap();
    let mut entries = listed["connections"].as_array().unwrap().iter();
    entries.find(|entry| entry["cid"] == link.cid && entry["server"] == link.server).cloned()
}

/// Whoever shows a chain anew before its connection's life is over keeps the link: same number, no end between. Its
/// subscriptions are to be sent again behind the `CONNECT`: this pins what the broker does with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_renewed_in_place_outlives_its_life_and_ends_once_it_is_not() {
    let life = format!("connection_life_seconds = {LIFE_SECONDS}");
    let system = TestSystem::start_with(&[blueprint()], &[(Service::Gatekeeper, &life)]).await.unwrap();
    let root = commission(&enrol(&system).await).await;
    let sub = Sub::of(&root, grant());
    let mut link = sub.link(&system).await.unwrap();
    let place = place(&link);
    let mut stream = Stream::of(&system).await;
    link.send(b"SUB team.room 1\r\n").await.unwrap();
    assert!(hears(&mut link, "team.room").await);
    sub.present(&mut link).await.unwrap();
    assert!(!hears(&mut link, "team.room").await, "the broker forgets the link's subscriptions");
    loop {
        let next = sub.again(&root, grant());
        next.present(&mut link).await.unwrap();
        link.send(b"SUB team.room 1\r\n").await.unwrap();
        assert!(hears(&mut link, "team.room").await);
        stream.more().await;
        let at: Vec<_> = of_link(&stream.records, &place).map(|record| record.iat_ms.0).collect();
        if at.last().unwrap() - at[0] > 2 * LIFE_SECONDS * 1000 {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let other = |record: &&Record| !matches!(record.body, Body::Connected(_)) || record.agent != Some(sub.did());
    assert_eq!(of_link(&stream.records, &place).find(other), None);
    assert_eq!(listed(&system, &place).await.unwrap()["agent"], json!(sub.did()));
    // It is let go, and its life is over like any other's.
    link.closed().await;
    let has_ended = |records: &[Record]| of_link(records, &place).any(|one| matches!(one.body, Body::Disconnected(_)));
    stream.until("its end is recorded", has_ended).await;
    system.stop().await;
}

/// What was shown before gives nothing any more, and a directive on it ends nothing; one on what is shown now does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_last_is_all_that_a_link_stands_on() {
    let system = TestSystem::start(&[blueprint()]).await.unwrap();
    let root = commission(&enrol(&system).await).await;
    let wide = Sub::of(&root, grant());
    let narrow = wide.again(&root, json!({ "nats:publish": pattern("team.a"), "nats:subscribe": pattern("team.a") }));
    let mut link = wide.link(&system).await.unwrap();
    let place = place(&link);
    link.send(b"SUB team.> 1\r\nSUB team.b 2\r\n").await.unwrap();
    assert!(hears(&mut link, "team.b").await);
    narrow.present(&mut link).await.unwrap();
    for denied in ["PUB team.b 1\r\nx\r\n", "SUB team.> 1\r\n", "SUB team.b 2\r\n"] {
        assert!(is_denied(&mut link, denied).await, "{denied}");
    }
    assert!(!is_denied(&mut link, "SUB team.a 3\r\n").await && hears(&mut link, "team.a").await);
    // Nothing that others say reaches it by a subscription that it had.
    let mut speaker = Sub::of(&root, grant()).link(&system).await.unwrap();
    assert!(!is_denied(&mut speaker, "PUB team.b 1\r\nx\r\n").await);
    assert!(!link.settle().await.unwrap().contains("MSG team.b"));
    // What it may not show gives nothing, and less than a chain gives less.
    link.present(&wide.seed, Some("enrol")).await.unwrap();
    assert!(is_denied(&mut link, "PUB team.a 1\r\nx\r\n").await);
    assert_eq!(listed(&system, &place).await.unwrap()["shown"], json!(Shown::Key));
    narrow.present(&mut link).await.unwrap();
    assert_eq!(wide.revoke(&system), Vec::<u64>::new());
    assert!(!is_denied(&mut link, "PUB team.a 1\r\nx\r\n").await, "it is there still");
    assert_eq!(narrow.revoke(&system), [place.cid]);
    link.closed().await;
    system.stop().await;
}

/// The one of two gatekeepers that let the link in with what it shows now is killed: the other, which let it in before,
/// closes it by a directive on what it shows now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_ends_by_what_it_shows_now_though_who_judged_that_is_gone() {
    let mut system = TestSystem::start(&[blueprint()]).await.unwrap();
    system.start_second_gatekeeper().await.unwrap();
    let root = commission(&enrol(&system).await).await;
    let first = Sub::of(&root, grant());
    let mut link = first.link(&system).await.unwrap();
    let place = place(&link);
    let mut stream = Stream::of(&system).await;
    let own = system.directory().key(Service::Gatekeeper.key()).unwrap().did();
    let judges = |records: &[Record]| of_link(records, &place).map(|record| record.by).collect::<Vec<Did>>();
    // Until one has judged it and then the other: what is shown now the first of them has not seen.
    let mut now = first;
    for tries in 0.. {
        stream.more().await;
        let judges = judges(&stream.records);
        if judges.last() != judges.first() {
            break;
        }
        assert!(tries < TRIES_MAX, "one gatekeeper alone answers: {judges:?}");
        now = now.again(&root, grant());
        now.present(&mut link).await.unwrap();
    }
    match judges(&stream.records).last() == Some(&own) {
        true => system.kill(Service::Gatekeeper),
        false => system.kill_second(Service::Gatekeeper),
    }
    let digest = now.chain.leaf_digest().to_string();
    let (code, reply) = system.marque(&["revoke", "token", &digest, "--reason", "test"]);
    assert!([0, 4].contains(&code), "{reply}");
    link.closed().await;
    system.stop().await;
}

/// While what it shows is being judged a link is nobody's: it hears nothing, though its subscription was granted before and
/// will be; and it goes on once it is judged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_link_is_judged_anew_it_hears_nothing() {
    let system = TestSystem::start(&[blueprint()]).await.unwrap();
    let root = commission(&enrol(&system).await).await;
    let (sub, asks) = (Sub::of(&root, grant()), Sub::of(&root, grant()));
    let mut link = sub.link(&system).await.unwrap();
    link.send(b"SUB team.room 1\r\n").await.unwrap();
    link.settle().await.unwrap();
    let mut asker = asks.link(&system).await.unwrap();
    let inbox = format!("_INBOX.{}.1", asks.did().multibase());
    asker.send(format!("SUB {inbox} 1\r\n").as_bytes()).await.unwrap();
    // The broker says at once where nobody hears.
    let ask = format!("PUB team.room {inbox} 1\r\nx\r\n");
    asker.send(ask.as_bytes()).await.unwrap();
    assert!(!asker.settle().await.unwrap().contains("NATS/1.0 503"));
    system.freeze(Service::Gatekeeper, true);
    let judged = tokio::spawn(async move {
        let outcome = sub.present(&mut link).await;
        (link, outcome)
    });
    loop {
        asker.send(ask.as_bytes()).await.unwrap();
        if asker.settle().await.unwrap().contains("NATS/1.0 503") {
            break;
        }
        assert!(!judged.is_finished(), "it hears to the end");
    }
    system.freeze(Service::Gatekeeper, false);
    let (mut link, outcome) = judged.await.unwrap();
    outcome.unwrap();
    link.send(b"SUB team.room 1\r\n").await.unwrap();
    assert!(hears(&mut link, "team.room").await);
    system.stop().await;
}

/// Refused, whatever it is that is refused: the link is closed, the refusal is recorded as of any other, and the end is
/// recorded as of the agent whose link it was, whoever the client says to be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_shows_what_does_not_hold_is_closed() {
    let system = TestSystem::start(&[blueprint()]).await.unwrap();
    let root = commission(&enrol(&system).await).await;
    let (victim, thief) = (Sub::of(&root, grant()), SigningKey::generate().unwrap());
    let theirs = victim.link(&system).await.unwrap();
    let revoked = Sub::of(&root, grant());
    revoked.revoke(&system);
    let mut stream = Stream::of(&system).await;
    stream.until("the victim is let in", |records| of_link(records, &place(&theirs)).next().is_some()).await;
    let claimed = format!("{}@1", victim.did().multibase());
    let (chain, dead) = (victim.chain.chain(), revoked.chain.chain());
    for (number, code, times) in [
        (0, Code::PossessionUnproven, 1),
        (1, Code::PossessionUnproven, 2),
        (2, Code::Revoked, 1),
        (3, Code::Malformed, 1),
    ] {
        let sub = Sub::of(&root, grant());
        let mut link = sub.link(&system).await.unwrap();
        let said = match number {
            0 => link.present(&thief, Some(chain)).await,
            // Another's name in the place of a key: by that the broker calls the link, once it is refused.
            1 => link.present_with(json!({ "user": claimed, "pass": "x", "nkey": "", "auth_token": "" })).await,
            2 => link.present(&revoked.seed, Some(dead)).await,
            _ => link.present(&sub.seed, Some("nothing")).await,
        };
        let said = said.expect_err("let in");
        assert!(said.contains("Authorization Violation") && !said.contains(code.as_str()), "{said}");
        let place = place(&link);
        let end = |records: &[Record]| of_link(records, &place).any(|one| matches!(one.body, Body::Disconnected(_)));
        stream.until("its end is recorded", end).await;
        let ends: Vec<_> = of_link(&stream.records, &place).map(|record| record.agent).collect();
        assert_eq!(ends, [Some(sub.did()); 2], "{number}");
        let is_refused = |record: &Record| matches!(&record.body, Body::Refused(refused) if refused.code == code);
        let are_refused = |records: &[Record]| records.iter().filter(|one| is_refused(one)).count() == times;
        stream.until("the refusal is recorded", are_refused).await;
        eventually("it is known no more", DEADLINE, || async {
            listed(&system, &place).await.map_or(Ok(()), |entry| Err(entry.to_string()))
        })
        .await;
    }
    assert!(listed(&system, &place(&theirs)).await.is_some());
    system.stop().await;
}

/// An agent with all the links that it may have renews each; another key on a link takes one of that key's own, and the
/// link is its from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_counts_for_whoever_shows_something_over_it_last() {
    let system =
        TestSystem::start_with(&[blueprint()], &[(Service::Gatekeeper, "connections_per_agent = 1")]).await.unwrap();
    let root = commission(&enrol(&system).await).await;
    let (one, two) = (Sub::of(&root, grant()), Sub::of(&root, grant()));
    let mut link = one.link(&system).await.unwrap();
    assert!(one.link(&system).await.is_err(), "it has all it may have");
    for _ in 0..3 {
        one.again(&root, grant()).present(&mut link).await.unwrap();
    }
    two.present(&mut link).await.unwrap();
    assert_eq!(listed(&system, &place(&link)).await.unwrap()["agent"], json!(two.did()));
    assert!(two.link(&system).await.is_err(), "this is its one link");
    let mut ones = one.link(&system).await.unwrap();
    // Nor is the other's link a way to a second one.
    assert!(two.present(&mut ones).await.is_err());
    assert_eq!(closed_by(&system, &["key", &one.did().to_string()]), Vec::<u64>::new());
    assert_eq!(closed_by(&system, &["key", &two.did().to_string()]), [place(&link).cid]);
    link.closed().await;
    assert!(connect(&system, &two.chain).await.is_err());
    system.stop().await;
}
