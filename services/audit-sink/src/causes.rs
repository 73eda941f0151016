//! What led to an action, back to the first that the log knows, and what followed from it. By the agents' own word: a
//! `cause` is the `jti` of another action's proof, signed by whoever says so, and checked by nobody.
//!
//! Only actions of the same task are looked at, causes before the action and consequences after it, so that a name used
//! twice leads nowhere else and the chain ends.

use std::collections::{BTreeSet, VecDeque};

use marque_judgement::record::{Body, Decided, Record};
use serde::Serialize;

use crate::SinkError;
use crate::index::action_id;
use crate::postings::Field;
use crate::reader::Reading;

/// Links of a chain of causes that one answer follows.
pub const CAUSES_MAX: usize = 32;
/// Actions that followed, in one answer.
pub const FOLLOWED_MAX: usize = 64;
/// Characters of another action's own words; its leaf has them whole.
const WORDS_MAX: usize = 128;
/// Actions under one name that are looked at: an honest agent uses each once.
const NAMESAKES_MAX: usize = 16;

/// An action beside the one that is explained.
#[derive(Debug, Clone, Serialize)]
pub struct Beside {
    /// Its leaf.
    pub leaf: u64,
    /// Its *decided* record.
    pub record: String,
    /// Who acted: an agent's DID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// `permit` or `deny`.
    pub decision: String,
    /// Its agent's own reason: claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What it says caused it: the `jti` of another action, or a message's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// The chain of causes, the nearest first. It ends where a cause is in no record: a message from outside, or a name
/// that stands for nothing; the last one's `cause` says which.
pub fn causes(reading: &Reading, leaf: u64, record: &Record) -> Result<Vec<Beside>, SinkError> {
    let mut chain: Vec<Beside> = Vec::new();
    let mut before = leaf;
    let mut next = of(record).and_then(|decided| decided.cause.clone());
    while let Some(cause) = next.take()
        && chain.len() < CAUSES_MAX
    {
        let named = reading.firsts(Field::Action, cause.as_bytes(), NAMESAKES_MAX)?;
        for at in named.into_iter().rev().filter(|at| *at < before) {
            let Some(found) = beside(reading, at, record)? else { continue };
            (before, next) = (at, found.cause.clone());
            chain.push(found);
            break;
        }
    }
    Ok(chain)
}

/// What followed, in leaf order: actions that name this one as their cause, and those that name them.
pub fn followed(reading: &Reading, leaf: u64, record: &Record) -> Result<Vec<Beside>, SinkError> {
    let (mut found, mut waiting) = (BTreeSet::new(), VecDeque::new());
    waiting.extend(of(record).and_then(action_id).map(|id| (leaf, id)));
    let mut all = Vec::new();
    while let Some((after, id)) = waiting.pop_front() {
        for at in reading.firsts(Field::Cause, id.as_bytes(), FOLLOWED_MAX)? {
            if at <= after || all.len() == FOLLOWED_MAX || !found.insert(at) {
                continue;
            }
            let (_, by) = reading.row(at)?;
            let Some(next) = beside(reading, at, record)? else { continue };
            waiting.extend(by.as_deref().and_then(of).and_then(action_id).map(|id| (at, id)));
            all.push(next);
        }
    }
    all.sort_by_key(|beside| beside.leaf);
    Ok(all)
}

fn first_words(text: &str) -> String {
    match text.char_indices().nth(WORDS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn of(record: &Record) -> Option<&Decided> {
    if let Body::Decided(decided) = &record.body { Some(decided) } else { None }
}

/// The action at a leaf, if it is one of the same task.
fn beside(reading: &Reading, leaf: u64, same_task_as: &Record) -> Result<Option<Beside>, SinkError> {
    let (row, record) = reading.row(leaf)?;
    let Some(record) = record.filter(|record| row.is_valid() && record.task == same_task_as.task) else {
        return Ok(None);
    };
    let Some(decided) = of(&record) else { return Ok(None) };
    Ok(Some(Beside {
        leaf,
        record: record.id.clone(),
        agent: record.agent.map(|agent| agent.to_string()),
        tool: record.tool.clone(),
        decision: decided.decision.as_str().to_owned(),
        why: decided.why.as_deref().map(first_words),
        cause: decided.cause.clone().filter(|cause| cause.len() <= WORDS_MAX),
    }))
}
