//! What each kind of record states.

use marque_credential::evidence::EvidenceDigest;
use marque_identity::refusal::{Blame, Code};
use marque_identity::{BlueprintName, Did, Digest, Epoch, Refusal, Sponsor, UnixSeconds};
use marque_revocation::Closed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Carried, RecordKind};

/// Heads in one record: some 250 bytes each once signed, so that a record of them stays below 30,000 and an auditor's
/// answer shows it whole.
pub const HEADS_MAX: usize = 100;

/// What a record states, by its `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// A credential or root token was issued.
    Issued(Issued),
    /// A request was refused by a service.
    Refused(Refused),
    /// A token was derived.
    Delegated(Delegated),
    /// An agent asks for an action.
    Requested(Requested),
    /// An enforcement point permitted or denied an action.
    Decided(Box<Decided>),
    /// An action ran, or failed.
    Completed(Completed),
    /// A directive was published.
    Directive(DirectiveIssued),
    /// A directive's reach.
    Receipt(Receipt),
    /// An agent was let in at the broker.
    Connected(Box<Connected>),
    /// An agent's connection was closed.
    Kicked(Kicked),
    /// An agent's connection has ended.
    Disconnected(Disconnected),
    /// A sign of risk.
    Risk(Risk),
    /// Where keys' chains of actions ended.
    Heads(Heads),
    /// What is held about a data subject is erased.
    Erased(Erased),
}

impl Body {
    /// Its kind.
    pub fn kind(&self) -> RecordKind {
        match self {
            Self::Issued(_) => RecordKind::Issued,
            Self::Refused(_) => RecordKind::Refused,
            Self::Delegated(_) => RecordKind::Delegated,
            Self::Requested(_) => RecordKind::Requested,
            Self::Decided(_) => RecordKind::Decided,
            Self::Completed(_) => RecordKind::Completed,
            Self::Directive(_) => RecordKind::Directive,
            Self::Receipt(_) => RecordKind::Receipt,
            Self::Connected(_) => RecordKind::Connected,
            Self::Kicked(_) => RecordKind::Kicked,
            Self::Disconnected(_) => RecordKind::Disconnected,
            Self::Risk(_) => RecordKind::Risk,
            Self::Heads(_) => RecordKind::Heads,
            Self::Erased(_) => RecordKind::Erased,
        }
    }
}

/// The digest and size of something that is not carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputDigest {
    /// SHA-256, hexadecimal.
    #[schemars(with = "String")]
    pub sha256: Digest,
    /// Size in bytes.
    pub bytes: u64,
}

/// What was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An identity credential.
    Credential,
    /// A root token.
    Root,
}

/// A credential or root token was issued.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Issued {
    /// Which of the two.
    pub what: What,
    /// The identity credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Carried>,
    /// The root token. The record's `token` is its digest.
    #[serde(rename = "root", default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Carried>,
    /// The kind of agent.
    #[schemars(with = "String")]
    pub blueprint: BlueprintName,
    /// Who answers for it.
    #[schemars(with = "String")]
    pub sponsor: Sponsor,
    /// When it expires, in seconds.
    #[schemars(with = "i64")]
    pub expires_at: UnixSeconds,
    /// What it was issued on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidenceDigest>,
}

/// A request was refused by a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// Stable reason.
    #[schemars(with = "String")]
    pub code: Code,
    /// The step that refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// One sentence.
    pub message: String,
    /// Who has to change something.
    #[schemars(with = "String")]
    pub blame: Blame,
    /// Which service.
    pub service: String,
    /// What was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputDigest>,
}

impl Refused {
    /// A service's refusal of some input.
    pub fn of(refusal: &Refusal, service: &str, input: Option<&[u8]>) -> Self {
        Self {
            code: refusal.code,
            step: refusal.step.map(str::to_owned),
            message: refusal.message.clone(),
            blame: refusal.blame,
            service: service.to_owned(),
            input: input.map(InputDigest::of),
        }
    }
}

/// A token was derived. The record's `agent` is its holder, `token` its digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Delegated {
    /// The derived token.
    pub link: Carried,
    /// Its parent's digest.
    #[schemars(with = "String")]
    pub parent: Digest,
    /// How deep it is.
    pub depth: u64,
}

/// An agent asks for an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Requested {
    /// The proof that it signed.
    pub proof: Carried,
}

/// Permit or deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// The tool may run.
    Permit,
    /// It may not.
    Deny,
}

impl Verb {
    /// As records and queries write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
        }
    }
}

/// An enforcement point permitted or denied an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decided {
    /// Which of the two.
    pub decision: Verb,
    /// Denied: stable reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub code: Option<Code>,
    /// Denied: the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Denied: one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Denied: who has to change something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub blame: Option<Blame>,
    /// The proof that was presented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Carried>,
    /// Who the enforcement point is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The agent's own reason: claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What led to the action: claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The manifest that the agent says it runs: claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub manifest_hash: Option<Digest>,
    /// The agent's count of actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// SHA-256 of the agent's previous proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub prev: Option<Digest>,
    /// The sequence up to which the directives were known.
    #[schemars(with = "u64")]
    pub epoch: Epoch,
    /// Age of the youngest proof of that, in milliseconds; absent while there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_age_ms: Option<u64>,
    /// How old it may be for this tool, in milliseconds.
    pub staleness_bound_ms: u64,
    /// Denied: the directive that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directive: Option<String>,
    /// Denied: the constraint that decided, as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
    /// Whether the tool has side effects.
    pub side_effecting: bool,
    /// The arguments as received, or what was presented where nothing could be read; absent for an erasable tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputDigest>,
    /// Of an erasable tool: what stands for the arguments and the reason, which are not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
}

