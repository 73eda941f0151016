//! Our claims of a root: for which task, for what, and to whom it was issued.

use marque_identity::{BlueprintName, Did, Digest, Sponsor, TaskId};
use marque_json::{Json, Object};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a root says about its task and agent, so that a directive on any of it can be matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MarqueClaims {
    /// The task.
    #[schemars(with = "String")]
    pub task: TaskId,
    /// What for, in words.
    pub purpose: String,
    /// To whom.
    pub agent: AgentClaim,
}

/// The agent that a root was issued to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentClaim {
    /// Its name.
    #[schemars(with = "String")]
    pub did: Did,
    /// The kind of agent it is an instance of.
    #[schemars(with = "String")]
    pub blueprint: BlueprintName,
    /// Who answers for it.
    #[schemars(with = "String")]
    pub sponsor: Sponsor,
    /// Digest of its runtime's manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub manifest_hash: Option<Digest>,
    /// Digest of its identity credential's signing input.
    #[schemars(with = "String")]
    pub vc_hash: Digest,
}

/// What a root was found to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarqueReading {
    /// None of our claims: another's root.
    Absent,
    /// All of them.
    Present(Box<MarqueClaims>),
    /// Some, or not of their kind: directives could not be matched, so no action is decided under it.
    Malformed,
}

impl MarqueReading {
    /// Reads them from a root's claims.
    pub(super) fn of(claims: &Object<'_>) -> Self {
        let (task, purpose, agent) = (claims.get("task"), claims.get("purpose"), claims.get("agent"));
        if task.is_none() && purpose.is_none() && agent.is_none() {
            return Self::Absent;
        }
        read(task, purpose, agent).map_or(Self::Malformed, |claims| Self::Present(Box::new(claims)))
    }
}

fn read(task: Option<&Json<'_>>, purpose: Option<&Json<'_>>, agent: Option<&Json<'_>>) -> Option<MarqueClaims> {
    let agent = agent?.as_object()?;
    let text = |name: &str| agent.get(name).and_then(Json::as_str);
    let manifest_hash = match agent.get("manifest_hash") {
        None => None,
        Some(hash) => Some(hash.as_str()?.parse().ok()?),
    };
    Some(MarqueClaims {
        task: task?.as_str()?.parse().ok()?,
        purpose: purpose?.as_str()?.to_owned(),
        agent: AgentClaim {
            did: text("did")?.parse().ok()?,
            blueprint: text("blueprint")?.parse().ok()?,
            sponsor: text("sponsor")?.parse().ok()?,
            manifest_hash,
            vc_hash: text("vc_hash")?.parse().ok()?,
        },
    })
}
