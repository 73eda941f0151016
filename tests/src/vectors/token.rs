//! Tokens and proofs of the vectors: fixed keys, canonical payloads, deterministic signatures.
//!
//! A [`raw`] value stands for JSON text that a serializer would not write (`1.0`, a number beyond a double, a
//! member twice): it is spliced in after canonicalization.

use marque_signing::{SigningKey, base64url, sha256};
use serde_json::{Map, Value, json};

/// The vectors' clock: 2024-01-01T00:05:00Z.
pub const NOW: i64 = 1_704_067_500;
/// The root's `iat`: five minutes before.
pub const ROOT_IAT: i64 = 1_704_067_200;
/// The root's `exp`: an hour later.
pub const ROOT_EXP: i64 = 1_704_070_800;
/// The first derived token's `exp`.
pub const CHILD_EXP: i64 = 1_704_069_000;
/// The trust anchor's issuer.
pub const ISSUER: &str = "https://auth.example.com";
/// Who judges: the enforcement point.
pub const AUDIENCE: &str = "https://tools.example.com";
/// A file that the grants name.
pub const Q3: &str = "/data/q3-report.pdf";
/// Another.
pub const Q4: &str = "/data/q4-report.pdf";

/// The five keys, each of a seed of 32 equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The trust anchor.
    ControlPlane,
    /// Holder of the root.
    Orchestrator,
    /// Holder of the first derived token.
    Worker,
    /// Holder of the second.
    Worker2,
    /// Nobody's delegate.
    Attacker,
}

impl Who {
    /// All of them, as the vector file lists them.
    pub const ALL: [Who; 5] = [Who::ControlPlane, Who::Orchestrator, Who::Worker, Who::Worker2, Who::Attacker];

    /// The name in the files.
    pub fn name(self) -> &'static str {
        match self {
            Who::ControlPlane => "control_plane",
            Who::Orchestrator => "orchestrator",
            Who::Worker => "worker",
            Who::Worker2 => "worker2",
            Who::Attacker => "attacker",
        }
    }

    /// The seed.
    pub fn seed(self) -> [u8; 32] {
        match self {
            Who::ControlPlane => [0x01; 32],
            Who::Orchestrator => [0x02; 32],
            Who::Worker => [0x03; 32],
            Who::Worker2 => [0x04; 32],
            Who::Attacker => [0xff; 32],
        }
    }

    /// The key.
    pub fn key(self) -> SigningKey {
        SigningKey::from_seed(&self.seed())
    }

    /// The public key as a JWK.
    pub fn jwk(self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(self.key().public().bytes())})
    }

    /// What a token that this key derives carries as `iss`.
    pub fn thumbprint_uri(self) -> String {
        self.key().public().thumbprint_uri()
    }
}

const RAW_OPEN: char = '\u{27e6}';
const RAW_CLOSE: char = '\u{27e7}';

/// JSON text that goes into a document exactly as it is.
pub fn raw(text: &str) -> Value {
    Value::String(format!("{RAW_OPEN}{text}{RAW_CLOSE}"))
}

