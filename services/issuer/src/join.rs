//! Join tokens: an operator's word that one agent of a blueprint may enrol, once.

use marque_credential::{EvidenceDigest, EvidenceKind};
use marque_identity::refusal::quoted;
use marque_identity::{BlueprintName, Code, Did, Digest, Refusal, TokenId, UnixSeconds};
use marque_signing::{Compact, TrustBundle, jws};
use serde::Deserialize;

use crate::attest::{Attested, EVIDENCE_MEMORY_SECONDS};
use crate::request::{JTI_BYTES_MAX, WINDOW_SECONDS};
use crate::store::{self, EvidenceUse};

/// `typ` of a join token.
pub const JOIN_TYP: &str = "marque-join+jwt";
/// Five short claims.
pub const JOIN_BYTES_MAX: usize = 4 * 1024;
/// The longest life of a join token, in seconds: an invitation, not a standing key. Bounds what must be remembered.
pub const JOIN_LIFE_SECONDS_MAX: i64 = 30 * 24 * 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinClaims {
    jti: TokenId,
    aud: String,
    blueprint: BlueprintName,
    iat: UnixSeconds,
    exp: UnixSeconds,
}

/// A join token that an operator of this domain signed and that has not expired.
///
/// INVARIANT: only [`verify`](Self::verify) makes one. Whether it was used, the store knows.
#[derive(Debug)]
pub struct JoinToken {
    operator: Did,
    jti: TokenId,
    digest: Digest,
    blueprint: BlueprintName,
    expires_at: UnixSeconds,
}

impl JoinToken {
    /// Verifies a join token: an operator's signature, this domain, its time.
    pub fn verify(token: &str, bundle: &TrustBundle, now: UnixSeconds) -> Result<Self, Refusal> {
        let refused = |message: String| Refusal::new(Code::JoinTokenInvalid, message);
        let operator = jws::claimed_signer(token)
            .ok()
            .filter(|key| bundle.is_operator(&key.did()))
            .ok_or_else(|| refused("the join token's `kid` names no operator of this domain".into()))?;
        let claims: JoinClaims = jws::verify_json(token, &operator, JOIN_TYP, JOIN_BYTES_MAX)
            .map_err(|error| refused(format!("join token: {}", Refusal::from(error).message)))?;
        if claims.aud != bundle.trust_domain.as_str() {
            return Err(refused(format!("the join token is for {}", quoted(&claims.aud))));
        }
        let jti = &claims.jti.0;
        if jti.is_empty() || jti.len() > JTI_BYTES_MAX {
            return Err(refused(format!("the join token's `jti` is not 1 to {JTI_BYTES_MAX} bytes")));
        }
        if claims.iat > now.plus(WINDOW_SECONDS) {
            return Err(refused("the join token is from the future".into()));
        }
        if claims.exp <= now {
            return Err(refused("the join token has expired".into()));
        }
        if claims.exp <= claims.iat || claims.exp > claims.iat.plus(JOIN_LIFE_SECONDS_MAX) {
            return Err(refused(format!("the join token lives longer than {JOIN_LIFE_SECONDS_MAX} s")));
        }
        let digest = Compact::split(token)?.signing_digest();
        let JoinClaims { jti, blueprint, exp, .. } = claims;
        Ok(Self { operator: operator.did(), jti, digest, blueprint, expires_at: exp })
    }

    /// The kind of agent that may enrol.
    pub fn blueprint(&self) -> &BlueprintName {
        &self.blueprint
    }

    /// What it is as evidence, used by an agent.
    pub(crate) fn used_by(&self, agent: &Did, now: UnixSeconds) -> Attested {
        let kind = EvidenceKind::JoinToken;
        Attested {
            evidence: EvidenceDigest::new(kind, self.digest),
            used: EvidenceUse {
                key: store::join_key(&self.operator, &self.jti),
                kind,
                agent: *agent,
                used_at: now,
                keep_until: self.expires_at.plus(EVIDENCE_MEMORY_SECONDS),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use marque_signing::SigningKey;
    use serde_json::{Value, json};

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

    fn good() -> Value {
        json!({"jti": "j1", "aud": "acme.example", "blueprint": "summarizer", "iat": NOW.0 - 10, "exp": NOW.0 + 600})
    }

    fn verdict(signer: &SigningKey, claims: &Value) -> Result<JoinToken, Refusal> {
        JoinToken::verify(&jws::sign_as_did(signer, JOIN_TYP, claims).unwrap(), &testing::bundle(), NOW)
    }

    #[test]
    fn accepts_an_operators() {
        let join = verdict(&testing::operator(), &good()).unwrap();
        assert_eq!(join.blueprint().as_str(), "summarizer");
        let used = join.used_by(&testing::agent().did(), NOW).used;
        assert_eq!(used.keep_until, UnixSeconds(NOW.0 + 600 + EVIDENCE_MEMORY_SECONDS));
    }

    #[test]
    fn refuses_each_broken_rule() {
        let operator = testing::operator();
        let refused = |member: &str, value: Value| {
            let mut claims = good();
            claims[member] = value;
            let refusal = verdict(&operator, &claims).unwrap_err();
            assert_eq!(refusal.code, Code::JoinTokenInvalid, "{member}");
            refusal.message
        };
        assert!(refused("aud", json!("other.example")).contains("`other.example`"));
        assert!(refused("exp", json!(NOW.0)).contains("expired"));
        assert!(refused("iat", json!(NOW.0 + 31)).contains("future"));
        assert!(refused("exp", json!(NOW.0 - 10 + JOIN_LIFE_SECONDS_MAX + 1)).contains("longer"));
        assert!(refused("exp", json!(1_i64 << 52)).contains("longer"));
        assert!(refused("jti", json!("")).contains("jti"));
        assert!(refused("blueprint", json!("Not A Name")).contains("blueprint"));
        assert!(refused("uses", json!(5)).contains("uses"), "an unknown member may be a limit");
        for stranger in [testing::agent(), testing::issuer()] {
            assert_eq!(verdict(&stranger, &good()).unwrap_err().code, Code::JoinTokenInvalid);
        }
        for noise in ["", "a.b.c", "…", "eyJ.eyJ.eyJ"] {
            assert_eq!(JoinToken::verify(noise, &testing::bundle(), NOW).unwrap_err().code, Code::JoinTokenInvalid);
        }
        let other_typ = jws::sign_as_did(&operator, "marque-enrol+jwt", &good()).unwrap();
        assert!(JoinToken::verify(&other_typ, &testing::bundle(), NOW).is_err());
    }

    #[test]
    fn two_operators_may_choose_one_jti() {
        let use_by =
            |operator: u8| store::join_key(&SigningKey::from_seed(&[operator; 32]).did(), &TokenId("j".into()));
        assert_ne!(use_by(1), use_by(2));
    }
}
