//! The raw copy of a directive: before any disk, straight to everyone who holds a view.
//!
//! It has a subject of its own, which no stream captures. If the stream captured the raw copy too, its committed copies
//! would follow within a fraction of a millisecond, and where verifiers and broker share cores, those of the first
//! verifiers would stand before the raw copies of the last: with a hundred on two cores, the last one applied a
//! directive a quarter later in the median, half as late again at p99.

use std::time::Duration;

use marque_revocation::SignedDirective;

use crate::{Bus, subjects};

/// What a verifier adds to a fan-out on two cores, its signature included: 50 µs in the median were measured, 90 at p99.
const LEAD_EACH: Duration = Duration::from_micros(150);
/// The stream's copy waits no longer than that, however many verifiers there are.
const LEAD_MAX: Duration = Duration::from_millis(15);
/// Where the connection does not take it within this time, the stream's copy waits no longer.
const SENT_WITHIN: Duration = LEAD_MAX;

/// How much sooner than the committed copy the raw one is to go out, with so many to hear it.
pub fn raw_lead(viewers: usize) -> Duration {
    LEAD_EACH.saturating_mul(u32::try_from(viewers).unwrap_or(u32::MAX)).min(LEAD_MAX)
}

impl Bus {
    /// Sends a directive's raw copy to whoever listens now, once. Gives whether it is on its way; the lead counts from here.
    ///
    /// Nothing rests on its arrival: who misses it applies the committed copy. One that loosens has none: a view does
    /// not look at it.
    pub async fn send_raw(&self, signed: &SignedDirective) -> bool {
        let directive = signed.directive();
        // Buffered by the client it would come late, behind its own committed copy.
        if !directive.op.tightens() || !self.is_connected() {
            return false;
        }
        let subject = subjects::raw(directive.target.kind().as_str(), &directive.id.to_string());
        if let Err(error) = self.client().publish(subject, signed.compact().to_owned().into()).await {
            tracing::warn!(%error, "a directive's raw copy could not be sent");
            return false;
        }
        tokio::time::timeout(SENT_WITHIN, self.client().flush()).await.is_ok_and(|flushed| flushed.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_grows_with_those_who_hear_it_up_to_a_bound() {
        assert_eq!(raw_lead(0), Duration::ZERO);
        assert_eq!(raw_lead(3), Duration::from_micros(450));
        assert_eq!(raw_lead(100), LEAD_MAX);
        assert_eq!(raw_lead(usize::MAX), LEAD_MAX);
    }
}
