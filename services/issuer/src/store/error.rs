//! Why the store did not do it.

use marque_identity::{Code, Refusal};

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or the file's form.
    #[error("the issuer's store: {0}")]
    Disk(Box<redb::Error>),
    /// Another process has it open.
    #[error("the issuer's store is open in another process; two issuers never share a state directory")]
    Locked,
    /// It belongs to another issuer, or is of another format.
    #[error("the issuer's store was made with {key} `{stored}`, this issuer has `{ours}`")]
    Foreign {
        /// What differs.
        key: &'static str,
        /// As it was made.
        stored: String,
        /// As it would have to be.
        ours: String,
    },
    /// A row can't be read.
    #[error("a row of the issuer's store can't be read")]
    Row(#[source] serde_json::Error),
    /// The same agent has used this `jti` for another request.
    #[error("this `jti` was used for another request")]
    RequestDiffers,
}

impl StoreError {
    pub(super) fn of(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::Locked,
            error => Self::Disk(Box::new(error)),
        }
    }

    /// The stable reason.
    pub fn code(&self) -> Code {
        match self {
            Self::Disk(_) | Self::Locked => Code::Unavailable,
            Self::Foreign { .. } | Self::Row(_) => Code::Internal,
            Self::RequestDiffers => Code::Conflict,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Refusal::new(error.code(), error.to_string())
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::of(error)
            }
        }
    )*};
}
from_redb!(redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError, redb::SetDurabilityError);
