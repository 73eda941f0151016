//! Verifying a chain: AAT §8 steps 1 to 5 and 6a.
//!
//! Signature before parsing, on the received bytes; each token parsed once, each key decoded once at the most, each
//! signing input hashed once (a root's once for each anchor, where signatures are remembered).

mod derived;
mod link;
mod presented;
mod root;

use marque_credential::aat::{MarqueReading, TOKEN_TYPE};
use marque_credential::limits;
use marque_credential::{MarqueClaims, Tools};
use marque_identity::refusal::Code;
use marque_identity::{Digest, UnixSeconds};
use marque_signing::{Algorithms, JwsError, PublicKey, VerifiedSignatures, sha256};

pub use link::Link;
use presented::Presented;

use crate::ChainRefusal;
use crate::refusal::require;

/// The byte between the tokens of a chain in one text.
pub const CHAIN_SEPARATOR: char = '~';

/// A root issuer that is trusted: its URI and a key of its.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustAnchor {
    /// The `iss` of the roots that it signs.
    pub iss: String,
    /// Its key.
    pub key: PublicKey,
}

/// How large, deep and long-lived a chain may be. The default is what AAT §4.3, §4.4 recommend, and depth 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainLimits {
    /// Encoded size of one token in bytes.
    pub token_bytes_max: usize,
    /// Encoded size of all tokens together in bytes.
    pub chain_bytes_max: usize,
    /// Depth of delegation.
    pub delegation_depth_max: u64,
    /// Life of a token in seconds.
    pub lifetime_seconds_max: i64,
    /// How far in the future an `iat` may lie, in seconds.
    pub iat_skew_seconds_max: i64,
}

impl Default for ChainLimits {
    fn default() -> Self {
        Self {
            token_bytes_max: limits::TOKEN_BYTES_MAX,
            chain_bytes_max: limits::CHAIN_BYTES_MAX,
            delegation_depth_max: limits::DELEGATION_DEPTH_MAX,
            lifetime_seconds_max: limits::LIFETIME_SECONDS_MAX,
            iat_skew_seconds_max: limits::IAT_SKEW_SECONDS_MAX,
        }
    }
}

/// A chain that holds: signed from a trust anchor to its leaf, each link within its parent.
///
/// INVARIANT: only [`verify_chain`] and [`verify_chain_knowing`] make one. It says nothing about directives, nor about any time but the one it
/// was verified at: [`check_time`](Self::check_time) is looked at again on every action.
#[derive(Debug)]
pub struct VerifiedChain {
    /// Root first; never empty.
    links: Vec<Link>,
    /// The leaf's tools; every other link keeps its own.
    marque: MarqueReading,
    issuer: String,
    text: Box<str>,
    iat_skew_seconds_max: i64,
}

impl VerifiedChain {
    /// Root first; never empty.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The token whose holder acts.
    pub fn leaf(&self) -> &Link {
        &self.links[self.links.len() - 1]
    }

    /// The token that the issuer signed.
    pub fn root(&self) -> &Link {
        &self.links[0]
    }

    /// What the leaf grants.
    pub fn tools(&self) -> &Tools {
        self.leaf().tools()
    }

    /// The issuer's URI.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Our claims of the root, if it has them.
    pub fn root_claims(&self) -> Option<&MarqueClaims> {
        if let MarqueReading::Present(claims) = &self.marque { Some(claims) } else { None }
    }

    pub(crate) fn marque(&self) -> &MarqueReading {
        &self.marque
    }

    /// When the leaf, and so the chain, expires.
    pub fn expires_at(&self) -> UnixSeconds {
        self.leaf().exp() // each link expires no later than its parent (step 4h)
    }

    /// The tokens as received, joined by `~`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// One link's token as received.
    pub fn token(&self, index: usize) -> Option<&str> {
        self.text.split(CHAIN_SEPARATOR).nth(index)
    }

    /// SHA-256 of [`text`](Self::text): `Marque-Chain-Ref`. Computed on each call.
    pub fn digest(&self) -> Digest {
        sha256(self.text.as_bytes())
    }

