//! What the audit sink is asked, and what it answers.

mod rows;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::{Map, Value};

use rows::{AgentRow, Beside, Claim, ConnectionRow, CredentialRow, Decision, PathLink, Row};

/// What is searched for; all of it must hold.
#[derive(JsonSchema)]
#[schemars(title = "Audit query request")]
pub(in crate::schemas) struct QueryRequest {
    /// An agent's DID.
    agent: Option<String>,
    /// A task.
    task: Option<String>,
    /// A tool.
    tool: Option<String>,
    /// A link, by the SHA-256 of its signing input in hexadecimal: it or a descendant.
    token: Option<String>,
    /// `permit` or `deny`.
    decision: Option<String>,
    /// A kind of record.
    kind: Option<String>,
    /// `valid`, or a verdict that is not.
    verdict: Option<String>,
    /// A blueprint.
    blueprint: Option<String>,
    /// A claimed cause.
    cause: Option<String>,
    /// Stored at or after, in milliseconds.
    from_ms: Option<i64>,
    /// Stored before, in milliseconds.
    to_ms: Option<i64>,
    /// At most so many.
    limit: Option<u64>,
    /// Where the answer before stopped.
    cursor: Option<u64>,
    /// From the newest backwards.
    newest_first: Option<bool>,
}

/// What was found.
#[derive(JsonSchema)]
#[schemars(title = "Audit query reply")]
pub(in crate::schemas) struct QueryReply {
    /// Leaves of the log.
    tree_size: u64,
    /// Leaves of the index.
    indexed_upto: u64,
    /// The records, each with its leaf and verdict.
    records: Vec<Row>,
    /// The cursor with which to go on.
    next: Option<u64>,
}

/// Which action: by one of the two.
#[derive(JsonSchema)]
#[schemars(title = "Audit explain request")]
pub(in crate::schemas) struct ExplainRequest {
    /// A record's id.
    id: Option<String>,
    /// Or a leaf.
    leaf: Option<u64>,
}

/// One action, explained.
#[derive(JsonSchema)]
#[schemars(title = "Audit explain reply")]
pub(in crate::schemas) struct ExplainReply {
    /// Leaves of the log.
    tree_size: u64,
    /// Leaves of the index.
    indexed_upto: u64,
    /// The record.
    record: Row,
    /// The delegation path, root first.
    path: Vec<PathLink>,
    /// What decided.
    decided: Option<Decision>,
    /// The arguments, as the agent signed them.
    arguments: Option<Map<String, Value>>,
    /// What the agent said of it; claimed.
    claimed: Option<Claim>,
    /// The directive that decided.
    directive: Option<Row>,
    /// What led to it, the nearest first; claimed.
    causes: Option<Vec<Beside>>,
    /// What came of it.
    completed: Vec<Row>,
    /// Actions that name it as their cause, and those that name them; claimed.
    followed: Option<Vec<Beside>>,
    /// Its proof, without the entry; none before the first checkpoint over it.
    inclusion: Option<ProofReply>,
}

/// Of which record or leaf, against which size.
#[derive(JsonSchema)]
#[schemars(title = "Audit proof request")]
pub(in crate::schemas) struct ProofRequest {
    /// A record's id.
    id: Option<String>,
    /// Or a leaf.
    leaf: Option<u64>,
    /// A tree size; left out: the newest checkpoint's.
    tree_size: Option<u64>,
}

/// An inclusion proof (RFC 6962), hashes in standard base64.
#[derive(JsonSchema)]
#[schemars(title = "Audit proof reply")]
pub(in crate::schemas) struct ProofReply {
    /// The leaf.
    leaf: u64,
    /// The tree.
    tree_size: u64,
    /// SHA-256 of 0x00 and the entry.
    leaf_hash: String,
    /// From the leaf up.
    proof: Vec<String>,
    /// The root.
    root: String,
    /// The signed checkpoint, where it is the newest.
    checkpoint: Option<String>,
    /// The entry as framed in its bundle.
    entry: Option<String>,
}

/// Where the log stands.
#[derive(JsonSchema)]
#[schemars(title = "Audit checkpoint reply")]
pub(in crate::schemas) struct CheckpointReply {
    /// The log's name.
    origin: String,
    /// Its key as a C2SP `vkey`.
    vkey: String,
    /// The signed note.
    checkpoint: Option<String>,
    /// Its size.
    checkpoint_size: Option<u64>,
    /// Its root.
    root: Option<String>,
    /// Leaves on disk.
    tree_size: u64,
    /// Leaves of the index.
    indexed_upto: u64,
    /// Why the log halted.
    halted: Option<String>,
}

