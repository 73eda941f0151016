//! A parent's own word on a delegation: the *delegated* record, in the log before the child is first used.

use marque_bus::{Bus, subjects};
use marque_judgement::record::{Body, Carried, Delegated, Record};
use marque_runtime::Clock;

use crate::commission::{claims, link_digest, payload};
use crate::{AgentError, Commission, answer};

impl Commission {
    /// States in the log that `child`, a chain out of [`delegate`](Self::delegate), was handed on: signed by the
    /// holder, stored by the gatekeeper. `bus` is the holder's own connection.
    ///
    /// Nothing depends on it: a link that no record brought is recorded by whoever verifies it first, and until then
    /// the parent's word is marked as claimed.
    pub async fn record_delegation(&self, bus: &Bus, child: &str) -> Result<(), AgentError> {
        let link = child.strip_prefix(self.chain()).and_then(|rest| rest.strip_prefix('~'));
        let link = link.filter(|link| !link.contains('~'));
        let link = link.ok_or(AgentError::ChainUnreadable("it is no child of this commission"))?;
        let text = payload(link)?;
        let holder = claims(&text)?.holder();
        let holder = holder.map_err(|_| AgentError::ChainUnreadable("the leaf's `cnf.jwk` is no Ed25519 key"))?;
        let (own, parent, token) = (self.key().did(), self.leaf_digest(), link_digest(link));
        let body = Delegated { link: Carried::of(link), parent, depth: self.depth().saturating_add(1) };
        let record = Record {
            agent: Some(holder.did()),
            token: Some(token),
            links: vec![parent, token],
            ..Record::new(Clock::new().unix_millis(), own, Body::Delegated(body))
        };
        let sealed = record.seal(self.key().signing())?;
        answer::ask(bus, &subjects::record("delegated", Some(&own)), sealed.into_bytes().into()).await?;
        Ok(())
    }
}
