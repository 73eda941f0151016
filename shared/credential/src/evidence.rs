//! Evidence of what is running, as an attestor signs it for one agent's key.
//!
//! In the manner of SPIRE's workload attestation: the host agent looks at the process on the other end of a Unix
//! socket and states what it saw. The agent's key is in the statement, so that another process can't use it.

use marque_identity::{Did, Digest, TokenId, TrustDomain, UnixSeconds};
use marque_json::Limits;
use marque_signing::{JwsError, PublicKey, SigningKey, jws};
use serde::{Deserialize, Serialize};

mod request;

pub use request::{ATTEST_LINE_BYTES_MAX, ATTEST_REQUEST_TYPE, AttestRequest};

/// `typ` of a process's evidence.
pub const PROCESS_EVIDENCE_TYPE: &str = "marque-process+jwt";
/// A command line of 4 KiB and a few paths.
pub const EVIDENCE_BYTES_MAX: usize = 16 * 1024;
/// An agent asks its attestor and then enrols: seconds apart.
pub const EVIDENCE_LIFE_SECONDS: i64 = 60;
/// Bytes that a command line has at most as JSON, where a control character takes six; the rest is cut and told of.
pub const COMMAND_LINE_BYTES_MAX: usize = 4 * 1024;

/// What a piece of evidence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// An operator's one-time join token.
    JoinToken,
    /// A token of an OpenID Connect issuer, or a JWT-SVID.
    Oidc,
    /// An attestor's statement on a process.
    Process,
    /// The manifest of what was deployed.
    Manifest,
    /// The signed request itself.
    Request,
    /// The identity credential that was shown.
    Credential,
}

impl EvidenceKind {
    /// The word on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JoinToken => "join_token",
            Self::Oidc => "oidc",
            Self::Process => "process",
            Self::Manifest => "manifest",
            Self::Request => "request",
            Self::Credential => "credential",
        }
    }
}

impl std::fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A piece of evidence by its digest: of a token the SHA-256 of its signing input, of a manifest that of its canonical
/// form, of a request that of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EvidenceDigest {
    /// What it is.
    pub kind: EvidenceKind,
    /// SHA-256, hexadecimal.
    #[schemars(with = "String")]
    pub sha256: Digest,
}

impl EvidenceDigest {
    /// A piece of this kind.
    pub fn new(kind: EvidenceKind, sha256: Digest) -> Self {
        Self { kind, sha256 }
    }
}

/// What an attestor saw of a process that asked it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessEvidence {
    /// UUIDv7.
    #[schemars(with = "String")]
    pub jti: TokenId,
    /// The attestor.
    #[schemars(with = "String")]
    pub iss: Did,
    /// The trust domain that it is for.
    #[schemars(with = "String")]
    pub aud: TrustDomain,
    /// The agent's key: nobody else can enrol with this.
    #[schemars(with = "String")]
    pub sub: Did,
    /// When it looked, in seconds.
    #[schemars(with = "i64")]
    pub iat: UnixSeconds,
    /// Until when it is good, in seconds; at most [`EVIDENCE_LIFE_SECONDS`] later.
    #[schemars(with = "i64")]
    pub exp: UnixSeconds,
    /// The name of the machine, as its operator configured it.
    pub host: String,
    /// What it saw.
    pub process: Process,
}

/// A process, by the kernel's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it began, in clock ticks since boot (field 22 of `/proc/<pid>/stat`): with the number, a name that is not
    /// used again.
    pub started_ticks: u64,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its executable's path.
    pub exe: String,
    /// SHA-256 of its executable, hexadecimal.
    #[schemars(with = "String")]
    pub exe_sha256: Digest,
    /// Its command line, one element a word.
    pub command_line: Vec<String>,
    /// Whether words or bytes were cut off it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub command_line_cut: bool,
    /// Its control group's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The container's id, where the control group names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
}

impl ProcessEvidence {
    /// Signs it; the key is `iss`'s.
    pub fn sign(&self, attestor: &SigningKey) -> Result<String, JwsError> {
        jws::sign_as_did(attestor, PROCESS_EVIDENCE_TYPE, self)
    }

