//! `marque.audit.agents`: which agents and credentials there are, whose, for what, how wide, since when, until when.
//!
//! Three views of the inventory: a list of agents, one agent with what it holds, and credentials by which a tree of
//! delegations is drawn. An answer does bounded work and passes the broker; `next` goes on where it stopped, however
//! many agents there are.

mod credential;
mod sprawl;

use marque_identity::{Did, Digest};
use serde::{Deserialize, Serialize};

use crate::SinkError;
use crate::finding::{Finding, FindingKind};
use crate::index::IndexView;
use crate::inventory::{Agent, Connection, CredentialKind, Head, InventoryView};
use crate::tiles::is_zero;

pub use credential::CredentialRow;
use credential::Looking;
pub use sprawl::{ALIKE_HOLDERS_MIN, unpublished};

/// Rows in an answer unless fewer are asked for.
const LIMIT_DEFAULT: usize = 50;
/// And the most that can be asked for.
pub const LIMIT_MAX: usize = 200;
/// Agents that are looked at for one answer: some 10 ms each at the worst, when each holds many credentials.
const AGENTS_READ_MAX: usize = 200;
/// Credentials that are looked at for one answer.
const CREDENTIALS_READ_MAX: usize = 2000;
/// The newest credentials of an agent that sum it up: those that live are among them, unless it asks for more than two
/// commissions a minute.
const CREDENTIALS_SUMMED_MAX: usize = 32;
/// The newest connections of an agent that are shown or counted.
const CONNECTIONS_SHOWN_MAX: usize = 16;
/// Findings about one agent that are shown, the gravest first: each has at most 1.5 KiB.
const FINDINGS_SHOWN_MAX: usize = 16;
/// Tasks of an agent that are named.
const TASKS_NAMED_MAX: usize = 4;
/// An answer must pass the broker (`max_payload` 64 KiB) with its frame.
pub(crate) const ANSWER_BYTES_MAX: usize = 48 * 1024;

/// Which way of looking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// Agents, one row each.
    #[default]
    List,
    /// One agent and what it holds.
    Info,
    /// Credentials, each with its parent.
    Tree,
}

/// What is asked. Everything named must hold; nothing named is everything.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentsRequest {
    /// Which way of looking.
    pub view: View,
    /// This agent alone; `info` needs it.
    pub agent: Option<Did>,
    /// With a credential for this task.
    pub task: Option<String>,
    /// Of this kind.
    pub blueprint: Option<String>,
    /// Whom this sponsor answers for.
    pub sponsor: Option<String>,
    /// With a credential that has neither expired nor been revoked; of credentials: those that have not expired.
    pub live: bool,
    /// With a finding.
    pub findings: bool,
    /// At most so many rows.
    pub limit: Option<usize>,
    /// Where the answer before stopped.
    pub cursor: Option<String>,
}

/// An agent in one row.
#[derive(Debug, Clone, Serialize)]
pub struct AgentRow {
    /// Its DID.
    pub agent: Did,
    /// The kind of agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blueprint: Option<String>,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<String>,
    /// Of its newest credentials: for which tasks.
    pub tasks: Vec<String>,
    /// Of its newest credentials: by whom what it holds was delegated to it.
    pub delegated_by: Vec<Did>,
    /// Of its newest credentials: how many there are.
    pub credentials: usize,
    /// And how many of them have neither expired nor been revoked.
    pub live: usize,
    /// How many of them have not expired, but been revoked: they, what they descend from, or a holder.
    #[serde(skip_serializing_if = "is_zero")]
    pub revoked: usize,
    /// The most tools that one of these grants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<u64>,
    /// When the last of them expires, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// The first record about it, in the broker's milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<i64>,
    /// Of its newest credentials: the last permit or connection by a token among them, as each credential's row has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_ms: Option<i64>,
    /// Its connections that stand, among the newest 16.
    pub connected: usize,
    /// Its actions that were permitted.
    pub permitted: u64,
    /// Presentations of its chains that were denied.
    pub denied: u64,
    /// Where its chain of actions ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// The end that a sink stated last; `leaf` is that record's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stated: Option<Head>,
    /// `revoke`, `suspend` or `narrow`, where a directive on its key or its kind is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<String>,
    /// What was found about it, each kind once.
    pub findings: Vec<FindingKind>,
}

/// A connection in one row.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionRow {
    /// The server's name for it: `server/cid`.
    pub connection: String,
    /// Whether it stands.
    pub open: bool,
    /// What stands in the log about it.
    #[serde(flatten)]
    pub kept: Connection,
}

