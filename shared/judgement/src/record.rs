//! Records: the signed statements of the audit log. Source: PROTOCOL §7, LOG.md.
//!
//! One JWS each (`typ` `marque-record+jwt`, `kid` the signer's DID URL), payload canonical. The types here are the
//! schema.

mod body;
mod histories;
mod judge;
mod kind;
mod known;

use marque_identity::refusal::Code;
use marque_identity::{Did, Digest, TaskId, TokenId, UnixMillis};
use marque_json::Limits;
use marque_signing::jws::{self, json_code};
use marque_signing::{Algorithms, Compact, JwsError, PublicKey, SigningKey, sha256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use body::{
    Body, Completed, Connected, Connection, Decided, Delegated, DirectiveIssued, Disconnected, Erased, HEADS_MAX,
    Heads, InputDigest, Issued, KeyHead, Kicked, MANIFEST_CHANGED, NARROWED_BY_MAX, Outcome, Receipt, Refused,
    Requested, Risk, Sealed, Shown, Verb, What,
};
pub use histories::{Broken, BrokenRule, Chains, FINDINGS_MAX, Histories, SETTLED_MS, Step};
pub use judge::{Judged, VALID, judge, may_sign};
pub use kind::RecordKind;
pub use known::{Bad, Judge};

/// `typ` of a record.
pub const RECORD_TYPE: &str = "marque-record+jwt";
/// A record's size in bytes: the audit stream's largest message (60,000, below what an entry tile can frame) less its
/// headers, which the broker counts.
pub const RECORD_BYTES_MAX: usize = 59_000;
/// A token larger than this is carried by its digest alone, in bytes: base64 adds a third, and 65 links, a reason and
/// a constraint must find room beside it.
pub const CARRIED_BYTES_MAX: usize = 32 * 1024;

/// One signed statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// UUIDv7.
    pub id: String,
    /// When it was made, in milliseconds.
    #[schemars(with = "i64")]
    pub iat_ms: UnixMillis,
    /// Who signs it.
    #[schemars(with = "String")]
    pub by: Did,
    /// The agent it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub agent: Option<Did>,
    /// The task it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub task: Option<TaskId>,
    /// The tool it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The leaf: SHA-256 of its signing input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub token: Option<Digest>,
    /// Every link of the chain, root first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub links: Vec<Digest>,
    /// What is stated.
    #[serde(flatten)]
    pub body: Body,
}

/// A token or proof in a record: itself, or its digest where it is too large.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Carried {
    /// The compact form.
    Compact(String),
    /// SHA-256 of the compact form, and its size.
    Elided(InputDigest),
}

impl Carried {
    /// The text, or its digest if it is larger than [`CARRIED_BYTES_MAX`].
    pub fn of(compact: &str) -> Self {
        Self::up_to(compact, CARRIED_BYTES_MAX)
    }

    /// The text, or its digest if it is larger than `bytes_max`.
    pub fn up_to(compact: &str, bytes_max: usize) -> Self {
        if compact.len() <= bytes_max {
            Self::Compact(compact.to_owned())
        } else {
            Self::Elided(InputDigest::of(compact.as_bytes()))
        }
    }

    /// SHA-256 of the compact form, carried or not: of a proof, what the next one's `prev` names it by.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Compact(compact) => sha256(compact.as_bytes()),
            Self::Elided(digest) => digest.sha256,
        }
    }

    /// The payload of the token, if it is carried. TRUST: none; no signature is looked at.
    pub fn payload(&self) -> Option<Vec<u8>> {
        Compact::split(self.compact()?).ok()?.payload().ok()
    }

    /// The compact form, if it is carried.
    pub fn compact(&self) -> Option<&str> {
        if let Self::Compact(compact) = self { Some(compact) } else { None }
    }
}

/// Why a record was not sealed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SealError {
    /// `by` is not the signing key.
    #[error("the record names another signer than its key")]
    Signer,
    /// Larger than the stream takes.
    #[error("the record has {bytes} bytes where {RECORD_BYTES_MAX} are allowed")]
    Oversize {
        /// Its size.
        bytes: usize,
    },
    /// It could not be written.
    #[error(transparent)]
    Jws(#[from] JwsError),
}

