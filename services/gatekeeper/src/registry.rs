//! The registry: every agent's connection, kept by what this gatekeeper lets in, what the server tells, and its lists.
//!
//! Events are delivered at most once, so that they are hints; the list, looked at again every few seconds, is the truth.
//! A connection that was let in by another gatekeeper, or before this one started, is found by the name that the server
//! repeats: it leads to the *connected* record. A connection that shows something else over the same link (a second
//! `CONNECT`) has another name from then on, and is looked up by that. While that is judged it is no agent's for the broker
//! (2.15.1): it stands in the account of those who are not let in, has no subscription, and is not read from. Where it is
//! refused, it ends there.
//!
//! Nothing is waited for between two events: the list and the look-ups go on beside. Hence two rules on their order.
//! 1. A connect is taken before the disconnect of the same connection (the server sends them so, and connects are read
//!    first), and a disconnect ends a look-up that is under way: what that finds is passed over.
//! 2. A list may have read of a connection that ended before the list was there: what has ended since it was begun is
//!    not looked up. Where two lists overlap one may be all the same, and is put in, dead. The next two lists don't have
//!    it, and take it out; until then a kick finds nobody, and no ack names it.

use std::convert::Infallible;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use marque_bus::async_nats::Subscriber;
use marque_bus::callout::QUEUE_GROUP;
use marque_bus::permissions::Allowed;
use marque_bus::{Bus, BusError, streams};
use marque_identity::{Code, Did};
use marque_judgement::record::{Body, Connection, Record, RecordKind};
use marque_runtime::Clock;
use marque_signing::{Role, TrustBundle};
use tokio::sync::mpsc;

use crate::connections::{CONNECTIONS_MAX, Connections, Held, Roll};
use crate::metrics::Metrics;
use crate::name::ConnectionName;
use crate::records::Records;
use crate::roster::Roster;
use crate::server::{Events, KickOutcome, Listed, Server, Told, told};
use crate::standing::{Ended, Standing};

/// Between two looks at the server's list.
const LIST_EVERY: Duration = Duration::from_secs(5);
/// Of the gatekeepers one records the end of a client that was refused over the link that it had.
const REFUSED_GROUP: &str = "marque-gatekeeper-refused";
/// Ends that wait to be recorded: more at once are told of in telemetry.
const ENDS_MAX: usize = 32_768;
/// Connections of others that wait to be looked up: as many as there may be. More at once wait for the list.
const UNKNOWN_MAX: usize = CONNECTIONS_MAX;
/// Look-ups under way at once, of events and of each list: one reads one record.
const LOOKUPS_MAX: usize = 64;

