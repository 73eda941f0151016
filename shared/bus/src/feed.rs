//! The directive feed: keeps a view of the directives that is as fresh as the broker allows, and knows how fresh.

use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;

use marque_signing::{PublicKey, SigningKey};

use crate::{Bus, BusError};

/// How a feed behaves.
#[derive(Clone, Default)]
pub struct FeedOptions {
    /// Signs presence and applied acks; without it none are sent.
    pub ack_key: Option<Arc<SigningKey>>,
}

/// A running feed. Cheap to clone; the last clone stops it.
#[derive(Clone)]
pub struct Feed {
    view: Arc<RwLock<marque_revocation::View>>,
}

impl Feed {
    /// Subscribes to the raw and the committed copies, then catches up from the stream, for ever.
    /// `broadcasters` are the keys whose directives and heartbeats count.
    pub async fn start(bus: &Bus, broadcasters: Vec<PublicKey>, options: FeedOptions) -> Result<Self, BusError> {
        let _ = (bus, broadcasters, options);
        todo!()
    }

    /// The view, for a decision. Hold it shortly: applying waits for it.
    pub fn view(&self) -> RwLockReadGuard<'_, marque_revocation::View> {
        todo!()
    }

    /// The monotonic clock that the view's times are on; `now` for `View::freshness` and `decide`.
    pub fn now(&self) -> Duration {
        todo!()
    }

    /// Waits until the view is fresh within `bound`.
    pub async fn fresh(&self, bound: Duration) {
        let _ = bound;
        todo!()
    }

    /// Counts every change of the view: `changed().await` waits for the next one.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        todo!()
    }
}
