//! `marque.audit.completeness`: what the broker saw against what agents signed, from the log alone.
//!
//! Per key: (1) connections of which no record tells, (2) messages that the broker counted beyond those that records tell
//! of, (3) numbers that are missing and (4) numbers that two proofs have, (5) permits without an outcome. Then, over all
//! keys: (6) tokens that were used and that no record brought.
//!
//! The arithmetic of (2), for one connection: `messages_sent` is the broker's own count. `known` is how many messages of
//! that key the log tells of between the *connected* and the *disconnected* record, and for 10 s beyond: one for each
//! different proof that was decided, one for each statement of the agent's own, one for each answer of the issuer or the
//! broadcaster. All of `known` may have come by this connection, or, where the key had another one open, none of it. One
//! more message (`settling`) is what our own client sends to its own inbox to learn that it was let in; another's client
//! need not. So at least `messages_sent - known - settling` messages have no record, and at most `messages_sent`.
//! Messages without a record are legal: on granted subjects, questions that leave no record (the bundle, a status), a
//! proof sent twice. The finding says where to look, not that something is wrong.
//!
//! An answer does bounded work; `next` goes on where it stopped.

use marque_identity::{Did, Digest};
use serde::{Deserialize, Serialize};

use crate::SinkError;
use crate::agents::{Room, unpublished};
use crate::finding::{EVIDENCE_MAX, Finding, FindingKind, leaves};
use crate::index::IndexView;
use crate::inventory::{Agent, Connection, Gap, InventoryView, Mark};

/// A connection without a record is silent after this; an agent that has work does some of it within 5 minutes.
pub const SILENT_MS: i64 = 5 * 60 * 1000;
/// An outcome is due after this: three times what a host waits for a tool by default (20 s).
pub const OUTCOME_DUE_MS: i64 = 60 * 1000;
/// A number is missing after this: actions of one key may be under way beside each other and be recorded in another
/// order, as long as a host waits for the broker (5 s), and some.
pub const GAP_SETTLED_MS: i64 = 30 * 1000;
/// What our client sends to itself on each connection, and nobody records.
pub const SETTLING_MESSAGES: u64 = 1;
/// Agents that are looked at for one answer.
const AGENTS_READ_MAX: usize = 500;
/// Unpublished tokens that are looked at for one answer.
const TOKENS_READ_MAX: usize = 2000;
/// The newest connections of an agent that are looked at.
const CONNECTIONS_READ_MAX: usize = 256;
/// Permits, and forks, of an agent that are looked at.
const ROWS_READ_MAX: usize = 256;

/// What is asked. Nothing named is everything.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompletenessRequest {
    /// This agent alone.
    pub agent: Option<Did>,
    /// Findings whose evidence was stored at or after, in milliseconds.
    pub since_ms: Option<i64>,
    /// At most so many.
    pub limit: Option<usize>,
    /// Where the answer before stopped.
    pub cursor: Option<String>,
}

/// The report, or a page of it.
#[derive(Debug, Clone, Serialize)]
pub struct Completeness {
    /// Leaves of the log.
    pub tree_size: u64,
    /// Leaves of the inventory: what lies beyond is not in this answer.
    pub inventory_upto: u64,
    /// The sink's time, by which ages were judged, in milliseconds.
    pub at_ms: i64,
    /// Agents that were looked at for this page.
    pub agents_read: u64,
    /// Agents of which not everything was looked at: they have more connections, permits or forks than one answer reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partly_read: Vec<Did>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// The `cursor` with which to go on; none at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Where an answer stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cursor {
    /// In this agent's findings, after so many; the agents before it are done.
    Agent(Option<Did>, usize),
    /// Beyond this unpublished token; all agents are done.
    Token(Option<Digest>),
}

