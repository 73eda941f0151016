//! `marque verify --stdin`: one JSON line in, one JSON line out. AAT §8 steps 1 to 8, no state, no directive.
//!
//! In: `{chain:[jwt…], trust_anchors:[{iss, jwk}…], tool, args, pop, now, audience?, require_pop_audience?,
//! require_chain_audience?, nonce?}`. Out: `{"decision":"permit"}` or `{"decision":"deny","code","step","message",
//! "blame"}`; `step` is `null` where the line itself is not such a request. A member of another name is refused: misspelt,
//! a demand such as `require_pop_audience` would be none.

use marque_identity::UnixSeconds;
use marque_identity::refusal::{Code, Refusal, quoted};
use marque_json::{Json, Limits, Object};
use marque_signing::PublicKey;
use marque_signing::jws::json_code;

use crate::proof::{is_call_shaped, judge, open, parse};
use crate::{Audience, Call, ChainLimits, ChainRefusal, ProofPolicy, TrustAnchor, call, verify_chain};

/// A line's size in bytes: a chain at its limit, a proof, and arguments, with room.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
/// How deep a line may be nested.
const LINE_DEPTH_MAX: usize = 128;
/// The members of a question.
const MEMBERS: [&str; 10] = [
    "chain",
    "trust_anchors",
    "tool",
    "args",
    "pop",
    "now",
    "audience",
    "require_pop_audience",
    "require_chain_audience",
    "nonce",
];
/// More anchors than any deployment trusts; each costs a signature check.
const ANCHORS_MAX: usize = 64;

/// Answers one line; never panics, never fails: what is no request is denied.
pub fn answer(line: &[u8]) -> String {
    let answer = match decide(line) {
        Ok(()) => serde_json::json!({ "decision": "permit" }),
        Err(refusal) => serde_json::json!({
            "decision": "deny",
            "code": refusal.code.as_str(),
            "step": refusal.step,
            "message": refusal.message,
            "blame": refusal.blame,
        }),
    };
    answer.to_string()
}

fn decide(line: &[u8]) -> Result<(), Refusal> {
    let limits = Limits { bytes_max: LINE_BYTES_MAX, depth_max: LINE_DEPTH_MAX };
    let json = marque_json::parse(line, limits).map_err(|error| Refusal::new(json_code(&error), error.to_string()))?;
    let request = json.as_object().ok_or_else(|| malformed("the line is not a JSON object"))?;
    if let Some((strange, _)) = request.iter().find(|(name, _)| !MEMBERS.contains(name)) {
        let why = format!("{} is no member of a question; these are: {}", quoted(strange), MEMBERS.join(", "));
        return Err(Refusal::new(Code::Malformed, why));
    }
    let tokens = request.get("chain").and_then(Json::as_array).ok_or_else(|| malformed("`chain` is not an array"))?;
    let tokens: Option<Vec<&str>> = tokens.iter().map(Json::as_str).collect();
    let tokens = tokens.ok_or_else(|| malformed("`chain` is not an array of strings"))?;
    let anchors = anchors(request)?;
    let tool = request.get("tool").and_then(Json::as_str).ok_or_else(|| malformed("`tool` is not a string"))?;
    let args = request.get("args").filter(|args| is_call_shaped(args));
    let args = args.ok_or_else(|| malformed("`args` is not an object"))?;
    let now = request.get("now").and_then(Json::as_integer).map(UnixSeconds);
    let now = now.ok_or_else(|| malformed("`now` is not an integer of seconds"))?;
    let mut audience = Audience::new(audience(request)?);
    audience.chain_required = flag(request, "require_chain_audience")?;
    audience.proof_required = flag(request, "require_pop_audience")?;
    let policy = ProofPolicy { nonce: optional_text(request, "nonce")?, ..ProofPolicy::new(&audience) };
    let call = Call { tool, args };

    // Steps 1 to 5 and 6a.
    let chain = verify_chain(&tokens, &anchors, now, &ChainLimits::default())?;
    // 7a, 7b before 6b: only the key's holder can make us evaluate.
    let proof = optional_text(request, "pop")?;
    let proof = proof.ok_or_else(|| ChainRefusal::at("7a", Code::Malformed, "no proof was presented"))?;
    let payload = open(&chain, proof)?;
    let claims = parse(&payload)?;
    // 6b, 6c.
    call::grants(&chain, &call)?;
    call::presented_here(&chain, &audience)?;
    // 7c to 7h; 7i is for those who remember. 8: permit.
    judge(&chain, &call, &claims, &policy, now)?;
    Ok(())
}

fn malformed(message: &str) -> Refusal {
    Refusal::new(Code::Malformed, message)
}

fn anchors(request: &Object<'_>) -> Result<Vec<TrustAnchor>, Refusal> {
    let wrong = || malformed("`trust_anchors` is not an array of `{iss, jwk}`");
    let anchors = request.get("trust_anchors").and_then(Json::as_array).ok_or_else(wrong)?;
    if anchors.len() > ANCHORS_MAX {
        return Err(Refusal::new(Code::Oversize, "too many trust anchors"));
    }
    let read = |anchor: &Json<'_>| {
        let anchor = anchor.as_object().ok_or_else(wrong)?;
        let jwk = anchor.get("jwk").and_then(Json::as_object).ok_or_else(wrong)?;
        let text = |name: &str| jwk.get(name).and_then(Json::as_str);
        let key = PublicKey::from_jwk_parts(text("kty"), text("crv"), text("x")).map_err(|_| wrong())?;
        Ok(TrustAnchor { iss: anchor.get("iss").and_then(Json::as_str).ok_or_else(wrong)?.to_owned(), key })
    };
    anchors.iter().map(read).collect()
}

fn flag(request: &Object<'_>, name: &str) -> Result<bool, Refusal> {
    match request.get(name) {
        None | Some(Json::Null) => Ok(false),
        Some(Json::Bool(flag)) => Ok(*flag),
        Some(Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_)) => {
            Err(malformed("a `require_…` member is not a boolean"))
        }
    }
}

fn optional_text<'r>(request: &'r Object<'_>, name: &str) -> Result<Option<&'r str>, Refusal> {
    match request.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => {
            Err(Refusal::new(Code::Malformed, format!("`{name}` is not a string")))
        }
    }
}

/// One identifier, or several.
fn audience(request: &Object<'_>) -> Result<Vec<String>, Refusal> {
    let wrong = || malformed("`audience` is not a string or an array of strings");
    match request.get("audience") {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::String(one)) => Ok(vec![one.to_string()]),
        Some(Json::Array(many)) => many.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        Some(Json::Bool(_) | Json::Number(_) | Json::Object(_)) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole question in form, and the same with one more member.
    #[test]
    fn a_member_of_another_name_is_refused_by_name() {
        let question = |more: &str| {
            let line = format!(r#"{{"chain":[],"trust_anchors":[],"tool":"t","args":{{}},"pop":"x","now":1{more}}}"#);
            serde_json::from_str::<serde_json::Value>(&answer(line.as_bytes())).unwrap()
        };
        for known in [r#","audience":["a"]"#, r#","require_pop_audience":true"#, r#","nonce":null"#] {
            assert_eq!(question(known)["code"], "chain_empty", "{known}");
        }
        let refused = question(r#","require_pop_audiance":true"#);
        assert_eq!((&refused["code"], &refused["step"]), (&"malformed".into(), &serde_json::Value::Null));
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("`require_pop_audiance`") && message.contains("require_pop_audience,"), "{message}");
        assert_eq!(refused["blame"], "caller");
    }
}
