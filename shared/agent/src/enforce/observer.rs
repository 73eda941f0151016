//! Who counts what an enforcement point does: metrics, without this room knowing any.

use std::time::Duration;

use marque_identity::Code;

/// Is told what happened. Must not block.
pub trait Observer: Send + Sync {
    /// A decision was made and its record's fate is known; `None`: permitted.
    fn decided(&self, denied: Option<Code>, took: Duration);
    /// A record was not acknowledged before its deadline.
    fn unrecorded(&self);
}

/// Counts nothing.
pub(super) struct Unobserved;

impl Observer for Unobserved {
    fn decided(&self, _denied: Option<Code>, _took: Duration) {}
    fn unrecorded(&self) {}
}
