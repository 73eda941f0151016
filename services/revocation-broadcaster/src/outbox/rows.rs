//! What stands in the outbox.

use marque_identity::{Did, Digest, Epoch, UnixSeconds};
use marque_revocation::{DirectiveId, Receipt};
use serde::{Deserialize, Serialize};

use super::OutboxError;

/// An accepted request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// SHA-256 of what was asked for (`DirectiveRequest::asked`).
    pub request: Digest,
    /// The directive's id.
    pub id: DirectiveId,
    /// The directive as signed.
    pub compact: String,
    /// When the stream may forget it; never if absent.
    pub gone_at: Option<UnixSeconds>,
    /// Its place in the stream, once it is known to be there.
    pub epoch: Option<Epoch>,
    /// Who has applied it, once that is known.
    pub receipt: Option<Receipt>,
}

impl Row {
    pub(super) fn for_request(self, request: &Digest) -> Result<Self, OutboxError> {
        if self.request == *request { Ok(self) } else { Err(OutboxError::RequestDiffers) }
    }
}

/// What came of accepting.
#[derive(Debug, Clone, PartialEq)]
pub enum Accepted {
    /// It is accepted now.
    Now(Row),
    /// It was accepted before; with what.
    Earlier(Row),
}

/// A record to be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRow {
    /// Its kind.
    pub kind: String,
    /// The key in its bus subject.
    pub key: Did,
    /// As signed.
    pub compact: String,
}
