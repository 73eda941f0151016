//! What comes of an action that is asked for.

use std::time::Instant;

use marque_identity::{Code, Did, Digest, Refusal, TaskId};
use marque_judgement::Basis;

use super::presentation::{Presentation, Received};

/// An action that is asked for at an enforcement point.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The tool that would run.
    pub tool: &'a str,
    /// What was presented, or why it can't be read.
    pub presentation: Result<Presentation<'a>, Refusal>,
    /// The same as bytes.
    pub received: Received<'a>,
}

/// The outcome of [`decide`](super::EnforcementPoint::decide).
#[derive(Debug)]
pub enum Ruling {
    /// The tool may run.
    Permitted(Permitted),
    /// It may not.
    Denied(Denied),
}

/// Leave to run a tool once.
///
/// INVARIANT: its *decided* record is stored (ARCHITECTURE promise 3); only the enforcement point makes one, and
/// [`complete`](super::EnforcementPoint::complete) takes it back.
#[derive(Debug)]
pub struct Permitted {
    pub(super) record: String,
    pub(super) agent: Did,
    pub(super) task: Option<TaskId>,
    pub(super) tool: String,
    pub(super) token: Digest,
    pub(super) links: Vec<Digest>,
    pub(super) basis: Basis,
    pub(super) since: Instant,
    /// A reply's digest could be guessed as its arguments' could.
    pub(super) erasable: bool,
}

/// A denial: an answer with reasons.
#[derive(Debug)]
pub struct Denied {
    /// Why.
    pub refusal: Refusal,
    /// The id of its record; none where it could not be stored.
    pub record: Option<String>,
    /// What was known of the directives when it was denied.
    pub basis: Basis,
}

/// What came of a permitted tool.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// It answered with these bytes.
    Answered(&'a [u8]),
    /// It failed, with this status.
    Failed(&'a str),
}

impl Permitted {
    /// The id of the *decided* record.
    pub fn record(&self) -> &str {
        &self.record
    }

    /// The agent that acts: the holder of the leaf.
    pub fn agent(&self) -> &Did {
        &self.agent
    }

    /// What was known of the directives when it was permitted.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }
}

impl Ruling {
    /// The reason of a denial; none of a permit.
    pub fn denied(&self) -> Option<Code> {
        match self {
            Self::Permitted(_) => None,
            Self::Denied(denied) => Some(denied.refusal.code),
        }
    }
}
