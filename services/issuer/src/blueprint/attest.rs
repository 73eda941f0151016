//! What a blueprint demands of evidence, and whether what was attested is that.

use marque_credential::evidence::{Manifest, Process, ProcessEvidence};
use marque_credential::{EvidenceKind, IdentityClaims};
use marque_identity::{Code, Digest, Refusal};
use marque_json::Json;
use serde::{Deserialize, Serialize};

/// Members below members that a claim's path may name; also bounds how often its dots can be read otherwise.
pub const CLAIM_PATH_PARTS_MAX: usize = 8;

/// Who attests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attestor {
    /// An operator, by a one-time token.
    JoinToken,
    /// An OpenID Connect issuer, or one of JWT-SVIDs.
    Oidc,
    /// The host agent of the machine.
    Process,
    /// The agent itself: what it says was deployed.
    Manifest,
}

impl Attestor {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::JoinToken, Self::Oidc, Self::Process, Self::Manifest];

    /// The kind of its evidence.
    pub fn kind(self) -> EvidenceKind {
        match self {
            Self::JoinToken => EvidenceKind::JoinToken,
            Self::Oidc => EvidenceKind::Oidc,
            Self::Process => EvidenceKind::Process,
            Self::Manifest => EvidenceKind::Manifest,
        }
    }
}

/// What must be shown in order to enrol: all that is required, each as its section demands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Demands {
    /// Each is demanded. One of them at least is not the agent's own word.
    pub require: Vec<Attestor>,
    /// There if `oidc` is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcDemand>,
    /// There if `process` is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessDemand>,
    /// There if `manifest` is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestDemand>,
}

impl Default for Demands {
    fn default() -> Self {
        Self { require: vec![Attestor::JoinToken], oidc: None, process: None, manifest: None }
    }
}

/// Which tokens of an OpenID Connect issuer are evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OidcDemand {
    /// Names of issuers as the issuer's own configuration has them; any of them.
    pub issuers: Vec<String>,
    /// What `aud` must contain.
    pub audience: String,
    /// Dotted paths of claims, and what must stand there; all of them. Never empty: an issuer such as a public CI signs
    /// for strangers too.
    pub claims: Vec<ClaimDemand>,
}

/// What must stand in a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClaimDemand {
    /// Names joined by dots; a name may have dots itself.
    pub path: String,
    /// What must stand there.
    pub value: ClaimValue,
}

/// What must stand in a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimValue {
    /// This text.
    Exactly(String),
    /// A text that begins so: written with one trailing `*`.
    Beginning(String),
    /// This truth value.
    Bool(bool),
    /// This integer.
    Integer(i64),
}

/// Which processes may enrol. Each list that is there must hold what was seen; one at least is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProcessDemand {
    /// SHA-256 of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe_sha256: Option<Vec<Digest>>,
    /// Path of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<Vec<String>>,
    /// User of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<Vec<u32>>,
    /// Control groups, each with all that lie below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_prefix: Option<Vec<String>>,
    /// The container's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<Vec<String>>,
    /// The machine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
}

/// Which manifests may be deployed. Each list that is there must hold what the manifest says; one at least is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ManifestDemand {
    /// Digests of whole manifests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Vec<Digest>>,
    /// Digests of models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<Vec<String>>,
    /// SHA-256 of system prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_sha256: Option<Vec<Digest>>,
    /// SHA-256 of lists of tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools_sha256: Option<Vec<Digest>>,
    /// SHA-256 of code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_sha256: Option<Vec<Digest>>,
}

impl Demands {
    /// Whether this attestor's evidence is demanded.
    pub fn requires(&self, attestor: Attestor) -> bool {
        self.require.contains(&attestor)
    }

    /// Refuses a set of evidence in which a kind that is demanded is missing.
    pub fn check_complete(&self, has: impl Fn(EvidenceKind) -> bool) -> Result<(), Refusal> {
        match self.require.iter().find(|attestor| !has(attestor.kind())) {
            None => Ok(()),
            Some(attestor) => {
                let message = format!("the blueprint demands evidence of kind `{}`", attestor.kind());
                Err(Refusal::new(Code::EvidenceMissing, message))
            }
        }
    }

    /// Refuses a credential that does not rest on what is demanded today, as far as it can be told without the evidence:
    /// the kinds, and the digest of the manifest where manifests are listed whole.
    pub fn check_held(&self, claims: &IdentityClaims) -> Result<(), Refusal> {
        self.check_complete(|kind| claims.evidence.iter().any(|piece| piece.kind == kind))?;
        let Some(allowed) = self.manifest.as_ref().and_then(|demand| demand.allowed.as_ref()) else { return Ok(()) };
        if claims.runtime.manifest_hash.is_some_and(|held| allowed.contains(&held)) {
            return Ok(());
        }
        Err(mismatch("the blueprint does not allow the credential's manifest any more"))
    }
}