impl Cursor {
    fn parse(text: &str) -> Result<Self, SinkError> {
        let wrong = || SinkError::Asked("`cursor` is not one of an answer".into());
        match text.split_once(' ') {
            Some(("tokens", "")) => Ok(Self::Token(None)),
            Some(("tokens", digest)) => Ok(Self::Token(Some(digest.parse().map_err(|_| wrong())?))),
            Some((agent, shown)) => {
                let agent = Did::from_multibase(agent).map_err(|_| wrong())?;
                Ok(Self::Agent(Some(agent), shown.parse().map_err(|_| wrong())?))
            }
            None => Err(wrong()),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Agent(Some(agent), shown) => format!("{} {shown}", agent.multibase()),
            Self::Agent(None, _) => String::new(),
            Self::Token(None) => "tokens ".to_owned(),
            Self::Token(Some(digest)) => format!("tokens {digest}"),
        }
    }
}

/// Reconciles, as of this time.
pub fn completeness(
    inventory: &InventoryView,
    index: &IndexView,
    tree_size: u64,
    now_ms: i64,
    asked: &CompletenessRequest,
) -> Result<Completeness, SinkError> {
    let start = asked.cursor.as_deref().map_or(Ok(Cursor::Agent(None, 0)), Cursor::parse)?;
    let report = Completeness {
        tree_size,
        inventory_upto: inventory.upto(),
        at_ms: now_ms,
        agents_read: 0,
        partly_read: Vec::new(),
        findings: Vec::new(),
        next: None,
    };
    let mut page = Page { report, room: Room::new(asked.limit) };
    let looking = Looking { inventory, now_ms, since_ms: asked.since_ms.unwrap_or(i64::MIN) };
    let stopped = match (start, &asked.agent) {
        (Cursor::Token(_), _) => None,
        (Cursor::Agent(at, shown), Some(agent)) => {
            let shown = if at == Some(*agent) { shown } else { 0 };
            let kept = inventory.agent(agent)?;
            let kept = kept.ok_or_else(|| SinkError::NotFound(format!("the log knows no agent {agent}")))?;
            page.agent(&looking, agent, &kept, shown)?
        }
        (Cursor::Agent(at, shown), None) => page.agents(&looking, at, shown)?,
    };
    let stopped = match (stopped, start) {
        (Some(stopped), _) => Some(stopped),
        (None, Cursor::Token(after)) => page.tokens(&looking, asked.agent.as_ref(), after)?,
        (None, Cursor::Agent(..)) => page.tokens(&looking, asked.agent.as_ref(), None)?,
    };
    page.report.next = stopped.map(Cursor::text);
    for finding in &mut page.report.findings {
        finding.name_records(index)?;
    }
    Ok(page.report)
}

struct Page {
    report: Completeness,
    room: Room,
}

impl Page {
    /// The agents from `at` on. Gives where it stopped, if it did before the end.
    fn agents(&mut self, looking: &Looking<'_>, at: Option<Did>, shown: usize) -> Result<Option<Cursor>, SinkError> {
        if let Some(at) = &at
            && let Some(kept) = looking.inventory.agent(at)?
            && let Some(stopped) = self.agent(looking, at, &kept, shown)?
        {
            return Ok(Some(stopped));
        }
        let (mut read, mut stopped) = (0, None);
        looking.inventory.agents(at.as_ref(), |did, kept| {
            if read == AGENTS_READ_MAX {
                stopped = Some(Cursor::Agent(Some(did), 0));
                return Ok(false);
            }
            read += 1;
            stopped = self.agent(looking, &did, &kept, 0)?;
            Ok(stopped.is_none())
        })?;
        Ok(stopped)
    }

    /// One agent's findings beyond the first `shown`. They stand in an order that the log gives, so that a page goes on
    /// where the one before it stopped, unless one of those before it went away meanwhile.
    fn agent(
        &mut self,
        looking: &Looking<'_>,
        did: &Did,
        kept: &Agent,
        shown: usize,
    ) -> Result<Option<Cursor>, SinkError> {
        let (findings, whole) = looking.findings(did, kept)?;
        if shown == 0 {
            self.report.agents_read += 1;
            if !whole {
                self.report.partly_read.push(*did);
            }
        }
        for (place, finding) in findings.into_iter().enumerate().skip(shown) {
            if !self.takes(finding) {
                return Ok(Some(Cursor::Agent(Some(*did), place)));
            }
        }
        Ok(None)
    }

