//! Chains of sub-agents: delegated offline, verified here for the first time, recorded once.

use std::sync::atomic::Ordering;

use marque_agent::enforce::{Chain, Presentation, Received, Ruling};
use marque_agent::{AgentError, AgentKey, Commission, Delegation, Why};
use marque_identity::Code;
use marque_judgement::record::{Body, RecordKind};
use serde_json::json;

use crate::stage::{Stage, TOOL, crm, policy, tools};

fn pinned(region: &str) -> marque_credential::Tools {
    tools(json!({ "nats:tools.crm.query": { "region": { "constraint_type": "exact", "value": region } } }))
}

/// Root, child, grandchild, great-grandchild.
fn lineage(stage: &Stage) -> Vec<Commission> {
    let mut lineage = vec![stage.commission(crm(), 3)];
    for further in [2, 1, 0] {
        let parent = lineage.last().unwrap();
        let key = AgentKey::generate().unwrap();
        let grant = Delegation::new(pinned("eu")).ttl_seconds(300).further_depth(further);
        let chain = parent.delegate(&key.public(), grant).unwrap();
        lineage.push(Commission::adopt(key, chain).unwrap());
    }
    lineage
}

#[tokio::test]
async fn a_chain_of_depth_3_works_and_each_link_is_recorded_once() {
    let stage = Stage::set().await;
    let (_served, ran) = stage.serve_counting().await;
    let lineage = lineage(&stage);
    let leaf = lineage[3].on(&stage.agent);
    for _ in 0..2 {
        leaf.call(TOOL, &json!({"region": "eu"}), Why::default()).await.unwrap();
    }
    lineage[1].on(&stage.agent).call(TOOL, &json!({"region": "eu"}), Why::default()).await.unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 3);

    let mut delegated = stage.of_kind(RecordKind::Delegated).await;
    delegated.sort_by_key(|record| record.links.len());
    assert_eq!(delegated.len(), 3);
    for (depth, record) in (1..).zip(&delegated) {
        let Body::Delegated(body) = &record.body else { panic!() };
        assert_eq!((body.depth, record.token), (depth as u64, Some(lineage[depth].leaf_digest())));
        assert_eq!(body.parent, lineage[depth - 1].leaf_digest());
        assert_eq!(record.agent, Some(lineage[depth].key().did()));
        assert_eq!(body.link.compact(), Some(lineage[depth].leaf()));
    }
    let narrower = leaf.call(TOOL, &json!({"region": "us"}), Why::default()).await.unwrap_err();
    assert_eq!(narrower.code(), Code::ArgumentRefused);
}

#[tokio::test]
async fn delegation_refuses_offline_what_would_not_verify() {
    let stage = Stage::set().await;
    let child = &lineage(&stage)[1];
    let to = AgentKey::generate().unwrap().public();
    let code = |grant| child.delegate(&to, grant).unwrap_err().code();
    assert_eq!(code(Delegation::new(crm())), Code::AuthorityWidened);
    assert_eq!(code(Delegation::new(pinned("us"))), Code::AuthorityWidened);
    assert_eq!(code(Delegation::new(pinned("eu")).further_depth(2)), Code::DepthInvalid);
    let longest = child.delegate(&to, Delegation::new(pinned("eu")).ttl_seconds(i64::MAX)).unwrap();
    assert!(longest.starts_with(child.chain()), "a longer life is cut to the holder's own");
}

#[tokio::test]
async fn a_chain_is_taken_up_by_its_holder_alone() {
    let stage = Stage::set().await;
    let commission = stage.commission(crm(), 0);
    let thief = AgentKey::generate().unwrap();
    let stolen = Commission::adopt(thief, commission.chain());
    assert!(matches!(stolen, Err(AgentError::NotTheHolder { .. })));
    for noise in ["", "~", "a.b.c", "é~ü", &"x".repeat(300_000)] {
        let adopted = Commission::adopt(AgentKey::generate().unwrap(), noise);
        assert!(matches!(adopted, Err(AgentError::ChainUnreadable(_))), "{}", noise.len());
    }
}

#[tokio::test]
async fn a_receiver_that_has_forgotten_the_chain_is_sent_it_again() {
    let stage = Stage::set().await;
    let actor = stage.actor(crm());
    let (served, _) = stage.serve_counting().await;
    for _ in 0..2 {
        actor.call(TOOL, &json!({"region": "eu"}), Why::default()).await.unwrap();
    }
    assert!(stage.of_kind(RecordKind::Refused).await.is_empty(), "the digest alone was enough");
    drop(served);
    let (_served, ran) = stage.serve_counting().await;
    actor.call(TOOL, &json!({"region": "eu"}), Why::default()).await.unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 1);

    let refused = stage.of_kind(RecordKind::Refused).await;
    let Body::Refused(body) = &refused[0].body else { panic!() };
    assert_eq!((refused.len(), body.code), (1, Code::ChainUnknown));
    assert_eq!(stage.of_kind(RecordKind::Decided).await.len(), 3, "one decision for each action");
}

#[tokio::test]
async fn a_host_that_names_another_agent_than_the_leafs_is_told_no() {
    let stage = Stage::set().await;
    let actor = stage.actor(crm());
    let believed = AgentKey::generate().unwrap().did();
    let point = stage.point(policy());
    for (agent, expected) in [(believed, Some(Code::PossessionUnproven)), (actor.commission().key().did(), None)] {
        let tool = format!("nats:{TOOL}");
        let audience = policy().audience(&tool);
        let signed = actor.prove(&tool, br#"{"region":"eu"}"#, audience.clone(), None, Why::default()).unwrap();
        let presentation = Presentation {
            chain: Chain::Whole(actor.commission().chain()),
            proof: &signed.proof,
            args: marque_json::parse(br#"{"region":"eu"}"#, marque_json::Limits::DEFAULT).unwrap(),
            agent: Some(agent),
            audience,
            nonce: None,
        };
        let received = Received::payload(br#"{"region":"eu"}"#);
        let ruling: Ruling =
            point.decide(marque_agent::enforce::Asked { tool: &tool, presentation: Ok(presentation), received }).await;
        assert_eq!(ruling.denied(), expected);
    }
}
