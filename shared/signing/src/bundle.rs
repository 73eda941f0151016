//! The trust bundle: which key has which role in a trust domain.

use marque_identity::{Code, Did, Digest, TrustDomain, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::jws::{self, JwsError};
use crate::key::{KeyError, PublicKey, SigningKey};
use crate::sha256;

/// `typ` of a bundle.
pub const BUNDLE_TYP: &str = "marque-bundle+jwt";
/// A few hundred keys of 100 bytes.
pub const BUNDLE_BYTES_MAX: usize = 48 * 1024;

/// What a service's key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Credentials and root tokens.
    Issuer,
    /// Directives and heartbeats.
    Broadcaster,
    /// Decisions of a verifier service.
    Verifier,
    /// Checkpoints.
    Sink,
    /// Decisions of a tool host's own enforcement.
    Host,
    /// Requests of the risk service, within its ceiling.
    Risk,
    /// What became of agents' connections to the broker.
    Gatekeeper,
    /// Evidence of the processes on one machine.
    Attestor,
}

/// A root issuer: the `iss` of its tokens and the key that signs them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The issuer's URI.
    pub iss: String,
    /// Its key.
    pub did: Did,
}

/// A service's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceKey {
    /// What it may sign.
    pub role: Role,
    /// For people; of an attestor, the machine that its evidence may be of.
    pub name: String,
    /// The key.
    pub did: Did,
}

/// A person or team that may revoke anything and invite agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// For people.
    pub name: String,
    /// The key.
    pub did: Did,
}

/// The trust domain's keys and roles, versioned, signed by one of its issuers.
///
/// TRUST: a bundle vouches for itself; it is trusted because its digest was pinned at install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustBundle {
    /// The domain.
    pub trust_domain: TrustDomain,
    /// Grows with every change.
    pub version: u64,
    /// When it was signed.
    pub issued_at: UnixSeconds,
    /// Root issuers.
    pub issuers: Vec<Anchor>,
    /// Service keys.
    pub services: Vec<ServiceKey>,
    /// Operators.
    pub operators: Vec<Operator>,
}

