//! A token of an OpenID Connect issuer, or a JWT-SVID: Kubernetes service accounts, CI jobs, SPIFFE workloads.

use marque_credential::aat::Claims;
use marque_credential::{EvidenceDigest, EvidenceKind};
use marque_identity::refusal::quoted;
use marque_identity::{Code, Did, Refusal, UnixSeconds};
use marque_json::{Json, Limits};
use marque_signing::{PublicKey, base64url_decode, sha256};

use super::key_set::{Alg, KID_BYTES_MAX};
use super::source::Issuers;
use super::{Attested, EVIDENCE_MEMORY_SECONDS};
use crate::blueprint::attest::OidcDemand;
use crate::request::{JTI_BYTES_MAX, WINDOW_SECONDS};
use crate::store::{self, EvidenceUse};

/// A token's size in bytes: those of CI and of Kubernetes have 1 to 3 KiB, with groups in them more.
pub(crate) const OIDC_BYTES_MAX: usize = 16 * 1024;
/// How long a token may still live, in seconds: CI's live minutes, those that Kubernetes projects an hour. Bounds what
/// must be remembered.
pub(crate) const OIDC_LIFE_SECONDS_MAX: i64 = 24 * 3600;
/// A header's size in bytes, as for our own tokens.
const HEADER_BYTES_MAX: usize = marque_signing::jws::HEADER_BYTES_MAX;

/// Examines a token for an agent's key.
///
/// 1. its size and its three parts
/// 2. the header: an algorithm of the list, `typ` of a JWT, no `crit`, a `kid`; a key in it is never looked at
/// 3. the payload is strict JSON, and its `iss` is one that the blueprint goes by
/// 4. the signature, under the issuer's key of that `kid` and algorithm
/// 5. its time: `exp`, `nbf`, `iat`, within the window
/// 6. `aud` contains the blueprint's audience
/// 7. each claim is what the blueprint demands
/// 8. if it is bound to a key, then to this agent's
///
/// Absent: whether it has enrolled an agent before (the store says).
pub(crate) async fn examine(
    token: &str,
    demand: &OidcDemand,
    issuers: &Issuers,
    agent: &PublicKey,
    now: UnixSeconds,
) -> Result<Attested, Refusal> {
    // 1
    if token.len() > OIDC_BYTES_MAX {
        let message = format!("the OpenID Connect token has {} bytes, {OIDC_BYTES_MAX} are allowed", token.len());
        return Err(Refusal::new(Code::Oversize, message));
    }
    let parts = Parts::split(token).ok_or_else(|| invalid("is not three parts of base64url"))?;
    // 2
    let (alg, kid) = header(parts.header)?;
    // 3. TRUST: nothing in it is believed yet; it says whose key to ask.
    let payload = base64url_decode(parts.payload).ok_or_else(|| invalid("is not three parts of base64url"))?;
    let claims = Claims::parse(&payload).map_err(|error| invalid(format!("has no payload of a JWT: {error}")))?;
    let iss = claims.non_empty("iss").ok_or_else(|| invalid("has no `iss`"))?;
    let issuer = issuers.by_iss(&demand.issuers, iss).ok_or_else(|| {
        let message = format!("the OpenID Connect token's `iss` {} is none that the blueprint goes by", quoted(iss));
        Refusal::new(Code::EvidenceMismatch, message)
    })?;
    // 4
    let key = issuer.key(&kid, alg).await?;
    if !key.verifies(parts.signing_input.as_bytes(), parts.signature) {
        return Err(invalid("does not verify under the issuer's key"));
    }
    // 5
    let exp = check_time(&claims, now)?;
    // 6
    if !claims.audience().unwrap_or_default().iter().any(|aud| **aud == *demand.audience) {
        return Err(Refusal::new(Code::EvidenceMismatch, "the OpenID Connect token's `aud` is not the blueprint's"));
    }
    // 7
    let json = marque_json::parse(&payload, Limits::bytes(OIDC_BYTES_MAX))
        .map_err(|error| invalid(format!("has no payload of a JWT: {error}")))?;
    demand.check_claims(&json)?;
    // 8
    check_binding(&claims, agent)?;

    let digest = sha256(parts.signing_input.as_bytes());
    let kind = EvidenceKind::Oidc;
    // By its own name where it has one, else by its bytes; not by its signature, which can be written in two ways.
    let name = match claims.get("jti") {
        None => format!("sha-256:{digest}"),
        Some(jti) => match jti.as_str() {
            Some(jti) if (1..=JTI_BYTES_MAX).contains(&jti.len()) => format!("jti:{jti}"),
            Some(_) | None => return Err(invalid(format!("has a `jti` that is not 1 to {JTI_BYTES_MAX} bytes"))),
        },
    };
    Ok(Attested {
        evidence: EvidenceDigest::new(kind, digest),
        used: EvidenceUse {
            key: store::use_key(kind, iss, &name),
            kind,
            agent: agent.did(),
            used_at: now,
            keep_until: exp.plus(EVIDENCE_MEMORY_SECONDS),
        },
    })
}

