//! Why the outbox did not do it.

use marque_identity::{Code, Refusal};

/// Why the outbox did not do it.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The disk, or the file's form.
    #[error("the outbox: {0}")]
    Disk(Box<redb::Error>),
    /// Another process has it open.
    #[error("the outbox is open in another process; two broadcasters never share a state directory")]
    Locked,
    /// It belongs to another broadcaster, or is of another format.
    #[error("the outbox was made with {key} `{stored}`, this broadcaster has `{ours}`")]
    Foreign {
        /// What differs.
        key: &'static str,
        /// As it was made.
        stored: String,
        /// As it would have to be.
        ours: String,
    },
    /// A row can't be read.
    #[error("a row of the outbox can't be read")]
    Row(#[source] serde_json::Error),
    /// Too many directives wait for the stream.
    #[error("too many directives wait for the stream")]
    Full,
    /// The same requester has used this `jti` for another request.
    #[error("this `jti` was used for another request")]
    RequestDiffers,
}

impl OutboxError {
    pub(super) fn of(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::Locked,
            error => Self::Disk(Box::new(error)),
        }
    }

    /// The stable reason.
    pub fn code(&self) -> Code {
        match self {
            Self::Disk(_) | Self::Locked | Self::Full => Code::Unavailable,
            Self::Foreign { .. } | Self::Row(_) => Code::Internal,
            Self::RequestDiffers => Code::Conflict,
        }
    }
}

impl From<OutboxError> for Refusal {
    fn from(error: OutboxError) -> Self {
        Refusal::new(error.code(), error.to_string())
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for OutboxError {
            fn from(error: $error) -> Self {
                Self::of(error)
            }
        }
    )*};
}
from_redb!(redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError, redb::SetDurabilityError);
