//! The identity credential: who an agent is. A W3C Verifiable Credential 2.0, secured as a JWT (`vc+jwt`).
//!
//! Issued through jsonwebtoken, whose name for the algorithm is `EdDSA`; accepted under `Ed25519` too. The verdict
//! is our own strict verification: jsonwebtoken's comes on top of it, never instead.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use marque_identity::{BlueprintName, Did, Digest, Sponsor, TokenId, UnixSeconds};
use marque_json::Limits;
use marque_signing::{Algorithms, Compact, Jwk, PublicKey, SigningKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::CredentialError;
use crate::aat::wire::Confirmation;
use crate::evidence::{EvidenceDigest, EvidenceKind};
use crate::limits::{IAT_SKEW_SECONDS_MAX, TOKEN_BYTES_MAX};

/// `typ` of an identity credential (W3C VC-JOSE-COSE §3.1.1).
pub const CREDENTIAL_TYPE: &str = "vc+jwt";
/// `cty` of an identity credential.
pub const CONTENT_TYPE: &str = "vc";
/// The context of VC 2.0, and the one under which terms need no definition.
const CONTEXTS: [&str; 2] =
    ["https://www.w3.org/ns/credentials/v2", "https://www.w3.org/ns/credentials/undefined-terms/v2"];
const TYPES: [&str; 2] = ["VerifiableCredential", "MarqueAgentCredential"];
/// `type` of each piece of evidence (VC Data Model 2.0 §5.6 demands one).
const EVIDENCE_TYPE: &str = "MarqueEvidence";
/// PKCS #8 of an Ed25519 seed (RFC 8410 §7), up to the seed.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// How well it is known what an agent runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assurance {
    /// The agent says so, nobody has measured it.
    Claimed,
    /// The manifest's `code_sha256` is the digest that an attestor measured of the executable. The rest of the manifest
    /// (model, prompt, tools) is claimed all the same.
    CodeMeasured,
}

/// What an agent runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Runtime {
    /// The model.
    pub model_id: String,
    /// Digest of the runtime's manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub manifest_hash: Option<Digest>,
    /// How this is known.
    pub assurance: Assurance,
}

/// What an identity credential says.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentityClaims {
    /// Its identifier.
    pub jti: TokenId,
    /// When it was issued.
    pub iat: UnixSeconds,
    /// When it expires.
    pub exp: UnixSeconds,
    /// The agent, whose key it is bound to.
    pub subject: Did,
    /// The kind of agent this is an instance of.
    pub blueprint: BlueprintName,
    /// Who answers for it.
    pub sponsor: Sponsor,
    /// What it runs as.
    pub runtime: Runtime,
    /// What was attested.
    pub evidence: Vec<EvidenceDigest>,
    /// A W3C `credentialStatus` entry, as it is.
    pub status: Option<serde_json::Value>,
}

/// The payload as it is written (VC Data Model 2.0, with the JWT's claims beside it).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CredentialPayload {
    /// The contexts of VC 2.0.
    #[serde(rename = "@context")]
    pub context: Vec<String>,
    /// `VerifiableCredential`, `MarqueAgentCredential`.
    pub r#type: Vec<String>,
    /// The issuer's DID.
    #[schemars(with = "String")]
    pub issuer: Did,
    /// The same.
    #[schemars(with = "String")]
    pub iss: Did,
    /// The agent's DID.
    #[schemars(with = "String")]
    pub sub: Did,
    /// Its identifier.
    #[schemars(with = "String")]
    pub jti: TokenId,
    /// When it was issued, in seconds.
    #[schemars(with = "i64")]
    pub iat: UnixSeconds,
    /// When it expires, in seconds.
    #[schemars(with = "i64")]
    pub exp: UnixSeconds,
    /// The agent's key.
    pub cnf: Confirmation,
    /// Who.
    #[serde(rename = "credentialSubject")]
    pub credential_subject: Subject,
    /// What the issuer went by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidenceEntry>,
    /// Where its status is published.
    #[serde(rename = "credentialStatus", default, skip_serializing_if = "Option::is_none")]
    pub credential_status: Option<serde_json::Value>,
}

/// A piece of evidence as a credential names it (VC Data Model 2.0 §5.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceEntry {
    /// `MarqueEvidence`.
    pub r#type: String,
    /// What it is.
    pub kind: EvidenceKind,
    /// SHA-256, hexadecimal.
    #[schemars(with = "String")]
    pub sha256: Digest,
}

impl From<&EvidenceDigest> for EvidenceEntry {
    fn from(evidence: &EvidenceDigest) -> Self {
        let EvidenceDigest { kind, sha256 } = *evidence;
        Self { r#type: EVIDENCE_TYPE.to_owned(), kind, sha256 }
    }
}

/// `credentialSubject`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// The agent's DID.
    #[schemars(with = "String")]
    pub id: Did,
    /// The kind of agent this is an instance of.
    #[schemars(with = "String")]
    pub blueprint: BlueprintName,
    /// Who answers for it.
    #[schemars(with = "String")]
    pub sponsor: Sponsor,
    /// What it runs as.
    pub runtime: Runtime,
}

/// The credential's two doors.
#[derive(Debug, Clone, Copy)]
pub struct IdentityCredential;

/// A credential that a known issuer signed and that is in its time.
///
/// INVARIANT: only [`IdentityCredential::verify`] makes one. Absent: whether a directive has ended it.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedCredential {
    claims: IdentityClaims,
    issuer: PublicKey,
    holder: PublicKey,
    digest: Digest,
}

impl VerifiedCredential {
    /// What it says.
    pub fn claims(&self) -> &IdentityClaims {
        &self.claims
    }

    /// Who signed it.
    pub fn issuer(&self) -> &PublicKey {
        &self.issuer
    }

