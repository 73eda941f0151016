//! How far each directive has come: written by the publisher and the follower, read by requests that wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use marque_identity::Epoch;
use marque_revocation::{DirectiveId, Receipt};
use tokio::sync::watch;

/// How far a directive has come.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Its place in the stream, once it is durable.
    pub epoch: Option<Epoch>,
    /// Who has applied it, once all have or were waited for.
    pub receipt: Option<Receipt>,
}

/// The board. Cheap to clone. Holds a directive from its acceptance to its receipt.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<HashMap<DirectiveId, watch::Sender<Progress>>>>);

impl Board {
    /// Puts a directive up: it is accepted.
    pub fn put_up(&self, id: DirectiveId) {
        self.locked().entry(id).or_default();
    }

    /// Follows a directive; none if it is not up (any more): the outbox knows what came of it.
    pub fn follow(&self, id: DirectiveId) -> Option<watch::Receiver<Progress>> {
        self.locked().get(&id).map(watch::Sender::subscribe)
    }

    /// It is durable.
    pub fn durable(&self, id: DirectiveId, epoch: Epoch) {
        if let Some(sender) = self.locked().get(&id) {
            sender.send_modify(|progress| progress.epoch = Some(epoch));
        }
    }

    /// It was not accepted after all.
    pub fn take_down(&self, id: DirectiveId) {
        self.locked().remove(&id);
    }

    /// All is known. It comes off the board; who follows it still sees this.
    pub fn done(&self, id: DirectiveId, receipt: Receipt) {
        if let Some(sender) = self.locked().remove(&id) {
            sender.send_modify(|progress| progress.receipt = Some(receipt));
        }
    }

    /// A panic while it was held leaves a map that is whole.
    fn locked(&self) -> MutexGuard<'_, HashMap<DirectiveId, watch::Sender<Progress>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