/// What a *decided* record of an erasable tool keeps of what it leaves out (`sealed` says how). The proof stands in it
/// by its plain digest, which nobody can guess: it has the agent's signature in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sealed {
    /// SHA-256 of the payload, which begins with 32 random bytes; absent where none is kept, because no signature
    /// vouched for what was presented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub commitment: Option<Digest>,
    /// The `jti` of the proof, by which other actions name this one as their cause; absent where it is no UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

/// An operator erases what is held about a data subject: its keys, and what was sealed for them. Stored before anything
/// is erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Erased {
    /// SHA-256 of 32 random bytes and the data subject's digest. Who is told the random bytes finds the erasure by it;
    /// nobody else learns whom it was about.
    #[schemars(with = "String")]
    pub commitment: Digest,
    /// Why, in words that stay in the log for ever.
    pub reason: String,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The tool answered.
    Ok,
    /// It failed, or did not answer.
    Error,
}

/// An action ran, or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Completed {
    /// The id of its *decided* record.
    pub decided: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The tool's own status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// SHA-256 of its reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub reply_sha256: Option<Digest>,
    /// Size of its reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_bytes: Option<u64>,
    /// How long it ran, in microseconds.
    pub duration_us: u64,
}

/// A directive was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DirectiveIssued {
    /// The directive itself.
    pub directive: String,
    /// Its place in the stream.
    #[schemars(with = "u64")]
    pub epoch: Epoch,
    /// Who asked for it.
    #[schemars(with = "String")]
    pub requested_by: Did,
}

/// A directive's reach: who has applied it, and how soon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The directive's id.
    pub directive_id: String,
    /// Its place in the stream.
    #[schemars(with = "u64")]
    pub epoch: Epoch,
    /// How many have applied it.
    pub acked: u64,
    /// Of how many.
    pub of: u64,
    /// Median time to apply, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u64>,
    /// 99th percentile, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
    /// The slowest, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_us: Option<u64>,
    /// Those that did not answer; they have failed closed by the bound.
    #[schemars(with = "Vec<String>")]
    pub silent: Vec<Did>,
    /// The agents' connections that gatekeepers closed on it before they answered: how many, and the first of them.
    #[serde(default, skip_serializing_if = "Closed::is_empty")]
    pub closed: Closed,
    /// Not everyone who is present was known: the broadcaster had just started, or just lost the broker.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// A connection at the broker, by the server's own names for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// The server's id, `N…`.
    pub server: String,
    /// The connection's number there (`cid`); not used again while the server runs.
    pub cid: u64,
}

/// What an agent showed in order to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// Nothing but the possession of a key: it may enrol.
    Key,
    /// An identity credential: it may ask for commissions.
    Credential,
    /// A chain: it may do what the chain grants.
    Chain,
}

/// Narrowings that a *connected* record names: 256 ids take a sixth of a record. A connection under more of them is judged
/// anew by each gatekeeper that learns of it.
pub const NARROWED_BY_MAX: usize = 256;

/// An agent was let in at the broker. The record's `links` are its chain's; with what stands here a gatekeeper that
/// starts anew finds every directive that the connection must end by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connected {
    /// Which connection.
    #[serde(flatten)]
    pub connection: Connection,
    /// What it showed.
    pub shown: Shown,
    /// The holder of each link, root first; of a credential, its subject.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub holders: Vec<Did>,
    /// The issuer's URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The kind of agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub blueprint: Option<BlueprintName>,
    /// The manifest that it runs by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub manifest_hash: Option<Digest>,
    /// When what it showed expires, in seconds; the connection ends no later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub expires_at: Option<UnixSeconds>,
    /// The bus subjects that it may publish on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
    /// The bus subjects that it may subscribe to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribe: Vec<String>,
    /// The sequence up to which the directives were known.
    #[schemars(with = "u64")]
    pub epoch: Epoch,
    /// The narrowings that these subjects were drawn under, by their ids; at most [`NARROWED_BY_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub narrowed_by: Vec<String>,
    /// Where it connected from, as the server says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The client library, as the agent says: claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// An agent's connection has ended. The counts are the broker's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disconnected {
    /// Which connection.
    #[serde(flatten)]
    pub connection: Connection,
    /// Messages that the agent sent.
    pub messages_sent: u64,
    /// Messages that it was sent.
    pub messages_received: u64,
    /// Why, in the server's words.
    pub reason: String,
}

/// An agent's connection was closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kicked {
    /// Which connection.
    #[serde(flatten)]
    pub connection: Connection,
    /// Stable reason.
    #[schemars(with = "String")]
    pub code: Code,
    /// The directive that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directive: Option<String>,
}

/// `signal` of a [`Risk`]: an agent's manifest is not the one that it was credentialed for.
pub const MANIFEST_CHANGED: &str = "manifest_changed";

/// A sign of risk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Risk {
    /// What was seen, a stable name.
    pub signal: String,
    /// In words.
    pub message: String,
}

/// Where keys' chains of actions ended, as a sink has found them in the log: who asks for a key's actions and gets the
/// one that a later statement of this kind names as the last has got all of them up to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heads {
    /// Leaves of the log that were looked at.
    pub tree_size: u64,
    /// One for each key whose chain grew since it was last stated, at most [`HEADS_MAX`].
    pub heads: Vec<KeyHead>,
}

/// The end of one key's chain of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyHead {
    /// Whose.
    #[schemars(with = "String")]
    pub agent: Did,
    /// The highest count of actions.
    pub seq: u64,
    /// SHA-256 of the proof with that count; the first where there are two.
    #[schemars(with = "String")]
    pub proof: Digest,
    /// The leaf of its record.
    pub leaf: u64,
}
