//! What stands in the sink's answers: leaves, links of a path, agents, credentials, connections.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::{Map, Value};

/// A text; a long one is shown by its digest, and the leaf has it whole.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Text {
    /// As it is.
    Whole(String),
    /// Longer than 1,024 bytes.
    Elided {
        /// How long.
        elided_bytes: u64,
        /// SHA-256, hexadecimal.
        sha256: String,
    },
}

/// One leaf.
#[derive(JsonSchema)]
pub(super) struct Row {
    /// Its index.
    leaf: u64,
    /// Its sequence in the stream.
    stream_sequence: u64,
    /// When the broker stored it, in milliseconds.
    broker_ms: i64,
    /// The bus subject it was published on.
    subject: String,
    /// `valid`, `duplicate`, `conflict`, or the code of what is wrong with it.
    verdict: String,
    /// For a duplicate or a conflict: the first leaf with its id.
    first: Option<u64>,
    /// What it says, where its verdict lets that be known.
    record: Option<ShownRecord>,
    /// SHA-256 of the stored bytes, hexadecimal.
    sha256: String,
    /// How many they are.
    bytes: u64,
}

/// A record as `record.schema.json` has it, but that a long text stands as `{elided_bytes, sha256}` and a long list as
/// `{elided_elements}`.
#[derive(JsonSchema)]
struct ShownRecord {
    /// UUIDv7.
    id: String,
    /// Its kind.
    kind: String,
    /// When it was made, in milliseconds.
    iat_ms: i64,
    /// Who signs it.
    by: String,
    /// The agent it is about.
    agent: Option<String>,
    /// The task it is about.
    task: Option<String>,
    /// The tool it is about.
    tool: Option<String>,
}

/// One link of the delegation path.
#[derive(JsonSchema)]
pub(super) struct PathLink {
    /// The token, by the SHA-256 of its signing input in hexadecimal.
    token: String,
    /// The leaf whose record brought it.
    leaf: Option<u64>,
    /// That record's id.
    record: Option<String>,
    /// Who holds it: an agent's DID.
    holder: Option<String>,
    /// Of a root: the kind of agent.
    blueprint: Option<String>,
    /// Of a root: who answers for it.
    sponsor: Option<String>,
    /// The token's claims, as signed; left out where the answer would not pass the broker.
    claims: Option<Map<String, Value>>,
    /// What its parent had and it has not.
    narrowed: Option<Narrowed>,
}

/// What a delegation took away.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Narrowed {
    /// Tools that are not handed on.
    dropped: Option<Vec<String>>,
    /// Constraints that are new or others, by tool and argument, as the child's token has them.
    constrained: Option<BTreeMap<String, Map<String, Value>>>,
    /// The child ends so many seconds earlier.
    sooner_seconds: Option<i64>,
}

/// An action beside the one that is explained.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Beside {
    /// Its leaf.
    leaf: u64,
    /// Its *decided* record.
    record: String,
    /// Who acted: an agent's DID.
    agent: Option<String>,
    /// The tool.
    tool: Option<String>,
    /// `permit` or `deny`.
    decision: String,
    /// Its agent's own reason: claimed.
    why: Option<String>,
    /// What it says caused it: the `jti` of another action, or a message's id.
    cause: Option<String>,
}

/// What decided, and what the enforcement point knew.
#[derive(JsonSchema)]
pub(super) struct Decision {
    /// `permit` or `deny`.
    decision: String,
    /// Denied: stable reason.
    code: Option<String>,
    /// Denied: the step.
    step: Option<String>,
    /// Denied: one sentence.
    message: Option<Text>,
    /// Denied: who has to change something.
    blame: Option<String>,
    /// Denied: the constraint that decided, as JSON text.
    constraint: Option<Text>,
    /// Denied: the directive that decided.
    directive: Option<String>,
    /// The sequence up to which the directives were known.
    epoch: u64,
    /// Age of the youngest proof of that, in milliseconds.
    view_age_ms: Option<u64>,
    /// How old it may be for this tool, in milliseconds.
    staleness_bound_ms: u64,
    /// Who the enforcement point is.
    audience: Option<Text>,
    /// Whether the tool has side effects.
    side_effecting: bool,
}

/// What the agent said of it.
#[derive(JsonSchema)]
pub(super) struct Claim {
    /// Its reason.
    why: Option<Text>,
    /// What led to it.
    cause: Option<Text>,
}

/// A leaf, and the broker's time of it.
#[derive(JsonSchema)]
struct Mark {
    /// The leaf.
    leaf: u64,
    /// In milliseconds.
    ms: i64,
}

