//! Clients that don't cooperate: stolen and forged chains, aimed replies, statements of others', headers that break.

use std::time::Duration;

use futures::StreamExt;
use marque::service_config::Service;
use marque_agent::{AgentKey, CommissionRequest, Delegation};
use marque_bus::permissions::BusRole;
use marque_bus::{streams, subjects};
use marque_credential::{RootRequest, mint_root};
use marque_identity::{Code, Did, TokenId};
use marque_judgement::record::{Body, Carried, Delegated, Record, Refused};
use marque_runtime::Clock;
use marque_signing::{Compact, SigningKey, base64url, nkey};
use marque_test_support::eventually;
use marque_tests::cast::{self, tools};
use marque_tests::noise::RawClient;
use marque_tests::system::{DEADLINE, TestSystem};
use serde_json::{Value, json};

use super::{
    BLUEPRINT, HOSTED, MODEL, blueprint, closed, commission, connect, enrol, enrol_key, grant, records, refusals,
    refused,
};

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
    // Larger than a control line: the broker itself closes it, without a question, and that is recorded all the same.
    let huge = "A".repeat(70_000);
    for _ in 0..2 {
        assert!(RawClient::connect_by(&system, &thief, Some(&huge)).await.is_err());
    }
    eventually("what the broker closed is recorded, each once", DEADLINE, || async {
        let records = records(&system).await;
        let oversize = records.iter().filter_map(|record| match &record.body {
            Body::Refused(refused) if refused.code == Code::Oversize => Some((record.agent, refused)),
            _ => None,
        });
        let oversize: Vec<_> = oversize.collect();
        assert!(oversize.len() <= 2, "{oversize:?}");
        let is_told = |(agent, refused): &(Option<Did>, &Refused)| {
            agent.is_none() && refused.input.is_none() && refused.message.contains("`127.0.0.1`")
        };
        if oversize.len() == 2 && oversize.iter().all(is_told) { Ok(()) } else { Err(format!("{oversize:?}")) }
    })
    .await;
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
