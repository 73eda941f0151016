//! Why bytes are no part of a log, or don't belong to the log they are shown for.

use marque_identity::refusal::{Code, Refusal};

/// A refusal of this crate, one variant per reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A leaf's frame is cut short, has trailing bytes, an unknown version or a bus subject that is not UTF-8.
    #[error("leaf frame: {0}")]
    EntryMalformed(&'static str),
    /// An entry is longer than a bundle can hold ([`crate::ENTRY_BYTES_MAX`]).
    #[error("an entry of {0} bytes is over the limit of 65535")]
    EntryOversize(usize),
    /// A bundle of entries is cut short, or holds more or fewer than its width.
    #[error("entry bundle: {0}")]
    BundleMalformed(&'static str),
    /// A path is no tile's path (C2SP `tlog-tiles`).
    #[error("not a tile's path")]
    TilePathMalformed,
    /// A tile could not be read, or is too short.
    #[error("tile `{path}`: {why}")]
    TileUnreadable {
        /// Its path in the C2SP layout.
        path: String,
        /// What went wrong.
        why: String,
    },
    /// Open tiles that don't fit the size they are said to have.
    #[error("open tiles do not fit a tree of {0} leaves")]
    EdgeMalformed(u64),
    /// A proof was asked for a leaf or a size outside the tree.
    #[error("index or size outside the tree")]
    OutOfRange,
    /// A text is no signed note (C2SP `signed-note`).
    #[error("signed note: {0}")]
    NoteMalformed(&'static str),
    /// A verifier key's text is malformed, or its key is not admissible.
    #[error("verifier key: {0}")]
    VerifierKeyMalformed(&'static str),
    /// A signature under a known key fails, or no signature is under a known key.
    #[error("signed note: {0}")]
    NoteUntrusted(&'static str),
    /// A note's text is no checkpoint (C2SP `tlog-checkpoint`).
    #[error("checkpoint: {0}")]
    CheckpointMalformed(&'static str),
    /// A file is no proof (C2SP `tlog-proof`).
    #[error("tlog-proof: {0}")]
    TlogProofMalformed(&'static str),
    /// A request to a witness is malformed (C2SP `tlog-witness`).
    #[error("add-checkpoint: {0}")]
    AddCheckpointMalformed(&'static str),
    /// A file is no policy (C2SP `tlog-policy`). Line 0 is the whole.
    #[error("policy, line {line}: {what}")]
    PolicyMalformed {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The log signed the checkpoint, but too few of the policy's witnesses have cosigned it.
    #[error("too few witnesses have cosigned the checkpoint")]
    QuorumMissing,
    /// A later epoch's first leaf is no genesis, or not of this log.
    #[error("genesis of the epoch: {0}")]
    GenesisMalformed(&'static str),
    /// A proof does not lead from what it is given to the root it is given.
    #[error("the proof does not verify")]
    ProofInvalid,
}

impl LedgerError {
    /// The stable reason.
    pub fn code(&self) -> Code {
        match self {
            Self::EntryMalformed(_)
            | Self::BundleMalformed(_)
            | Self::TilePathMalformed
            | Self::NoteMalformed(_)
            | Self::VerifierKeyMalformed(_)
            | Self::CheckpointMalformed(_)
            | Self::TlogProofMalformed(_)
            | Self::AddCheckpointMalformed(_)
            | Self::PolicyMalformed { .. }
            | Self::GenesisMalformed(_) => Code::Malformed,
            Self::EntryOversize(_) => Code::Oversize,
            Self::OutOfRange => Code::NotFound,
            Self::NoteUntrusted(_) | Self::QuorumMissing => Code::SignatureInvalid,
            Self::TileUnreadable { .. } | Self::EdgeMalformed(_) | Self::ProofInvalid => Code::LogInvalid,
        }
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