    /// Tokens that no record brought, beyond `after`.
    fn tokens(
        &mut self,
        looking: &Looking<'_>,
        agent: Option<&Did>,
        after: Option<Digest>,
    ) -> Result<Option<Cursor>, SinkError> {
        let (mut read, mut last, mut stopped) = (0, after, None);
        looking.inventory.unpublished(after.as_ref(), |digest| {
            let kept = looking.inventory.credential(&digest)?;
            let wanted = kept.filter(|kept| {
                agent.is_none_or(|agent| kept.holder == Some(*agent))
                    && kept.last_used.or(kept.seen).is_some_and(|mark| mark.ms >= looking.since_ms)
            });
            let fits = wanted.is_none_or(|kept| self.takes(unpublished(&digest, &kept)));
            if read == TOKENS_READ_MAX || !fits {
                stopped = Some(Cursor::Token(last));
                return Ok(false);
            }
            read += 1;
            last = Some(digest);
            Ok(true)
        })?;
        Ok(stopped)
    }

    fn takes(&mut self, finding: Finding) -> bool {
        let first = self.report.findings.is_empty();
        if self.room.is_full(self.report.findings.len()) || !self.room.takes(&finding, first) {
            return false;
        }
        self.report.findings.push(finding);
        true
    }
}

struct Looking<'i> {
    inventory: &'i InventoryView,
    now_ms: i64,
    since_ms: i64,
}

