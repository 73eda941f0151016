//! What the process answers to a script that looks at its exit code alone.

use marque_identity::Code;

/// An exit code. One meaning each: a script must be able to tell "no" from "could not look".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Yes: done, permitted, valid.
    Yes,
    /// A definite no: denied, invalid, tampered.
    No,
    /// The command line or the configuration is wrong.
    Usage,
    /// Could not be checked; nothing changed.
    Undecided,
    /// A write may have happened; the answer names the key to retry with.
    OutcomeUnknown,
    /// The one who asks may not.
    NoPermission,
    /// No such thing, or it exists with other content.
    NotFoundOrConflict,
    /// `agent run` alone: the command's own exit code, passed on.
    OfCommand(u8),
    /// `check --format nagios` alone: that system's codes, not ours.
    NagiosWarning,
    /// The same.
    NagiosCritical,
    /// The same.
    NagiosUnknown,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No | Self::NagiosWarning => 1,
            Self::Usage | Self::NagiosCritical => 2,
            Self::Undecided | Self::NagiosUnknown => 3,
            Self::OutcomeUnknown => 4,
            Self::NoPermission => 5,
            Self::NotFoundOrConflict => 6,
            Self::OfCommand(code) => code,
        }
    }

    /// What a refusal of this reason means to a script.
    pub fn of(code: Code) -> Self {
        match code {
            Code::Malformed
            | Code::Oversize
            | Code::DuplicateMember
            | Code::TooDeep
            | Code::ChainEmpty
            | Code::ChainUnknown
            | Code::TokenIdRepeated
            | Code::AlgorithmNotAllowed
            | Code::TypeMismatch
            | Code::CriticalUnknown
            | Code::SignatureInvalid
            | Code::ClaimsMalformed
            | Code::RootDepthNotZero
            | Code::RootHasParent
            | Code::TokenExpired
            | Code::TokenFromFuture
            | Code::LifetimeInvalid
            | Code::DepthInvalid
            | Code::IssuerUnknown
            | Code::HolderKeyInvalid
            | Code::GrantMalformed
            | Code::ConstraintMalformed
            | Code::ConstraintUnknown
            | Code::LinkIssuerMismatch
            | Code::DepthSkipped
            | Code::DepthExhausted
            | Code::DepthWidened
            | Code::LinkOutlivesParent
            | Code::AuthorityWidened
            | Code::ParentHashMismatch
            | Code::ChainLengthMismatch
            | Code::ToolNotGranted
            | Code::ArgumentRefused
            | Code::ArgumentMissing
            | Code::NumberInadmissible
            | Code::AudienceMismatch
            | Code::ProofMalformed
            | Code::ProofTokenMismatch
            | Code::ProofToolMismatch
            | Code::ProofArgumentsMismatch
            | Code::ProofOutOfWindow
            | Code::NonceMismatch
            | Code::ProofReplayed
            | Code::Revoked
            | Code::Suspended
            | Code::Narrowed
            | Code::LimitUnsupported
            | Code::ManifestChanged
            | Code::PolicyDenied
            | Code::ReplySubjectRefused
            | Code::JoinTokenInvalid
            | Code::EvidenceMissing
            | Code::EvidenceInvalid
            | Code::EvidenceMismatch
            | Code::ModelNotAllowed
            | Code::CeilingExceeded
            | Code::CredentialInvalid
            | Code::TooManyConnections
            | Code::RequestStale
            | Code::BundleUntrusted
            | Code::LogInvalid => Self::No,
            Code::ConfigInvalid | Code::TargetInvalid | Code::Usage | Code::FileUnusable => Self::Usage,
            Code::ViewStale
            | Code::ViewDiverged
            | Code::ReplayUndecided
            | Code::NotRecorded
            | Code::Unavailable
            | Code::ToolUnserved
            | Code::LogHalted
            | Code::OutputLost
            | Code::Internal => Self::Undecided,
            // The call was permitted and recorded, and went out: what the tool did is not known here.
            Code::OutcomeUnknown | Code::ToolFailed => Self::OutcomeUnknown,
            Code::NotAuthorized | Code::PossessionUnproven => Self::NoPermission,
            Code::JoinTokenUsed
            | Code::EvidenceReused
            | Code::BlueprintUnknown
            | Code::DirectiveUnknown
            | Code::NotFound
            | Code::Conflict
            | Code::StreamDiffers => Self::NotFoundOrConflict,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
