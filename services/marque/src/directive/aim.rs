//! What a directive is aimed at, as it is written on a command line.

use clap::{Args, ValueEnum};
use marque_identity::Code;
use marque_revocation::{RevocationError, Target, TargetKind};

use crate::Failure;
use crate::cli::Common;
use crate::inspect::{read_bounded, token_digest};

/// A chain is 256 KiB at the most (PROTOCOL §2).
const CHAIN_BYTES_MAX: usize = 256 * 1024;

/// The target.
#[derive(Debug, Args)]
pub(super) struct Aim {
    /// Kind of target.
    #[arg(value_enum)]
    kind: Kind,
    /// Which one. A token: its digest, itself, its chain (the leaf is meant), or `-` for stdin. A key: its DID. The
    /// domain's own name may be left out where the bootstrap directory tells it.
    value: Option<String>,
}

/// Kinds of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// A link, and all that descends from it.
    Token,
    /// Every token held by a key.
    Key,
    /// Every agent of a blueprint.
    Blueprint,
    /// Everything done for a task.
    Task,
    /// Every agent that runs a manifest.
    Manifest,
    /// Everything that an issuer signed.
    Issuer,
    /// Everything: the kill switch.
    Domain,
}

impl Kind {
    fn wire(self) -> TargetKind {
        match self {
            Self::Token => TargetKind::Token,
            Self::Key => TargetKind::Key,
            Self::Blueprint => TargetKind::Blueprint,
            Self::Task => TargetKind::Task,
            Self::Manifest => TargetKind::Manifest,
            Self::Issuer => TargetKind::Issuer,
            Self::Domain => TargetKind::Domain,
        }
    }
}

impl Aim {
    /// The target, checked.
    pub(super) fn target(&self, common: &Common) -> Result<Target, Failure> {
        let value = match (self.kind, self.value.as_deref()) {
            (Kind::Token, Some("-")) => {
                token_digest(&String::from_utf8_lossy(&read_bounded("-", CHAIN_BYTES_MAX)?))?.to_string()
            }
            (Kind::Token, Some(text)) => token_digest(text)?.to_string(),
            (Kind::Domain, None) => common.connection.directory()?.bundle()?.trust_domain.to_string(),
            (_, Some(text)) => text.to_owned(),
            (kind, None) => return Err(Failure::usage(format!("which {}?", kind.wire()))),
        };
        let invalid = |error: RevocationError| Failure::new(Code::TargetInvalid, error.to_string());
        let target = Target::parse(self.kind.wire(), &value).map_err(invalid)?;
        // Where no directory tells the domain, the broadcaster refuses.
        if let Ok(directory) = common.connection.directory()
            && let Ok(bundle) = directory.bundle()
        {
            target.check_known(&bundle).map_err(invalid)?;
        }
        Ok(target)
    }
}
