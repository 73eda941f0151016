//! Carrying directives out: what they end is closed, recorded, and named in the ack.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use marque_agent::enforce::wire::Grant;
use marque_bus::Feed;
use marque_identity::TrustDomain;
use marque_revocation::{Closed, ClosedConnection, DirectiveId};
use marque_runtime::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::connections::Doomed;
use crate::metrics::Metrics;
use crate::records::Records;
use crate::registry::Registry;
use crate::server::KickOutcome;

/// Kicks under way at once.
const KICKS_MAX: usize = 64;
/// So long an ack waits for the records of what was closed: an audit stream that stores nothing right now, as when its
/// leader falls, holds up neither the next directive nor the word to the revoker. They are stored when it does.
const RECORDED_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks for what has ended by its time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a directive the broker's list is looked at again: a client that was just being let in shows there.
const SWEEP_AFTER: Duration = Duration::from_secs(1);

/// Ends what must end.
pub(crate) struct Warden {
    pub(crate) registry: Registry,
    pub(crate) records: Records,
    pub(crate) feed: Feed,
    pub(crate) domain: TrustDomain,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
}

/// An ack that may be sent: of which directive, and what was closed on it.
type DueAck = (DirectiveId, Closed);

/// What is owed to the broadcaster: acks of directives that are carried out, each with what was closed on it.
#[derive(Default)]
struct Owed {
    ids: Vec<DirectiveId>,
    closed: Vec<Doomed>,
}

/// What came of one round.
#[derive(Default)]
struct Round {
    closed: Vec<Doomed>,
    /// Directives on which a connection stayed open.
    unfinished: BTreeSet<DirectiveId>,
}

impl Owed {
    /// Gives the acks that may be sent after a round: of directives on which nothing is open any more. The others are
    /// owed on: who is silent about a directive has not carried it out.
    fn settle(&mut self, round: Round) -> Vec<DueAck> {
        let Round { closed, unfinished } = round;
        let fresh = self.closed.len();
        self.closed.extend(closed);
        let (owed, done): (Vec<_>, Vec<_>) = self.ids.drain(..).partition(|id| unfinished.contains(id));
        let acks = done.into_iter().map(|id| (id, named(&self.closed, id))).collect();
        // What a look closed between a directive's effect on the view and the word of it is named in the next round.
        let mut place = 0;
        self.closed.retain(|doomed| {
            place += 1;
            place > fresh || doomed.ended.directive.is_some_and(|id| owed.contains(&id))
        });
        self.ids = owed;
        acks
    }
}

impl Warden {
    /// Carries out each directive that takes effect, and ends what expires, for ever.
    pub(crate) async fn watch(self, applied: mpsc::UnboundedReceiver<DirectiveId>) {
        let (rounds, to_tell) = mpsc::unbounded_channel();
        tokio::join!(self.carry_out(applied, rounds), self.tell(to_tell));
    }

