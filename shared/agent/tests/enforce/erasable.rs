//! Erasable tools: nothing of their arguments in the record, all of it in the payload, and no permit without either.

use std::sync::atomic::Ordering;

use marque_agent::Why;
use marque_agent::enforce::{DataSubject, Policy, Received, Ruling};
use marque_bus::permissions::BusRole;
use marque_bus::subjects;
use marque_identity::Code;
use marque_judgement::record::{Body, Carried, RecordKind};
use marque_judgement::sealed::{Payload, subject_digest};
use marque_signing::sha256;
use marque_signing::xkey::SealingKey;
use serde_json::json;

use crate::stage::{DOMAIN, Stage, TOOL, crm, policy, tools};

const SECRET: &str = "jane-4711";

fn erasable() -> Policy {
    policy().erasing(format!("nats:{TOOL}"), DataSubject::Argument("customer".into()))
}

/// A tool whose `customer` may be anyone, and whose `region` is pinned.
fn of_customers() -> marque_credential::Tools {
    let any = json!({ "constraint_type": "wildcard" });
    let region = json!({ "constraint_type": "one_of", "values": ["eu", "us"] });
    tools(json!({ format!("nats:{TOOL}"): { "customer": any, "region": region } }))
}

async fn revealed(stage: &Stage, id: &str) -> Payload {
    let operator = stage.broker.connect(BusRole::Operator).await;
    let sealed = operator.find_sealed(id).await.unwrap().expect("the payload is stored");
    let subject = subjects::sealed_subject(&sealed.subject).unwrap();
    let reader = Payload::reader(&sealed.payload).unwrap();
    let private = operator.sealing_private(&subject, reader).await.unwrap().unwrap();
    Payload::open(&sealed.payload, &SealingKey::from_seed(private.payload[..].try_into().unwrap())).unwrap()
}

