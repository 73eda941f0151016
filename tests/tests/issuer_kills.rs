//! The issuer killed with requests in flight, as a real process on a real broker: a join token that was used has its
//! credential, which the same request is answered with, and nobody else is (ARCHITECTURE promises 1 and 10).

#![allow(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use marque::service_config::Service;
use marque_agent::{Agent, AgentKey, RuntimeClaim};
use marque_bus::{Bus, CallError, Presented, subjects};
use marque_identity::{Code, Did, TokenId};
use marque_issuer::step::{KILL_AT, Step};
use marque_judgement::record::{Body, Record};
use marque_runtime::Clock;
use marque_signing::{SigningKey, jws};
use marque_tests::cast;
use marque_tests::system::{DEADLINE, LogCopy, TestSystem};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const MODEL: &str = "test/model-1";
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Join tokens that are shown at once.
const TOKENS: usize = 8;
/// After so many answers the issuer is killed: with none yet, with some, and with nearly all.
const KILLED_AFTER: [usize; 3] = [0, 3, 7];

/// An agent's request to enrol, signed once: whoever sends it again sends the same bytes.
#[derive(Clone)]
struct Enrolment {
    agent: Did,
    bytes: Vec<u8>,
}

impl Enrolment {
    /// Of a fresh key, by this join token.
    fn sign(system: &TestSystem, join: &str) -> Self {
        let key = SigningKey::generate().unwrap();
        let claims = json!({
            "iat": Clock::new().unix(), "jti": TokenId::generate(), "aud": system.domain(),
            "jwk": key.public().jwk(), "runtime": { "model_id": MODEL }, "join_token": join,
        });
        let bytes = jws::sign_as_did(&key, "marque-enrol+jwt", &claims).unwrap().into_bytes();
        Self { agent: key.did(), bytes }
    }

    /// The credential that it is answered with.
    async fn send(&self, bus: &Bus) -> Result<String, CallError> {
        let reply = bus.request(subjects::issuer::ENROL, Default::default(), self.bytes.clone(), DEADLINE).await?;
        let answer: Value = serde_json::from_slice(&reply.payload).unwrap();
        Ok(answer["credential"].as_str().unwrap().to_owned())
    }

    async fn refused(&self, bus: &Bus) -> Code {
        self.send(bus).await.unwrap_err().code()
    }
}

/// A connection that may ask to enrol, and no more: it carries every request.
async fn door(system: &TestSystem) -> Bus {
    let key = AgentKey::generate().unwrap();
    let options = key.connect_options(system.url(), "test-door", Presented::new(Presented::ENROL));
    Bus::connect_now(options, DEADLINE).await.unwrap()
}

/// The credentials in the log's *issued* records, by the agent that they name.
fn issued(copy: &LogCopy) -> BTreeMap<Did, Vec<&str>> {
    assert!(copy.verified, "{}", copy.report);
    let mut issued: BTreeMap<Did, Vec<&str>> = BTreeMap::new();
    for record in copy.records.iter().flatten() {
        let Record { agent: Some(agent), body: Body::Issued(body), .. } = record else { continue };
        let Some(credential) = &body.credential else { continue };
        issued.entry(*agent).or_default().push(credential.compact().unwrap());
    }
    issued
}

