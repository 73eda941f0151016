//! Why the sink can't go on, or can't answer.

use std::path::Path;

use marque_identity::refusal::{Code, Refusal};
use marque_ledger::LedgerError;

/// An error of the sink, one variant per reason.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The store failed, or its disk did.
    #[error("store: {0}")]
    Store(#[source] Box<redb::Error>),
    /// The store is of another log, or of another version.
    #[error("store: {0}")]
    ForeignStore(String),
    /// An archive is not this log's, or not what its checkpoint states.
    #[error("archive: {0}")]
    Archive(String),
    /// A leaf was handed in that is not the next.
    #[error("leaf {got} was handed in where {next} is the next")]
    NotNext {
        /// The next leaf.
        next: u64,
        /// What came.
        got: u64,
    },
    /// The log may not go on: a hole, another stream, another root. Nothing is filled or skipped.
    #[error("the log halts: {0}")]
    Halted(String),
    /// The stream lacks what comes next: the log halts unless another sink's log has it.
    #[error("the log halts: {0}")]
    Hole(Hole),
    /// Bytes of the log are not what they must be.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The broker failed or refused.
    #[error("broker: {0}")]
    Bus(#[from] marque_bus::BusError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A question can't be answered as it is asked.
    #[error("{0}")]
    Asked(String),
    /// A question that is not of its form.
    #[error("the question can't be read: {1}")]
    Question(Code, String),
    /// There is no such leaf, record or file.
    #[error("{0}")]
    NotFound(String),
    /// What is asked for is in the log, and no checkpoint covers it yet: ask again shortly.
    #[error("{0}")]
    NotYet(String),
    /// A task of ours ended without its answer.
    #[error("a task of the sink broke off")]
    BrokenOff,
}

/// Messages that come next in the log, and that the stream lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// The first one's sequence: the log ends before it.
    pub from: u64,
    /// The last one's: the stream goes on with the next.
    pub to: u64,
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to } = *self;
        let (before, behind) = (from.saturating_sub(1), to.saturating_add(1));
        write!(f, "the stream goes from sequence {before} to {behind}: messages {from} to {to} are missing")
    }
}

impl Hole {
    /// The stream holds `found` where `due` comes next, which is less.
    pub(crate) fn before(due: u64, found: u64) -> Self {
        Self { from: due, to: found.saturating_sub(1) }
    }
}

impl SinkError {
    /// What befell a file, or a folder.
    pub(crate) fn at(path: &Path) -> impl Fn(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io { path: path.clone(), source }
    }

    /// The stable reason.
    pub fn code(&self) -> Code {
        match self {
            Self::Store(_) | Self::Io { .. } | Self::NotNext { .. } | Self::BrokenOff => Code::Internal,
            Self::ForeignStore(_) => Code::Conflict,
            Self::Archive(_) => Code::LogInvalid,
            Self::Halted(_) | Self::Hole(_) => Code::LogHalted,
            Self::Ledger(error) => error.code(),
            Self::Bus(_) | Self::NotYet(_) => Code::Unavailable,
            Self::Asked(_) => Code::Malformed,
            Self::Question(code, _) => *code,
            Self::NotFound(_) => Code::NotFound,
        }
    }
}

impl From<SinkError> for Refusal {
    fn from(error: SinkError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

macro_rules! from_redb {
    ($($kind:ident)*) => { $(
        impl From<redb::$kind> for SinkError {
            fn from(error: redb::$kind) -> Self {
                Self::Store(Box::new(error.into()))
            }
        }
    )* };
}
from_redb!(DatabaseError TransactionError TableError StorageError CommitError CompactionError);
