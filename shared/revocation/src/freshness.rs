//! How fresh a view is.

use std::time::Duration;

use marque_identity::Epoch;

/// Whether a view may decide. Everything but [`Fresh`](Freshness::Fresh) denies (promises 2 and 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Every sequence up to a heartbeat younger than the bound is held.
    Fresh {
        /// The sequence up to which everything is held.
        epoch: Epoch,
        /// Age of the youngest heartbeat that proves it.
        age: Duration,
    },
    /// It was fresh once; the youngest proof is older than the bound.
    Stale {
        /// The sequence up to which everything is held.
        epoch: Epoch,
        /// Age of the youngest proof.
        age: Duration,
    },
    /// The own set of active directives is not the one that the last heartbeat vouches for.
    Diverged {
        /// The heartbeat at which it showed.
        epoch: Epoch,
    },
    /// No heartbeat that was seen live has been reached yet.
    Cold,
}

impl Freshness {
    /// What it waits for, if it is not [`Fresh`](Self::Fresh): for whoever asks whether a service is ready.
    pub fn pending(&self) -> Option<String> {
        match self {
            Self::Fresh { .. } => None,
            Self::Stale { epoch, age } => {
                Some(format!("at epoch {epoch}, last proven fresh {} ms ago", age.as_millis()))
            }
            Self::Diverged { epoch } => {
                Some(format!("another set of directives than the broadcaster's at epoch {epoch}"))
            }
            Self::Cold => Some("no heartbeat has been reached yet".to_owned()),
        }
    }

    /// Whether it is [`Fresh`](Self::Fresh).
    pub fn is_fresh(&self) -> bool {
        matches!(self, Self::Fresh { .. })
    }
}
