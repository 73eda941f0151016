//! An agent's own word in the log, signed by itself and stored by the gatekeeper: the *delegated* record of a parent,
//! before the child is first used, and the *requested* record of an action that no enforcement point has numbered.

use std::time::Duration;

use marque_bus::{Bus, CallError as BusCallError, subjects};
use marque_identity::Code;
use marque_judgement::record::{Body, Carried, Delegated, Record, Requested};
use marque_runtime::Clock;

use crate::commission::{claims, link_digest, payload};
use crate::{AgentError, AgentKey, Commission, Denial, SignedAction, answer};

/// A statement is stored within milliseconds, or waits for the next call.
const STATE_TIME: Duration = Duration::from_secs(2);

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

impl Commission {
    /// The *requested* record of an action under this commission.
    pub(crate) fn request_record(&self, tool: &str, signed: &SignedAction) -> Record {
        let own = self.key().did();
        let body = Body::Requested(Requested { proof: Carried::of(&signed.proof) });
        Record {
            agent: Some(own),
            task: self.task().cloned(),
            tool: Some(tool.to_owned()),
            token: Some(self.leaf_digest()),
            links: self.chain().split('~').map(link_digest).collect(),
            ..Record::new(Clock::new().unix_millis(), own, body)
        }
    }
}

/// An action under way. Unless its number is known to stand in the log, it is owed to the log when this is dropped, be
/// that by an answer or because nobody waits any more: the next action names this one as its `prev`.
pub(crate) struct UnderWay<'a> {
    commission: &'a Commission,
    tool: &'a str,
    signed: &'a SignedAction,
    numbered: bool,
}

impl<'a> UnderWay<'a> {
    /// Signed, and about to be sent.
    pub(crate) fn new(commission: &'a Commission, tool: &'a str, signed: &'a SignedAction) -> Self {
        Self { commission, tool, signed, numbered: false }
    }

    /// An enforcement point's record has its number.
    pub(crate) fn numbered(mut self) {
        self.numbered = true;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.numbered {
            self.commission.key().owe(self.commission.request_record(self.tool, self.signed));
        }
    }
}

/// Whether an enforcement point that denies so may have left the action's number out of its record: it tells of no proof
/// before it has verified the chain (§8 steps 1 to 5) and the holder's signature (7a, 7b).
pub(crate) fn is_unnumbered(denial: &Denial) -> bool {
    let Some(step) = &denial.step else { return true };
    let (number, letter) = step.split_at(step.find(|c: char| !c.is_ascii_digit()).unwrap_or(step.len()));
    match number.parse::<u8>() {
        Ok(7) => letter.starts_with(['a', 'b']),
        Ok(number) => number <= 5,
        Err(_) => true,
    }
}

/// Has the log store what a key owes it, oldest first, as far as that can be done now.
pub(crate) async fn settle(bus: &Bus, key: &AgentKey) {
    let subject = subjects::record("requested", Some(&key.did()));
    while bus.is_connected()
        && let Some(record) = key.next_owed()
    {
        // One that can't be sealed never will be.
        let Ok(sealed) = record.seal(key.signing()) else { continue };
        match bus.request(&subject, Default::default(), sealed, STATE_TIME).await {
            Err(BusCallError::Unanswered(refusal)) if refusal.code != Code::Oversize => {
                key.still_owe(record);
                return;
            }
            // Stored, or refused: of an erasable tool, say.
            Ok(_) | Err(BusCallError::Unanswered(_) | BusCallError::Refused(_) | BusCallError::Foreign { .. }) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_which_denials_leave_an_action_without_its_number() {
        let denial = |step: Option<&str>| Denial { step: step.map(str::to_owned), ..Denial::foreign("1", "no") };
        for step in [None, Some("1"), Some("3e"), Some("4p4"), Some("5a"), Some("7a"), Some("7b"), Some("crit")] {
            assert!(is_unnumbered(&denial(step)), "{step:?}");
        }
        for step in ["6b", "7c", "7i", "9", "10", "11", "12", "14"] {
            assert!(!is_unnumbered(&denial(Some(step))), "{step}");
        }
    }
}
