//! Carrying directives out: what they end is closed, recorded, and named in the ack.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use marque_agent::enforce::wire::Grant;
use marque_bus::Feed;
use marque_identity::TrustDomain;
use marque_revocation::{Closed, ClosedConnection, DirectiveId};
use marque_runtime::Clock;
use tokio::sync::mpsc;

use crate::connections::Doomed;
use crate::metrics::Metrics;
use crate::records::Records;
use crate::registry::Registry;
use crate::server::{KickOutcome, Server};

/// Kicks under way at once.
const KICKS_MAX: usize = 64;
/// Between two looks for what has ended by its time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a directive the broker's list is looked at again: a client that was just being let in shows there.
const SWEEP_AFTER: Duration = Duration::from_secs(1);

/// Ends what must end.
pub(crate) struct Warden {
    pub(crate) registry: Registry,
    pub(crate) server: Server,
    pub(crate) records: Records,
    pub(crate) feed: Feed,
    pub(crate) domain: TrustDomain,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
}

impl Warden {
    /// Carries out each directive that takes effect, and ends what expires, for ever.
    pub(crate) async fn watch(self, mut applied: mpsc::UnboundedReceiver<DirectiveId>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sweep_at: Option<tokio::time::Instant> = None;
        let mut waiting = Vec::new();
        // Closed by a look, between a directive's effect on the view and the word of it.
        let mut just_before = Vec::new();
        loop {
            tokio::select! {
                biased;
                count = applied.recv_many(&mut waiting, usize::MAX) => {
                    if count == 0 {
                        return;
                    }
                    let mut closed = self.end().await;
                    closed.append(&mut just_before);
                    for id in waiting.drain(..) {
                        self.feed.acknowledge(id, named(&closed, id));
                    }
                    sweep_at.get_or_insert_with(|| tokio::time::Instant::now() + SWEEP_AFTER);
                }
                () = due(sweep_at) => {
                    sweep_at = None;
                    if let Err(error) = self.registry.take_stock().await {
                        tracing::warn!(%error, "the broker's connections could not be listed");
                    }
                    self.end().await;
                }
                _ = looks.tick() => just_before = self.end().await,
            }
        }
    }

    /// Closes all that must end now. Gives what was closed.
    async fn end(&self) -> Vec<Doomed> {
        let started = Instant::now();
        let doomed = {
            let view = self.feed.view();
            let redraw = |chain: &_| Grant::of_chain(chain, &self.domain, &view).allowed();
            self.registry.locked().doomed(&self.domain, &view, self.clock.unix(), redraw)
        };
        if doomed.is_empty() {
            return doomed;
        }
        let closing = stream::iter(doomed).map(|doomed| self.close(doomed)).buffer_unordered(KICKS_MAX);
        let closed: Vec<Doomed> = closing.filter_map(std::future::ready).collect().await;
        self.metrics.kicked(closed.len(), started.elapsed());
        closed
    }

    /// Closes one, and records it. Where the broker does not answer it stays in the registry and is tried again.
    async fn close(&self, doomed: Doomed) -> Option<Doomed> {
        match self.server.kick(&doomed.connection).await {
            Ok(KickOutcome::Closed) => {
                self.registry.remove(&doomed.connection);
                self.records.kicked(&doomed.standing, doomed.connection.clone(), doomed.ended).await;
                Some(doomed)
            }
            Ok(KickOutcome::Gone) => {
                self.registry.remove_seen(&doomed.connection);
                None
            }
            Err(error) => {
                tracing::error!(cid = doomed.connection.cid, %error, "a connection that must end was not closed yet");
                None
            }
        }
    }
}

/// What was closed on this directive.
fn named(closed: &[Doomed], id: DirectiveId) -> Closed {
    let of_this = closed.iter().filter(|doomed| doomed.ended.directive == Some(id));
    let connection = |doomed: &Doomed| ClosedConnection {
        agent: doomed.standing.agent,
        server: doomed.connection.server.clone(),
        cid: doomed.connection.cid,
    };
    Closed::of(of_this.map(connection).collect())
}

async fn due(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
