//! What the audit sink is asked, and what it answers.

use schemars::JsonSchema;
use serde_json::Value;

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
    records: Vec<Value>,
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
    record: Value,
    /// The delegation path, root first.
    path: Vec<Value>,
    /// What decided.
    decided: Option<Value>,
    /// What the agent said of it; claimed.
    claimed: Option<Value>,
    /// The directive that decided.
    directive: Option<Value>,
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
