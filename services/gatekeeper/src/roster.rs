//! The connections, shared by all who change them or look at them, and the word that some have gone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::connections::Connections;

/// Every connection that is known.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    connections: Mutex<Connections>,
    /// Some have gone, or do not count any more.
    pub(crate) freed: Notify,
}

impl Roster {
    /// Every connection, for a look or a change.
    pub(crate) fn locked(&self) -> MutexGuard<'_, Connections> {
        // A panic while it was held leaves a map that is whole.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
