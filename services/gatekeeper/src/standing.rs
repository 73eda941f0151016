//! What a connection stands on: everything that a directive could name to end it.

use std::collections::BTreeSet;

use marque_credential::VerifiedCredential;
use marque_identity::{BlueprintName, Code, Did, Digest, TaskId, TrustDomain, UnixSeconds};
use marque_judgement::VerifiedChain;
use marque_judgement::record::{Connected, Record, Shown};
use marque_revocation::{DirectiveId, Overlay, TargetRef, View};

/// What an agent showed when it was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The agent.
    pub(crate) agent: Did,
    /// What kind of thing it showed.
    pub(crate) shown: Shown,
    /// The links of its chain, root first.
    pub(crate) links: Vec<Digest>,
    /// Its identity credential, where it showed that.
    pub(crate) credential: Option<Digest>,
    /// Their holders; of a credential its subject; of a key itself.
    pub(crate) holders: Vec<Did>,
    /// The issuer's URI.
    pub(crate) issuer: Option<String>,
    /// The task.
    pub(crate) task: Option<TaskId>,
    /// The kind of agent.
    pub(crate) blueprint: Option<BlueprintName>,
    /// The manifest that it runs by.
    pub(crate) manifest: Option<Digest>,
    /// When what it showed expires.
    pub(crate) expires_at: Option<UnixSeconds>,
}

/// Why a connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Stable reason.
    pub(crate) code: Code,
    /// The directive, if one ended it.
    pub(crate) directive: Option<DirectiveId>,
}

impl Standing {
    /// Of whoever shows nothing but a key.
    pub(crate) fn of_key(agent: Did) -> Self {
        Self {
            agent,
            shown: Shown::Key,
            links: Vec::new(),
            credential: None,
            holders: vec![agent],
            issuer: None,
            task: None,
            blueprint: None,
            manifest: None,
            expires_at: None,
        }
    }

    /// Of a credential's subject.
    pub(crate) fn of_credential(credential: &VerifiedCredential, domain: &TrustDomain) -> Self {
        let claims = credential.claims();
        Self {
            shown: Shown::Credential,
            credential: Some(credential.digest()),
            issuer: Some(domain.issuer_uri()),
            blueprint: Some(claims.blueprint.clone()),
            manifest: claims.runtime.manifest_hash,
            expires_at: Some(claims.exp),
            ..Self::of_key(claims.subject)
        }
    }

    /// Of a chain's leaf holder.
    pub(crate) fn of_chain(chain: &VerifiedChain) -> Self {
        let claims = chain.root_claims();
        let mut holders: Vec<Did> = chain.links().iter().map(|link| *link.holder()).collect();
        // A root may be issued to an agent and bound to another of its keys.
        holders.extend(claims.map(|claims| claims.agent.did).filter(|did| *did != *chain.root().holder()));
        Self {
            agent: *chain.leaf().holder(),
            shown: Shown::Chain,
            links: chain.links().iter().map(|link| *link.digest()).collect(),
            credential: None,
            holders,
            issuer: Some(chain.issuer().to_owned()),
            task: claims.map(|claims| claims.task.clone()),
            blueprint: claims.map(|claims| claims.agent.blueprint.clone()),
            manifest: claims.and_then(|claims| claims.agent.manifest_hash),
            expires_at: Some(chain.expires_at()),
        }
    }

    /// As a *connected* record tells it.
    pub(crate) fn of_record(record: &Record, connected: &Connected) -> Option<Self> {
        Some(Self {
            agent: record.agent?,
            shown: connected.shown,
            links: record.links.clone(),
            credential: record.token.filter(|_| connected.shown == Shown::Credential),
            holders: connected.holders.clone(),
            issuer: connected.issuer.clone(),
            task: record.task.clone(),
            blueprint: connected.blueprint.clone(),
            manifest: connected.manifest_hash,
            expires_at: connected.expires_at,
        })
    }

    /// Everything that a directive could name.
    fn targets<'a>(&'a self, domain: &'a TrustDomain) -> impl Iterator<Item = TargetRef<'a>> {
        let one = std::iter::once(TargetRef::Domain(domain.as_str()));
        one.chain(self.issuer.as_deref().map(TargetRef::Issuer))
            .chain(self.links.iter().chain(&self.credential).map(TargetRef::Token))
            .chain(self.holders.iter().map(TargetRef::Key))
            .chain(self.task.iter().map(|task| TargetRef::Task(task.as_str())))
            .chain(self.blueprint.iter().map(|name| TargetRef::Blueprint(name.as_str())))
            .chain(self.manifest.iter().map(TargetRef::Manifest))
    }

    /// Why it must end, if it must: a directive, or its time.
    pub(crate) fn ended(&self, domain: &TrustDomain, view: &View, now: UnixSeconds) -> Option<Ended> {
        let by_directive = self.targets(domain).flat_map(|target| view.overlay(target)).find_map(|active| {
            let code = match active.overlay() {
                Overlay::Revoked => Code::Revoked,
                Overlay::Suspended => Code::Suspended,
                Overlay::Narrow(_) => return None,
            };
            Some(Ended { code, directive: Some(active.id()) })
        });
        let by_time = || {
            let expired = self.expires_at.is_some_and(|expires_at| expires_at <= now);
            expired.then_some(Ended { code: Code::TokenExpired, directive: None })
        };
        by_directive.or_else(by_time)
    }

    /// The narrowings that are in force on it.
    pub(crate) fn narrowings(&self, domain: &TrustDomain, view: &View) -> BTreeSet<DirectiveId> {
        let active = self.targets(domain).flat_map(|target| view.overlay(target));
        active.filter(|active| matches!(active.overlay(), Overlay::Narrow(_))).map(|active| active.id()).collect()
    }
}
