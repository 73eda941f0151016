//! What the issuer is about to sign: examined, not yet signed, not yet recorded.

use marque_credential::{IdentityClaims, IdentityCredential, RootRequest, VerifiedCredential, mint_root};
use marque_identity::{BlueprintName, Did, Digest, Refusal, TaskId, UnixSeconds};
use marque_signing::SigningKey;
use serde::{Deserialize, Serialize};

use crate::store::{EvidenceUse, GrantKind};

/// Whom and what a grant is about: everything that a directive could name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The agent's key.
    pub agent: Did,
    /// Its blueprint.
    pub blueprint: BlueprintName,
    /// Its runtime's manifest.
    pub manifest: Option<Digest>,
    /// The task, of a root.
    pub task: Option<TaskId>,
    /// The identity credential that was shown.
    pub credential: Option<Digest>,
}

impl About {
    /// About the holder of a credential.
    pub(crate) fn of(held: &VerifiedCredential, task: Option<TaskId>) -> Self {
        let claims = held.claims();
        Self {
            agent: claims.subject,
            blueprint: claims.blueprint.clone(),
            manifest: claims.runtime.manifest_hash,
            task,
            credential: Some(held.digest()),
        }
    }
}

/// What will be signed.
#[derive(Debug)]
pub(crate) enum Matter {
    /// An identity credential.
    Credential(Box<IdentityClaims>),
    /// A root token.
    Root(Box<RootRequest>),
}

/// An examined request.
///
/// INVARIANT: only `enrol`, `issue` and `renew` make one.
#[derive(Debug)]
pub(crate) struct Commitment {
    pub(crate) about: About,
    /// The evidence that enrols once, used by this.
    pub(crate) uses: Vec<EvidenceUse>,
    /// What is to be recorded as a risk before it is granted: that the manifest has changed, in words.
    pub(crate) manifest_changed: Option<String>,
    pub(crate) matter: Matter,
}

impl Matter {
    pub(crate) fn kind(&self) -> GrantKind {
        match self {
            Self::Credential(_) => GrantKind::Credential,
            Self::Root(_) => GrantKind::Root,
        }
    }

    pub(crate) fn expires_at(&self) -> UnixSeconds {
        match self {
            Self::Credential(claims) => claims.exp,
            Self::Root(request) => request.exp,
        }
    }

    /// The credential or token, signed.
    pub(crate) fn sign(&self, issuer: &SigningKey) -> Result<String, Refusal> {
        Ok(match self {
            Self::Credential(claims) => IdentityCredential::issue(issuer, claims)?,
            Self::Root(request) => mint_root(issuer, request)?,
        })
    }
}

/// An answer's body.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Answer<'a> {
    Credential { credential: &'a str, expires_at: UnixSeconds },
    Root { token: &'a str, expires_at: UnixSeconds },
}

impl<'a> Answer<'a> {
    pub(crate) fn of(matter: &Matter, signed: &'a str) -> Self {
        let expires_at = matter.expires_at();
        match matter {
            Matter::Credential(_) => Self::Credential { credential: signed, expires_at },
            Matter::Root(_) => Self::Root { token: signed, expires_at },
        }
    }
}
