//! A pair of parent and child: AAT §8 step 4.

use marque_identity::UnixSeconds;
use marque_identity::refusal::Code;
use marque_signing::VerifiedSignatures;

use super::presented::Presented;
use super::root::{holder, link, parse, times, tools};
use super::{ChainLimits, Link, check_header};
use crate::ChainRefusal;
use crate::refusal::require;

/// Verifies a token against the link before it.
pub(super) fn verify(
    token: &Presented<'_>,
    parent: &Link,
    now: UnixSeconds,
    limits: &ChainLimits,
    known: Option<&VerifiedSignatures>,
) -> Result<Link, ChainRefusal> {
    let malformed = |step, message: &'static str| move || ChainRefusal::at(step, Code::ClaimsMalformed, message);
    // a: the header.
    check_header(token, "4a")?;
    // b: the signature of the parent's holder (I1), on the received bytes; then parse, once.
    let digest = token.verified(&parent.holder, known).ok_or_else(|| {
        let message = "a derived token's signature does not verify under its parent's holder key";
        ChainRefusal::at("4b", Code::SignatureInvalid, message)
    })?;
    let claims = parse(token, "4b")?;
    // b1 to b5: the claims are there, each of its kind.
    let jti = claims.non_empty("jti").ok_or_else(malformed("4b1", "`jti` is not a non-empty string"))?;
    let holder = holder(&claims, "4b2")?;
    claims.details().ok_or_else(malformed("4b3", "`authorization_details` is not an array"))?;
    let (depth, max_depth) = claims
        .natural("del_depth")
        .zip(claims.natural("del_max_depth"))
        .ok_or_else(malformed("4b4", "`del_depth` or `del_max_depth` is not a non-negative integer"))?;
    let (iss, par_hash) = claims
        .text("iss")
        .zip(claims.text("par_hash"))
        .ok_or_else(malformed("4b5", "`iss` or `par_hash` is not a string"))?;
    let (iat, exp) = times(&claims, "4b5")?;
    // c: the issuer is the parent's holder (I1).
    let own = parent.holder.has_thumbprint_uri(iss);
    require(own, "4c", Code::LinkIssuerMismatch, "`iss` is not the thumbprint of the parent's holder")?;
    // d, e, f, g: depths (I2).
    let next = parent.depth.checked_add(1) == Some(depth);
    require(next, "4d", Code::DepthSkipped, "`del_depth` is not the parent's plus one")?;
    require(depth <= parent.max_depth, "4e", Code::DepthExhausted, "the parent may not be delegated further")?;
    let shallow = depth <= limits.delegation_depth_max;
    require(shallow, "4f", Code::DepthExhausted, "the chain is deeper than is allowed")?;
    require(max_depth <= parent.max_depth, "4g", Code::DepthWidened, "`del_max_depth` is above the parent's")?;
    // h, i, j, k, l: times (I3).
    require(exp <= parent.exp, "4h", Code::LinkOutlivesParent, "a derived token outlives its parent")?;
    require(exp > now, "4i", Code::TokenExpired, "a derived token has expired")?;
    require(iat >= parent.iat, "4j", Code::LinkOutlivesParent, "a derived token is issued before its parent")?;
    let latest = now.plus(limits.iat_skew_seconds_max);
    require(iat <= latest, "4k", Code::TokenFromFuture, "a derived token's `iat` lies in the future")?;
    require(exp > iat, "4l", Code::LifetimeInvalid, "a derived token expires before it is issued")?;
    // m: its own depth (I2).
    require(depth <= max_depth, "4m", Code::DepthInvalid, "`del_depth` is above the token's own `del_max_depth`")?;
    // n: at most one entry, well shaped; o: its constraints.
    let tools = tools(&claims, "4n", "4o")?;
    // p: no more than the parent (I4). Without an entry the token grants nothing.
    if let Some(tools) = &tools {
        parent
            .tools
            .subsumes(tools)
            .map_err(|widening| ChainRefusal::at(widening.step, Code::AuthorityWidened, widening.to_string()))?;
    }
    // q: derived from this very parent (I5).
    require(par_hash == parent.hash, "4q", Code::ParentHashMismatch, "`par_hash` is not the parent's digest")?;
    Ok(Link { aud: claims.audience(), ..link(digest, jti, holder, (iat, exp), (depth, max_depth), tools) })
}
