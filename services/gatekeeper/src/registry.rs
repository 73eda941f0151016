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

use crate::connections::{Connections, Held};
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
    ) -> Self {
        let connections = Mutex::default();
        Self { inner: Arc::new(Inner { connections, bus, server, bundle, records, clock, metrics }) }
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
    pub(crate) fn remove_seen(&self, connection: &Connection) {
        let mut connections = self.locked();
        connections.remove_seen(connection);
        self.inner.metrics.connections(connections.len());
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
        let listed = self.inner.server.list().await?;
        let all: BTreeSet<Connection> = listed.iter().map(|entry| entry.connection.clone()).collect();
        let unknown: Vec<Listed> = {
            let mut connections = self.locked();
            connections.retain(&all, self.inner.clock.monotonic());
            listed.into_iter().filter(|entry| !connections.see(&entry.connection)).collect()
        };
        for entry in unknown {
            self.learn(entry.connection, &entry.name).await?;
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
        let known = self.locked().see(&told.connection);
        if known {
            return;
        }
        if let Err(error) = self.learn(told.connection, &told.name).await {
            // The next look at the list tries again.
            tracing::warn!(%error, "what a connection stands on could not be read");
        }
    }

    /// Learns of a connection that somebody else let in. An error: it could not be learned now.
    async fn learn(&self, connection: Connection, name: &str) -> Result<(), BusError> {
        match self.lookup(&connection, name).await? {
            Some(held) => {
                self.put(connection, held);
                Ok(())
            }
            None => {
                tracing::warn!(cid = connection.cid, "a connection that no record tells of is closed");
                if self.inner.server.kick(&connection).await? == KickOutcome::Closed
                    && let Ok(name) = name.parse::<ConnectionName>()
                {
                    let ended = Ended { code: Code::NotRecorded, directive: None };
                    self.inner.records.kicked(&Standing::of_key(name.agent), connection, ended).await;
                }
                Ok(())
            }
        }
    }

    /// What the record says that a name leads to, if a gatekeeper signed it and it tells of this very connection.
    async fn lookup(&self, connection: &Connection, name: &str) -> Result<Option<Held>, BusError> {
        let Ok(ConnectionName { agent, sequence }) = name.parse() else { return Ok(None) };
        let batch = self.inner.bus.read(streams::AUDIT, sequence, 1).await?;
        let stored = batch.messages.first().filter(|stored| stored.sequence == sequence);
        let held = stored.and_then(|stored| self.held(connection, &agent, &stored.payload));
        Ok(held)
    }

    fn held(&self, connection: &Connection, agent: &Did, payload: &[u8]) -> Option<Held> {
        let trusted = |by: &Did, _: RecordKind| self.inner.bundle.has_role(by, Role::Gatekeeper);
        let record = Record::open(std::str::from_utf8(payload).ok()?, trusted).ok()?;
        let Body::Connected(connected) = &record.body else { return None };
        if connected.connection != *connection || record.agent.as_ref() != Some(agent) {
            return None;
        }
        let allowed = Allowed { publish: connected.publish.clone(), subscribe: connected.subscribe.clone() };
        let clock = &self.inner.clock;
        let age =
            Duration::from_millis(u64::try_from(clock.unix_millis().0.saturating_sub(record.iat_ms.0)).unwrap_or(0));
        Some(Held {
            standing: Arc::new(Standing::of_record(&record, connected)?),
            allowed,
            // Whatever narrows it now may not have when it was let in: it is closed and judged anew.
            narrowings: BTreeSet::new(),
            chain: None,
            // It may have come before this process did: then it is as old as that.
            since: clock.monotonic().saturating_sub(age),
            seen: true,
        })
    }
}