    /// Nothing but closing stands between a directive and the next one: the broker's list, which takes a while to come,
    /// is waited for beside, as are the records of what was closed.
    async fn carry_out(
        &self,
        mut applied: mpsc::UnboundedReceiver<DirectiveId>,
        rounds: mpsc::UnboundedSender<(Vec<Doomed>, Vec<DueAck>)>,
    ) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sweep_at: Option<tokio::time::Instant> = None;
        let mut sweeps = JoinSet::new(); // one at most
        let mut owed = Owed::default();
        loop {
            tokio::select! {
                biased;
                count = applied.recv_many(&mut owed.ids, usize::MAX) => {
                    if count == 0 {
                        return;
                    }
                    sweep_at.get_or_insert_with(|| tokio::time::Instant::now() + SWEEP_AFTER);
                }
                () = due(sweep_at), if sweeps.is_empty() => {
                    sweep_at = None;
                    sweeps.spawn(sweep(self.registry.clone()));
                    continue;
                }
                // What the list showed may have to end.
                Some(_) = sweeps.join_next() => {}
                _ = looks.tick() => {}
            }
            let round = self.end().await;
            let closed = round.closed.clone();
            let acks = owed.settle(round);
            if !closed.is_empty() || !acks.is_empty() {
                let _ = rounds.send((closed, acks)); // who tells lives as long as this
            }
        }
    }

    /// First what was closed is recorded, then the acks are sent; round after round, since an ack may name what an
    /// earlier one closed. Rounds that have come meanwhile go together.
    async fn tell(&self, mut rounds: mpsc::UnboundedReceiver<(Vec<Doomed>, Vec<DueAck>)>) {
        let mut taken = Vec::new();
        while rounds.recv_many(&mut taken, usize::MAX).await > 0 {
            let (closed, acks): (Vec<_>, Vec<_>) = taken.drain(..).unzip();
            let closed = closed.concat();
            let count = closed.len();
            // A task of its own: it is stored for as long as that takes, whoever waits.
            let recording = tokio::spawn(record(self.records.clone(), closed));
            if tokio::time::timeout(RECORDED_WITHIN, recording).await.is_err() {
                tracing::warn!(closed = count, "what was closed is not recorded yet");
            }
            for (id, closed) in acks.into_iter().flatten() {
                self.feed.acknowledge(id, closed);
            }
        }
    }

    /// Closes all that must end now.
    async fn end(&self) -> Round {
        let started = Instant::now();
        let doomed = {
            let view = self.feed.view();
            let redraw = |chain: &_| Grant::of_chain(chain, &self.domain, &view).allowed();
            self.registry.locked().doomed(&self.domain, &view, self.clock.unix(), redraw)
        };
        let mut round = Round::default();
        if doomed.is_empty() {
            return round;
        }
        let mut closing = stream::iter(doomed).map(|doomed| self.close(doomed)).buffer_unordered(KICKS_MAX);
        while let Some(outcome) = closing.next().await {
            match outcome {
                Ok(closed) => round.closed.extend(closed),
                Err(open) => round.unfinished.extend(open.ended.directive),
            }
        }
        self.metrics.kicked(round.closed.len(), started.elapsed());
        round
    }

    /// Closes one: gives it back if it was there, and stood on the same still: what it shows now is looked at in the next
    /// round. Where the broker does not answer it is an error, it stays in the registry, and is tried again.
    async fn close(&self, doomed: Doomed) -> Result<Option<Doomed>, Doomed> {
        if !self.registry.locked().stands_on(&doomed.connection, &doomed.standing) {
            return Ok(None);
        }
        match self.registry.close(&doomed.connection).await {
            Ok(KickOutcome::Closed) => Ok(Some(doomed)),
            Ok(KickOutcome::Gone) => Ok(None),
            Err(error) => {
                tracing::error!(cid = doomed.connection.cid, %error, "a connection that must end was not closed yet");
                Err(doomed)
            }
        }
    }
}

/// Looks at the broker's list, once.
async fn sweep(registry: Registry) {
    if let Err(error) = registry.take_stock().await {
        tracing::warn!(%error, "the broker's connections could not be listed");
    }
}

/// Records what was closed.
async fn record(records: Records, closed: Vec<Doomed>) {
    let (records, at) = (&records, records.closed_now());
    let each = |doomed: Doomed| async move {
        records.kicked(&doomed.standing, doomed.connection, doomed.ended, at).await;
    };
    stream::iter(closed).for_each_concurrent(KICKS_MAX, each).await;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use marque_identity::{Code, Did};
    use marque_judgement::record::Connection;

    use super::*;
    use crate::standing::{Ended, Standing};

    fn id(n: u8) -> DirectiveId {
        DirectiveId::from_bytes([n; 16])
    }

    fn doomed(cid: u64, directive: u8) -> Doomed {
        Doomed {
            connection: Connection { server: "N".into(), cid },
            standing: Arc::new(Standing::of_key(Did::from_key_bytes([7; 32]))),
            ended: Ended { code: Code::Revoked, directive: Some(id(directive)) },
        }
    }

    #[test]
    fn what_stays_open_is_not_acked_and_what_was_closed_is_named_then() {
        let mut owed = Owed { ids: vec![id(1), id(2)], ..Owed::default() };
        let round = Round { closed: vec![doomed(10, 1), doomed(11, 2)], unfinished: [id(1)].into() };
        let acks = owed.settle(round);
        assert_eq!(acks.len(), 1);
        assert_eq!((acks[0].0, acks[0].1.count, acks[0].1.named[0].cid), (id(2), 1, 11));
        let acks = owed.settle(Round { closed: vec![doomed(12, 1)], ..Round::default() });
        let named: Vec<u64> = acks[0].1.named.iter().map(|closed| closed.cid).collect();
        assert_eq!((acks[0].0, named), (id(1), vec![10, 12]));
        assert!(owed.settle(Round::default()).is_empty());
    }

    #[test]
    fn what_a_look_closed_just_before_the_word_of_it_is_named() {
        let mut owed = Owed::default();
        assert!(owed.settle(Round { closed: vec![doomed(10, 1)], ..Round::default() }).is_empty());
        owed.ids.push(id(1));
        let acks = owed.settle(Round::default());
        assert_eq!((acks[0].0, acks[0].1.count), (id(1), 1));
    }
}
