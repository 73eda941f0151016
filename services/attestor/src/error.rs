//! Why a process gets no evidence.

use marque_identity::{Code, TrustDomain};
use marque_json::JsonError;
use marque_signing::{JwsError, jws};

/// Why a process gets no evidence, apart by who has to change something.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// More bytes before the newline than a line may have.
    #[error("the line has more than {bytes_max} bytes")]
    LineTooLong {
        /// The limit.
        bytes_max: usize,
    },
    /// The connection ended before the newline.
    #[error("the line does not end")]
    LineUnfinished,
    /// Something follows the one line.
    #[error("one line is answered, and something follows it")]
    MoreThanOneLine,
    /// No line within the time.
    #[error("no line within {seconds} s")]
    LineLate {
        /// The limit.
        seconds: u64,
    },
    /// The line is not the JSON that belongs here.
    #[error("the line is not `{{\"request\": …}}`: {0}")]
    Line(#[source] JsonError),
    /// The request is not signed by the key that it names.
    #[error("the request does not prove that its sender holds the agent's key: {0}")]
    Possession(#[source] JwsError),
    /// The request is old, or from the future.
    #[error("the request is signed {seconds} s from now, at most {seconds_max} s are allowed")]
    Stale {
        /// How far away.
        seconds: i64,
        /// The limit.
        seconds_max: i64,
    },
    /// Evidence for another trust domain.
    #[error("the request is for another trust domain than {own}")]
    OtherDomain {
        /// This machine's.
        own: TrustDomain,
    },
    /// The kernel names no process: it is in another pid namespace that is not below this one.
    #[error("the kernel names no process on the other end")]
    Nameless,
    /// The process has ended, or its number has gone to another.
    #[error("the process has ended")]
    Gone,
    /// It is not the process that it was when it connected.
    #[error("the process has changed while it was looked at: {what}")]
    Changed {
        /// What differs.
        what: &'static str,
    },
    /// The executable is larger than what is hashed.
    #[error("the executable has more than {bytes_max} bytes")]
    ExecutableTooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// What the kernel tells of the process can't be read.
    #[error("the process can't be looked at: {what}")]
    Unreadable {
        /// What was read.
        what: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// What the kernel tells of the process can't be understood.
    #[error("the process can't be understood: {what}")]
    NotUnderstood {
        /// What is odd.
        what: &'static str,
    },
    /// The look took too long.
    #[error("the process was not looked at within {seconds} s")]
    LookLate {
        /// The limit.
        seconds: u64,
    },
    /// More is stated than evidence may hold.
    #[error("the evidence would have more than {bytes_max} bytes")]
    EvidenceTooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// As many are served as may be.
    #[error("too many connections at once")]
    Busy,
    /// The evidence could not be signed.
    #[error("the evidence could not be signed")]
    Sign(#[source] JwsError),
    /// The look ended without a result.
    #[error("the look ended without a result")]
    Panicked,
}

impl AttestError {
    /// The stable reason.
    pub fn code(&self) -> Code {
        match self {
            Self::LineTooLong { .. } | Self::ExecutableTooLarge { .. } | Self::EvidenceTooLarge { .. } => {
                Code::Oversize
            }
            Self::LineUnfinished | Self::MoreThanOneLine | Self::LineLate { .. } => Code::Malformed,
            Self::Line(error) => jws::json_code(error),
            Self::Possession(JwsError::SignatureInvalid) => Code::PossessionUnproven,
            Self::Possession(error) => error.code(),
            Self::Stale { .. } => Code::RequestStale,
            Self::OtherDomain { .. } => Code::NotAuthorized,
            Self::Nameless | Self::Gone => Code::NotFound,
            Self::Changed { .. } => Code::Conflict,
            Self::Unreadable { .. } | Self::NotUnderstood { .. } | Self::LookLate { .. } | Self::Busy => {
                Code::Unavailable
            }
            Self::Sign(_) | Self::Panicked => Code::Internal,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::LineTooLong { .. } | Self::LineUnfinished | Self::MoreThanOneLine | Self::LineLate { .. } => {
                "send one line, with its newline, and wait for the answer"
            }
            Self::Line(_) => "send {\"request\": \"<a marque-attest+jwt>\"}",
            Self::ExecutableTooLarge { .. } => "ship a smaller executable: its libraries and weights belong beside it",
            Self::Nameless => "run the attestor in a pid namespace that holds the process",
            Self::Gone | Self::Changed { .. } => "ask from the process that stays, over a connection of its own",
            Self::Unreadable { .. } => "run the attestor as root, or as the process's own user",
            Self::Busy | Self::LookLate { .. } => "ask again in a moment",
            Self::Possession(_)
            | Self::Stale { .. }
            | Self::OtherDomain { .. }
            | Self::NotUnderstood { .. }
            | Self::EvidenceTooLarge { .. }
            | Self::Sign(_)
            | Self::Panicked => self.code().hint(),
        }
    }
}
