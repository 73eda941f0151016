//! A credential as an answer shows it.

use marque_identity::{Did, Digest};
use serde::Serialize;

use crate::SinkError;
use crate::inventory::{Credential, CredentialKind, InventoryView, Standing};

/// Tools that a row names; the rest is counted. A name has at most 256 bytes, so that a row stays below 18 KiB.
const TOOLS_NAMED_MAX: usize = 32;
/// Links of a chain (PROTOCOL §2).
const DEPTH_MAX: usize = 65;

/// A credential in one row.
#[derive(Debug, Clone, Serialize)]
pub struct CredentialRow {
    /// SHA-256 of its signing input.
    pub token: Digest,
    /// What it is.
    pub kind: CredentialKind,
    /// Who holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<Did>,
    /// The token it was derived from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// Who derived it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegated_by: Option<Did>,
    /// How deep it is.
    pub depth: u64,
    /// What for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The kind of agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blueprint: Option<String>,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<String>,
    /// How many tools it grants; none where the log has its digest alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_count: Option<u64>,
    /// Their names, at most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Those that no permit has used, at most 32; what the broker enforces alone is not among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unused: Vec<String>,
    /// The leaf of the record that brought it; none where chains alone named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf: Option<u64>,
    /// When that was stored, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// When it expires, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// Whether it has not.
    pub live: bool,
    /// A record brought it.
    pub published: bool,
    /// What it grants is its deriver's word alone; no verified chain had it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub claimed: bool,
    /// `revoke`, `suspend` or `narrow`, where a directive on it, on what it descends from, on a holder, the kind of agent,
    /// the task or the domain is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<String>,
    /// Permits that rest on it, its descendants' too.
    pub permits: u64,
    /// Denials of chains that end in it.
    pub denials: u64,
    /// Connections by it.
    pub connects: u64,
    /// Its last permit or connection, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_ms: Option<i64>,
}

/// The inventory, looked at at one time.
pub(super) struct Looking<'i> {
    pub(super) inventory: &'i InventoryView,
    pub(super) now_ms: i64,
}

impl Looking<'_> {
    pub(super) fn credential_row(&self, digest: &Digest) -> Result<Option<CredentialRow>, SinkError> {
        self.inventory.credential(digest)?.map(|kept| self.row(digest, kept)).transpose()
    }

    pub(super) fn row(&self, digest: &Digest, kept: Credential) -> Result<CredentialRow, SinkError> {
        let mut tools = self.inventory.grant(digest)?.unwrap_or_default();
        let mut unused = self.inventory.unused(digest, &tools)?;
        tools.truncate(TOOLS_NAMED_MAX);
        unused.truncate(TOOLS_NAMED_MAX);
        Ok(CredentialRow {
            token: *digest,
            kind: kept.kind,
            holder: kept.holder,
            parent: kept.parent,
            delegated_by: self.delegated_by(&kept)?,
            depth: kept.depth,
            tool_count: kept.tools,
            tools,
            unused,
            leaf: kept.published.map(|mark| mark.leaf),
            since_ms: kept.published.or(kept.seen).map(|mark| mark.ms),
            expires_at: kept.expires_at,
            live: kept.is_live(self.now_ms),
            published: kept.published.is_some(),
            claimed: kept.claimed,
            standing: self.standing(digest, &kept)?.map(|standing| standing.op),
            permits: kept.permits,
            denials: kept.denials,
            connects: kept.connects,
            last_used_ms: kept.last_used.map(|mark| mark.ms),
            task: kept.task,
            blueprint: kept.blueprint,
            sponsor: kept.sponsor,
        })
    }

    /// Who derived it: its parent's holder.
    pub(super) fn delegated_by(&self, kept: &Credential) -> Result<Option<Did>, SinkError> {
        let Some(parent) = &kept.parent else { return Ok(None) };
        Ok(self.inventory.credential(parent)?.and_then(|parent| parent.holder))
    }

    /// The gravest directive that a verifier would find for it. By issuer and by manifest is not looked up here.
    pub(super) fn standing(&self, digest: &Digest, kept: &Credential) -> Result<Option<Standing>, SinkError> {
        let mut gravest = self.standing_of_agent_targets(kept)?;
        let (mut at, mut link) = (*digest, kept.clone());
        for _ in 0..DEPTH_MAX {
            gravest = graver(gravest, self.inventory.standing("token", &at.to_string(), self.now_ms)?);
            if let Some(holder) = &link.holder {
                gravest = graver(gravest, self.inventory.standing("key", &holder.to_string(), self.now_ms)?);
            }
            let Some(parent) = link.parent else { break };
            let Some(next) = self.inventory.credential(&parent)? else { break };
            (at, link) = (parent, next);
        }
        Ok(gravest)
    }

    fn standing_of_agent_targets(&self, kept: &Credential) -> Result<Option<Standing>, SinkError> {
        let of = |kind: &str, value: &Option<String>| match value {
            Some(value) => self.inventory.standing(kind, value, self.now_ms),
            None => Ok(None),
        };
        let gravest = graver(of("blueprint", &kept.blueprint)?, of("task", &kept.task)?);
        Ok(graver(gravest, self.domain()?))
    }

    /// The gravest directive on a key, its kind, or everything.
    pub(super) fn standing_of_agent(&self, did: &Did, blueprint: Option<&str>) -> Result<Option<Standing>, SinkError> {
        let key = self.inventory.standing("key", &did.to_string(), self.now_ms)?;
        let kind = blueprint.map(|name| self.inventory.standing("blueprint", name, self.now_ms));
        Ok(graver(graver(key, kind.transpose()?.flatten()), self.domain()?))
    }

    fn domain(&self) -> Result<Option<Standing>, SinkError> {
        self.inventory.standing_on_domain(self.now_ms)
    }
}

fn graver(one: Option<Standing>, other: Option<Standing>) -> Option<Standing> {
    match (one, other) {
        (Some(one), Some(other)) if other.gravity() > one.gravity() => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}
