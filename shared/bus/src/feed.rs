//! The directive feed: keeps a view of the directives that is as fresh as the broker allows, and knows how fresh.
//!
//! Two plain subscriptions (the raw copies, the committed copies) and, for what is missing, Direct Get. Never an
//! ordered consumer, never a watch: both fall silent without a sign. Events of the client (reconnected, slow
//! consumer) are not looked at: whatever was missed shows as a gap in the sequence at the next heartbeat, and past
//! the bound without one the view denies.

mod acks;
mod drive;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use marque_revocation::{Closed, DirectiveId, Opener, View};
use marque_signing::{PublicKey, SigningKey};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::{Bus, BusError, subjects};
use acks::Acks;
use drive::Drive;

/// While nothing changes, freshness is looked at again after this long.
const FRESH_RECHECK: Duration = Duration::from_millis(100);

/// How a feed behaves.
#[derive(Clone, Default)]
pub struct FeedOptions {
    /// Signs presence and applied acks; without it none are sent.
    pub ack_key: Option<Arc<SigningKey>>,
    /// Is told each directive that has taken effect, and acks it by [`Feed::acknowledge`] once it has done its part.
    /// Bounded by the active directives, of which a view holds only so many. Without it the feed acks by itself.
    pub applied: Option<mpsc::UnboundedSender<DirectiveId>>,
}

/// What a feed has done so far.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) raw: AtomicU64,
    pub(crate) committed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) fills: AtomicU64,
    pub(crate) alarms: AtomicU64,
    pub(crate) acks_dropped: AtomicU64,
}

/// A reading of [`Counters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Raw copies received.
    pub raw: u64,
    /// Committed copies received.
    pub committed: u64,
    /// Messages that did not open: not signed by a broadcaster, or malformed.
    pub refused: u64,
    /// Reads of the stream for what was missing.
    pub fills: u64,
    /// Alarms.
    pub alarms: u64,
    /// Acks that could not be queued.
    pub acks_dropped: u64,
}

/// What the driving task and the handles share.
pub(crate) struct Shared {
    pub(crate) view: RwLock<View>,
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) counters: Counters,
    start: Instant,
}

impl Shared {
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Ends the driving task with the last handle.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A running feed. Cheap to clone; the last clone stops it.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
    acks: Option<Acks>,
    _running: Arc<Running>,
}

impl Feed {
    /// Subscribes to the raw and the committed copies, then catches up from the stream, for ever.
    /// `broadcasters` are the keys whose directives and heartbeats count. Does not wait for the broker.
    pub async fn start(bus: &Bus, broadcasters: Vec<PublicKey>, options: FeedOptions) -> Result<Self, BusError> {
        let subscribe = async |subject: &'static str| {
            let subscribed = bus.client().subscribe(subject).await;
            subscribed.map_err(|error| BusError::Unavailable(format!("{subject}: {error}")))
        };
        // Both before anything is read from the stream: what is published in between is then seen live.
        let raw = subscribe(subjects::DIRECTIVES_RAW).await?;
        let committed = subscribe(subjects::COMMITTED_ALL).await?;
        let shared = Arc::new(Shared {
            view: RwLock::new(View::new()),
            changes: watch::Sender::new(0),
            counters: Counters::default(),
            start: Instant::now(),
        });
        let acks = options.ack_key.map(|key| Acks::start(bus.clone(), key, &shared));
        let drive = Drive::new(bus.clone(), shared.clone(), Opener::new(broadcasters), acks.clone(), options.applied);
        let task = tokio::spawn(drive.run(raw, committed));
        Ok(Self { shared, acks, _running: Arc::new(Running(task.abort_handle())) })
    }

    /// Acks a directive that was told of through [`FeedOptions::applied`]: all that it asks for is done.
    pub fn acknowledge(&self, id: DirectiveId, closed: Closed) {
        if let Some(acks) = &self.acks {
            acks.applied(id, closed);
        }
    }

    /// The view, for a decision. Hold it shortly and never across an await: applying waits for it.
    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        // A panic inside the view poisons it; its parts are changed in the order of the rules, and a view that was
        // left behind is stale within the bound, since the driving task is gone.
        self.shared.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The monotonic clock that the view's times are on; `now` for `View::freshness` and `decide`.
    pub fn now(&self) -> Duration {
        self.shared.now()
    }

    /// Whether the view is fresh within `bound` at this moment.
    pub fn is_fresh(&self, bound: Duration) -> bool {
        self.view().freshness(self.now(), bound).is_fresh()
    }

    /// Waits until the view is fresh within `bound`.
    pub async fn fresh(&self, bound: Duration) {
        let mut changes = self.changes();
        while !self.is_fresh(bound) {
            let _ = tokio::time::timeout(FRESH_RECHECK, changes.changed()).await;
        }
    }

    /// Counts every change of the view: `changed().await` waits for the next one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// What the feed has done so far.
    pub fn counted(&self) -> Counted {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            raw: read(&counters.raw),
            committed: read(&counters.committed),
            refused: read(&counters.refused),
            fills: read(&counters.fills),
            alarms: read(&counters.alarms),
            acks_dropped: read(&counters.acks_dropped),
        }
    }
}
