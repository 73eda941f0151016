//! What anyone may read: the bundle, the issuer's keys, its DID document, the blueprints.

use marque_identity::{BlueprintName, Did, Refusal};
use marque_json::Limits;
use marque_signing::{JwsError, PublicKey};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::blueprint::BlueprintInfo;
use crate::rules::Rules;

/// A name.
const QUESTION_BYTES_MAX: usize = 1024;

/// The issuers' keys of the domain as a JWK set (RFC 7517), `kid` the DID URL.
pub fn jwks(rules: &Rules) -> Value {
    let jwk = |key: PublicKey| {
        let jwk = key.jwk();
        json!({"kty": jwk.kty, "crv": jwk.crv, "x": jwk.x, "kid": key.did().url(), "alg": "Ed25519", "use": "sig"})
    };
    let keys: Vec<Value> = rules.bundle.keys(marque_signing::Role::Issuer).into_iter().map(jwk).collect();
    json!({ "keys": keys })
}

/// The DID document of a `did:key` (DID Core §5, the did:key method's Multikey form).
pub fn did_document(did: &Did) -> Value {
    let (id, url) = (did.to_string(), did.url());
    json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": id,
        "verificationMethod": [
            {"id": url, "type": "Multikey", "controller": id, "publicKeyMultibase": did.multibase()}
        ],
        "authentication": [url],
        "assertionMethod": [url],
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlueprintQuestion {
    name: BlueprintName,
}

/// All blueprints without their tools, or, asked `{"name": …}`, one with them.
pub fn blueprints(rules: &Rules, body: &[u8]) -> Result<Value, Refusal> {
    if body.is_empty() {
        let all: Vec<BlueprintInfo<'_>> = rules.blueprints.iter().map(|blueprint| blueprint.info(false)).collect();
        return Ok(json!({ "blueprints": all }));
    }
    let question: BlueprintQuestion = marque_json::from_slice(body, Limits::bytes(QUESTION_BYTES_MAX))
        .map_err(|error| Refusal::from(JwsError::Payload(error)))?;
    Ok(json!(rules.blueprints.get(&question.name)?.info(true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use marque_identity::Code;

    #[test]
    fn the_key_set_holds_the_issuers_key() {
        let jwks = jwks(&testing::rules());
        assert_eq!(jwks["keys"][0]["x"], json!(testing::issuer().public().jwk().x));
        assert_eq!(jwks["keys"][0]["kid"], json!(testing::issuer().did().url()));
        assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn the_did_document_names_the_key() {
        let document = did_document(&testing::issuer().did());
        assert_eq!(document["assertionMethod"][0], document["verificationMethod"][0]["id"]);
        assert_eq!(document["verificationMethod"][0]["publicKeyMultibase"], json!(testing::issuer().did().multibase()));
    }

    #[test]
    fn blueprints_are_listed_and_told_by_name() {
        let list = blueprints(&testing::rules(), b"").unwrap();
        assert_eq!(list["blueprints"][0]["name"], "orchestrator");
        assert!(list["blueprints"][0].get("tools").is_none());
        let one = blueprints(&testing::rules(), br#"{"name":"orchestrator"}"#).unwrap();
        assert!(one["tools"]["nats:tools.crm.query"].is_object());
        let code = |body: &[u8]| blueprints(&testing::rules(), body).unwrap_err().code;
        assert_eq!(code(br#"{"name":"other"}"#), Code::BlueprintUnknown);
        assert_eq!(code(br#"{"name":"No Name"}"#), Code::ClaimsMalformed);
        assert_eq!(code(b"\xff"), Code::Malformed);
        assert_eq!(code(&[b' '; QUESTION_BYTES_MAX + 1]), Code::Oversize);
    }
}