/// Why a bundle was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Its digest is not the pinned one.
    #[error("the bundle's digest is {found}, pinned is {pinned}")]
    NotPinned {
        /// The digest of what was read.
        found: Digest,
        /// The digest that was installed.
        pinned: Digest,
    },
    /// It is not signed as it says.
    #[error("the bundle is not a token that verifies")]
    Token(#[source] JwsError),
    /// Its signer is none of its issuers.
    #[error("the bundle is not signed by one of its issuers")]
    SignerNotIssuer,
    /// A key in it is none.
    #[error("a key in the bundle is not usable")]
    Key(#[source] KeyError),
}

impl BundleError {
    /// The outward code.
    pub fn code(&self) -> Code {
        Code::BundleUntrusted
    }
}

impl TrustBundle {
    /// Signs a bundle with one of its issuers' keys.
    pub fn sign(&self, issuer: &SigningKey) -> Result<String, BundleError> {
        if !self.issuers.iter().any(|anchor| anchor.did == issuer.did()) {
            return Err(BundleError::SignerNotIssuer);
        }
        jws::sign_as_did(issuer, BUNDLE_TYP, self).map_err(BundleError::Token)
    }

    /// Opens a bundle: the pin, the signature, every key. `pin: None` trusts on first use.
    pub fn open(token: &str, pin: Option<Digest>) -> Result<Self, BundleError> {
        let token = token.trim_end();
        if let Some(pinned) = pin
            && fingerprint(token) != pinned
        {
            return Err(BundleError::NotPinned { found: fingerprint(token), pinned });
        }
        let signer = jws::claimed_signer(token).map_err(BundleError::Token)?;
        let bundle: Self =
            jws::verify_json(token, &signer, BUNDLE_TYP, BUNDLE_BYTES_MAX).map_err(BundleError::Token)?;
        if !bundle.issuers.iter().any(|anchor| anchor.did == signer.did()) {
            return Err(BundleError::SignerNotIssuer);
        }
        for did in bundle.dids() {
            PublicKey::from_did(did).map_err(BundleError::Key)?;
        }
        Ok(bundle)
    }

    fn dids(&self) -> impl Iterator<Item = &Did> {
        let services = self.services.iter().map(|service| &service.did);
        let operators = self.operators.iter().map(|operator| &operator.did);
        self.issuers.iter().map(|anchor| &anchor.did).chain(services).chain(operators)
    }

    /// Whether this key has this role.
    pub fn has_role(&self, did: &Did, role: Role) -> bool {
        let issuer = role == Role::Issuer && self.issuers.iter().any(|anchor| anchor.did == *did);
        issuer || self.services.iter().any(|service| service.did == *did && service.role == role)
    }

    /// Whether this key has this role under this name: an attestor speaks for the machine that it is named after.
    pub fn is_named(&self, did: &Did, role: Role, name: &str) -> bool {
        self.services.iter().any(|service| service.did == *did && service.role == role && service.name == name)
    }

    /// Whether this key is an operator's.
    pub fn is_operator(&self, did: &Did) -> bool {
        self.operators.iter().any(|operator| operator.did == *did)
    }

    /// The keys of a role. Those that are no keys are left out; [`open`](Self::open) refuses such a bundle.
    pub fn keys(&self, role: Role) -> Vec<PublicKey> {
        let services = self.services.iter().filter(|service| service.role == role).map(|service| &service.did);
        let issuers = self.issuers.iter().filter(|_| role == Role::Issuer).map(|anchor| &anchor.did);
        issuers.chain(services).filter_map(|did| PublicKey::from_did(did).ok()).collect()
    }
}

/// The fingerprint that is pinned at install: SHA-256 of the bundle as signed.
pub fn fingerprint(token: &str) -> Digest {
    sha256(token.trim_end().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(issuer: &SigningKey) -> TrustBundle {
        TrustBundle {
            trust_domain: "acme.example".parse().unwrap(),
            version: 1,
            issued_at: UnixSeconds(1),
            issuers: vec![Anchor { iss: "https://acme.example".into(), did: issuer.did() }],
            services: vec![ServiceKey {
                role: Role::Sink,
                name: "sink".into(),
                did: SigningKey::from_seed(&[5; 32]).did(),
            }],
            operators: vec![],
        }
    }

    #[test]
    fn opens_what_an_issuer_signed_and_was_pinned() {
        let issuer = SigningKey::from_seed(&[4; 32]);
        let token = bundle(&issuer).sign(&issuer).unwrap();
        assert_eq!(TrustBundle::open(&token, Some(fingerprint(&token))).unwrap(), bundle(&issuer));
        assert!(matches!(TrustBundle::open(&token, Some(Digest([0; 32]))), Err(BundleError::NotPinned { .. })));
        let opened = TrustBundle::open(&format!("{token}\n"), None).unwrap();
        assert!(opened.has_role(&issuer.did(), Role::Issuer) && !opened.has_role(&issuer.did(), Role::Sink));
        assert_eq!(opened.keys(Role::Sink).len(), 1);
        let sink = SigningKey::from_seed(&[5; 32]).did();
        assert!(opened.is_named(&sink, Role::Sink, "sink"));
        assert!(!opened.is_named(&sink, Role::Sink, "other") && !opened.is_named(&sink, Role::Attestor, "sink"));
        assert!(!opened.is_named(&issuer.did(), Role::Sink, "sink"));
    }

    #[test]
    fn refuses_a_signer_that_is_no_issuer() {
        let (issuer, thief) = (SigningKey::from_seed(&[4; 32]), SigningKey::from_seed(&[6; 32]));
        assert_eq!(bundle(&issuer).sign(&thief), Err(BundleError::SignerNotIssuer));
        let forged = jws::sign_as_did(&thief, BUNDLE_TYP, &bundle(&issuer)).unwrap();
        assert_eq!(TrustBundle::open(&forged, None), Err(BundleError::SignerNotIssuer));
    }
}