impl OidcDemand {
    /// Refuses claims that are not as demanded.
    pub fn check_claims(&self, claims: &Json<'_>) -> Result<(), Refusal> {
        match self.claims.iter().find(|demand| !demand.holds(claims)) {
            None => Ok(()),
            Some(demand) => {
                Err(mismatch(format!("the token's claim `{}` is not what the blueprint demands", demand.path)))
            }
        }
    }
}

impl ClaimDemand {
    /// Whether the claim is there, in one place, and is what is demanded. Names may have dots of their own
    /// (`kubernetes.io`), so that a path may be read in several ways: where two lead to something, it is undecidable.
    fn holds(&self, claims: &Json<'_>) -> bool {
        let parts: Vec<&str> = self.path.split('.').collect();
        if parts.len() > CLAIM_PATH_PARTS_MAX {
            return false;
        }
        let mut found = Vec::new();
        find(claims, &parts, &mut found);
        match found.as_slice() {
            [one] => self.value.is(one),
            [] | [_, _, ..] => false,
        }
    }
}

fn find<'a, 'b>(at: &'a Json<'b>, parts: &[&str], found: &mut Vec<&'a Json<'b>>) {
    if parts.is_empty() {
        return found.push(at);
    }
    let Some(object) = at.as_object() else { return };
    for taken in 1..=parts.len() {
        let (name, rest) = parts.split_at(taken);
        if let Some(member) = object.get(&name.join(".")) {
            find(member, rest, found);
        }
    }
}

impl ClaimValue {
    fn is(&self, claim: &Json<'_>) -> bool {
        match self {
            Self::Exactly(text) => claim.as_str() == Some(text),
            Self::Beginning(prefix) => claim.as_str().is_some_and(|claim| claim.starts_with(prefix.as_str())),
            Self::Bool(value) => claim.as_bool() == Some(*value),
            Self::Integer(value) => claim.as_integer() == Some(*value),
        }
    }
}

impl ProcessDemand {
    /// Refuses a process that is not one of those demanded.
    pub fn check(&self, evidence: &ProcessEvidence) -> Result<(), Refusal> {
        let Process { uid, exe, exe_sha256, cgroup, container_id, .. } = &evidence.process;
        listed("executable's SHA-256", &self.exe_sha256, |allowed| allowed == exe_sha256)?;
        listed("executable", &self.exe, |allowed| allowed == exe)?;
        listed("user", &self.uid, |allowed| allowed == uid)?;
        let below = |prefix: &String| cgroup.as_deref().is_some_and(|path| is_below(path, prefix));
        listed("control group", &self.cgroup_prefix, below)?;
        listed("container", &self.container_id, |allowed| Some(allowed) == container_id.as_ref())?;
        listed("host", &self.hosts, |allowed| *allowed == evidence.host)
    }
}

/// Whether a control group is this one, or lies below it: `/agents` holds `/agents/a`, not `/agents-too`.
fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl ManifestDemand {
    /// Whether the digest of a manifest is all that is looked at.
    pub fn lists_whole(&self) -> bool {
        let Self { allowed, model_digest, prompt_sha256, tools_sha256, code_sha256 } = self;
        let parts = [prompt_sha256, tools_sha256, code_sha256];
        allowed.is_some() && model_digest.is_none() && parts.iter().all(|part| part.is_none())
    }

    /// Refuses a manifest that is not one of those demanded.
    pub fn check(&self, manifest: &Manifest, digest: Digest) -> Result<(), Refusal> {
        listed("manifest", &self.allowed, |allowed| *allowed == digest)?;
        listed("model's digest", &self.model_digest, |allowed| Some(allowed) == manifest.model_digest.as_ref())?;
        listed("prompt's SHA-256", &self.prompt_sha256, |allowed| Some(*allowed) == manifest.prompt_sha256)?;
        listed("tools' SHA-256", &self.tools_sha256, |allowed| Some(*allowed) == manifest.tools_sha256)?;
        listed("code's SHA-256", &self.code_sha256, |allowed| Some(*allowed) == manifest.code_sha256)
    }
}

fn listed<T>(what: &str, list: &Option<Vec<T>>, is: impl Fn(&T) -> bool) -> Result<(), Refusal> {
    match list {
        Some(list) if !list.iter().any(is) => Err(mismatch(format!("the {what} is none that the blueprint allows"))),
        Some(_) | None => Ok(()),
    }
}

fn mismatch(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::EvidenceMismatch, message)
}