/// The registry. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    roster: Arc<Roster>,
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
        let roster = Arc::default();
        Self { inner: Arc::new(Inner { roster, bus, server, bundle, records, clock, metrics, renewed_after }) }
    }

    /// A client is let in.
    pub(crate) fn put(&self, connection: Connection, held: Held) -> bool {
        let mut connections = self.locked();
        let put = connections.put(connection, held);
        self.inner.metrics.connections(connections.len());
        self.inner.roster.freed.notify_waiters(); // it may have been another agent's
        put
    }

    /// One is not there, or not there any more.
    pub(crate) fn remove(&self, connection: &Connection) -> Option<Held> {
        let mut connections = self.locked();
        let removed = connections.remove(connection, self.inner.clock.monotonic());
        self.inner.metrics.connections(connections.len());
        self.inner.roster.freed.notify_waiters();
        removed
    }

    /// One has ended that was not let in: one of these, if it was about to show something else.
    fn remove_known(&self, connection: &Connection) {
        let mut connections = self.locked();
        connections.remove_known(connection, self.inner.clock.monotonic());
        self.inner.metrics.connections(connections.len());
        self.inner.roster.freed.notify_waiters();
    }

    /// The server does not know it: gone, unless it is just coming.
    fn remove_seen(&self, connection: &Connection) {
        let mut connections = self.locked();
        connections.remove_seen(connection, self.inner.clock.monotonic());
        self.inner.metrics.connections(connections.len());
        self.inner.roster.freed.notify_waiters();
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

    /// What it keeps, for whoever counts.
    pub(crate) fn roster(&self) -> Arc<Roster> {
        self.inner.roster.clone()
    }

    /// Every connection, for a look.
    pub(crate) fn locked(&self) -> MutexGuard<'_, Connections> {
        self.inner.roster.locked()
    }

    /// Reads the server's list, once: afterwards every connection that was there is known, or is being looked up by
    /// somebody else.
    ///
    /// One whose record can't be found stands on nothing that is known, so that nobody could end it: it is closed, and
    /// its agent comes back to be judged.
    pub(crate) async fn take_stock(&self) -> Result<(), BusError> {
        let begun = self.inner.clock.monotonic();
        let (mut list, servers) = self.inner.server.list().await?;
        {
            // A name that is none of ours is of a client that is just being judged anew. One that is known is as if it were
            // not listed: the next list tells.
            let connections = self.locked();
            list.retain(|entry| sequence(&entry.name).is_some() || !connections.is_known(&entry.connection));
        }
        let roll = Roll { listed: list.iter().map(|entry| entry.connection.clone()).collect(), servers, begun };
        self.locked().retain(&roll, self.inner.clock.monotonic());
        self.inner.roster.freed.notify_waiters();
        let unknown = list.into_iter().filter_map(|entry| Some((self.awaited(&entry.connection, &entry.name)?, entry)));
        let learn =
            |(awaited, entry): (Awaited, Listed)| async move { self.learn(awaited, &entry.name, entry.age).await };
        stream::iter(unknown.map(Ok)).try_for_each_concurrent(LOOKUPS_MAX, learn).await?;
        self.inner.metrics.connections(self.locked().len());
        Ok(())
    }

    /// Follows the server for ever: its events as they come, its list every few seconds.
    pub(crate) async fn follow(&self) -> Result<(), BusError> {
        let events = self.inner.server.events().await?;
        let ends = self.inner.server.shared_disconnects(QUEUE_GROUP).await?;
        let refused = self.inner.server.strangers(REFUSED_GROUP).await?;
        let (unknown, to_learn) = mpsc::channel(UNKNOWN_MAX);
        let (ended, to_record) = mpsc::channel(ENDS_MAX);
        tokio::select! {
            () = self.hear(events, (ends, refused), unknown, ended) => {}
            () = self.look_up(to_learn) => {}
            () = self.record(to_record) => {}
            never = self.look() => match never {},
        }
        Err(BusError::Unavailable("the broker's events have ended".into()))
    }

    /// Takes events as they come: nothing is waited for in between.
    async fn hear(
        &self,
        Events { mut connects, mut disconnects, mut strangers }: Events,
        (mut ends, mut refused): (Subscriber, Subscriber),
        unknown: mpsc::Sender<(Awaited, Told)>,
        ended: mpsc::Sender<(Told, Option<Did>)>,
    ) {
        loop {
            tokio::select! {
                biased; // a connect before its disconnect
                Some(message) = connects.next() => if let Some(told) = told(&message.payload)
                    && let Some(awaited) = self.awaited(&told.connection, &told.name)
                    && unknown.try_send((awaited, told)).is_err()
                {
                    tracing::warn!("connections come faster than they can be looked up: the list will tell");
                },
                Some(message) = disconnects.next() => if let Some(told) = told(&message.payload) {
                    self.remove(&told.connection);
                },
                Some(message) = strangers.next() => if let Some(told) = told(&message.payload) {
                    self.remove_known(&told.connection);
                },
                Some(message) = ends.next() => if let Some(told) = told(&message.payload) {
                    let agent = self.locked().agent_of(&told.connection);
                    if ended.try_send((told, agent)).is_err() {
                        tracing::error!("connections end faster than it can be recorded");
                    }
                },
                Some(message) = refused.next() => if let Some(told) = told(&message.payload)
                    && let Some(agent) = self.locked().agent_of(&told.connection)
                    && ended.try_send((told, Some(agent))).is_err()
                {
                    tracing::error!("connections end faster than it can be recorded");
                },
                else => return,
            }
        }
    }

    /// Looks up those that events tell of and nobody here let in.
    async fn look_up(&self, to_learn: mpsc::Receiver<(Awaited, Told)>) {
        let learn = |(awaited, told): (Awaited, Told)| async move {
            if let Err(error) = self.learn(awaited, &told.name, Duration::ZERO).await {
                // The next look at the list tries again.
                tracing::warn!(%error, "what a connection stands on could not be read");
            }
        };
        received(to_learn).for_each_concurrent(LOOKUPS_MAX, learn).await;
    }

    /// Records ends, one after the other.
    ///
    /// Whose it was is known here, or by the record that its name leads to. Not by the name alone: of a client that is being
    /// judged the server repeats whatever it calls itself.
    async fn record(&self, mut to_record: mpsc::Receiver<(Told, Option<Did>)>) {
        while let Some((Told { connection, name, end }, agent)) = to_record.recv().await {
            let Some(end) = end else { continue };
            let agent = match agent {
                Some(agent) => Some(agent),
                None => match self.lookup(&connection, &name, Duration::ZERO).await {
                    Ok(held) => held.map(|held| held.standing.agent),
                    Err(error) => {
                        tracing::error!(cid = connection.cid, %error, "whose connection has ended could not be read");
                        None
                    }
                },
            };
            if let Some(agent) = agent {
                self.inner.records.disconnected(agent, connection, end).await;
            }
        }
    }

    /// Looks at the server's list every few seconds.
    async fn look(&self) -> Infallible {
        let mut looks = tokio::time::interval(LIST_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Err(error) = self.take_stock().await {
                tracing::warn!(%error, "the broker's connections could not be listed");
            }
        }
    }

    /// Learns of a connection that somebody else let in, and whose link has been there for so long. An error: it could not
    /// be learned now. One that there is no room for nobody here could end: it is closed.
    async fn learn(&self, awaited: Awaited, name: &str, age: Duration) -> Result<(), BusError> {
        let connection = &awaited.connection;
        if !self.locked().is_awaited(connection, awaited.sequence) {
            return Ok(());
        }
        let held = self.lookup(connection, name, age).await?;
        if held.is_some_and(|held| self.learned(connection, held)) {
            return Ok(());
        }
        tracing::warn!(cid = connection.cid, "a connection that can't be held to anything is closed");
        if self.close(connection).await? == KickOutcome::Closed
            && let Ok(name) = name.parse::<ConnectionName>()
        {
            let (records, connection) = (self.inner.records.clone(), connection.clone());
            let at = records.closed_now();
            tokio::spawn(async move {
                let ended = Ended { code: Code::NotRecorded, directive: None };
                records.kicked(&Standing::of_key(name.agent), connection, ended, at).await;
            });
        }
        Ok(())
    }

    /// The server tells of a connection under this name: to be looked up, if it is neither known by that nor being looked
    /// up.
    fn awaited(&self, connection: &Connection, name: &str) -> Option<Awaited> {
        let sequence = sequence(name);
        let is_unknown = self.locked().await_unknown(connection, sequence, self.inner.clock.monotonic());
        is_unknown.then(|| Awaited { registry: self.clone(), connection: connection.clone(), sequence })
    }

    fn learned(&self, connection: &Connection, held: Held) -> bool {
        let mut connections = self.locked();
        let settled = connections.learned(connection, held);
        self.inner.metrics.connections(connections.len());
        self.inner.roster.freed.notify_waiters(); // it may have been another agent's
        settled
    }

    /// What the record says that a name leads to, if a gatekeeper signed it and it tells of this very connection.
    async fn lookup(&self, connection: &Connection, name: &str, age: Duration) -> Result<Option<Held>, BusError> {
        let Ok(ConnectionName { agent, sequence }) = name.parse() else { return Ok(None) };
        let batch = self.inner.bus.read(streams::AUDIT, sequence, 1).await?;
        let stored = batch.messages.first().filter(|stored| stored.sequence == sequence);
        let name = ConnectionName { agent, sequence };
        let held = stored.and_then(|stored| self.held(connection, &name, &stored.payload, age));
        Ok(held)
    }

    fn held(&self, connection: &Connection, name: &ConnectionName, payload: &[u8], age: Duration) -> Option<Held> {
        let trusted = |by: &Did, _: RecordKind| self.inner.bundle.has_role(by, Role::Gatekeeper);
        let record = Record::open(std::str::from_utf8(payload).ok()?, trusted).ok()?;
        let Body::Connected(connected) = &record.body else { return None };
        if connected.connection != *connection || record.agent != Some(name.agent) {
            return None;
        }
        let allowed = Allowed { publish: connected.publish.clone(), subscribe: connected.subscribe.clone() };
        let now = self.inner.clock.monotonic();
        // Its link may be older than what it shows by now.
        let recorded = self.inner.clock.unix_millis().0.saturating_sub(record.iat_ms.0);
        let age = age.min(Duration::from_millis(u64::try_from(recorded).unwrap_or(0)));
        Some(Held {
            standing: Arc::new(Standing::of_record(&record, connected)?),
            sequence: name.sequence,
            allowed,
            // What narrows it now and did not when it was let in changes what it may do: it is closed and judged anew.
            narrowings: connected.narrowed_by.iter().filter_map(|id| id.parse().ok()).collect(),
            epoch: connected.epoch,
            chain: None,
            since: now,
            // It may have come long before this process did.
            renew_at: now + self.inner.renewed_after.saturating_sub(age),
            seen_at: Some(now),
            misses: 0,
        })
    }
}

/// A connection that is being looked up, until this is dropped: then it is known, or may be looked up again. Not to be
/// dropped where the registry is locked.
struct Awaited {
    registry: Registry,
    connection: Connection,
    sequence: Option<u64>,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.registry.locked().await_no_more(&self.connection, self.sequence);
    }
}

/// The record that a name leads to; none: it is not one of ours.
fn sequence(name: &str) -> Option<u64> {
    name.parse::<ConnectionName>().ok().map(|name| name.sequence)
}

/// What comes over a channel, as a stream.
fn received<T>(from: mpsc::Receiver<T>) -> impl stream::Stream<Item = T> {
    stream::unfold(from, |mut from| async { from.recv().await.map(|next| (next, from)) })
}