impl SealError {
    /// The stable reason.
    pub fn code(&self) -> Code {
        match self {
            Self::Signer => Code::Internal,
            Self::Oversize { .. } => Code::Oversize,
            Self::Jws(error) => error.code(),
        }
    }
}

/// What is wrong with a stored record. It stays a leaf all the same.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Verdict {
    /// Larger than a record may be.
    #[error("{bytes} bytes are more than a record has")]
    Oversize {
        /// Its size.
        bytes: usize,
    },
    /// The envelope: not a JWS, another `typ` or `alg`, no `kid` that is a DID URL.
    #[error("not a signed record: {0}")]
    Envelope(#[source] JwsError),
    /// The signature does not verify under the key that `kid` names.
    #[error("the signature does not verify")]
    SignatureInvalid,
    /// The payload is no record.
    #[error("the payload is no record: {0}")]
    Payload(String, Code),
    /// `by` is not the key that signed.
    #[error("`by` is not the key that signed")]
    SignerMismatch,
    /// The signer may not state such a thing.
    #[error("{by} may not sign a record of kind `{kind}`")]
    NotAuthorized {
        /// Who signed.
        by: Did,
        /// What.
        kind: RecordKind,
    },
}

impl Verdict {
    /// The stable reason.
    pub fn code(&self) -> Code {
        match self {
            Self::Oversize { .. } => Code::Oversize,
            Self::Envelope(error) => error.code(),
            Self::SignatureInvalid => Code::SignatureInvalid,
            Self::Payload(_, code) => *code,
            Self::SignerMismatch | Self::NotAuthorized { .. } => Code::NotAuthorized,
        }
    }
}

impl Record {
    /// A record without anything about a chain.
    pub fn new(iat_ms: UnixMillis, by: Did, body: Body) -> Self {
        let id = TokenId::generate().0;
        Self { id, iat_ms, by, agent: None, task: None, tool: None, token: None, links: Vec::new(), body }
    }

    /// Its kind.
    pub fn kind(&self) -> RecordKind {
        self.body.kind()
    }

    /// The last token of its bus subject: the agent's key, else the signer's.
    pub fn key(&self) -> String {
        self.agent.unwrap_or(self.by).multibase()
    }

    /// Signs it, if it is the key's own and not too large.
    pub fn seal(&self, key: &SigningKey) -> Result<String, SealError> {
        if self.by != key.did() {
            return Err(SealError::Signer);
        }
        let compact = jws::sign_as_did(key, RECORD_TYPE, self)?;
        if compact.len() > RECORD_BYTES_MAX {
            return Err(SealError::Oversize { bytes: compact.len() });
        }
        Ok(compact)
    }

    /// Opens a stored record: size, header, signature of the key that `kid` names, payload, and whether that key is
    /// `trusted` to state such a thing.
    pub fn open(compact: &str, trusted: impl Fn(&Did, RecordKind) -> bool) -> Result<Self, Verdict> {
        let (record, _) = Self::open_any(compact)?;
        let kind = record.kind();
        if trusted(&record.by, kind) { Ok(record) } else { Err(Verdict::NotAuthorized { by: record.by, kind }) }
    }

    /// The same without asking whether the signer may. TRUST: the key in `by` said so.
    pub fn open_any(compact: &str) -> Result<(Self, PublicKey), Verdict> {
        if compact.len() > RECORD_BYTES_MAX {
            return Err(Verdict::Oversize { bytes: compact.len() });
        }
        let parts = Compact::split(compact).map_err(Verdict::Envelope)?;
        parts.check_header(RECORD_TYPE, Algorithms::Ed25519).map_err(Verdict::Envelope)?;
        let signer = jws::claimed_signer(compact).map_err(Verdict::Envelope)?;
        parts.check_signature(&signer).map_err(|_| Verdict::SignatureInvalid)?;
        let payload = parts.payload().map_err(Verdict::Envelope)?;
        let record: Self = marque_json::parse(&payload, Limits::bytes(RECORD_BYTES_MAX))
            .and_then(|json| marque_json::from_tree(&json))
            .map_err(|error| Verdict::Payload(error.to_string(), json_code(&error)))?;
        if record.by != signer.did() {
            return Err(Verdict::SignerMismatch);
        }
        Ok((record, signer))
    }
}

impl InputDigest {
    /// The digest and size of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { sha256: sha256(bytes), bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX) }
    }
}