/// Replaces every [`raw`] string of a JSON text by its content.
pub fn splice_raw(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let open = format!("\"{RAW_OPEN}");
    let close = format!("{RAW_CLOSE}\"");
    while let Some(at) = rest.find(&open) {
        let end = at + rest[at..].find(&close).expect("every raw string is closed") + close.len();
        let literal: String = serde_json::from_str(&rest[at..end]).expect("a serializer wrote it");
        out.push_str(&rest[..at]);
        out.push_str(literal.trim_start_matches(RAW_OPEN).trim_end_matches(RAW_CLOSE));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The canonical text of a value, raw parts spliced in.
pub fn canonical(value: &Value) -> String {
    let bytes = marque_json::to_canonical(value).expect("a vector's value is JSON");
    splice_raw(&String::from_utf8(bytes).expect("canonical JSON is UTF-8"))
}

/// The header of a token of the chain.
pub fn aat_header() -> Value {
    json!({"alg": "Ed25519", "typ": "aat+jwt"})
}

/// The header of a proof.
pub fn proof_header() -> Value {
    json!({"alg": "Ed25519", "typ": "aat-pop+jwt"})
}

/// A signed token, with what it was made of.
#[derive(Debug, Clone)]
pub struct Token {
    /// The protected header's text.
    pub header: Vec<u8>,
    /// The payload's text, as signed.
    pub payload: Vec<u8>,
    /// Whose key signed it, and what was done to it since.
    pub signer: String,
    /// The token as presented.
    pub compact: String,
    /// How many bytes of padding the claim `pad` holds; the small files name the number, not the bytes.
    pub pad_bytes: usize,
}

impl Token {
    /// Signs a header and claims.
    pub fn seal(header: &Value, claims: &Value, signer: Who) -> Self {
        Self::seal_bytes(canonical(header).into_bytes(), canonical(claims).into_bytes(), signer)
    }

    /// Signs bytes as they are.
    pub fn seal_bytes(header: Vec<u8>, payload: Vec<u8>, signer: Who) -> Self {
        let signing_input = format!("{}.{}", base64url(&header), base64url(&payload));
        let signature = signer.key().sign(signing_input.as_bytes());
        let compact = format!("{signing_input}.{}", base64url(&signature));
        Self { header, payload, signer: signer.name().to_owned(), compact, pad_bytes: 0 }
    }

    /// The same with its compact text changed; `how` says what was done.
    pub fn altered(mut self, how: &str, change: impl FnOnce(&str) -> String) -> Self {
        self.compact = change(&self.compact);
        self.signer = format!("{} ({how})", self.signer);
        self
    }

    /// Everything before the last dot.
    pub fn signing_input(&self) -> &str {
        self.compact.rsplit_once('.').map_or("", |(input, _)| input)
    }

    /// Base64url of the SHA-256 of the signing input: `par_hash` of its children, `aat_hash` of its proofs.
    pub fn hash(&self) -> String {
        base64url(&sha256(self.signing_input().as_bytes()).0)
    }

    /// The claims, where the payload is plain JSON.
    pub fn claims(&self) -> Map<String, Value> {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }
}

/// A token id of the draft's own vectors.
pub fn numbered(n: u64) -> String {
    format!("019471f8-0000-7000-8000-{n:012x}")
}

/// A token id of ours: a function of the case and the part in it.
pub fn named(case: &str, part: &str) -> String {
    let digest = sha256(format!("{case}/{part}").as_bytes()).to_string();
    format!("019471f8-0000-7000-9000-{}", &digest[..12])
}

/// The one entry of `authorization_details`.
pub fn details(tools: Value) -> Value {
    json!([{"type": "attenuating_agent_token", "tools": tools}])
}

/// Claims of a root that the control plane issues to the orchestrator.
pub fn root_claims(jti: &str, tools: Value) -> Value {
    json!({
        "jti": jti, "iss": ISSUER, "iat": ROOT_IAT, "exp": ROOT_EXP, "del_depth": 0, "del_max_depth": 3,
        "cnf": {"jwk": Who::Orchestrator.jwk()}, "authorization_details": details(tools),
    })
}

/// Claims of a token that `signer`, holder of `parent`, derives for `holder`.
pub fn child_claims(jti: &str, parent: &Token, signer: Who, holder: Who, tools: Value) -> Value {
    let depth = parent.claims().get("del_depth").and_then(Value::as_i64).unwrap_or_default() + 1;
    json!({
        "jti": jti, "iss": signer.thumbprint_uri(), "iat": ROOT_IAT + 60 * depth, "exp": CHILD_EXP,
        "del_depth": depth, "del_max_depth": 2, "par_hash": parent.hash(),
        "cnf": {"jwk": holder.jwk()}, "authorization_details": details(tools),
    })
}

/// Claims of a proof for the leaf.
pub fn proof_claims(jti: &str, leaf: &Token, tool: &str, args: &Value) -> Value {
    json!({
        "jti": jti, "iat": NOW, "aat_id": leaf.claims().get("jti").cloned().unwrap_or_default(),
        "aat_hash": leaf.hash(), "aat_tool": tool, "hta": args, "aat_aud": AUDIENCE,
    })
}

/// A value with a member set.
pub fn with(mut value: Value, member: &str, to: Value) -> Value {
    if let Value::Object(object) = &mut value {
        object.insert(member.to_owned(), to);
    }
    value
}

/// A value without a member.
pub fn without(mut value: Value, member: &str) -> Value {
    if let Value::Object(object) = &mut value {
        object.remove(member);
    }
    value
}

/// A root of these claims, signed by the control plane.
pub fn root(claims: &Value) -> Token {
    Token::seal(&aat_header(), claims, Who::ControlPlane)
}

/// A derived token of these claims.
pub fn derived(claims: &Value, signer: Who) -> Token {
    Token::seal(&aat_header(), claims, signer)
}

/// A proof of these claims.
pub fn proof(claims: &Value, signer: Who) -> Token {
    Token::seal(&proof_header(), claims, signer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splices_what_no_serializer_writes() {
        let value = json!({"a": raw("1.0"), "b": raw(r#"1,"b":2"#), "c": "x"});
        assert_eq!(canonical(&value), r#"{"a":1.0,"b":1,"b":2,"c":"x"}"#);
    }
}
