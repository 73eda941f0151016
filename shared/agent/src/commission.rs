//! A commission: a chain and the key that holds its leaf. Delegation out of it needs no network.

use std::time::Duration;

use marque_bus::{Bus, BusError, Presented};
use marque_credential::aat::{Claims, MarqueReading};
use marque_credential::{DerivedRequest, Tools, derive, limits};
use marque_identity::{Digest, TaskId, TokenId, TrustDomain, UnixSeconds};
use marque_runtime::Clock;
use marque_signing::{Compact, PublicKey, sha256};

use crate::{AgentError, AgentKey};

/// What a holder grants to a sub-agent. Whatever is left out is as wide as the holder's own, except the depth.
#[derive(Debug, Clone)]
pub struct Delegation {
    /// The tools, each argument constraint at most as wide as the holder's.
    pub tools: Tools,
    /// Seconds from now; cut to the holder's own end. None: until the holder's own end.
    pub ttl_seconds: Option<i64>,
    /// How many further links the sub-agent may add below itself.
    pub further_depth: u64,
    /// The places of use, where they are known: `nats://<domain>/<subject>`.
    pub audience: Option<Vec<String>>,
}

impl Delegation {
    /// These tools, for as long as the holder's own life, not to be delegated further, anywhere.
    pub fn new(tools: Tools) -> Self {
        Self { tools, ttl_seconds: None, further_depth: 0, audience: None }
    }

    /// The same, for at most `seconds` from now.
    #[must_use]
    pub fn ttl_seconds(mut self, seconds: i64) -> Self {
        self.ttl_seconds = Some(seconds);
        self
    }

    /// The same, to be delegated further through at most `links` more links.
    #[must_use]
    pub fn further_depth(mut self, links: u64) -> Self {
        self.further_depth = links;
        self
    }

    /// The same, for use at these places alone.
    #[must_use]
    pub fn audience(mut self, places: impl IntoIterator<Item = String>) -> Self {
        self.audience = Some(places.into_iter().collect());
        self
    }
}

/// A chain and the key of its leaf: what its holder may do, and may hand on in part.
///
/// Made by [`Agent::commission`](crate::Agent::commission) (a root) or by [`Commission::adopt`] (a sub-agent).
#[derive(Debug, Clone)]
pub struct Commission {
    key: AgentKey,
    chain: String,
    domain: TrustDomain,
    task: Option<TaskId>,
    manifest_hash: Option<Digest>,
    expires_at: UnixSeconds,
    depth: u64,
    depth_max: u64,
}

impl Commission {
    /// Takes up a chain (tokens joined by `~`, root first) whose leaf is bound to `key`.
    ///
    /// Refuses a chain that can't be read, or whose leaf is bound to another key. Does not verify it: that is what
    /// every enforcement point does.
    pub fn adopt(key: AgentKey, chain: impl Into<String>) -> Result<Self, AgentError> {
        let chain = chain.into();
        if chain.len() > limits::CHAIN_BYTES_MAX {
            return Err(AgentError::ChainUnreadable("it is larger than a chain may be"));
        }
        let root = payload(chain.split('~').next().unwrap_or_default())?;
        let leaf = payload(chain.rsplit('~').next().unwrap_or_default())?;
        let (root, leaf) = (claims(&root)?, claims(&leaf)?);
        let unreadable = AgentError::ChainUnreadable;
        let bound = leaf.holder().map_err(|_| unreadable("the leaf's `cnf.jwk` is no Ed25519 key"))?;
        if bound != key.public() {
            return Err(AgentError::NotTheHolder { bound: bound.did(), own: key.did() });
        }
        let domain = root.text("iss").and_then(|iss| iss.strip_prefix("https://")).and_then(|name| name.parse().ok());
        let (task, manifest_hash) = match root.marque() {
            MarqueReading::Present(marque) => (Some(marque.task), marque.agent.manifest_hash),
            MarqueReading::Absent | MarqueReading::Malformed => (None, None),
        };
        Ok(Self {
            domain: domain.ok_or(unreadable("the root's `iss` is not `https://<trust domain>`"))?,
            task,
            manifest_hash,
            expires_at: leaf.numeric_date("exp").ok_or(unreadable("the leaf's `exp` is absent"))?,
            depth: leaf.natural("del_depth").ok_or(unreadable("the leaf's `del_depth` is absent"))?,
            depth_max: leaf.natural("del_max_depth").ok_or(unreadable("the leaf's `del_max_depth` is absent"))?,
            key,
            chain,
        })
    }

