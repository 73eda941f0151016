//! A chain of three and a proof, as JSON that a test bends before it is signed.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this one")]

use marque_credential::Tools;
use marque_identity::UnixSeconds;
use marque_json::{Json, Limits};
use marque_judgement::{
    Audience, Call, ChainLimits, ChainRefusal, ProofPolicy, TrustAnchor, VerifiedChain, check_call, check_proof,
    verify_chain,
};
use marque_signing::{SigningKey, base64url, jws, sha256};
use serde_json::{Value, json};

pub const NOW: UnixSeconds = UnixSeconds(1_704_067_500);
pub const ISSUER: &str = "https://auth.example.com";
pub const HERE: &str = "https://tools.example.com";

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

pub fn anchor() -> TrustAnchor {
    TrustAnchor { iss: ISSUER.to_owned(), key: key(1).public() }
}

/// What is presented: payloads and headers by position, before they are signed.
pub struct Scene {
    /// Root, child, leaf.
    pub tokens: Vec<Value>,
    pub headers: Vec<Value>,
    /// Whose key signs each; 1 is the issuer, n + 2 holds the n-th token.
    pub signers: Vec<u8>,
    pub proof: Value,
    pub proof_header: Value,
    pub proof_signer: u8,
    pub tool: String,
    pub args: String,
    pub audience: Audience,
    pub nonce: Option<String>,
    /// Fix up `par_hash` and `aat_hash` after bending.
    pub relink: bool,
}

pub fn jwk(n: u8) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": key(n).public().jwk().x})
}

pub fn details(tools: Value) -> Value {
    json!([{"type": "attenuating_agent_token", "tools": tools}])
}

impl Scene {
    pub fn new() -> Self {
        let path = json!({"path": {"constraint_type": "one_of", "values": ["/a", "/b"]}, "limit": {"constraint_type": "range", "max": 10, "optional": true}});
        let token = |n: u8, iat: i64, exp: i64, tools: Value| {
            let mut token = json!({
                "jti": format!("token-{n}"), "iat": iat, "exp": exp, "cnf": {"jwk": jwk(n + 2)}, "del_depth": n, "del_max_depth": 3,
                "authorization_details": details(tools),
            });
            token["iss"] = if n == 0 { ISSUER.into() } else { key(n + 1).public().thumbprint_uri().into() };
            token
        };
        Self {
            tokens: vec![
                token(0, NOW.0 - 300, NOW.0 + 3600, json!({"read": path, "send": {}})),
                token(1, NOW.0 - 200, NOW.0 + 1800, json!({"read": path})),
                token(2, NOW.0 - 100, NOW.0 + 900, json!({"read": path})),
            ],
            headers: vec![json!({"alg": "Ed25519", "typ": "aat+jwt"}); 3],
            signers: vec![1, 2, 3],
            proof: json!({
                "jti": "proof-1", "iat": NOW.0, "aat_id": "token-2", "aat_tool": "read", "aat_aud": HERE, "hta": {"path": "/a"},
                "seq": 1, "why": "to read it",
            }),
            proof_header: json!({"alg": "Ed25519", "typ": "aat-pop+jwt"}),
            proof_signer: 4,
            tool: "read".to_owned(),
            args: r#"{"path":"/a"}"#.to_owned(),
            audience: Audience::new([HERE.to_owned()]),
            nonce: None,
            relink: true,
        }
    }

    /// The tokens and the proof, signed.
    pub fn signed(&self) -> (Vec<String>, String) {
        let mut tokens: Vec<String> = Vec::new();
        for (n, payload) in self.tokens.iter().enumerate() {
            let mut payload = payload.clone();
            if let Some(parent) = tokens.last().filter(|_| payload.get("par_hash").is_none()) {
                payload["par_hash"] = signing_hash(parent).into();
            }
            if payload["par_hash"] == "absent" {
                payload.as_object_mut().expect("an object").remove("par_hash");
            }
            tokens.push(sign(self.signers[n], &self.headers[n], &payload));
        }
        let mut proof = self.proof.clone();
        if proof.get("aat_hash").is_none()
            && let Some(leaf) = tokens.last()
        {
            proof["aat_hash"] = signing_hash(leaf).into();
        }
        (tokens, sign(self.proof_signer, &self.proof_header, &proof))
    }

    pub fn chain(&self) -> Result<VerifiedChain, ChainRefusal> {
        let (tokens, _) = self.signed();
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        verify_chain(&tokens, &[anchor()], NOW, &ChainLimits::default())
    }

    pub fn args(&self) -> Json<'_> {
        marque_json::parse(self.args.as_bytes(), Limits::DEFAULT).expect("arguments are JSON")
    }

    /// Steps 1 to 8; the refusal's step, or `permit`.
    pub fn verdict(&self) -> &'static str {
        self.judge().map_or_else(|refusal| refusal.step, |()| "permit")
    }

    pub fn judge(&self) -> Result<(), ChainRefusal> {
        let chain = self.chain()?;
        let (_, proof) = self.signed();
        let args = self.args();
        let call = Call { tool: &self.tool, args: &args };
        let policy = ProofPolicy { nonce: self.nonce.as_deref(), ..ProofPolicy::new(&self.audience) };
        check_call(&chain, &call, &self.audience, NOW)?;
        check_proof(&chain, &call, &proof, &policy, NOW).map(drop)
    }

    /// The verdict after `bend`.
    pub fn bent(bend: impl FnOnce(&mut Self)) -> &'static str {
        let mut scene = Self::new();
        bend(&mut scene);
        scene.verdict()
    }
}

pub fn sign(signer: u8, header: &Value, payload: &Value) -> String {
    sign_text(signer, &header.to_string(), &payload.to_string())
}

pub fn sign_text(signer: u8, header: &str, payload: &str) -> String {
    let mut token = format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()));
    let signature = key(signer).sign(token.as_bytes());
    token.push('.');
    token.push_str(&base64url(&signature));
    token
}

pub fn signing_hash(token: &str) -> String {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    base64url(&sha256(signed.as_bytes()).0)
}

pub fn tools(value: Value) -> Tools {
    serde_json::from_value(value).expect("tools are well-formed")
}

/// Keeps the import of `jws` honest: the two ways of signing give the same bytes.
pub fn same_as_jws(payload: &Value) -> bool {
    let bytes = marque_json::to_canonical(payload).expect("canonical");
    let text = String::from_utf8(bytes.clone()).expect("UTF-8");
    jws::sign(&key(1), "aat+jwt", None, &bytes) == sign_text(1, r#"{"alg":"Ed25519","typ":"aat+jwt"}"#, &text)
}