/// Which agents or credentials; all of it must hold.
#[derive(JsonSchema)]
#[schemars(title = "Audit agents request")]
pub(in crate::schemas) struct AgentsRequest {
    /// `list` (agents), `info` (one agent and what it holds) or `tree` (credentials, each with its parent).
    view: Option<String>,
    /// An agent's DID; `info` needs it.
    agent: Option<String>,
    /// With a credential for this task.
    task: Option<String>,
    /// Of this kind.
    blueprint: Option<String>,
    /// Whom this sponsor answers for.
    sponsor: Option<String>,
    /// With a credential that has not expired.
    live: Option<bool>,
    /// With a finding.
    findings: Option<bool>,
    /// At most so many.
    limit: Option<u64>,
    /// Where the answer before stopped.
    cursor: Option<String>,
}

/// Agents, credentials, connections, findings, by the view that was asked for.
#[derive(JsonSchema)]
#[schemars(title = "Audit agents reply")]
pub(in crate::schemas) struct AgentsReply {
    /// Leaves of the log.
    tree_size: u64,
    /// Leaves of the inventory: what lies beyond is not in this answer.
    inventory_upto: u64,
    /// The sink's time, by which lives were judged, in milliseconds.
    at_ms: i64,
    /// Agents, one row each.
    agents: Option<Vec<AgentRow>>,
    /// Credentials, one row each.
    credentials: Option<Vec<CredentialRow>>,
    /// The newest connections.
    connections: Option<Vec<ConnectionRow>>,
    /// What was found, the gravest first.
    findings: Option<Vec<Finding>>,
    /// The cursor with which to go on.
    next: Option<String>,
}

/// Of whom, since when.
#[derive(JsonSchema)]
#[schemars(title = "Audit completeness request")]
pub(in crate::schemas) struct CompletenessRequest {
    /// An agent's DID.
    agent: Option<String>,
    /// Findings whose evidence was stored at or after, in milliseconds.
    since_ms: Option<i64>,
    /// At most so many.
    limit: Option<u64>,
    /// Where the answer before stopped.
    cursor: Option<String>,
}

/// What the broker saw against what agents signed.
#[derive(JsonSchema)]
#[schemars(title = "Audit completeness reply")]
pub(in crate::schemas) struct CompletenessReply {
    /// Leaves of the log.
    tree_size: u64,
    /// Leaves of the inventory: what lies beyond is not in this answer.
    inventory_upto: u64,
    /// The sink's time, by which ages were judged, in milliseconds.
    at_ms: i64,
    /// Agents that were looked at for this page.
    agents_read: u64,
    /// Agents of which not everything was looked at.
    partly_read: Option<Vec<String>>,
    /// What was found.
    findings: Vec<Finding>,
    /// The cursor with which to go on.
    next: Option<String>,
}

/// What somebody should look at.
#[derive(JsonSchema)]
struct Finding {
    /// What: `never_used`, `wider_than_used`, `alike_in_many_hands`, `revoked_but_connected`, `delegation_unpublished`,
    /// `root_unissued`, `connected_silent`, `published_unsigned`, `sequence_gap`, `key_forked` or
    /// `permit_without_outcome`.
    kind: String,
    /// `info`, `warning` or `critical`.
    severity: String,
    /// Whose key.
    agent: Option<String>,
    /// Under which task.
    task: Option<String>,
    /// Which credential, by the SHA-256 of its signing input in hexadecimal.
    token: Option<String>,
    /// Where it can be looked up.
    evidence: Evidence,
    /// The arithmetic, each number by its name.
    counts: Option<BTreeMap<String, u64>>,
    /// One sentence.
    message: String,
}

/// Where a finding can be looked up.
#[derive(JsonSchema)]
struct Evidence {
    /// Leaves of the log.
    leaves: Vec<u64>,
    /// The ids of their records.
    records: Vec<String>,
}

/// Which tile of a sink's log.
#[derive(JsonSchema)]
#[schemars(title = "Audit tile request", deny_unknown_fields)]
pub(in crate::schemas) struct TileRequest {
    /// Its path in the C2SP layout, with its width: `tile/0/x001/234`, `tile/1/000.p/17`, `tile/entries/000`.
    path: String,
    /// Of a tile of entries: from which of its entries on, 0 where absent.
    #[serde(default)]
    entry: u16,
    /// And from which byte of that entry on, as the tile has it: two bytes of its length, then the entry.
    #[serde(default)]
    byte: u32,
}

/// The tile, or a piece of it: one of the two.
#[derive(JsonSchema)]
#[schemars(title = "Audit tile reply")]
pub(in crate::schemas) struct TileReply {
    /// Its hashes in a row, 32 bytes each, in standard base64.
    hashes: Option<String>,
    /// The next bytes of a tile of entries, at most 32,768, in standard base64.
    entries: Option<String>,
}