    /// Connects its holder to the broker: the gatekeeper gives what the chain grants on the wire, and nothing else.
    pub async fn connect(&self, url: &str, name: &str, deadline: Duration) -> Result<Bus, BusError> {
        let presented = Presented::new(self.chain.as_str());
        Bus::connect_now(self.key.connect_options(url, name, presented), deadline).await
    }

    /// The chain, root first, joined by `~`.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// SHA-256 of [`chain`](Self::chain): its name in `Marque-Chain-Ref`.
    pub fn chain_digest(&self) -> Digest {
        sha256(self.chain.as_bytes())
    }

    /// The last token: the one that its holder proves.
    pub fn leaf(&self) -> &str {
        self.chain.rsplit('~').next().unwrap_or(&self.chain)
    }

    /// SHA-256 of the leaf's signing input: what a directive on this very link names.
    pub fn leaf_digest(&self) -> Digest {
        link_digest(self.leaf())
    }

    /// SHA-256 of the root's signing input: a directive on it ends every descendant.
    pub fn root_digest(&self) -> Digest {
        link_digest(self.chain.split('~').next().unwrap_or_default())
    }

    /// The key that the leaf is bound to.
    pub fn key(&self) -> &AgentKey {
        &self.key
    }

    /// The trust domain that the root was issued in.
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The task of the commission, as the root names it.
    pub fn task(&self) -> Option<&TaskId> {
        self.task.as_ref()
    }

    /// The manifest that the root was issued for; each action repeats it.
    pub fn manifest_hash(&self) -> Option<Digest> {
        self.manifest_hash
    }

    /// When the leaf ends.
    pub fn expires_at(&self) -> UnixSeconds {
        self.expires_at
    }

    /// How many links may still be derived below the leaf.
    pub fn depth_left(&self) -> u64 {
        self.depth_max.saturating_sub(self.depth)
    }

    /// How many links stand between the root and the leaf: 0 for a root.
    pub fn depth(&self) -> u64 {
        self.depth
    }

    /// Mints a child for a sub-agent's own key, offline, and answers the whole chain that the sub-agent presents.
    ///
    /// Refuses what would not verify: wider tools, a longer life, more depth than is left.
    pub fn delegate(&self, to: &PublicKey, grant: Delegation) -> Result<String, AgentError> {
        let now = Clock::new().unix();
        let exp = grant.ttl_seconds.map_or(self.expires_at, |ttl| self.expires_at.min(now.plus(ttl)));
        let request = DerivedRequest {
            holder: *to,
            tools: grant.tools,
            exp,
            del_max_depth: self.depth.saturating_add(1).saturating_add(grant.further_depth),
            aud: grant.audience,
            iat: now,
            jti: TokenId::generate(),
        };
        let child = derive(self.key.signing(), self.leaf(), &request).map_err(AgentError::Derive)?;
        Ok(format!("{}~{child}", self.chain))
    }
}

pub(crate) fn link_digest(token: &str) -> Digest {
    sha256(token.rsplit_once('.').map_or(token, |(signing_input, _)| signing_input).as_bytes())
}

/// TRUST: read without a check of signatures; nothing is permitted on it, enforcement points verify the chain.
pub(crate) fn payload(token: &str) -> Result<Vec<u8>, AgentError> {
    let payload = Compact::split(token).and_then(|compact| compact.payload());
    payload.map_err(|_| AgentError::ChainUnreadable("a token is not a JWS in compact form"))
}

pub(crate) fn claims(payload: &[u8]) -> Result<Claims<'_>, AgentError> {
    Claims::parse(payload).map_err(|_| AgentError::ChainUnreadable("a token's claims are no JSON object"))
}
