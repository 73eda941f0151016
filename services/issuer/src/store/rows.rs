//! What the store's rows hold.

use marque_credential::EvidenceKind;
use marque_identity::{Did, Digest, UnixSeconds};
use serde::{Deserialize, Serialize};

use super::{RequestId, StoreError};
use crate::commitment::About;

/// What was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantKind {
    /// An identity credential.
    Credential,
    /// A root token.
    Root,
}

impl GrantKind {
    /// The word in records, metrics and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Root => "root",
        }
    }
}

/// A request that is granted: the bytes of its record and of its answer, so that both are the same for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The request's signer and `jti`.
    pub id: RequestId,
    /// SHA-256 of the request as it was sent.
    pub request: Digest,
    /// What is granted.
    pub kind: GrantKind,
    /// Whom and what it is about.
    pub about: About,
    /// The signed *issued* record.
    pub record: String,
    /// The answer's body.
    pub answer: String,
    /// When it may be forgotten.
    pub keep_until: UnixSeconds,
}

#[derive(Serialize, Deserialize)]
struct GrantRow {
    id: Digest,
    request: Digest,
    kind: GrantKind,
    about: About,
    record: String,
    answer: String,
    keep_until: UnixSeconds,
}

impl Grant {
    pub(super) fn read(row: &[u8]) -> Result<Self, StoreError> {
        let row: GrantRow = serde_json::from_slice(row).map_err(StoreError::Row)?;
        let GrantRow { id, request, kind, about, record, answer, keep_until } = row;
        Ok(Self { id: RequestId(id.0), request, kind, about, record, answer, keep_until })
    }

    pub(super) fn to_row(&self) -> Result<Vec<u8>, StoreError> {
        let Self { id, request, kind, about, record, answer, keep_until } = self.clone();
        let row = GrantRow { id: Digest(id.0), request, kind, about, record, answer, keep_until };
        serde_json::to_vec(&row).map_err(StoreError::Row)
    }

    pub(super) fn for_request(self, request: &Digest) -> Result<Self, StoreError> {
        if self.request == *request { Ok(self) } else { Err(StoreError::RequestDiffers) }
    }
}

/// That a piece of evidence was used, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceUse {
    /// [`join_key`](super::join_key) or [`use_key`](super::use_key).
    #[serde(skip)]
    pub key: [u8; 32],
    /// What it is. Rows of before there were other kinds don't say.
    #[serde(default = "join_token")]
    pub kind: EvidenceKind,
    /// The agent that used it.
    pub agent: Did,
    /// When.
    pub used_at: UnixSeconds,
    /// When it may be forgotten: it has then expired long since.
    pub keep_until: UnixSeconds,
}

fn join_token() -> EvidenceKind {
    EvidenceKind::JoinToken
}

impl EvidenceUse {
    pub(super) fn to_row(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(StoreError::Row)
    }
}

/// What became of beginning a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is begun, and durable.
    Now(Grant),
    /// The same request was granted before: these are its bytes.
    Earlier(Grant),
    /// A piece of this kind has been used by another request.
    EvidenceUsed(EvidenceKind),
}

/// Numbers for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Identity credentials issued since the store was made.
    pub credentials: u64,
    /// Root tokens issued since the store was made.
    pub roots: u64,
    /// Used pieces of evidence that are remembered.
    pub evidence_remembered: u64,
    /// Granted requests that are remembered.
    pub grants_remembered: u64,
    /// Grants whose record is not known to be stored.
    pub grants_pending: u64,
}
