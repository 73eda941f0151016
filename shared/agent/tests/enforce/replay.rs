//! A proof is good for one action: in one process always, in the whole cluster where the tool is side-effecting.

use marque_agent::enforce::{Asked, Chain, EnforcementPoint, Presentation, Received, Ruling};
use marque_agent::{Actor, Why};
use marque_bus::permissions::BusRole;
use marque_identity::Code;
use marque_json::Limits;
use serde_json::json;

use crate::stage::{DOMAIN, Stage, TOOL, crm, host_key, policy, side_effecting};

/// An action as it is presented, to be handed in more than once.
pub(crate) struct Presented {
    chain: String,
    proof: String,
    args: String,
}

impl Presented {
    pub(crate) fn new(actor: &Actor, args: &str) -> Self {
        let audience = format!("nats://{DOMAIN}/{TOOL}");
        let tool = format!("nats:{TOOL}");
        let signed = actor.prove(&tool, args.as_bytes(), Some(audience), None, Why::default()).unwrap();
        Self { chain: actor.commission().chain().to_owned(), proof: signed.proof, args: args.to_owned() }
    }

    /// Presented by a holder that does not use the SDK.
    pub(crate) fn of(chain: String, proof: String, args: String) -> Self {
        Self { chain, proof, args }
    }

    pub(crate) fn chain(&self) -> &str {
        &self.chain
    }

    pub(crate) fn proof(&self) -> &str {
        &self.proof
    }

    pub(crate) async fn at(&self, point: &EnforcementPoint) -> Ruling {
        let tool = format!("nats:{TOOL}");
        let presentation = Presentation {
            chain: Chain::Whole(&self.chain),
            proof: &self.proof,
            args: marque_json::parse(self.args.as_bytes(), Limits::DEFAULT).unwrap(),
            agent: None,
            audience: Some(format!("nats://{DOMAIN}/{TOOL}")),
            nonce: None,
        };
        let received = Received { chain: &self.chain, proof: &self.proof, payload: self.args.as_bytes() };
        point.decide(Asked { tool: &tool, presentation: Ok(presentation), received }).await
    }
}

fn denied(ruling: Ruling) -> (Code, Option<&'static str>) {
    match ruling {
        Ruling::Permitted(permitted) => panic!("permitted: {permitted:?}"),
        Ruling::Denied(denied) => (denied.refusal.code, denied.refusal.step),
    }
}

#[tokio::test]
async fn the_same_proof_is_refused_the_second_time() {
    let stage = Stage::set().await;
    let point = stage.point(policy());
    let presented = Presented::new(&stage.actor(crm()), r#"{"region":"eu"}"#);
    assert!(matches!(presented.at(&point).await, Ruling::Permitted(_)));
    assert_eq!(denied(presented.at(&point).await), (Code::ProofReplayed, Some("7i")));
    // Each a new proof: as often as one likes.
    let actor = stage.actor(crm());
    for _ in 0..3 {
        assert!(matches!(Presented::new(&actor, r#"{"region":"eu"}"#).at(&point).await, Ruling::Permitted(_)));
    }
}

#[tokio::test]
async fn a_side_effecting_tools_proof_is_accepted_once_in_the_cluster() {
    let stage = Stage::set().await;
    let with_effects = || stage.point(policy().with(side_effecting()));
    let (one, other) = (with_effects(), with_effects());
    let presented = Presented::new(&stage.actor(crm()), r#"{"region":"eu"}"#);
    assert!(matches!(presented.at(&one).await, Ruling::Permitted(_)));
    assert_eq!(denied(presented.at(&other).await), (Code::ProofReplayed, Some("12")));

    // Raced at both, one wins.
    let actor = stage.actor(crm());
    for _ in 0..5 {
        let raced = Presented::new(&actor, r#"{"region":"us"}"#);
        let (left, right) = tokio::join!(raced.at(&one), raced.at(&other));
        let permits = [left, right].iter().filter(|ruling| matches!(ruling, Ruling::Permitted(_))).count();
        assert_eq!(permits, 1);
    }
}

#[tokio::test]
async fn what_could_not_be_learned_is_denied() {
    let stage = Stage::set().await;
    // A user who may not claim a proof. It may not record either: the denial has no record, and stays a denial.
    let mute = stage.broker.connect(BusRole::Sink).await;
    let policy = policy().with(side_effecting());
    let point = EnforcementPoint::new(&mute, host_key(), "host", &stage.bundle, stage.feed.clone(), policy);
    let presented = Presented::new(&stage.actor(crm()), r#"{"region":"eu"}"#);
    assert_eq!(denied(presented.at(&point).await), (Code::ReplayUndecided, Some("12")));
}

#[tokio::test]
async fn a_proof_for_another_place_tool_or_arguments_is_refused() {
    let stage = Stage::set().await;
    let point = stage.point(policy());
    let actor = stage.actor(crm());
    let other_place = {
        let audience = Some(format!("nats://{DOMAIN}/tools.other"));
        let signed = actor.prove(&format!("nats:{TOOL}"), br#"{"region":"eu"}"#, audience, None, Why::default());
        Presented { proof: signed.unwrap().proof, ..Presented::new(&actor, r#"{"region":"eu"}"#) }
    };
    assert_eq!(denied(other_place.at(&point).await), (Code::AudienceMismatch, Some("7d")));
    let other_arguments =
        Presented { args: json!({"region": "us"}).to_string(), ..Presented::new(&actor, r#"{"region":"eu"}"#) };
    assert_eq!(denied(other_arguments.at(&point).await), (Code::ProofArgumentsMismatch, Some("7f")));
    // A proof without any audience could have been made for anywhere.
    let anywhere = {
        let signed = actor.prove(&format!("nats:{TOOL}"), br#"{"region":"eu"}"#, None, None, Why::default());
        Presented { proof: signed.unwrap().proof, ..Presented::new(&actor, r#"{"region":"eu"}"#) }
    };
    assert_eq!(denied(anywhere.at(&point).await), (Code::AudienceMismatch, Some("7d")));
}
