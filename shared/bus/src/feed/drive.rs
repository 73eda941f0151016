//! The one task that feeds the view: no other task stands between a message and its effect.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::StreamExt;
use marque_identity::Epoch;
use marque_revocation::{Alarm, Closed, DirectiveId, Effect, Event, Item, Opener};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Shared;
use super::acks::Acks;
use crate::{Batch, Bus, BusError, streams};

/// As often as the broadcaster's heartbeat.
const TICK: Duration = Duration::from_millis(250);
/// One read for a gap: about 10 ms of signatures, after which the live copies are looked at again.
const FILL_MESSAGES_MAX: usize = 256;
/// A view that diverged is read anew after this many ticks (5 s); it denies until it agrees again.
const RESTART_AFTER_TICKS: u32 = 20;

type Fill = Pin<Box<dyn Future<Output = (Epoch, Result<Batch, BusError>)> + Send>>;

pub(super) struct Drive {
    bus: Bus,
    shared: Arc<Shared>,
    opener: Opener,
    acks: Option<Acks>,
    applied: Option<mpsc::UnboundedSender<DirectiveId>>,
    fill: Option<Fill>,
    restart_in_ticks: Option<u32>,
}

impl Drive {
    pub(super) fn new(
        bus: Bus,
        shared: Arc<Shared>,
        opener: Opener,
        acks: Option<Acks>,
        applied: Option<mpsc::UnboundedSender<DirectiveId>>,
    ) -> Self {
        Self { bus, shared, opener, acks, applied, fill: None, restart_in_ticks: None }
    }

    pub(super) async fn run(mut self, mut raw: Subscriber, mut committed: Subscriber) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                // In order of urgency: what tightens first.
                biased;
                Some(message) = raw.next() => self.on_raw(&message),
                Some(message) = committed.next() => self.on_committed(&message),
                (from, read) = filled(&mut self.fill) => self.on_filled(from, read),
                _ = ticks.tick() => self.on_tick(),
                else => return,
            }
        }
    }

    fn on_raw(&mut self, message: &Message) {
        count(&self.shared.counters.raw);
        match self.opener.directive(&message.payload) {
            Ok(signed) => self.apply(Event::Raw(signed)),
            Err(error) => self.refused("raw", &error),
        }
    }

    fn on_committed(&mut self, message: &Message) {
        count(&self.shared.counters.committed);
        let sequence = message.headers.as_ref().and_then(|h| h.get("Nats-Sequence"));
        // Without its sequence it is not the server's own copy: the gap that it may leave is filled from the stream.
        let Some(seq) = sequence.and_then(|value| value.as_str().parse().ok()).map(Epoch) else {
            return self.refused("committed", &"no Nats-Sequence");
        };
        let item = self.open(&message.payload);
        self.apply(Event::Committed { seq, item });
    }

    fn on_filled(&mut self, from: Epoch, read: Result<Batch, BusError>) {
        let messages = match read {
            Ok(batch) => batch.messages,
            Err(error) => {
                tracing::warn!(%from, %error, "the directive stream could not be read");
                Vec::new()
            }
        };
        let items = messages.iter().map(|stored| (Epoch(stored.sequence), self.open(&stored.payload))).collect();
        self.apply(Event::Filled { from, items });
    }

    fn on_tick(&mut self) {
        if let Some(ticks) = self.restart_in_ticks {
            self.restart_in_ticks = ticks.checked_sub(1);
            if ticks == 0 {
                tracing::warn!("reading the directive stream anew");
                self.shared.view.write().unwrap_or_else(PoisonError::into_inner).restart();
            }
        }
        if let Some(acks) = &mut self.acks {
            acks.tick();
        }
        self.apply(Event::Tick);
    }

    fn open(&mut self, bytes: &[u8]) -> Item {
        let (item, error) = self.opener.item(bytes);
        if let Some(error) = error {
            self.refused("committed", &error);
        }
        item
    }

    /// The only place that changes the view. The lock is held for the change alone.
    fn apply(&mut self, event: Event) {
        let now = self.shared.now();
        let is_tick = matches!(event, Event::Tick);
        let effects = {
            let mut view = self.shared.view.write().unwrap_or_else(PoisonError::into_inner);
            view.on(event, now)
        };
        if !is_tick {
            self.shared.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
        for effect in effects {
            match effect {
                Effect::Applied { id, epoch: _ } => self.applied(id),
                Effect::FillGap { from, to } => self.start_fill(from, to),
                Effect::Alarm(alarm) => self.alarm(&alarm),
            }
        }
    }

    /// Acked here, or left to whoever has more to do than to look at the view.
    fn applied(&self, id: DirectiveId) {
        match (&self.applied, &self.acks) {
            (Some(applied), _) => drop(applied.send(id)),
            (None, Some(acks)) => acks.applied(id, Closed::default()),
            (None, None) => {}
        }
    }

    /// One read at a time; the view asks again for what it still lacks.
    fn start_fill(&mut self, from: Epoch, to: Epoch) {
        if self.fill.is_some() {
            return;
        }
        count(&self.shared.counters.fills);
        tracing::debug!(%from, %to, "reading what is missing from the directive stream");
        let missing = usize::try_from(to.0.saturating_sub(from.0)).unwrap_or(usize::MAX).saturating_add(1);
        let bus = self.bus.clone();
        self.fill = Some(Box::pin(async move {
            (from, bus.read(streams::DIRECTIVES, from.0, missing.min(FILL_MESSAGES_MAX)).await)
        }));
    }

    fn alarm(&mut self, alarm: &Alarm) {
        count(&self.shared.counters.alarms);
        match alarm {
            Alarm::Diverged { .. } => {
                tracing::error!(?alarm, "the view of the directives denies: its set is not the broadcaster's");
                self.restart_in_ticks.get_or_insert(RESTART_AFTER_TICKS);
            }
            // Another stream under the same name may lack what was revoked: a person decides, by restarting us.
            Alarm::Rewound { .. } => tracing::error!(?alarm, "the view denies: the directive stream has gone back"),
            Alarm::Overfull => tracing::error!(?alarm, "the view denies: too many active directives"),
            Alarm::OrphanDropped { .. } | Alarm::HeartbeatMisplaced { .. } => tracing::warn!(?alarm, "directive feed"),
        }
    }

    fn refused(&self, path: &'static str, error: &dyn std::fmt::Display) {
        count(&self.shared.counters.refused);
        tracing::warn!(path, %error, "a message of the directive feed does not open");
    }
}

/// The answer to the read that is under way; waits for ever where there is none.
async fn filled(fill: &mut Option<Fill>) -> (Epoch, Result<Batch, BusError>) {
    match fill {
        Some(read) => {
            let answer = read.await;
            *fill = None;
            answer
        }
        None => std::future::pending().await,
    }
}

fn count(counter: &std::sync::atomic::AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
