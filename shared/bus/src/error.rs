//! Why something on the bus did not happen.

use marque_identity::{Code, Refusal};

/// Why something on the bus did not happen.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No connection, or it was lost, or the server did not answer: nothing happened.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
    /// There is a connection, but the broker has not said whether we may use it: nothing happened.
    #[error("the broker does not decide whether to let us in: {0}")]
    NotAdmitted(String),
    /// It was sent, but no answer came before the deadline: it may have happened.
    #[error("no answer within the deadline: {0}")]
    OutcomeUnknown(String),
    /// The server's permissions forbid it.
    #[error("the broker forbids it: {0}")]
    Forbidden(String),
    /// The broker answered with an error.
    #[error("the broker refuses: {0}")]
    Refused(String),
    /// The stream's last sequence is not the one that was expected: nothing was stored.
    #[error("the stream has moved on: {0}")]
    SequenceMoved(String),
    /// Another message is stored under the id that is the digest of ours.
    #[error("stream sequence {sequence} holds other bytes under the same id")]
    Suppressed {
        /// Where the other message is stored.
        sequence: u64,
    },
    /// A stream is absent, or its settings are not the ones we ask for; each difference is named.
    #[error("stream {stream} differs: {}", differences.join("; "))]
    StreamDiffers {
        /// The stream's name.
        stream: String,
        /// One sentence for each difference.
        differences: Vec<String>,
    },
    /// Something to send is larger than its limit.
    #[error("{what} is {bytes} bytes, the limit is {bytes_max}")]
    Oversize {
        /// What was to be sent.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A name that is to stand in a subject can't.
    #[error("{0} can't stand in a bus subject")]
    SubjectInvalid(String),
    /// What came from the broker is not of the form that it must have.
    #[error("the broker's answer is malformed: {0}")]
    Malformed(String),
}

impl BusError {
    /// The stable reason.
    pub fn code(&self) -> Code {
        match self {
            Self::Unavailable(_) | Self::NotAdmitted(_) | Self::Refused(_) | Self::Malformed(_) => Code::Unavailable,
            Self::Forbidden(_) => Code::NotAuthorized,
            Self::OutcomeUnknown(_) => Code::OutcomeUnknown,
            Self::SequenceMoved(_) | Self::Suppressed { .. } => Code::Conflict,
            Self::StreamDiffers { .. } => Code::StreamDiffers,
            Self::Oversize { .. } => Code::Oversize,
            Self::SubjectInvalid(_) => Code::Malformed,
        }
    }
}

impl From<BusError> for Refusal {
    fn from(error: BusError) -> Self {
        Refusal::new(error.code(), error.to_string())
    }
}
