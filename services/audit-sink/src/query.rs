//! `marque.audit.query`: records by agent, task, tool, token, decision, kind, verdict, blueprint, cause and time.
//!
//! Posting lists are intersected as far as the index reaches; behind it the log is read leaf by leaf, so that a
//! lagging index loses nothing. One answer does bounded work; `next` goes on where it stopped.

use marque_identity::{Did, Digest};
use serde::{Deserialize, Serialize};

use crate::SinkError;
use crate::index::fields;
use crate::postings::{Cursor, Direction, Field, ListKey};
use crate::reader::Reading;
use crate::row::Row;

/// Records in an answer unless fewer are asked for.
const LIMIT_DEFAULT: usize = 50;
/// And the most that can be asked for.
pub const LIMIT_MAX: usize = 200;
/// Leaves that are read for one answer: about 0.2 s of judging.
const LEAVES_READ_MAX: usize = 4000;
/// An answer must pass the broker (`max_payload` 64 KiB) with its frame.
const ANSWER_BYTES_MAX: usize = 48 * 1024;

/// What is asked. Everything named must hold; nothing named is everything.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// Records about this agent.
    pub agent: Option<Did>,
    /// Under this task.
    pub task: Option<String>,
    /// About this tool.
    pub tool: Option<String>,
    /// Resting on this token: it or a descendant was presented, or it was issued or delegated.
    pub token: Option<Digest>,
    /// `permit` or `deny`.
    pub decision: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// `valid`, or a verdict that is not.
    pub verdict: Option<String>,
    /// Issued for this blueprint.
    pub blueprint: Option<String>,
    /// With this claimed cause.
    pub cause: Option<String>,
    /// Stored by the broker at or after, in milliseconds.
    pub from_ms: Option<i64>,
    /// Stored by the broker before, in milliseconds.
    pub to_ms: Option<i64>,
    /// At most so many records.
    pub limit: Option<usize>,
    /// Where the answer before stopped.
    pub cursor: Option<u64>,
    /// From the newest backwards.
    pub newest_first: bool,
}

/// Records, and how far the log and its index reached.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// Leaves of the log.
    pub tree_size: u64,
    /// Leaves of the index; the rest was read.
    pub indexed_upto: u64,
    /// In the order that was asked for.
    pub records: Vec<Row>,
    /// The `cursor` with which to go on; none at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Answers a query.
pub fn query(reading: &Reading, query: &Query) -> Result<Found, SinkError> {
    let direction = if query.newest_first { Direction::Down } else { Direction::Up };
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let wanted = query.wanted();
    let postings = reading.index.postings()?;
    let lists: Vec<ListKey> = wanted
        .iter()
        .filter(|(field, _)| *field != Field::Verdict || query.bad())
        .map(|(f, v)| ListKey::new(*f, v))
        .collect();
    let mut cursors: Vec<_> = lists.into_iter().map(|list| Cursor::new(&postings, list)).collect();
    let mut found =
        Found { tree_size: reading.log.size(), indexed_upto: reading.index.upto(), records: Vec::new(), next: None };
    let low = match query.from_ms {
        Some(from) => reading.index.since(from.div_euclid(1000))?.unwrap_or(reading.index.upto()),
        None => 0,
    };
    let (mut read, mut bytes) = (0, 0);
    let mut at = match (direction, query.cursor) {
        (Direction::Up, cursor) => Some(cursor.unwrap_or(0).max(low)),
        (Direction::Down, Some(cursor)) => Some(cursor),
        (Direction::Down, None) => reading.log.size().checked_sub(1),
    };
    while let Some(leaf) = at {
        let Some(leaf) = next_candidate(reading, &mut cursors, leaf, direction)? else { break };
        if leaf >= reading.log.size() || (direction == Direction::Down && leaf < low) {
            break;
        }
        if read == LEAVES_READ_MAX || found.records.len() == limit {
            found.next = Some(leaf);
            break;
        }
        read += 1;
        let (row, record) = reading.row(leaf)?;
        if query.holds(&wanted, &row, record.as_deref()) {
            let size = serde_json::to_string(&row).map_or(0, |text| text.len());
            if bytes + size > ANSWER_BYTES_MAX && !found.records.is_empty() {
                found.next = Some(leaf);
                break;
            }
            bytes += size;
            found.records.push(row);
        }
        at = match direction {
            Direction::Up => leaf.checked_add(1),
            Direction::Down => leaf.checked_sub(1),
        };
    }
    Ok(found)
}

/// The nearest leaf that every list has, or that the index does not reach.
fn next_candidate<T: redb::ReadableTable<&'static [u8], &'static [u8]>>(
    reading: &Reading,
    cursors: &mut [Cursor<'_, T>],
    from: u64,
    direction: Direction,
) -> Result<Option<u64>, SinkError> {
    let upto = reading.index.upto();
    let mut leaf = from;
    // Each list moves the candidate on; when none does, all have it.
    'candidates: loop {
        if leaf >= upto {
            return Ok(Some(leaf));
        }
        for cursor in cursors.iter_mut() {
            match (cursor.seek(leaf, direction)?, direction) {
                (Some(found), _) if found == leaf => {}
                (Some(found), _) => {
                    leaf = found;
                    continue 'candidates;
                }
                (None, Direction::Up) => return Ok((upto < reading.log.size()).then_some(upto)),
                (None, Direction::Down) => return Ok(None),
            }
        }
        return Ok(Some(leaf));
    }
}

impl Query {
    fn bad(&self) -> bool {
        self.verdict.as_deref().is_some_and(|verdict| verdict != marque_ledger::layout::VALID)
    }

    fn wanted(&self) -> Vec<(Field, Vec<u8>)> {
        let text = |field, value: &Option<String>| value.as_ref().map(|value| (field, value.as_bytes().to_vec()));
        [
            self.agent.map(|agent| (Field::Agent, agent.key_bytes().to_vec())),
            text(Field::Task, &self.task),
            text(Field::Tool, &self.tool),
            self.token.map(|token| (Field::Token, token.0.to_vec())),
            text(Field::Decision, &self.decision),
            text(Field::Kind, &self.kind),
            text(Field::Verdict, &self.verdict),
            text(Field::Blueprint, &self.blueprint),
            text(Field::Cause, &self.cause),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whether a leaf is what is asked for, by itself: lists are a way to it, not the answer.
    fn holds(&self, wanted: &[(Field, Vec<u8>)], row: &Row, record: Option<&marque_judgement::record::Record>) -> bool {
        let in_time =
            self.from_ms.is_none_or(|from| row.broker_ms >= from) && self.to_ms.is_none_or(|to| row.broker_ms < to);
        let mut has: Vec<(Field, Vec<u8>)> = vec![(Field::Verdict, row.verdict.as_bytes().to_vec())];
        if let Some(record) = record.filter(|_| row.is_valid()) {
            fields(record, &mut |field, value| has.push((field, value.to_vec())));
        }
        in_time && wanted.iter().all(|want| has.contains(want))
    }
}