    /// Reads one that one of these attestors signed. TRUST: time, audience and subject are the caller's to judge.
    pub fn open(token: &str, attestors: &[PublicKey]) -> Result<Self, JwsError> {
        let signer = jws::claimed_signer(token)?;
        if !attestors.contains(&signer) {
            return Err(JwsError::SignatureInvalid);
        }
        let evidence: Self = jws::verify_json(token, &signer, PROCESS_EVIDENCE_TYPE, EVIDENCE_BYTES_MAX)?;
        if evidence.iss != signer.did() {
            return Err(JwsError::SignatureInvalid);
        }
        Ok(evidence)
    }
}

/// The manifest of an agent: what was deployed. Its digest is the credential's `manifest_hash`.
///
/// Claimed by the agent unless an attestor measured what it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The model, as the blueprint's list of allowed models writes it.
    pub model_id: String,
    /// SHA-256 of the model's weights, or the provider's own digest of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<String>,
    /// SHA-256 of the system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub prompt_sha256: Option<Digest>,
    /// SHA-256 of the list of tools that the agent knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub tools_sha256: Option<Digest>,
    /// SHA-256 of its code: of the executable, where an attestor measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub code_sha256: Option<Digest>,
}

/// A manifest is five short members.
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024;

impl Manifest {
    /// Reads one.
    pub fn parse(text: &[u8]) -> Result<Self, marque_json::JsonError> {
        marque_json::from_slice(text, Limits::bytes(MANIFEST_BYTES_MAX))
    }

    /// SHA-256 of its canonical form (RFC 8785): its name in credentials, actions and directives.
    pub fn digest(&self) -> Result<Digest, marque_json::JsonError> {
        Ok(marque_signing::sha256(&marque_json::to_canonical(self)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(attestor: &SigningKey) -> ProcessEvidence {
        ProcessEvidence {
            jti: TokenId("e1".into()),
            iss: attestor.did(),
            aud: "acme.example".parse().unwrap(),
            sub: SigningKey::from_seed(&[9; 32]).did(),
            iat: UnixSeconds(1_700_000_000),
            exp: UnixSeconds(1_700_000_060),
            host: "node-1".into(),
            process: Process {
                pid: 42,
                started_ticks: 7,
                uid: 1000,
                gid: 1000,
                exe: "/usr/bin/agent".into(),
                exe_sha256: Digest([5; 32]),
                command_line: vec!["agent".into(), "--task".into()],
                command_line_cut: false,
                cgroup: None,
                container_id: None,
            },
        }
    }

    #[test]
    fn opens_what_an_attestor_signed_and_nobody_elses() {
        let (attestor, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let token = evidence(&attestor).sign(&attestor).unwrap();
        assert_eq!(ProcessEvidence::open(&token, &[attestor.public()]).unwrap(), evidence(&attestor));
        assert_eq!(ProcessEvidence::open(&token, &[other.public()]), Err(JwsError::SignatureInvalid));
        let posing = evidence(&attestor).sign(&other).unwrap();
        assert!(ProcessEvidence::open(&posing, &[attestor.public(), other.public()]).is_err());
        for noise in ["", "a.b.c", "…"] {
            assert!(ProcessEvidence::open(noise, &[attestor.public()]).is_err());
        }
    }

    #[test]
    fn a_manifest_s_digest_is_that_of_its_canonical_form() {
        let manifest = Manifest::parse(br#"{ "prompt_sha256": "0505050505050505050505050505050505050505050505050505050505050505", "model_id": "m" }"#).unwrap();
        let canonical = format!(r#"{{"model_id":"m","prompt_sha256":"{}"}}"#, "05".repeat(32));
        assert_eq!(manifest.digest().unwrap(), marque_signing::sha256(canonical.as_bytes()));
        for bad in [&br#"{}"#[..], br#"{"model_id":"m","more":1}"#, br#"{"model_id":"m","model_id":"m"}"#] {
            assert!(Manifest::parse(bad).is_err());
        }
    }
}
