//! What the log shows that somebody should look at: a kind, how grave it is, the evidence, one sentence.

use std::collections::BTreeMap;

use marque_identity::{Did, Digest};
use serde::Serialize;

use crate::SinkError;
use crate::index::IndexView;
use crate::inventory::Mark;

/// Leaves that one finding names; the rest is found by asking for the agent's records.
pub const EVIDENCE_MAX: usize = 8;

/// What was found. A closed set: schemas and documentation name each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A credential that nothing has used, past half of its life or expired.
    NeverUsed,
    /// A commission that grants tools which nothing has used, past half of its life or expired. It sees whole tools
    /// alone: a constraint that is wider than the arguments ever were (any account, and it was always the same one)
    /// is not found, nor how a tool's grant compares with what a sub-agent was handed of it.
    WiderThanUsed,
    /// The same grant to the same kind of agent lives in many keys at once.
    AlikeInManyHands,
    /// A key whose credential was ended is still connected.
    RevokedButConnected,
    /// A derived token was used, and no record brought it.
    DelegationUnpublished,
    /// A root token was used that no issuer recorded.
    RootUnissued,
    /// A connection of which no record tells anything.
    ConnectedSilent,
    /// The broker counted more messages than records tell of.
    PublishedUnsigned,
    /// Numbers of actions that no record has.
    SequenceGap,
    /// One number with two proofs.
    KeyForked,
    /// A permit of which no outcome is recorded.
    PermitWithoutOutcome,
}

impl FindingKind {
    /// How grave it is.
    pub fn severity(self) -> Severity {
        match self {
            Self::KeyForked | Self::RootUnissued | Self::RevokedButConnected => Severity::Critical,
            Self::AlikeInManyHands
            | Self::DelegationUnpublished
            | Self::ConnectedSilent
            | Self::SequenceGap
            | Self::PermitWithoutOutcome => Severity::Warning,
            Self::NeverUsed | Self::WiderThanUsed | Self::PublishedUnsigned => Severity::Info,
        }
    }
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It may be as it should; somebody may want to tidy up.
    Info,
    /// Something is missing that should be there.
    Warning,
    /// Somebody should act.
    Critical,
}

/// Where it can be looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Leaves of the log.
    pub leaves: Vec<u64>,
    /// The ids of their records.
    pub records: Vec<String>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// How grave.
    pub severity: Severity,
    /// Whose key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Did>,
    /// Under which task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Which credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Digest>,
    /// Where it can be looked up.
    pub evidence: Evidence,
    /// The arithmetic, each number by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<&'static str, u64>,
    /// One sentence.
    pub message: String,
}

impl Finding {
    /// A finding about an agent, with the leaves that show it.
    pub fn new(kind: FindingKind, agent: Option<Did>, leaves: &[u64], message: String) -> Self {
        let leaves: Vec<u64> = leaves.iter().copied().take(EVIDENCE_MAX).collect();
        let evidence = Evidence { leaves, records: Vec::new() };
        let severity = kind.severity();
        Self { kind, severity, agent, task: None, token: None, evidence, counts: BTreeMap::new(), message }
    }

    /// The same with a number of its arithmetic.
    #[must_use]
    pub fn count(mut self, name: &'static str, count: u64) -> Self {
        self.counts.insert(name, count);
        self
    }

    /// Names the records of the leaves.
    pub(crate) fn name_records(&mut self, index: &IndexView) -> Result<(), SinkError> {
        for leaf in &self.evidence.leaves {
            self.evidence.records.extend(index.line(*leaf)?.and_then(|line| line.record));
        }
        Ok(())
    }
}

/// The leaves of marks that are there.
pub(crate) fn leaves(marks: &[Option<Mark>]) -> Vec<u64> {
    marks.iter().flatten().map(|mark| mark.leaf).collect()
}