#[tokio::test]
async fn a_permit_s_record_leaves_out_what_its_payload_has() {
    let stage = Stage::set().await;
    let (_served, ran) = stage.serve_counting_with(erasable()).await;
    let actor = stage.actor(of_customers());
    let mut prev = None;
    for n in 1..=2 {
        let args = json!({ "customer": SECRET, "region": "eu" });
        let answer = actor.call(TOOL, &args, Why::because(format!("{SECRET} asked"))).await.unwrap();
        let id = answer.record.unwrap();
        let (record, decided) = stage.decided(&id).await;
        assert!(!serde_json::to_string(&record).unwrap().contains(SECRET));
        assert_eq!((decided.why.clone(), decided.input, decided.seq, decided.prev), (None, None, Some(n), prev));
        assert_eq!(decided.sealed.as_ref().unwrap().action.as_ref(), Some(&answer.action));
        let Some(Carried::Elided(proof)) = &decided.proof else { panic!("{decided:?}") };
        prev = Some(proof.sha256);
        let payload = revealed(&stage, &id).await;
        let parts = payload.of(&record).unwrap();
        assert_eq!(sha256(parts.proof.as_bytes()), proof.sha256);
        assert_eq!(parts.input, serde_json::to_vec(&args).unwrap());
        assert_eq!(stage.completed(&id).await.unwrap().reply_sha256, None, "a reply could be guessed");
    }
    assert_eq!(ran.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn many_that_come_first_at_once_seal_for_one_key() {
    let stage = Stage::set().await;
    let (_served, ran) = stage.serve_counting_with(erasable()).await;
    let actors: Vec<_> = (0..8).map(|_| stage.actor(of_customers())).collect();
    let args = json!({ "customer": SECRET, "region": "eu" });
    let calls = actors.iter().map(|actor| actor.call(TOOL, &args, Why::because(SECRET)));
    for answer in futures::future::join_all(calls).await {
        let id = answer.unwrap().record.unwrap();
        let (record, _) = stage.decided(&id).await;
        assert!(revealed(&stage, &id).await.of(&record).is_ok());
    }
    assert_eq!(ran.load(Ordering::SeqCst), 8);
    let operator = stage.broker.connect(BusRole::Operator).await;
    let subject = subject_digest(&DOMAIN.parse().unwrap(), SECRET);
    assert!(operator.sealing_key(&subject).await.unwrap().is_some());
    assert_eq!(operator.erase_subject(&subject).await.unwrap().payloads, 8);
}

#[tokio::test]
async fn a_denial_s_record_repeats_no_argument() {
    let stage = Stage::set().await;
    let (_served, _) = stage.serve_counting_with(erasable()).await;
    let actor = stage.actor(of_customers());
    let args = json!({ "customer": "john", "region": SECRET });
    let denied = actor.call(TOOL, &args, Why::default()).await.unwrap_err();
    let denied = denied.denial().expect("denied").clone();
    assert_eq!(denied.code, Code::ArgumentRefused);
    let (record, decided) = stage.decided(&denied.record.unwrap()).await;
    assert!(!serde_json::to_string(&record).unwrap().contains(SECRET));
    assert_eq!((decided.code, decided.message.as_deref()), (Some(Code::ArgumentRefused), None));
    assert_eq!(revealed(&stage, &record.id).await.of(&record).unwrap().message, denied.message);
}

#[tokio::test]
async fn denies_where_what_the_record_leaves_out_can_t_be_stored() {
    let mut stage = Stage::set_without(marque_bus::streams::SEALED).await;
    let (_served, ran) = stage.serve_counting_with(erasable()).await;
    let actor = stage.actor(of_customers());
    let denied = actor.call(TOOL, &json!({ "customer": SECRET, "region": "eu" }), Why::because(SECRET)).await;
    let denied = denied.unwrap_err().denial().expect("denied").clone();
    assert_eq!((denied.code, denied.step.as_deref()), (Code::NotRecorded, Some("14")));
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    let (record, decided) = stage.decided(&denied.record.expect("the denial is recorded")).await;
    assert!(!serde_json::to_string(&record).unwrap().contains(SECRET));
    assert_eq!((decided.sealed.unwrap().commitment, decided.seq), (None, Some(1)));
    stage.silence().await;
}

#[tokio::test]
async fn denies_where_the_data_subject_s_key_is_none() {
    let stage = Stage::set().await;
    let (_served, ran) = stage.serve_counting_with(erasable()).await;
    let subject = subject_digest(&DOMAIN.parse().unwrap(), SECRET);
    stage.host.offer_sealing_key(&subject, "XNONE", b"none").await.unwrap();
    let actor = stage.actor(of_customers());
    let call = |customer: &str| {
        let args = json!({ "customer": customer, "region": "eu" });
        let actor = &actor;
        async move { actor.call(TOOL, &args, Why::default()).await }
    };
    assert_eq!(call(SECRET).await.unwrap_err().denial().unwrap().code, Code::NotRecorded);
    call("another").await.unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn keeps_nothing_in_the_name_of_whom_no_signature_vouches_for() {
    let stage = Stage::set().await;
    let point = stage.point(erasable());
    let actor = stage.actor(of_customers());
    let text = json!({ "customer": SECRET, "region": "eu" }).to_string();
    let audience = Some(format!("nats://{DOMAIN}/{TOOL}"));
    let tool = format!("nats:{TOOL}");
    let signed = actor.prove(&tool, text.as_bytes(), audience.clone(), None, Why::because(SECRET)).unwrap();
    // The signature's first character: its last holds two bits, and may be the same.
    let (signed_part, signature) = signed.proof.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{signed_part}.{other}{}", &signature[1..]);
    let unrelated = stage.commission(crm(), 0);
    for (chain, proof) in
        [(actor.commission().chain(), &forged), ("x.y.z", &signed.proof), (unrelated.chain(), &forged)]
    {
        let presentation = marque_agent::enforce::Presentation {
            chain: marque_agent::enforce::Chain::Whole(chain),
            proof,
            args: marque_json::parse(text.as_bytes(), marque_json::Limits::DEFAULT).unwrap(),
            agent: None,
            audience: audience.clone(),
            nonce: None,
        };
        let received = Received { chain, proof, payload: text.as_bytes() };
        let asked = marque_agent::enforce::Asked { tool: &tool, presentation: Ok(presentation), received };
        let Ruling::Denied(denied) = point.decide(asked).await else { panic!("permitted") };
        let (record, decided) = stage.decided(&denied.record.unwrap()).await;
        assert!(!serde_json::to_string(&record).unwrap().contains(SECRET));
        assert_eq!((decided.proof, decided.input, decided.sealed.unwrap().commitment), (None, None, None));
    }
    let operator = stage.broker.connect(BusRole::Operator).await;
    for stream in [marque_bus::streams::SEALED, marque_bus::streams::SEALING_KEYS] {
        assert_eq!(operator.stream_state(stream).await.unwrap().messages, 0, "{stream}");
    }
    assert!(stage.of_kind(RecordKind::Decided).await.iter().all(|record| matches!(record.body, Body::Decided(_))));
}