/// The answer.
#[derive(Debug, Clone, Serialize)]
pub struct Agents {
    /// Leaves of the log.
    pub tree_size: u64,
    /// Leaves of the inventory: what lies beyond is not in this answer.
    pub inventory_upto: u64,
    /// The sink's time, by which lives were judged, in milliseconds.
    pub at_ms: i64,
    /// `list`: agents. `info`: the one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentRow>,
    /// `info` and `tree`: credentials.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialRow>,
    /// `info`: the newest connections.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<ConnectionRow>,
    /// `info`: what was found about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The `cursor` with which to go on; none at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Answers out of the inventory, as of this time.
pub fn agents(
    inventory: &InventoryView,
    index: &IndexView,
    tree_size: u64,
    now_ms: i64,
    asked: &AgentsRequest,
) -> Result<Agents, SinkError> {
    let answer = Agents {
        tree_size,
        inventory_upto: inventory.upto(),
        at_ms: now_ms,
        agents: Vec::new(),
        credentials: Vec::new(),
        connections: Vec::new(),
        findings: Vec::new(),
        next: None,
    };
    let looking = Looking { inventory, now_ms };
    match (asked.view, &asked.agent) {
        (View::List, Some(agent)) => one(&looking, index, agent, asked, answer).map(|answer| Agents {
            credentials: Vec::new(),
            connections: Vec::new(),
            findings: Vec::new(),
            ..answer
        }),
        (View::List, None) => list(&looking, asked, answer),
        (View::Info, Some(agent)) => one(&looking, index, agent, asked, answer),
        (View::Info, None) => Err(SinkError::Asked("`info` is about one agent: name it in `agent`".into())),
        (View::Tree, _) => tree(&looking, asked, answer),
    }
}

fn list(looking: &Looking<'_>, asked: &AgentsRequest, mut answer: Agents) -> Result<Agents, SinkError> {
    let after: Option<Did> = cursor(asked)?;
    let mut room = Room::of(asked);
    let (mut read, mut last) = (0, after);
    looking.inventory.agents(after.as_ref(), |did, agent| {
        if read == AGENTS_READ_MAX || room.is_full(answer.agents.len()) {
            answer.next = last.map(|last| last.to_string());
            return Ok(false);
        }
        read += 1;
        let summed = sum_up(looking, &did, &agent)?;
        if summed.is_asked(asked) && !room.takes(&summed.row, answer.agents.is_empty()) {
            answer.next = last.map(|last| last.to_string());
            return Ok(false);
        }
        if summed.is_asked(asked) {
            answer.agents.push(summed.row);
        }
        last = Some(did);
        Ok(true)
    })?;
    Ok(answer)
}

/// One agent: its row, its findings and connections, and a page of what it holds, newest first.
fn one(
    looking: &Looking<'_>,
    index: &IndexView,
    did: &Did,
    asked: &AgentsRequest,
    mut answer: Agents,
) -> Result<Agents, SinkError> {
    let agent = looking.inventory.agent(did)?;
    let agent = agent.ok_or_else(|| SinkError::NotFound(format!("the log knows no agent {did}")))?;
    let beyond: Option<u64> = cursor(asked)?;
    let mut room = Room::of(asked);
    let summed = sum_up(looking, did, &agent)?;
    if beyond.is_none() {
        room.takes(&summed.row, true);
        answer.findings = summed.findings;
        answer.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        answer.findings.truncate(FINDINGS_SHOWN_MAX);
        for finding in &mut answer.findings {
            finding.name_records(index)?;
            room.takes(&finding, true);
        }
        for (connection, kept) in looking.inventory.connections(did, CONNECTIONS_SHOWN_MAX)? {
            let row = ConnectionRow { connection, open: kept.is_open(looking.now_ms), kept };
            room.takes(&row, true);
            answer.connections.push(row);
        }
    }
    answer.agents = vec![summed.row];
    // The cursor counts those that were shown: the list grows at its other end, so that one may show twice, none is lost.
    let shown = usize::try_from(beyond.unwrap_or(0)).unwrap_or(usize::MAX);
    let held = looking.inventory.held(did, shown.saturating_add(CREDENTIALS_READ_MAX))?;
    for (place, (_, digest)) in held.iter().enumerate().skip(shown) {
        let Some(row) = looking.credential_row(digest)? else { continue };
        let wanted =
            asked.task.as_ref().is_none_or(|task| row.task.as_ref() == Some(task)) && (!asked.live || row.live);
        // A page of credentials alone has room for one at least.
        let first = beyond.is_some() && answer.credentials.is_empty();
        if wanted && (room.is_full(answer.credentials.len()) || !room.takes(&row, first)) {
            answer.next = Some(place.to_string());
            break;
        }
        if wanted {
            answer.credentials.push(row);
        }
    }
    Ok(answer)
}

/// Credentials by their digests, each with its parent's: whoever has them all can draw the tree.
fn tree(looking: &Looking<'_>, asked: &AgentsRequest, mut answer: Agents) -> Result<Agents, SinkError> {
    let after: Option<Digest> = cursor(asked)?;
    let mut room = Room::of(asked);
    let (mut read, mut last) = (0, after);
    looking.inventory.credentials(after.as_ref(), |digest, kept| {
        if read == CREDENTIALS_READ_MAX || room.is_full(answer.credentials.len()) {
            answer.next = last.map(|last| last.to_string());
            return Ok(false);
        }
        read += 1;
        let is = |asked: &Option<String>, has: &Option<String>| asked.is_none() || asked == has;
        let wanted = kept.kind != CredentialKind::Identity
            && is(&asked.task, &kept.task)
            && is(&asked.blueprint, &kept.blueprint)
            && is(&asked.sponsor, &kept.sponsor)
            && asked.agent.is_none_or(|agent| kept.holder == Some(agent))
            && (!asked.live || kept.is_live(looking.now_ms));
        if wanted {
            let row = looking.row(&digest, kept)?;
            if !room.takes(&row, answer.credentials.is_empty()) {
                answer.next = last.map(|last| last.to_string());
                return Ok(false);
            }
            answer.credentials.push(row);
        }
        last = Some(digest);
        Ok(true)
    })?;
    Ok(answer)
}

struct Summed {
    row: AgentRow,
    findings: Vec<Finding>,
}

impl Summed {
    fn is_asked(&self, asked: &AgentsRequest) -> bool {
        let is = |asked: &Option<String>, has: &Option<String>| asked.is_none() || asked == has;
        is(&asked.blueprint, &self.row.blueprint)
            && is(&asked.sponsor, &self.row.sponsor)
            && asked.task.as_ref().is_none_or(|task| self.row.tasks.contains(task))
            && (!asked.live || self.row.live > 0)
            && (!asked.findings || !self.row.findings.is_empty())
    }
}

fn sum_up(looking: &Looking<'_>, did: &Did, agent: &Agent) -> Result<Summed, SinkError> {
    let mut row = AgentRow {
        agent: *did,
        blueprint: agent.blueprint.clone(),
        sponsor: agent.sponsor.clone(),
        tasks: Vec::new(),
        delegated_by: Vec::new(),
        credentials: 0,
        live: 0,
        revoked: 0,
        tools: None,
        expires_at: None,
        first_ms: agent.first.map(|first| first.ms),
        last_used_ms: None,
        connected: 0,
        permitted: agent.permitted,
        denied: agent.denied,
        head: agent.head,
        stated: agent.stated,
        standing: None,
        findings: Vec::new(),
    };
    let mut held = Vec::new();
    for (_, digest) in looking.inventory.held(did, CREDENTIALS_SUMMED_MAX)? {
        held.extend(looking.inventory.credential(&digest)?.map(|kept| (digest, kept)));
    }
    for (digest, kept) in &held {
        row.credentials += 1;
        // An identity credential is used by asking for a commission, which does nothing yet.
        if kept.kind != CredentialKind::Identity {
            row.last_used_ms = row.last_used_ms.max(kept.last_used.map(|mark| mark.ms));
        }
        // A sub-agent that never enrolled is of its commissioner's kind, and the same sponsor answers for it.
        row.blueprint = row.blueprint.or_else(|| kept.blueprint.clone());
        row.sponsor = row.sponsor.or_else(|| kept.sponsor.clone());
        if let Some(task) = kept.task.as_ref().filter(|task| !row.tasks.contains(task))
            && row.tasks.len() < TASKS_NAMED_MAX
        {
            row.tasks.push(task.clone());
        }
        if let Some(by) = looking.delegated_by(kept)?.filter(|by| !row.delegated_by.contains(by))
            && row.delegated_by.len() < TASKS_NAMED_MAX
        {
            row.delegated_by.push(by);
        }
        if !kept.is_live(looking.now_ms) {
            continue;
        }
        if looking.standing(digest, kept)?.is_some_and(|standing| standing.is_final()) {
            row.revoked += 1;
        } else {
            row.live += 1;
            row.tools = row.tools.max(kept.tools);
            row.expires_at = row.expires_at.max(kept.expires_at);
        }
    }
    let connections = looking.inventory.connections(did, CONNECTIONS_SHOWN_MAX)?;
    row.connected = connections.iter().filter(|(_, connection)| connection.is_open(looking.now_ms)).count();
    row.standing = looking.standing_of_agent(did, row.blueprint.as_deref())?.map(|standing| standing.op);
    let findings = sprawl::findings(looking, did, &held, &connections)?;
    row.findings = findings.iter().map(|finding| finding.kind).collect();
    row.findings.sort_unstable();
    row.findings.dedup();
    Ok(Summed { row, findings })
}

fn cursor<T: std::str::FromStr>(asked: &AgentsRequest) -> Result<Option<T>, SinkError> {
    let read = |text: &String| text.parse().map_err(|_| SinkError::Asked("`cursor` is not one of an answer".into()));
    asked.cursor.as_ref().map(read).transpose()
}

/// What still fits into an answer.
pub(crate) struct Room {
    limit: usize,
    bytes: usize,
}

impl Room {
    fn of(asked: &AgentsRequest) -> Self {
        Self::new(asked.limit)
    }

    /// Room for so many rows, as far as they pass the broker.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self { limit: limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX), bytes: 0 }
    }

    pub(crate) fn is_full(&self, rows: usize) -> bool {
        rows >= self.limit
    }

    /// Whether the row fits; the first one always does, and is smaller than an answer by its own bounds.
    pub(crate) fn takes(&mut self, row: &impl Serialize, first: bool) -> bool {
        let size = serde_json::to_vec(row).map_or(0, |text| text.len());
        if self.bytes + size > ANSWER_BYTES_MAX && !first {
            return false;
        }
        self.bytes += size;
        true
    }
}
