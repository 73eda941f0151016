//! Who plays: an orchestrator, its two sub-agents, and a grandchild that no service has met.

use marque_agent::{Agent, AgentKey, Commission, CommissionRequest, Delegation, RuntimeClaim};
use marque_bus::subjects::issuer;
use marque_bus::{Bus, Presented};
use marque_credential::Tools;
use marque_identity::{BlueprintName, TaskId};
use marque_json::Json;
use marque_signing::SigningKey;
use serde_json::{Value, json};

use super::expect::otherwise;
use super::stage::{ARCHIVE, CRM, MAIL, Stage};
use crate::agent::join_token;
use crate::{Failure, call_failure};

/// The kind of agent that the orchestrator is; `deploy/blueprints` holds it.
const BLUEPRINT: &str = "research-orchestrator";
/// How long the invitation is good.
const JOIN_TIME: std::time::Duration = std::time::Duration::from_secs(300);

/// A sub-agent: its commission, and its seed for the tricks that the library does not play.
pub(super) struct SubAgent {
    /// What it may do.
    pub commission: Commission,
    /// The same key, for signing by hand.
    pub by_hand: SigningKey,
}

/// Tools out of JSON that we wrote ourselves.
pub(super) fn tools(json: &Value) -> Result<Tools, Failure> {
    let parsed = Json::from_serde(json)?;
    Tools::parse(&parsed).map_err(|error| otherwise(error.to_string()))
}

/// Invites with the operator's key, enrols with a fresh one.
pub(super) async fn enrol(stage: &Stage) -> Result<Agent, Failure> {
    let blueprint: BlueprintName = BLUEPRINT.parse().map_err(|_| otherwise("no blueprint's name"))?;
    let (join, _) = join_token(&stage.operator, &stage.domain, &blueprint, JOIN_TIME)?;
    let key = AgentKey::generate().map_err(|error| otherwise(error.to_string()))?;
    let bus = stage.connect(&key, Presented::ENROL).await?;
    let model_id = allowed_model(&bus, &blueprint).await?;
    let runtime = RuntimeClaim { model_id, manifest_hash: None };
    Ok(Agent::enrol(&bus, &stage.domain, key, join.as_str(), &runtime).await?)
}

/// The first model that the issuer's blueprint allows.
async fn allowed_model(bus: &Bus, blueprint: &BlueprintName) -> Result<String, Failure> {
    let question = json!({ "name": blueprint }).to_string().into_bytes();
    let reply = bus.request(issuer::BLUEPRINTS, Default::default(), question, JOIN_TIME).await;
    let reply = reply.map_err(call_failure)?;
    let shown: Value = marque_json::from_slice(&reply.payload, marque_json::Limits::DEFAULT)?;
    let model = shown.pointer("/models/0").and_then(Value::as_str);
    model.map(str::to_owned).ok_or_else(|| otherwise(format!("blueprint {blueprint} allows no model")))
}

/// The root: two customers, an archive, mail to two addresses.
pub(super) async fn commission(agent: &Agent, task: &TaskId) -> Result<Commission, Failure> {
    let tools = tools(&json!({
        format!("nats:{CRM}"): {
            "customer": { "constraint_type": "one_of", "values": ["acme", "globex"] },
            "limit": { "constraint_type": "range", "min": 1, "max": 50, "optional": true },
        },
        format!("nats:{ARCHIVE}"): { "customer": { "constraint_type": "one_of", "values": ["acme", "globex"] } },
        format!("nats:{MAIL}"): {
            "to": { "constraint_type": "one_of", "values": ["research@acme.example", "board@acme.example"] },
            "subject": { "constraint_type": "wildcard" },
            "body": { "constraint_type": "wildcard" },
        },
    }))?;
    let request = CommissionRequest::new(task.clone(), "write the quarterly report", tools).depth_max(3);
    Ok(agent.commission(&request).await?)
}

/// The researcher reads two customers and the archive, and may hand on once.
pub(super) fn researcher(root: &Commission) -> Result<SubAgent, Failure> {
    let grant = tools(&json!({
        format!("nats:{CRM}"): {
            "customer": { "constraint_type": "one_of", "values": ["acme", "globex"] },
            "limit": { "constraint_type": "range", "min": 1, "max": 10, "optional": true },
        },
        format!("nats:{ARCHIVE}"): { "customer": { "constraint_type": "one_of", "values": ["acme", "globex"] } },
    }))?;
    hand_on(root, Delegation::new(grant).further_depth(1))
}

/// The reader, below the researcher: one customer.
pub(super) fn reader(researcher: &Commission) -> Result<SubAgent, Failure> {
    let grant = tools(&json!({
        format!("nats:{CRM}"): { "customer": { "constraint_type": "exact", "value": "acme" } },
    }))?;
    hand_on(researcher, Delegation::new(grant))
}

/// The writer, beside the researcher: one customer, mail to one address.
pub(super) fn writer(root: &Commission) -> Result<SubAgent, Failure> {
    let grant = tools(&json!({
        format!("nats:{CRM}"): { "customer": { "constraint_type": "exact", "value": "globex" } },
        format!("nats:{MAIL}"): {
            "to": { "constraint_type": "exact", "value": "research@acme.example" },
            "subject": { "constraint_type": "wildcard" },
            "body": { "constraint_type": "wildcard" },
        },
    }))?;
    hand_on(root, Delegation::new(grant))
}

/// A sub-agent makes its own key; its public half and a chain are all that passes between the two.
fn hand_on(from: &Commission, grant: Delegation) -> Result<SubAgent, Failure> {
    let by_hand = SigningKey::generate().map_err(|error| otherwise(error.to_string()))?;
    let own = AgentKey::new(SigningKey::from_seed(&by_hand.seed()));
    let chain = from.delegate(&own.public(), grant)?;
    Ok(SubAgent { commission: Commission::adopt(own, chain)?, by_hand })
}
