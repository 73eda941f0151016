//! An enrolled agent: a key with a live identity credential.

use std::path::PathBuf;
use std::time::Duration;

use marque_bus::{Bus, subjects};
use marque_credential::{Manifest, Tools};
use marque_identity::{Did, Digest, TaskId, TokenId, TrustDomain, UnixSeconds};
use marque_runtime::Clock;
use marque_signing::jws;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{AgentError, AgentKey, Commission, Evidence, answer};

/// How long the broker may take to let an agent in: as long as its gatekeeper may take to answer, and a try more.
pub const ADMISSION_TIME: Duration = Duration::from_secs(20);

/// What an agent says of the runtime that it is.
#[derive(Debug, Clone, Serialize)]
pub struct RuntimeClaim {
    /// The model, as the blueprint's list of allowed models writes it.
    pub model_id: String,
    /// SHA-256 of what was deployed; directives can name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_hash: Option<Digest>,
}

/// What an agent asks to be commissioned with, for one task.
#[derive(Debug, Clone)]
pub struct CommissionRequest {
    /// The task.
    pub task: TaskId,
    /// Why, in words.
    pub purpose: String,
    /// The tools; the issuer cuts nothing down, it refuses what goes beyond the blueprint's ceiling.
    pub tools: Tools,
    /// Life in seconds; none: the issuer's default.
    pub ttl_seconds: Option<i64>,
    /// How many links may be derived below the root; none: none.
    pub depth_max: Option<u64>,
    /// The places of use, where they are known.
    pub audience: Option<Vec<String>>,
}

impl CommissionRequest {
    /// A request with the issuer's default life, without delegation.
    pub fn new(task: TaskId, purpose: impl Into<String>, tools: Tools) -> Self {
        Self { task, purpose: purpose.into(), tools, ttl_seconds: None, depth_max: None, audience: None }
    }

    /// The same, for `seconds`.
    #[must_use]
    pub fn ttl_seconds(mut self, seconds: i64) -> Self {
        self.ttl_seconds = Some(seconds);
        self
    }

    /// The same, to be delegated through at most `links` links.
    #[must_use]
    pub fn depth_max(mut self, links: u64) -> Self {
        self.depth_max = Some(links);
        self
    }
}

/// An enrolled agent.
#[derive(Clone)]
pub struct Agent {
    bus: Bus,
    domain: TrustDomain,
    key: AgentKey,
    credential: String,
    expires_at: UnixSeconds,
    manifest: Option<Manifest>,
    attestor: Option<PathBuf>,
}

#[derive(Serialize)]
struct EnrolRequest<'a> {
    #[serde(flatten)]
    signed: Signed<'a>,
    #[serde(flatten)]
    evidence: &'a Evidence,
    jwk: marque_signing::Jwk,
    runtime: &'a RuntimeClaim,
}

#[derive(Serialize)]
struct RenewRequest<'a> {
    #[serde(flatten)]
    signed: Signed<'a>,
    credential: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_evidence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<&'a Manifest>,
}

#[derive(Serialize)]
struct IssueRequest<'a> {
    #[serde(flatten)]
    signed: Signed<'a>,
    credential: &'a str,
    task: &'a TaskId,
    purpose: &'a str,
    tools: &'a Tools,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    del_max_depth: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_aud: Option<&'a [String]>,
}

/// What every signed request to the issuer carries; `jti` makes a retry idempotent.
#[derive(Serialize)]
struct Signed<'a> {
    iat: UnixSeconds,
    jti: TokenId,
    aud: &'a TrustDomain,
}

impl<'a> Signed<'a> {
    fn now(domain: &'a TrustDomain) -> Self {
        Self { iat: Clock::new().unix(), jti: TokenId::generate(), aud: domain }
    }
}

#[derive(Deserialize)]
struct Enrolled {
    credential: String,
    expires_at: UnixSeconds,
}

#[derive(Deserialize)]
struct Issued {
    token: String,
}

