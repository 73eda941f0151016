//! What a cheat does by hand, because the library refuses to.

use marque_bus::async_nats::HeaderMap;
use marque_bus::{Bus, CallError, header};
use marque_credential::proof::PROOF_TYPE;
use marque_identity::{Code, Refusal, TokenId};
use marque_json::Limits;
use marque_runtime::Clock;
use marque_signing::{Compact, SigningKey, base64url, jws};
use serde_json::{Value, json};

use super::expect::otherwise;
use crate::Failure;

/// `typ` of a token (AAT §3.1).
const TOKEN_TYP: &str = "aat+jwt";

/// Takes a properly derived child and signs it again with other tools: what a holder who wants more can do.
pub(super) fn widen(chain: &str, holder: &SigningKey, tool: &str, arguments: Value) -> Result<String, Failure> {
    let (parents, child) = chain.rsplit_once('~').ok_or_else(|| otherwise("a chain of one token has no child"))?;
    let payload = Compact::split(child).and_then(|token| token.payload()).map_err(Refusal::from)?;
    let mut claims: Value = marque_json::from_slice(&payload, Limits::DEFAULT)?;
    let tools = claims.pointer_mut("/authorization_details/0/tools");
    let tools = tools.ok_or_else(|| otherwise("the child has no tools"))?;
    tools[tool] = arguments;
    let payload = marque_json::to_canonical(&claims)?;
    Ok(format!("{parents}~{}", jws::sign(holder, TOKEN_TYP, None, &payload)))
}

/// A proof for a chain that was overheard, made with a key that is not the leaf's. The library makes none, so by hand.
pub(super) fn proof_without_the_key(
    chain: &str,
    thief: &SigningKey,
    tool: &str,
    args: &Value,
    audience: String,
) -> Result<String, Failure> {
    let leaf = Compact::split(chain.rsplit('~').next().unwrap_or_default()).map_err(Refusal::from)?;
    let claims: Value = marque_json::from_slice(&leaf.payload().map_err(Refusal::from)?, Limits::DEFAULT)?;
    let proof = json!({
        "jti": TokenId::generate(),
        "iat": Clock::new().unix(),
        "aat_id": claims.get("jti"),
        "aat_hash": base64url(&leaf.signing_digest().0),
        "aat_tool": tool,
        "aat_aud": audience,
        "hta": args,
        "seq": 1,
    });
    Ok(jws::sign(thief, PROOF_TYPE, None, &marque_json::to_canonical(&proof)?))
}

/// Sends a call as it is given, past the library. `None`: it was permitted; else why not.
pub(super) async fn send(
    bus: &Bus,
    subject: &str,
    chain: &str,
    proof: &str,
    args: &Value,
) -> Result<Option<(Code, String, String)>, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CHAIN, chain);
    headers.insert(header::PROOF, proof);
    let payload = serde_json::to_vec(args).unwrap_or_default();
    match bus.request(subject, headers, payload, marque_agent::CALL_TIMEOUT).await {
        Ok(_) => Ok(None),
        Err(CallError::Refused(refusal)) => {
            Ok(Some((refusal.code, refusal.step.unwrap_or_else(|| "-".to_owned()), refusal.message)))
        }
        Err(error) => Err(crate::call_failure(error)),
    }
}

/// Sends what must be denied for this reason, and tells the denial.
pub(super) async fn send_denied(
    bus: &Bus,
    subject: &str,
    chain: &str,
    proof: &str,
    args: &Value,
    code: Code,
) -> Result<String, Failure> {
    match send(bus, subject, chain, proof, args).await? {
        Some((given, step, message)) if given == code => Ok(format!("DENIED at step {step}: {message} ({code})")),
        Some((given, _, message)) => {
            Err(otherwise(format!("this must be denied as {code}, not as {given}: {message}")))
        }
        None => Err(otherwise(format!("this must be denied as {code}, but was permitted"))),
    }
}