impl Looking<'_> {
    /// What is found about one key, and whether all of it was looked at.
    fn findings(&self, did: &Did, kept: &Agent) -> Result<(Vec<Finding>, bool), SinkError> {
        let mut found = Vec::new();
        // 1. and 2. Its connections, newest first.
        let connections = self.inventory.connections(did, CONNECTIONS_READ_MAX)?;
        let mut whole = connections.len() < CONNECTIONS_READ_MAX;
        for (name, connection) in &connections {
            found.extend(self.silent(did, kept, name, connection));
            found.extend(self.unsigned(did, name, connection));
        }
        // 3. Its gaps.
        found.extend(self.gaps(did, kept));
        // 4. Its forks.
        let forks = self.inventory.forks(did, ROWS_READ_MAX)?;
        whole &= forks.len() < ROWS_READ_MAX;
        for (seq, fork) in forks.iter().filter(|(_, fork)| fork.second.ms >= self.since_ms) {
            let message = format!("two proofs of this key have the number {seq}");
            let finding = Finding::new(FindingKind::KeyForked, Some(*did), &[fork.first, fork.second.leaf], message);
            found.push(finding.count("seq", *seq));
        }
        // 5. Its permits.
        let permits = self.inventory.permits(did, ROWS_READ_MAX)?;
        whole &= permits.len() < ROWS_READ_MAX;
        for (leaf, permit) in permits {
            let age_ms = self.now_ms.saturating_sub(permit.ms);
            if age_ms < OUTCOME_DUE_MS || permit.ms < self.since_ms {
                continue;
            }
            let tool = permit.tool.as_deref().unwrap_or("a tool");
            let message =
                format!("a call of {tool} was permitted, and no outcome is recorded after {} s", age_ms / 1000);
            let finding = Finding::new(FindingKind::PermitWithoutOutcome, Some(*did), &[leaf], message);
            found.push(Finding { task: permit.task, ..finding });
        }
        Ok((found, whole))
    }

    /// 1. No record tells anything of a connection that has ended, or that has stood for a while.
    fn silent(&self, did: &Did, kept: &Agent, name: &str, connection: &Connection) -> Option<Finding> {
        let until = connection.ended.or(connection.kicked).map_or(self.now_ms, |mark| mark.ms);
        let long = until.saturating_sub(connection.since.ms) >= SILENT_MS;
        // Whoever connects, says nothing to anybody and soon leaves again has nothing to record.
        let spoke = connection.messages_sent.is_some_and(|sent| sent > SETTLING_MESSAGES);
        if known(kept, connection) > 0 || !(long || spoke) || until < self.since_ms {
            return None;
        }
        let seconds = until.saturating_sub(connection.since.ms).max(0) / 1000;
        let said = match connection.messages_sent {
            Some(sent) => format!("it sent {sent} messages"),
            None => "what it sent is not counted yet".to_owned(),
        };
        let message = format!("connection {name} of {seconds} s: no record tells of anything that it did; {said}");
        let shown = leaves(&[Some(connection.since), connection.ended]);
        let finding = Finding::new(FindingKind::ConnectedSilent, Some(*did), &shown, message);
        let finding = finding.count("seconds", u64::try_from(seconds).unwrap_or(0));
        Some(match connection.messages_sent {
            Some(sent) => finding.count("messages_sent", sent),
            None => finding,
        })
    }

    /// 2. The broker counted more than records tell of.
    fn unsigned(&self, did: &Did, name: &str, connection: &Connection) -> Option<Finding> {
        let (ended, sent) = (connection.ended?, connection.messages_sent?);
        let known = connection.known_after?.saturating_sub(connection.known_before);
        let at_least = if connection.crowded {
            0
        } else {
            sent.saturating_sub(known).saturating_sub(connection.sent_before).saturating_sub(SETTLING_MESSAGES)
        };
        if at_least == 0 || ended.ms < self.since_ms {
            return None;
        }
        let message = format!(
            "connection {name} sent {sent} messages where records tell of {known} of this key: at least {at_least}, at most {sent} have none"
        );
        let shown = leaves(&[Some(connection.since), Some(ended)]);
        let finding = Finding::new(FindingKind::PublishedUnsigned, Some(*did), &shown, message);
        let finding = finding.count("messages_sent", sent).count("known", known).count("settling", SETTLING_MESSAGES);
        Some(finding.count("unsigned_at_least", at_least).count("unsigned_at_most", sent))
    }

    /// 3. Numbers that no record has, below one that has been there for a while.
    fn gaps(&self, did: &Did, kept: &Agent) -> Option<Finding> {
        let settled = |by: &Mark| self.now_ms.saturating_sub(by.ms) >= GAP_SETTLED_MS;
        let gaps: Vec<&Gap> =
            kept.sequence.gaps.iter().filter(|gap| settled(&gap.by) && gap.by.ms >= self.since_ms).collect();
        let newest = gaps.last()?;
        let named: Vec<String> = gaps.iter().rev().take(EVIDENCE_MAX).map(|gap| range(gap)).collect();
        let more = if gaps.len() > named.len() { ", …" } else { "" };
        let message = format!(
            "of {} actions of this key {} are in no record: {}{more}",
            kept.sequence.highest,
            kept.sequence.missing(),
            named.join(", ")
        );
        let shown: Vec<u64> = gaps.iter().rev().map(|gap| gap.by.leaf).collect();
        let finding = Finding::new(FindingKind::SequenceGap, Some(*did), &shown, message);
        Some(finding.count("missing", kept.sequence.missing()).count("newest_from", newest.from))
    }
}

/// Messages of the key that records tell of while this connection stood.
fn known(kept: &Agent, connection: &Connection) -> u64 {
    connection.known_after.unwrap_or(kept.known).saturating_sub(connection.known_before)
}

fn range(gap: &Gap) -> String {
    if gap.from == gap.to { gap.from.to_string() } else { format!("{} to {}", gap.from, gap.to) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_what_an_answer_gave_or_refused() {
        let agent = Did::from_key_bytes([7; 32]);
        for cursor in [
            Cursor::Agent(Some(agent), 0),
            Cursor::Agent(Some(agent), 12),
            Cursor::Token(None),
            Cursor::Token(Some(Digest([3; 32]))),
        ] {
            assert_eq!(Cursor::parse(&cursor.text()).unwrap(), cursor);
        }
        for bad in ["", "tokens", "tokens x", "x 1", "  ", "tokens \u{0}", "z6Mk 5", "é é"] {
            assert!(Cursor::parse(bad).is_err(), "{bad}");
        }
    }
}