    /// The agent's key.
    pub fn holder(&self) -> &PublicKey {
        &self.holder
    }

    /// SHA-256 of its signing input: `vc_hash` of root tokens.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl IdentityCredential {
    /// Issues a credential, bound to the subject's key, `kid` the issuer's DID URL.
    pub fn issue(issuer: &SigningKey, claims: &IdentityClaims) -> Result<String, CredentialError> {
        let holder = PublicKey::from_did(&claims.subject)?;
        if claims.exp <= claims.iat {
            return Err(CredentialError::Life { reason: "a credential must expire after it is issued" });
        }
        let payload = CredentialPayload {
            context: CONTEXTS.map(str::to_owned).to_vec(),
            r#type: TYPES.map(str::to_owned).to_vec(),
            issuer: issuer.did(),
            iss: issuer.did(),
            sub: claims.subject,
            jti: claims.jti.clone(),
            iat: claims.iat,
            exp: claims.exp,
            cnf: Confirmation { jwk: holder.jwk() },
            credential_subject: Subject {
                id: claims.subject,
                blueprint: claims.blueprint.clone(),
                sponsor: claims.sponsor.clone(),
                runtime: claims.runtime.clone(),
            },
            evidence: claims.evidence.iter().map(EvidenceEntry::from).collect(),
            credential_status: claims.status.clone(),
        };
        let header = Header {
            typ: Some(CREDENTIAL_TYPE.to_owned()),
            cty: Some(CONTENT_TYPE.to_owned()),
            kid: Some(issuer.did().url()),
            ..Header::new(Algorithm::EdDSA)
        };
        let mut pkcs8 = Zeroizing::new([0u8; 48]);
        pkcs8[..16].copy_from_slice(&PKCS8_PREFIX);
        pkcs8[16..].copy_from_slice(issuer.seed().as_ref());
        let token =
            jsonwebtoken::encode(&header, &payload, &EncodingKey::from_ed_der(pkcs8.as_ref())).map_err(library)?;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(CredentialError::Oversize { bytes: token.len(), bytes_max: TOKEN_BYTES_MAX });
        }
        Ok(token)
    }

    /// Verifies a credential: size, header, an issuer's strict signature, no duplicate member, then the claims.
    pub fn verify(token: &str, issuers: &[PublicKey], now: UnixSeconds) -> Result<VerifiedCredential, CredentialError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(CredentialError::Oversize { bytes: token.len(), bytes_max: TOKEN_BYTES_MAX });
        }
        let compact = Compact::split(token)?;
        compact.check_header(CREDENTIAL_TYPE, Algorithms::Ed25519OrEdDsa)?;
        if compact.header_member("cty")?.is_some_and(|cty| cty != CONTENT_TYPE) {
            return Err(CredentialError::Claim { name: "cty" });
        }
        let issuer =
            *issuers.iter().find(|key| compact.check_signature(key).is_ok()).ok_or(CredentialError::IssuerUnknown)?;
        let payload = compact.payload()?;
        let json = marque_json::parse(&payload, Limits::bytes(TOKEN_BYTES_MAX)).map_err(CredentialError::Json)?;
        let jwk = json.as_object().and_then(|claims| claims.get("cnf")?.as_object()?.get("jwk")?.as_object());
        if jwk.is_none_or(|jwk| jwk.get("d").is_some()) {
            return Err(CredentialError::Claim { name: "cnf" });
        }
        let claims: CredentialPayload = if compact.header_member("alg")?.as_deref() == Some("EdDSA") {
            by_library(token, &issuer)?
        } else {
            marque_json::from_slice(&payload, Limits::bytes(TOKEN_BYTES_MAX)).map_err(CredentialError::Json)?
        };
        Self::judge(claims, issuer, compact.signing_digest(), now)
    }

    fn judge(
        payload: CredentialPayload,
        issuer: PublicKey,
        digest: Digest,
        now: UnixSeconds,
    ) -> Result<VerifiedCredential, CredentialError> {
        let wrong = |name| Err(CredentialError::Claim { name });
        let subject = payload.credential_subject;
        let holder = payload.cnf.jwk.public_key()?;
        if payload.context.first().map(String::as_str) != Some(CONTEXTS[0]) {
            return wrong("@context");
        }
        if !payload.r#type.iter().any(|name| name == TYPES[0]) {
            return wrong("type");
        }
        if payload.iss != issuer.did() || payload.issuer != issuer.did() {
            return wrong("iss");
        }
        if payload.sub != subject.id || subject.id != holder.did() {
            return wrong("sub");
        }
        if payload.exp <= now || payload.exp <= payload.iat || payload.iat > now.plus(IAT_SKEW_SECONDS_MAX) {
            return Err(CredentialError::OutOfTime);
        }
        Ok(VerifiedCredential {
            claims: IdentityClaims {
                jti: payload.jti,
                iat: payload.iat,
                exp: payload.exp,
                subject: subject.id,
                blueprint: subject.blueprint,
                sponsor: subject.sponsor,
                runtime: subject.runtime,
                evidence: payload.evidence.iter().map(|piece| EvidenceDigest::new(piece.kind, piece.sha256)).collect(),
                status: payload.credential_status,
            },
            issuer,
            holder,
            digest,
        })
    }
}

/// What jsonwebtoken reads, by its own verification. Its clock checks are off: `now` is an argument here.
fn by_library(token: &str, issuer: &PublicKey) -> Result<CredentialPayload, CredentialError> {
    let Jwk { x, .. } = issuer.jwk();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_ed_components(&x).map_err(library)?;
    Ok(jsonwebtoken::decode(token, &key, &validation).map_err(library)?.claims)
}

fn library(error: jsonwebtoken::errors::Error) -> CredentialError {
    CredentialError::Library { reason: error.to_string() }
}