    /// Steps 3e, 3f (4i, 4k) once more, at another time: no link has expired, none is from the future.
    pub fn check_time(&self, now: UnixSeconds) -> Result<(), ChainRefusal> {
        let root_only = self.links.len() == 1;
        let (expired, future) = if root_only { ("3e", "3f") } else { ("4i", "4k") };
        require(self.leaf().exp() > now, expired, Code::TokenExpired, "a token has expired")?;
        // Each link is issued no earlier than its parent (step 4j), so that the leaf's `iat` is the latest.
        let latest = now.plus(self.iat_skew_seconds_max);
        require(self.leaf().iat() <= latest, future, Code::TokenFromFuture, "a token's `iat` lies in the future")
    }
}

/// Verifies a chain: AAT §8 steps 1 to 5, and 6a, in their order.
pub fn verify_chain(
    tokens: &[&str],
    anchors: &[TrustAnchor],
    now: UnixSeconds,
    limits: &ChainLimits,
) -> Result<VerifiedChain, ChainRefusal> {
    verify(tokens, anchors, now, limits, None)
}

/// [`verify_chain`], in which a signature that `known` remembers as good is not verified again. Every step is taken all the
/// same, and the verdict is the same: chains of one task begin with the same tokens.
pub fn verify_chain_knowing(
    tokens: &[&str],
    anchors: &[TrustAnchor],
    now: UnixSeconds,
    limits: &ChainLimits,
    known: &VerifiedSignatures,
) -> Result<VerifiedChain, ChainRefusal> {
    verify(tokens, anchors, now, limits, Some(known))
}

fn verify(
    tokens: &[&str],
    anchors: &[TrustAnchor],
    now: UnixSeconds,
    limits: &ChainLimits,
    known: Option<&VerifiedSignatures>,
) -> Result<VerifiedChain, ChainRefusal> {
    // 1: there is a chain.
    require(!tokens.is_empty(), "1", Code::ChainEmpty, "the chain has no token")?;
    // 2: sizes, then every `jti` readable and none twice.
    let presented = presented::read(tokens, limits)?;
    // 3: the root.
    let (root, issuer, marque) = root::verify(&presented[0], anchors, now, limits, known)?;
    let mut links = Vec::with_capacity(presented.len());
    links.push(root);
    // 4: each pair.
    for token in &presented[1..] {
        let child = derived::verify(token, &links[links.len() - 1], now, limits, known)?;
        links.push(child);
    }
    // 2c again, on what was signed: the first look was at unverified bytes.
    presented::distinct(links.iter().map(Link::jti).collect())?;
    // 5: as many tokens as the leaf is deep.
    let leaf = &links[links.len() - 1];
    let deep = u64::try_from(links.len() - 1).is_ok_and(|depth| depth == leaf.depth());
    require(deep, "5", Code::ChainLengthMismatch, "the chain is not as long as its leaf's depth says")?;
    // 6a: the leaf has an entry (more than one was refused in 3m, 4n).
    require(leaf.has_grant(), "6a", Code::GrantMalformed, "the leaf has no entry of type `attenuating_agent_token`")?;
    let text = join(tokens);
    Ok(VerifiedChain { links, marque, issuer, text, iat_skew_seconds_max: limits.iat_skew_seconds_max })
}

fn join(tokens: &[&str]) -> Box<str> {
    let mut text = String::with_capacity(tokens.iter().map(|token| token.len() + 1).sum());
    for (index, token) in tokens.iter().enumerate() {
        if index > 0 {
            text.push(CHAIN_SEPARATOR);
        }
        text.push_str(token);
    }
    text.into()
}

/// Steps 3a, 4a: the header. `crit` that asks for limits has its own code.
fn check_header(token: &Presented<'_>, step: &'static str) -> Result<(), ChainRefusal> {
    token.check_header(TOKEN_TYPE).map_err(|error| header_refusal(step, &error, || token.header_text()))
}

/// The refusal of a header, with the code of limits where `crit` asks for them.
pub(crate) fn header_refusal(
    step: &'static str,
    error: &JwsError,
    header: impl FnOnce() -> Option<Vec<u8>>,
) -> ChainRefusal {
    let limits = *error == JwsError::CriticalUnknown
        && header().is_some_and(|text| {
            let asked = marque_credential::aat::LIMITS_TYPE.as_bytes();
            text.windows(asked.len()).any(|window| window == asked)
        });
    if limits {
        return ChainRefusal::at(step, Code::LimitUnsupported, "`crit` asks for limits, which are not enforced here");
    }
    ChainRefusal::at(step, error.code(), error.to_string())
}

/// What tokens are signed with (AAT §9.12): nothing else.
pub(crate) const ALGORITHMS: Algorithms = Algorithms::Ed25519;