impl Agent {
    /// Enrols a key by the evidence that its blueprint demands, a join token's text where that is all: the issuer answers
    /// with the identity credential, once its *issued* record is stored. Where no answer comes the request is repeated
    /// with the same `jti`.
    ///
    /// `bus` is the agent's own ([`AgentKey::connect_options`], presenting `enrol`); it presents the credential
    /// afterwards.
    pub async fn enrol(
        bus: &Bus,
        domain: &TrustDomain,
        key: AgentKey,
        evidence: impl Into<Evidence>,
        runtime: &RuntimeClaim,
    ) -> Result<Self, AgentError> {
        let evidence = evidence.into();
        let signed = Signed::now(domain);
        let request = EnrolRequest { signed, evidence: &evidence, jwk: key.public().jwk(), runtime };
        let enrolled: Enrolled = ask(bus, &key, subjects::issuer::ENROL, "marque-enrol+jwt", &request).await?;
        // The gatekeeper let it in to enrol; with the credential it may ask for commissions.
        bus.present(enrolled.credential.as_str(), ADMISSION_TIME).await?;
        let agent = Self::resume(bus, domain, key, enrolled.credential, enrolled.expires_at);
        Ok(Self { manifest: evidence.manifest, ..agent })
    }

    /// An agent that was enrolled before, by its key and the credential that it was given.
    pub fn resume(bus: &Bus, domain: &TrustDomain, key: AgentKey, credential: String, expires_at: UnixSeconds) -> Self {
        Self { bus: bus.clone(), domain: domain.clone(), key, credential, expires_at, manifest: None, attestor: None }
    }

    /// The same, which states this manifest when it renews: what is deployed now. One that the blueprint does not allow
    /// is refused, and any change is recorded as a risk.
    #[must_use]
    pub fn with_manifest(mut self, manifest: Manifest) -> Self {
        self.manifest = Some(manifest);
        self
    }

    /// The same, which asks the attestor on this socket for a statement on this process whenever it renews. Needed
    /// where the blueprint demands `process`.
    #[must_use]
    pub fn with_attestor(mut self, socket: impl Into<PathBuf>) -> Self {
        self.attestor = Some(socket.into());
        self
    }

    /// Asks for a fresh identity credential: a new check, never a longer old one.
    pub async fn renew(&mut self) -> Result<(), AgentError> {
        let process = match &self.attestor {
            Some(socket) => Some(crate::attest(socket, &self.key, &self.domain).await?),
            None => None,
        };
        self.renew_on(process.as_deref()).await
    }

    /// The same, on this statement of an attestor: a fresh one, on this key; it is used once.
    pub async fn renew_with(&mut self, process: &str) -> Result<(), AgentError> {
        self.renew_on(Some(process)).await
    }

    async fn renew_on(&mut self, process_evidence: Option<&str>) -> Result<(), AgentError> {
        let request = RenewRequest {
            signed: Signed::now(&self.domain),
            credential: &self.credential,
            process_evidence,
            manifest: self.manifest.as_ref(),
        };
        let renewed: Enrolled =
            ask(&self.bus, &self.key, subjects::issuer::RENEW, "marque-renew+jwt", &request).await?;
        (self.credential, self.expires_at) = (renewed.credential, renewed.expires_at);
        self.bus.present_next(self.credential.as_str());
        Ok(())
    }

    /// Asks for a root token for one task.
    pub async fn commission(&self, request: &CommissionRequest) -> Result<Commission, AgentError> {
        let request = IssueRequest {
            signed: Signed::now(&self.domain),
            credential: &self.credential,
            task: &request.task,
            purpose: &request.purpose,
            tools: &request.tools,
            ttl_seconds: request.ttl_seconds,
            del_max_depth: request.depth_max,
            token_aud: request.audience.as_deref(),
        };
        let issued: Issued = ask(&self.bus, &self.key, subjects::issuer::ISSUE, "marque-issue+jwt", &request).await?;
        Commission::adopt(self.key.clone(), issued.token)
    }

    /// The agent's name.
    pub fn did(&self) -> Did {
        self.key.did()
    }

    /// The key with its action counter.
    pub fn key(&self) -> &AgentKey {
        &self.key
    }

    /// The identity credential, a `vc+jwt`.
    pub fn credential(&self) -> &str {
        &self.credential
    }

    /// When the identity credential ends.
    pub fn expires_at(&self) -> UnixSeconds {
        self.expires_at
    }

    /// The connection it speaks over.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }
}

/// One request signed by the agent's key.
async fn ask<T: DeserializeOwned>(
    bus: &Bus,
    key: &AgentKey,
    subject: &str,
    typ: &str,
    request: &impl Serialize,
) -> Result<T, AgentError> {
    let signed = jws::sign_as_did(key.signing(), typ, request)?;
    let reply = answer::ask(bus, subject, signed.into_bytes().into()).await?;
    marque_json::from_slice(&reply.payload, marque_json::Limits::DEFAULT).map_err(AgentError::Reply)
}
