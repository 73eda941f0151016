//! The registry: every agent's connection, kept by what this gatekeeper lets in, what the server tells, and its lists.
//!
//! Events are delivered at most once, so that they are hints; the list, looked at again every few seconds, is the truth.
//! A connection that was let in by another gatekeeper, or before this one started, is found by the name that the server
//! repeats: it leads to the *connected* record.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use marque_bus::callout::QUEUE_GROUP;
use marque_bus::permissions::Allowed;
use marque_bus::{Bus, BusError, streams};
use marque_identity::{Code, Did};
use marque_judgement::record::{Body, Connection, Record, RecordKind};
use marque_runtime::Clock;
use marque_signing::{Role, TrustBundle};
use tokio::sync::mpsc;

use crate::connections::{Connections, Held, Roll};
use crate::metrics::Metrics;
use crate::name::ConnectionName;
use crate::records::Records;
use crate::server::{KickOutcome, Listed, Server, Told, told};
use crate::standing::{Ended, Standing};

/// Between two looks at the server's list.
const LIST_EVERY: Duration = Duration::from_secs(5);
/// Ends that wait to be recorded: more at once are told of in telemetry.
const ENDS_MAX: usize = 32_768;

/// The registry. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    connections: Mutex<Connections>,
    bus: Bus,
    server: Server,
    bundle: TrustBundle,
    records: Records,
    clock: Clock,
    metrics: Metrics,
    /// The age at which a connection is to be renewed.
    renewed_after: Duration,
}

impl Registry {
    /// Empty; [`follow`](Self::follow) fills it.
    pub(crate) fn new(
        bus: Bus,
        server: Server,
        bundle: TrustBundle,
        records: Records,
        clock: Clock,
        metrics: Metrics,
        renewed_after: Duration,
    ) -> Self {
        let connections = Mutex::default();
        Self { inner: Arc::new(Inner { connections, bus, server, bundle, records, clock, metrics, renewed_after }) }
    }

    /// A client is let in.
    pub(crate) fn put(&self, connection: Connection, held: Held) -> bool {
        let mut connections = self.locked();
        let put = connections.put(connection, held);
        self.inner.metrics.connections(connections.len());
        put
    }

    /// One is not there, or not there any more.
    pub(crate) fn remove(&self, connection: &Connection) -> Option<Held> {
        let mut connections = self.locked();
        let removed = connections.remove(connection);
        self.inner.metrics.connections(connections.len());
        removed
    }

    /// The server does not know it: gone, unless it is just coming.
    fn remove_seen(&self, connection: &Connection) {
        let mut connections = self.locked();
        connections.remove_seen(connection);
        self.inner.metrics.connections(connections.len());
    }

    /// Closes a connection at the broker; it is known no more. An error: it may be open still, and stays known.
    pub(crate) async fn close(&self, connection: &Connection) -> Result<KickOutcome, BusError> {
        let outcome = self.inner.server.kick(connection).await?;
        match outcome {
            KickOutcome::Closed => drop(self.remove(connection)),
            KickOutcome::Gone => self.remove_seen(connection),
        }
        Ok(outcome)
    }

    /// Every connection, for a look.
    pub(crate) fn locked(&self) -> MutexGuard<'_, Connections> {
        // A panic while it was held leaves a map that is whole.
        self.inner.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the server's list, once: afterwards every connection that was there is known.
    ///
    /// One whose record can't be found stands on nothing that is known, so that nobody could end it: it is closed, and
    /// its agent comes back to be judged.
    pub(crate) async fn take_stock(&self) -> Result<(), BusError> {
        let begun = self.inner.clock.monotonic();
        let (list, servers) = self.inner.server.list().await?;
        let roll = Roll { listed: list.iter().map(|entry| entry.connection.clone()).collect(), servers, begun };
        let unknown: Vec<Listed> = {
            let (mut connections, now) = (self.locked(), self.inner.clock.monotonic());
            connections.retain(&roll, now);
            list.into_iter().filter(|entry| !connections.see(&entry.connection, now)).collect()
        };
        for entry in unknown {
            self.learn(entry.connection, &entry.name, entry.age).await?;
        }
        self.inner.metrics.connections(self.locked().len());
        Ok(())
    }

