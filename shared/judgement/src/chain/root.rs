//! The root: AAT §8 step 3.

use marque_credential::aat::{Claims, GrantFault, MarqueReading, is_uri};
use marque_credential::{Tools, ToolsError};
use marque_identity::refusal::Code;
use marque_identity::{Digest, TokenId, UnixSeconds};
use marque_signing::jws::json_code;
use marque_signing::{PublicKey, VerifiedSignatures, base64url};

use super::presented::Presented;
use super::{ChainLimits, Link, TrustAnchor, check_header};
use crate::ChainRefusal;
use crate::refusal::require;

/// Verifies the first token; gives it with its issuer and our claims.
pub(super) fn verify(
    token: &Presented<'_>,
    anchors: &[TrustAnchor],
    now: UnixSeconds,
    limits: &ChainLimits,
    known: Option<&VerifiedSignatures>,
) -> Result<(Link, String, MarqueReading), ChainRefusal> {
    // a: the header.
    check_header(token, "3a")?;
    // b: the signature of an anchor, on the received bytes; then parse, once; then the times.
    let (key, digest) = signer(token, anchors, known).ok_or_else(|| {
        ChainRefusal::at("3b", Code::SignatureInvalid, "the root's signature verifies under no trust anchor")
    })?;
    let claims = parse(token, "3b")?;
    let (iat, exp) = times(&claims, "3b")?;
    // c: it is a root.
    require(claims.natural("del_depth") == Some(0), "3c", Code::RootDepthNotZero, "the root's `del_depth` is not 0")?;
    // d: and has no parent.
    require(claims.get("par_hash").is_none(), "3d", Code::RootHasParent, "the root carries `par_hash`")?;
    // e, f, g, h: its life.
    require(exp > now, "3e", Code::TokenExpired, "the root has expired")?;
    let latest = now.plus(limits.iat_skew_seconds_max);
    require(iat <= latest, "3f", Code::TokenFromFuture, "the root's `iat` lies in the future")?;
    require(exp > iat, "3g", Code::LifetimeInvalid, "the root expires before it is issued")?;
    let longest = iat.plus(limits.lifetime_seconds_max);
    require(exp <= longest, "3h", Code::LifetimeInvalid, "the root lives longer than is allowed")?;
    // i: its depth.
    let max_depth = claims
        .natural("del_max_depth")
        .filter(|depth| *depth <= limits.delegation_depth_max)
        .ok_or_else(|| ChainRefusal::at("3i", Code::DepthInvalid, "`del_max_depth` is absent or beyond the limit"))?;
    // j: its name.
    let jti = claims
        .non_empty("jti")
        .ok_or_else(|| ChainRefusal::at("3j", Code::ClaimsMalformed, "`jti` is not a non-empty string"))?;
    // k: its issuer, of the anchor whose key verified it.
    let iss = claims.text("iss").filter(|iss| is_uri(iss));
    let iss =
        iss.ok_or_else(|| ChainRefusal::at("3k", Code::ClaimsMalformed, "the root's `iss` is absent or no URI"))?;
    let anchored = anchors.iter().any(|anchor| anchor.key == key && anchor.iss == iss);
    require(anchored, "3k", Code::IssuerUnknown, "the root's `iss` is not that of the anchor that signed it")?;
    // l: its holder.
    let holder = holder(&claims, "3l")?;
    // m: one entry, well shaped; n: its constraints.
    let entries = claims.details().is_some_and(|details| !details.is_empty());
    require(entries, "3m", Code::GrantMalformed, "`authorization_details` is not a non-empty array")?;
    let tools = tools(&claims, "3m", "3n")?;
    let tools = tools.ok_or_else(|| {
        ChainRefusal::at("3m", Code::GrantMalformed, "the root has no entry of type `attenuating_agent_token`")
    })?;
    let link = Link { aud: claims.audience(), ..link(digest, jti, holder, (iat, exp), (0, max_depth), Some(tools)) };
    Ok((link, iss.to_owned(), claims.marque()))
}

/// The anchor's key that verifies the token. One key under several names is tried once.
fn signer(
    token: &Presented<'_>,
    anchors: &[TrustAnchor],
    known: Option<&VerifiedSignatures>,
) -> Option<(PublicKey, Digest)> {
    anchors.iter().enumerate().find_map(|(index, anchor)| {
        let tried = anchors[..index].iter().any(|earlier| earlier.key == anchor.key);
        if tried { None } else { token.verified(&anchor.key, known).map(|digest| (anchor.key, digest)) }
    })
}

pub(super) fn parse<'t>(token: &'t Presented<'_>, step: &'static str) -> Result<Claims<'t>, ChainRefusal> {
    Claims::parse(token.payload()).map_err(|error| ChainRefusal::at(step, json_code(&error), error.to_string()))
}

pub(super) fn times(claims: &Claims<'_>, step: &'static str) -> Result<(UnixSeconds, UnixSeconds), ChainRefusal> {
    match (claims.numeric_date("iat"), claims.numeric_date("exp")) {
        (Some(iat), Some(exp)) => Ok((iat, exp)),
        (None, _) | (_, None) => {
            Err(ChainRefusal::at(step, Code::ClaimsMalformed, "`iat` or `exp` is not an integer of seconds"))
        }
    }
}

pub(super) fn holder(claims: &Claims<'_>, step: &'static str) -> Result<PublicKey, ChainRefusal> {
    claims.holder().map_err(|fault| ChainRefusal::at(step, Code::HolderKeyInvalid, fault.to_string()))
}

/// The tools of the one entry: its shape at the step `frame` (m, n), its constraints at `constraints` (n, o).
pub(super) fn tools(
    claims: &Claims<'_>,
    frame: &'static str,
    constraints: &'static str,
) -> Result<Option<Tools>, ChainRefusal> {
    let tools = claims.tools().map_err(|fault| {
        let code = match fault {
            GrantFault::Many | GrantFault::NoTools => Code::GrantMalformed,
            GrantFault::Limits => Code::LimitUnsupported,
        };
        ChainRefusal::at(frame, code, fault.to_string())
    })?;
    let at = |error: ToolsError| {
        let step = if error.is_constraint() { constraints } else { frame };
        ChainRefusal::at(step, error.code(), error.to_string())
    };
    tools.map(|tools| Tools::parse(tools).map_err(at)).transpose()
}

pub(super) fn link(
    digest: Digest,
    jti: &str,
    holder: PublicKey,
    (iat, exp): (UnixSeconds, UnixSeconds),
    (depth, max_depth): (u64, u64),
    tools: Option<Tools>,
) -> Link {
    Link {
        digest,
        hash: base64url(&digest.0),
        jti: TokenId(jti.to_owned()),
        did: holder.did(),
        holder,
        iat,
        exp,
        depth,
        max_depth,
        aud: None,
        has_grant: tools.is_some(),
        tools: tools.unwrap_or_default(),
    }
}
