//! What requests are examined against: the bundle, the blueprints, and under which name roots are issued.

use marque_credential::{IdentityCredential, VerifiedCredential};
use marque_identity::{Code, Refusal, UnixSeconds};
use marque_signing::{PublicKey, Role, TrustBundle};

use crate::blueprint::Blueprints;

/// What requests are examined against. Read at start, never changed.
#[derive(Debug)]
pub struct Rules {
    /// Issuers, operators, the domain.
    pub bundle: TrustBundle,
    /// The kinds of agents.
    pub blueprints: Blueprints,
    /// `iss` of our roots: the URI under which the bundle lists our key.
    pub iss: String,
}

impl Rules {
    /// The rules under which `key` issues; refuses a key that the bundle does not list as an issuer's.
    pub fn new(bundle: TrustBundle, blueprints: Blueprints, key: &PublicKey) -> Result<Self, Refusal> {
        let ours = bundle.issuers.iter().find(|anchor| anchor.did == key.did());
        let iss = ours.map(|anchor| anchor.iss.clone()).ok_or_else(|| {
            let message = format!("key {} is no issuer of trust domain `{}`", key.did(), bundle.trust_domain);
            Refusal::new(Code::BundleUntrusted, message)
        })?;
        Ok(Self { bundle, blueprints, iss })
    }

    /// An identity credential that one of the domain's issuers signed, in its time, held by this key.
    pub(crate) fn credential(
        &self,
        credential: &str,
        holder: &PublicKey,
        now: UnixSeconds,
    ) -> Result<VerifiedCredential, Refusal> {
        let held = IdentityCredential::verify(credential, &self.bundle.keys(Role::Issuer), now)
            .map_err(|error| Refusal::new(Code::CredentialInvalid, format!("identity credential: {error}")))?;
        if held.holder() != holder {
            let message = "the identity credential is bound to another key than the one that signed the request";
            return Err(Refusal::new(Code::PossessionUnproven, message));
        }
        Ok(held)
    }
}