    /// Follows the server for ever: its events as they come, its list every few seconds.
    pub(crate) async fn follow(&self) -> Result<(), BusError> {
        let (mut connects, mut disconnects) = self.inner.server.events().await?;
        let mut ends = self.inner.server.shared_disconnects(QUEUE_GROUP).await?;
        let (record, mut to_record) = mpsc::channel::<Told>(ENDS_MAX);
        let records = self.inner.records.clone();
        let recorder = tokio::spawn(async move {
            while let Some(Told { connection, name, end }) = to_record.recv().await {
                if let (Ok(name), Some(end)) = (name.parse::<ConnectionName>(), end) {
                    records.disconnected(name.agent, connection, end).await;
                }
            }
        });
        let mut looks = tokio::time::interval(LIST_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        use futures::StreamExt;
        loop {
            tokio::select! {
                Some(message) = connects.next() => if let Some(told) = told(&message.payload) {
                    self.connected(told).await;
                },
                Some(message) = disconnects.next() => if let Some(told) = told(&message.payload) {
                    self.remove(&told.connection);
                },
                Some(message) = ends.next() => if let Some(told) = told(&message.payload)
                    && record.try_send(told).is_err()
                {
                    tracing::error!("connections end faster than it can be recorded");
                },
                _ = looks.tick() => if let Err(error) = self.take_stock().await {
                    tracing::warn!(%error, "the broker's connections could not be listed");
                },
                else => break,
            }
        }
        recorder.abort();
        Err(BusError::Unavailable("the broker's events have ended".into()))
    }

    async fn connected(&self, told: Told) {
        let known = self.locked().see(&told.connection, self.inner.clock.monotonic());
        if known {
            return;
        }
        if let Err(error) = self.learn(told.connection, &told.name, Duration::ZERO).await {
            // The next look at the list tries again.
            tracing::warn!(%error, "what a connection stands on could not be read");
        }
    }

    /// Learns of a connection that somebody else let in, and that has been there for so long. An error: it could not be
    /// learned now. One that there is no room for nobody here could end: it is closed.
    async fn learn(&self, connection: Connection, name: &str, age: Duration) -> Result<(), BusError> {
        let held = self.lookup(&connection, name, age).await?;
        if held.is_some_and(|held| self.put(connection.clone(), held)) {
            return Ok(());
        }
        tracing::warn!(cid = connection.cid, "a connection that can't be held to anything is closed");
        if self.close(&connection).await? == KickOutcome::Closed
            && let Ok(name) = name.parse::<ConnectionName>()
        {
            let ended = Ended { code: Code::NotRecorded, directive: None };
            self.inner.records.kicked(&Standing::of_key(name.agent), connection, ended).await;
        }
        Ok(())
    }

    /// What the record says that a name leads to, if a gatekeeper signed it and it tells of this very connection.
    async fn lookup(&self, connection: &Connection, name: &str, age: Duration) -> Result<Option<Held>, BusError> {
        let Ok(ConnectionName { agent, sequence }) = name.parse() else { return Ok(None) };
        let batch = self.inner.bus.read(streams::AUDIT, sequence, 1).await?;
        let stored = batch.messages.first().filter(|stored| stored.sequence == sequence);
        let held = stored.and_then(|stored| self.held(connection, &agent, &stored.payload, age));
        Ok(held)
    }

    fn held(&self, connection: &Connection, agent: &Did, payload: &[u8], age: Duration) -> Option<Held> {
        let trusted = |by: &Did, _: RecordKind| self.inner.bundle.has_role(by, Role::Gatekeeper);
        let record = Record::open(std::str::from_utf8(payload).ok()?, trusted).ok()?;
        let Body::Connected(connected) = &record.body else { return None };
        if connected.connection != *connection || record.agent.as_ref() != Some(agent) {
            return None;
        }
        let allowed = Allowed { publish: connected.publish.clone(), subscribe: connected.subscribe.clone() };
        let now = self.inner.clock.monotonic();
        Some(Held {
            standing: Arc::new(Standing::of_record(&record, connected)?),
            allowed,
            // Whatever narrows it now may not have when it was let in: it is closed and judged anew.
            narrowings: BTreeSet::new(),
            chain: None,
            since: now,
            // It may have come long before this process did.
            renew_at: now + self.inner.renewed_after.saturating_sub(age),
            seen_at: Some(now),
            misses: 0,
        })
    }
}