/// The end of a key's chain of actions.
#[derive(JsonSchema)]
struct Head {
    /// The highest number.
    seq: u64,
    /// SHA-256 of its proof, hexadecimal.
    proof: String,
    /// The leaf of its record.
    leaf: u64,
}

/// An agent in one row.
#[derive(JsonSchema)]
pub(super) struct AgentRow {
    /// Its DID.
    agent: String,
    /// The kind of agent.
    blueprint: Option<String>,
    /// Who answers for it.
    sponsor: Option<String>,
    /// Of its newest credentials: for which tasks.
    tasks: Vec<String>,
    /// Of its newest credentials: by whom what it holds was delegated to it.
    delegated_by: Vec<String>,
    /// Of its newest credentials: how many there are.
    credentials: u64,
    /// And how many of them have neither expired nor been revoked.
    live: u64,
    /// How many of them have not expired, but been revoked; left out where none.
    revoked: Option<u64>,
    /// The most tools that one of these grants.
    tools: Option<u64>,
    /// When the last of them expires, in seconds.
    expires_at: Option<i64>,
    /// The first record about it, in the broker's milliseconds.
    first_ms: Option<i64>,
    /// Of its newest credentials: the last permit or connection by a token among them.
    last_used_ms: Option<i64>,
    /// Its connections that stand, among the newest 16.
    connected: u64,
    /// Its actions that were permitted.
    permitted: u64,
    /// Presentations of its chains that were denied.
    denied: u64,
    /// Where its chain of actions ends.
    head: Option<Head>,
    /// The end that a sink stated last; `leaf` is that record's.
    stated: Option<Head>,
    /// `revoke`, `suspend` or `narrow`, where a directive on its key or its kind is in force.
    standing: Option<String>,
    /// What was found about it, each kind once.
    findings: Vec<String>,
}

/// What a credential is.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum CredentialKind {
    /// An identity credential.
    Identity,
    /// A root token.
    Root,
    /// A derived token.
    Derived,
}

/// A credential in one row.
#[derive(JsonSchema)]
pub(super) struct CredentialRow {
    /// SHA-256 of its signing input, hexadecimal.
    token: String,
    /// What it is.
    kind: CredentialKind,
    /// Who holds it.
    holder: Option<String>,
    /// The token it was derived from.
    parent: Option<String>,
    /// Who derived it.
    delegated_by: Option<String>,
    /// How deep it is.
    depth: u64,
    /// What for.
    task: Option<String>,
    /// The kind of agent.
    blueprint: Option<String>,
    /// Who answers for it.
    sponsor: Option<String>,
    /// How many tools it grants.
    tool_count: Option<u64>,
    /// Their names, at most 32.
    tools: Option<Vec<String>>,
    /// Those that no permit has used, at most 32.
    unused: Option<Vec<String>>,
    /// The leaf of the record that brought it.
    leaf: Option<u64>,
    /// When that was stored, in milliseconds.
    since_ms: Option<i64>,
    /// When it expires, in seconds.
    expires_at: Option<i64>,
    /// Whether it has not.
    live: bool,
    /// A record brought it.
    published: bool,
    /// What it grants is its deriver's word alone.
    claimed: Option<bool>,
    /// `revoke`, `suspend` or `narrow`, where a directive that reaches it is in force.
    standing: Option<String>,
    /// Permits that rest on it, its descendants' too.
    permits: u64,
    /// Denials of chains that end in it.
    denials: u64,
    /// Connections by it.
    connects: u64,
    /// Its last permit or connection, in milliseconds.
    last_used_ms: Option<i64>,
}

/// A connection in one row.
#[derive(JsonSchema)]
pub(super) struct ConnectionRow {
    /// The server's name for it: `server/cid`.
    connection: String,
    /// Whether it stands.
    open: bool,
    /// Whose.
    agent: String,
    /// `key`, `credential` or `chain`: what it showed.
    shown: String,
    /// The credential that it showed: of a chain, the last link.
    credential: Option<String>,
    /// Its *connected* record.
    since: Mark,
    /// When it must end, in seconds.
    expires_at: Option<i64>,
    /// Messages of the key that were known when it began.
    known_before: u64,
    /// And when it had ended.
    known_after: Option<u64>,
    /// Its *kicked* record.
    kicked: Option<Mark>,
    /// Its *disconnected* record.
    ended: Option<Mark>,
    /// Messages that the broker counted from it.
    messages_sent: Option<u64>,
    /// Records may have come late that could no longer be counted.
    crowded: bool,
}