async fn until_dead(system: &mut TestSystem, step: Step) {
    let deadline = Instant::now() + DEADLINE;
    while system.is_running(Service::Issuer) {
        assert!(Instant::now() < deadline, "the issuer does not come to {}", step.name());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn start_again(system: &mut TestSystem) {
    system.kill(Service::Issuer);
    system.start_service(Service::Issuer);
    system.until_ready(Service::Issuer).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_it_answers_the_same_request_and_nobody_else() {
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let door = door(&system).await;
    let mut answered = BTreeMap::new();
    for step in Step::ALL {
        // Drained, it has seen onto the disk what was recorded, and passes no step before it is asked.
        system.terminate(Service::Issuer);
        assert_eq!(system.until_ended(Service::Issuer), Some(0));
        system.start_service_with(Service::Issuer, &[(KILL_AT, step.name())]);
        system.until_ready(Service::Issuer).await.unwrap();
        let join = system.join_token("tester").unwrap();
        let (own, thief) = (Enrolment::sign(&system, &join), Enrolment::sign(&system, &join));

        let (asked, bus) = (own.clone(), door.clone());
        let in_flight = tokio::spawn(async move { asked.send(&bus).await });
        until_dead(&mut system, step).await;
        assert!(!in_flight.is_finished(), "answered at {}", step.name());
        in_flight.abort();
        start_again(&mut system).await;

        // Once the grant is kept, the token is used, whoever asks first now.
        if step != Step::Signed {
            assert_eq!(thief.refused(&door).await, Code::JoinTokenUsed, "{}", step.name());
        }
        let credential = own.send(&door).await.unwrap();
        assert_eq!(own.send(&door).await.unwrap(), credential, "another credential at {}", step.name());
        assert_eq!(thief.refused(&door).await, Code::JoinTokenUsed, "{}", step.name());
        answered.insert(own.agent, credential);
    }
    let copy = system.copy_log().await.unwrap();
    let issued = issued(&copy);
    assert_eq!(issued.len(), answered.len());
    for (agent, credential) in &answered {
        assert_eq!(issued[agent], [credential.as_str()], "what was answered is recorded, once");
    }
    system.stop().await;
}

/// Each token is shown by two agents at once; the issuer is killed in the middle of it, wherever that finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_among_many_requests_it_gives_each_join_token_to_one_agent() {
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    let door = door(&system).await;
    let mut won = BTreeMap::new();
    for killed_after in KILLED_AFTER {
        let joins: Vec<String> = (0..TOKENS).map(|_| system.join_token("tester").unwrap()).collect();
        let pairs: Vec<[Enrolment; 2]> =
            joins.iter().map(|join| [0, 1].map(|_| Enrolment::sign(&system, join))).collect();

        let mut asked = JoinSet::new();
        for one in pairs.as_flattened() {
            let (one, bus) = (one.clone(), door.clone());
            asked.spawn(async move { (one.agent, one.send(&bus).await) });
        }
        let mut early = BTreeMap::new();
        let mut take = |(agent, answer): (Did, Result<String, CallError>)| match answer {
            Ok(credential) => drop(early.insert(agent, Ok(credential))),
            Err(CallError::Refused(refusal)) => drop(early.insert(agent, Err(refusal.code))),
            Err(CallError::Foreign { .. } | CallError::Unanswered(_)) => {}
        };
        for _ in 0..killed_after {
            take(asked.join_next().await.unwrap().unwrap());
        }
        // The others are on their way: the kill finds them in the broker, at the desk, or answered.
        door.client().flush().await.unwrap();
        start_again(&mut system).await;
        while let Some(answered) = asked.try_join_next() {
            take(answered.unwrap());
        }
        asked.shutdown().await;

        for pair in &pairs {
            let mut answers = Vec::new();
            for one in pair {
                let answer = one.send(&door).await.map_err(|error| error.code());
                if let Some(early) = early.get(&one.agent) {
                    assert_eq!(&answer, early, "another answer after the kill");
                }
                answers.push((one.agent, answer));
            }
            let (winners, losers): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| answer.is_ok());
            assert_eq!((winners.len(), losers.len()), (1, 1), "one join token, one credential");
            assert_eq!(losers[0].1, Err(Code::JoinTokenUsed));
            won.extend(winners.into_iter().map(|(agent, answer)| (agent, answer.unwrap())));
        }
    }
    let copy = system.copy_log().await.unwrap();
    let issued = issued(&copy);
    assert_eq!(issued.len(), won.len(), "a credential that nobody was given");
    for (agent, credential) in &won {
        assert_eq!(issued[agent], [credential.as_str()]);
    }
    system.stop().await;
}

/// What an agent's own library does about it: it asks again with the same bytes, and is in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_issuer_is_killed_under_its_request_gets_in() {
    let mut system = TestSystem::start(&[cast::blueprint()]).await.unwrap();
    system.kill(Service::Issuer);
    system.start_service_with(Service::Issuer, &[(KILL_AT, Step::Recorded.name())]);
    system.until_ready(Service::Issuer).await.unwrap();
    let join = system.join_token("tester").unwrap();
    let key = AgentKey::generate().unwrap();
    let options = key.connect_options(system.url(), "test-agent", Presented::new(Presented::ENROL));
    let (agent, domain) = (key.did(), system.domain().clone());
    let enrolling = tokio::spawn(async move {
        let bus = Bus::connect_now(options, DEADLINE).await?;
        let runtime = RuntimeClaim { model_id: MODEL.into(), manifest_hash: None };
        Agent::enrol(&bus, &domain, key, join.as_str(), &runtime).await
    });
    until_dead(&mut system, Step::Recorded).await;
    assert!(!enrolling.is_finished(), "answered by the dead");
    start_again(&mut system).await;
    let enrolled = enrolling.await.unwrap().unwrap();
    // Its connection was let in by the credential, and it is commissioned on it.
    cast::commission(&enrolled).await;
    let copy = system.copy_log().await.unwrap();
    assert_eq!(issued(&copy)[&agent], [enrolled.credential()]);
    system.stop().await;
}
