//! One link of a verified chain.

use marque_credential::Tools;
use marque_identity::{Did, Digest, TokenId, UnixSeconds};
use marque_signing::PublicKey;

/// A token of a verified chain, as far as decisions need it.
///
/// INVARIANT: only chain verification makes one.
#[derive(Debug)]
pub struct Link {
    pub(super) digest: Digest,
    /// The digest as `par_hash` and `aat_hash` write it.
    pub(super) hash: String,
    pub(super) jti: TokenId,
    pub(super) holder: PublicKey,
    pub(super) did: Did,
    pub(super) iat: UnixSeconds,
    pub(super) exp: UnixSeconds,
    pub(super) depth: u64,
    pub(super) max_depth: u64,
    pub(super) aud: Option<Vec<Box<str>>>,
    pub(super) tools: Tools,
    /// Whether it has an entry of tools at all; without one it grants nothing.
    pub(super) has_grant: bool,
}

impl Link {
    /// SHA-256 of its signing input: what it is called by in directives and records.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The digest in base64url, as `aat_hash` and a child's `par_hash` write it.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Its `jti`.
    pub fn jti(&self) -> &TokenId {
        &self.jti
    }

    /// Its holder's key.
    pub fn holder_key(&self) -> &PublicKey {
        &self.holder
    }

    /// Its holder's name.
    pub fn holder(&self) -> &Did {
        &self.did
    }

    /// When it was issued.
    pub fn iat(&self) -> UnixSeconds {
        self.iat
    }

    /// When it expires.
    pub fn exp(&self) -> UnixSeconds {
        self.exp
    }

    /// 0 for the root.
    pub fn depth(&self) -> u64 {
        self.depth
    }

    /// How deep its descendants may go.
    pub fn max_depth(&self) -> u64 {
        self.max_depth
    }

    /// Where it may be presented; `None`: anywhere.
    pub fn audience(&self) -> Option<&[Box<str>]> {
        self.aud.as_deref()
    }

    /// What it grants.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Whether it has an entry of tools; a link in the middle may have none.
    pub fn has_grant(&self) -> bool {
        self.has_grant
    }
}