/// A compact JWS with a signature of any length.
struct Parts<'a> {
    signing_input: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Option<Self> {
        let (signing_input, signature) = token.rsplit_once('.')?;
        let (header, payload) = signing_input.split_once('.')?;
        // A further dot would stand in the payload, where it is no base64url.
        (!signature.is_empty()).then_some(Self { signing_input, header, payload, signature })
    }
}

fn header(base64: &str) -> Result<(Alg, String), Refusal> {
    if base64.len() > HEADER_BYTES_MAX {
        return Err(invalid("has a header that is too large"));
    }
    let bytes = base64url_decode(base64).ok_or_else(|| invalid("is not three parts of base64url"))?;
    let json = marque_json::parse(&bytes, Limits::bytes(HEADER_BYTES_MAX))
        .map_err(|error| invalid(format!("has no header of a JWT: {error}")))?;
    let header = json.as_object().ok_or_else(|| invalid("has a header that is no object"))?;
    let text = |name: &str| header.get(name).and_then(Json::as_str);
    let alg = text("alg").and_then(Alg::of).ok_or_else(|| {
        Refusal::new(Code::AlgorithmNotAllowed, "the OpenID Connect token's `alg` is not RS256, ES256 or EdDSA")
    })?;
    // RFC 7519 §5.1, and JWT-SVID §2.3: if it is there, then one of these.
    let is_jwt =
        |typ: &Json<'_>| typ.as_str().is_some_and(|typ| ["jwt", "jose"].iter().any(|t| typ.eq_ignore_ascii_case(t)));
    if !header.get("typ").is_none_or(is_jwt) {
        return Err(Refusal::new(Code::TypeMismatch, "the OpenID Connect token's `typ` is not JWT"));
    }
    if header.get("crit").is_some() {
        return Err(Refusal::new(Code::CriticalUnknown, "the OpenID Connect token has `crit`"));
    }
    let kid = text("kid").filter(|kid| (1..=KID_BYTES_MAX).contains(&kid.len()));
    Ok((alg, kid.ok_or_else(|| invalid("names no key: it has no `kid`"))?.to_owned()))
}

/// Gives `exp`.
fn check_time(claims: &Claims<'_>, now: UnixSeconds) -> Result<UnixSeconds, Refusal> {
    let seconds = |name: &str| match (claims.get(name), claims.numeric_date(name)) {
        (None, _) => Ok(None),
        (Some(_), Some(at)) => Ok(Some(at)),
        (Some(_), None) => Err(invalid(format!("has `{name}` that is no integer of seconds"))),
    };
    let exp = seconds("exp")?.ok_or_else(|| invalid("has no `exp`"))?;
    if exp.plus(WINDOW_SECONDS) <= now {
        return Err(invalid("has expired"));
    }
    if exp > now.plus(OIDC_LIFE_SECONDS_MAX) {
        return Err(invalid(format!("lives longer than {OIDC_LIFE_SECONDS_MAX} s from now")));
    }
    for name in ["nbf", "iat"] {
        if seconds(name)?.is_some_and(|at| at > now.plus(WINDOW_SECONDS)) {
            return Err(invalid(format!("is from the future: `{name}`")));
        }
    }
    Ok(exp)
}

/// A token may name the key that it is for: in `cnf` (RFC 7800, RFC 9449), or as a `nonce` that is a key's name. Then it
/// is for no other. A `cnf` that can't be compared binds it to something that we don't see: undecidable.
fn check_binding(claims: &Claims<'_>, agent: &PublicKey) -> Result<(), Refusal> {
    let others = || Err(invalid("is bound to another key than the one that enrols"));
    if let Some(cnf) = claims.get("cnf") {
        let cnf = cnf.as_object().ok_or_else(|| invalid("has a `cnf` that is no object"))?;
        for (name, value) in cnf.iter() {
            let same = match name {
                "jkt" => value.as_str() == Some(&agent.thumbprint()),
                "jwk" => claims.holder().is_ok_and(|key| key == *agent),
                // Says which of the two, for whoever has many.
                "kid" => cnf.get("jkt").or(cnf.get("jwk")).is_some(),
                _ => return Err(invalid(format!("is bound by `cnf` to what can't be compared: {}", quoted(name)))),
            };
            if !same {
                return others();
            }
        }
        if cnf.is_empty() {
            return Err(invalid("has an empty `cnf`"));
        }
    }
    // Any other nonce is somebody's own affair.
    let Some(nonce) = claims.text("nonce") else { return Ok(()) };
    let names_a_key = nonce.starts_with(THUMBPRINT_URN) || nonce.parse::<Did>().is_ok();
    let names_ours = agent.has_thumbprint_uri(nonce) || nonce.parse() == Ok(agent.did());
    if names_a_key && !names_ours { others() } else { Ok(()) }
}

/// RFC 9278.
const THUMBPRINT_URN: &str = "urn:ietf:params:oauth:jwk-thumbprint:";

fn invalid(what: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::EvidenceInvalid, format!("the OpenID Connect token {what}"))
}

#[cfg(test)]
mod tests;
