//! Renewal: a connection whose life is nearly over is closed, so that its client comes back and is judged anew.
//!
//! The broker would end it too, a little later, and say why. Stock clients take that for an end: nats-py 2.16 gives up
//! at the first expiry, nats.go at the second in a row. A connection that is merely closed each of them makes anew.
//!
//! A client that sends another `CONNECT` over the link before that is judged anew there, and its life begins again: the
//! link is not closed. Its subscriptions are to be sent again behind it: the broker (2.15.1) forgets them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use marque_bus::Feed;
use marque_identity::TrustDomain;
use marque_judgement::record::Connection;
use marque_runtime::Clock;

use crate::records::Records;
use crate::registry::Registry;
use crate::server::KickOutcome;
use crate::standing::Standing;

/// Between two looks for connections that are due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Renewals at one look: about half of what the door lets in meanwhile. The others wait for the next, or for their end.
pub(crate) const RENEWALS_MAX: usize = 256;
/// Of them under way at once: a quarter of the kicks that directives may have under way, and after those.
const KICKS_MAX: usize = 16;

/// Renews connections.
pub(crate) struct Renewal {
    pub(crate) registry: Registry,
    pub(crate) records: Records,
    pub(crate) feed: Feed,
    pub(crate) domain: TrustDomain,
    pub(crate) clock: Clock,
    /// Whether whoever comes back could be let in.
    pub(crate) may_let_in: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Renewal {
    /// Closes each connection that is due, for ever; none while nobody could be let in again. The broker ends those that
    /// go without.
    pub(crate) async fn watch(self) -> Infallible {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if !(self.may_let_in)() {
                continue;
            }
            let mut due = self.registry.locked().due(self.clock.monotonic());
            due.truncate(RENEWALS_MAX);
            let close = |(connection, standing)| self.close(connection, standing);
            stream::iter(due).for_each_concurrent(KICKS_MAX, close).await;
        }
    }

    /// Nothing is recorded but what the broker tells of every end: nobody took anything away. Unless a directive, or its
    /// time, has ended it at this very moment: then whoever carries that out finds it gone, and it is recorded here.
    async fn close(&self, connection: Connection, standing: Arc<Standing>) {
        if !self.registry.locked().stands_on(&connection, &standing) {
            return; // renewed by its client meanwhile
        }
        match self.registry.close(&connection).await {
            Ok(KickOutcome::Closed) => {
                let ended = standing.ended(&self.domain, &self.feed.view(), self.clock.unix());
                if let Some(ended) = ended {
                    let (records, at) = (self.records.clone(), self.records.closed_now());
                    tokio::spawn(async move { records.kicked(&standing, connection, ended, at).await });
                }
            }
            Ok(KickOutcome::Gone) => {}
            // The broker ends it soon by itself.
            Err(error) => tracing::warn!(cid = connection.cid, %error, "a connection was not renewed"),
        }
    }
}
