//! Who is connected, by what: a map, and what must end in it. Pure: told what happens, asked what follows.

mod taken;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use marque_bus::permissions::Allowed;
use marque_identity::{Code, Did, Epoch, TrustDomain, UnixSeconds};
use marque_judgement::VerifiedChain;
use marque_judgement::record::{Connection, Shown};
use marque_revocation::{DirectiveId, View};

use self::taken::Taken;
use crate::standing::{Ended, Standing};

/// As many as the agents' account may have.
pub(crate) const CONNECTIONS_MAX: usize = 20_000;
/// A client that was let in and did not come, or left before it was seen: forgotten after so long. Longer than the
/// server waits for an answer.
const UNSEEN_FOR: Duration = Duration::from_secs(30);
/// Lists in a row without a connection, after which it is gone. Not the first: the list comes in pages, and whatever ends
/// meanwhile moves the later ones up, so that one is passed over. Ends are told of by events, too.
const MISSES_MAX: u32 = 2;
/// The same where its server did not answer: it is slow, or has gone itself.
const SILENT_MISSES_MAX: u32 = 24;

/// One connection.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// What it stands on.
    pub(crate) standing: Arc<Standing>,
    /// Where the *connected* record of that stands in the audit stream: what was shown later stands further on.
    pub(crate) sequence: u64,
    /// What it may do.
    pub(crate) allowed: Allowed,
    /// The narrowings that its permissions were drawn under.
    pub(crate) narrowings: BTreeSet<DirectiveId>,
    /// How far the directives were known then: a view that does not reach so far says nothing of them.
    pub(crate) epoch: Epoch,
    /// Its chain, where this gatekeeper let it in: its permissions can be drawn again.
    pub(crate) chain: Option<Arc<VerifiedChain>>,
    /// When it was let in here, or learned of, on the monotonic clock.
    pub(crate) since: Duration,
    /// When it is to be renewed, on the same.
    pub(crate) renew_at: Duration,
    /// When the server last told of it, on the same; none before it has.
    pub(crate) seen_at: Option<Duration>,
    /// Lists in a row that should have had it, and did not.
    pub(crate) misses: u32,
}

impl Held {
    /// Whether it is one of those that its agent may have. What the last list should have had and did not is probably
    /// gone, and its agent may come back before that is certain: as when a server was killed, and told of no end.
    fn counts(&self) -> bool {
        self.misses == 0
    }
}

/// What a list of the server's connections holds.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    /// The connections.
    pub(crate) listed: BTreeSet<Connection>,
    /// The servers that answered, to the last of their connections.
    pub(crate) servers: BTreeSet<String>,
    /// When it was begun, on the monotonic clock.
    pub(crate) begun: Duration,
}

/// What has ended lately.
#[derive(Debug)]
struct Gone {
    at: Duration,
    /// Whose it was, where it was known.
    agent: Option<Did>,
}

/// What has to be closed, and why.
#[derive(Debug, Clone)]
pub(crate) struct Doomed {
    /// Which.
    pub(crate) connection: Connection,
    /// What it stood on.
    pub(crate) standing: Arc<Standing>,
    /// Why.
    pub(crate) ended: Ended,
}

/// Every connection.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    known: HashMap<Connection, Held>,
    /// Those that are being looked up, and by which record: none where the server's name for it is not ours. One that ends
    /// meanwhile leaves, and what the look-up finds is not put in: it would stand for a connection that is no more.
    awaited: HashMap<Connection, BTreeSet<Option<u64>>>,
    /// Those that have ended since the last list was begun, and when: it, or an event that is late, may tell of one that
    /// is no more. A server gives no number twice.
    ended: HashMap<Connection, Gone>,
    /// What each agent has taken: connections that count, and seats of those that are about to be let in. Kept as they
    /// come and go.
    taken: Taken,
}

impl Connections {
    /// A client is let in, or one is found that was: a new one, or one that shows something else over its link. Gives false
    /// where there is no room.
    pub(crate) fn put(&mut self, connection: Connection, mut held: Held) -> bool {
        let before = self.known.get(&connection);
        if self.known.len() >= CONNECTIONS_MAX && before.is_none() {
            return false;
        }
        held.seen_at = held.seen_at.or(before.and_then(|before| before.seen_at));
        if held.counts() {
            self.taken.take(held.standing.agent);
        }
        if let Some(before) = self.known.insert(connection, held) {
            self.forget(&before);
        }
        true
    }

    /// Whether a connection counts already as one of this agent's: to be let in again it needs no other seat.
    pub(crate) fn has_seat(&self, agent: &Did, connection: &Connection) -> bool {
        self.known.get(connection).is_some_and(|held| held.counts() && held.standing.agent == *agent)
    }

    /// Whose a connection is, or was a moment ago.
    pub(crate) fn agent_of(&self, connection: &Connection) -> Option<Did> {
        let known = self.known.get(connection).map(|held| held.standing.agent);
        known.or_else(|| self.ended.get(connection)?.agent)
    }

    /// Whether it is known, by whatever it showed.
    pub(crate) fn is_known(&self, connection: &Connection) -> bool {
        self.known.contains_key(connection)
    }

    /// Whether it still stands on this: nothing else has been shown over it.
    pub(crate) fn stands_on(&self, connection: &Connection, standing: &Arc<Standing>) -> bool {
        self.known.get(connection).is_some_and(|held| Arc::ptr_eq(&held.standing, standing))
    }

    /// Takes a seat for a connection that is about to be put in, where the agent has fewer than `max`. Gives whether it
    /// did.
    pub(crate) fn take_seat(&mut self, agent: Did, max: usize) -> bool {
        let is_free = self.taken.by(&agent) < max;
        if is_free {
            self.taken.take(agent);
        }
        is_free
    }

    /// A seat is free again: its connection is in, or was not let in.
    pub(crate) fn leave_seat(&mut self, agent: &Did) {
        self.taken.free(agent);
    }

    fn forget(&mut self, gone: &Held) {
        if gone.counts() {
            self.taken.free(&gone.standing.agent);
        }
    }

    /// The server tells of one under the name that leads to this record; none: its name is not ours. Gives whether it is
    /// known by that record, or by a later one: the word of an earlier one may be late.
    pub(crate) fn see(&mut self, connection: &Connection, sequence: Option<u64>, now: Duration) -> bool {
        let (Some(held), Some(sequence)) = (self.known.get_mut(connection), sequence) else { return false };
        held.seen_at = Some(now);
        if !held.counts() {
            held.misses = 0;
            self.taken.take(held.standing.agent);
        }
        sequence <= held.sequence
    }

    /// The server tells of one: whether it is to be looked up. Not if it is known by what it is named after, is being looked
    /// up by that already, or has just ended.
    pub(crate) fn await_unknown(&mut self, connection: &Connection, sequence: Option<u64>, now: Duration) -> bool {
        if self.see(connection, sequence, now) || self.ended.contains_key(connection) {
            return false;
        }
        self.awaited.entry(connection.clone()).or_default().insert(sequence)
    }

    /// Whether one is being looked up, and has not ended meanwhile.
    pub(crate) fn is_awaited(&self, connection: &Connection, sequence: Option<u64>) -> bool {
        self.awaited.get(connection).is_some_and(|awaited| awaited.contains(&sequence))
    }

    /// A look-up is over, whatever it found. Gives whether it was awaited still.
    pub(crate) fn await_no_more(&mut self, connection: &Connection, sequence: Option<u64>) -> bool {
        let Some(awaited) = self.awaited.get_mut(connection) else { return false };
        let was_awaited = awaited.remove(&sequence);
        if awaited.is_empty() {
            self.awaited.remove(connection);
        }
        was_awaited
    }

    /// What a look-up has found. One that ended meanwhile is passed over, as is what was shown before what it is known by.
    /// Gives false where there is no room.
    pub(crate) fn learned(&mut self, connection: &Connection, held: Held) -> bool {
        let is_news = self.known.get(connection).is_none_or(|known| known.sequence < held.sequence);
        let is_awaited = self.await_no_more(connection, Some(held.sequence));
        !is_awaited || !is_news || self.put(connection.clone(), held)
    }

    /// One has ended.
    pub(crate) fn remove(&mut self, connection: &Connection, now: Duration) -> Option<Held> {
        self.awaited.remove(connection);
        // Without room a list may bring one back, which the next ones take out.
        let removed = self.known.remove(connection);
        let agent = removed.as_ref().map(|held| held.standing.agent).or_else(|| self.ended.get(connection)?.agent);
        if self.ended.len() < CONNECTIONS_MAX {
            self.ended.insert(connection.clone(), Gone { at: now, agent });
        }
        self.forget(removed.as_ref()?);
        removed
    }

    /// Somebody has ended while not let in: one of these, if it was known, as it was about to show something else.
    pub(crate) fn remove_known(&mut self, connection: &Connection, now: Duration) {
        if self.known.contains_key(connection) || self.awaited.contains_key(connection) {
            self.remove(connection, now);
        }
    }

    /// The server does not know it: gone, unless it has not been seen yet.
    pub(crate) fn remove_seen(&mut self, connection: &Connection, now: Duration) {
        if self.known.get(connection).is_some_and(|held| held.seen_at.is_some()) {
            self.remove(connection, now);
        }
    }

    /// A list of what is there: what lists in a row do not have, and is not just coming, is gone.
    pub(crate) fn retain(&mut self, roll: &Roll, now: Duration) {
        self.ended.retain(|_, gone| gone.at >= roll.begun);
        let taken = &mut self.taken;
        self.known.retain(|connection, held| {
            let counted = held.counts();
            let stays = stays(connection, held, roll, now);
            match (counted, stays && held.counts()) {
                (true, false) => taken.free(&held.standing.agent),
                (false, true) => taken.take(held.standing.agent),
                (true, true) | (false, false) => {}
            }
            stays
        });
    }

    /// What must end: by a directive, by its time, or because its permissions are no longer those that it would get.
    ///
    /// `redraw` gives what a chain would get now.
    pub(crate) fn doomed(
        &self,
        domain: &TrustDomain,
        view: &View,
        now: UnixSeconds,
        redraw: impl Fn(&VerifiedChain) -> Allowed,
    ) -> Vec<Doomed> {
        let judge = |(connection, held): (&Connection, &Held)| {
            let ended = held.standing.ended(domain, view, now).or_else(|| changed(held, domain, view, &redraw))?;
            Some(Doomed { connection: connection.clone(), standing: held.standing.clone(), ended })
        };
        self.known.iter().filter_map(judge).collect()
    }

    /// Those that are to be renewed by now and that the server has told of, the longest due first. None that showed
    /// nothing but a key: it came to enrol, and has another thing to show once it has.
    pub(crate) fn due(&self, now: Duration) -> Vec<(Connection, Arc<Standing>)> {
        let is_due = |held: &Held| {
            let may_come_back = held.seen_at.is_some() && held.standing.shown != Shown::Key;
            may_come_back && held.renew_at <= now
        };
        let mut due: Vec<_> = self.known.iter().filter(|(_, held)| is_due(held)).collect();
        due.sort_by_key(|(_, held)| held.renew_at);
        due.into_iter().map(|(connection, held)| (connection.clone(), held.standing.clone())).collect()
    }

    /// Every connection.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Connection, &Held)> {
        self.known.iter()
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

/// Whether one is still there, by a list. Counts the lists that should have had it.
fn stays(connection: &Connection, held: &mut Held, roll: &Roll, now: Duration) -> bool {
    let Some(seen_at) = held.seen_at else {
        return roll.listed.contains(connection) || now.saturating_sub(held.since) < UNSEEN_FOR;
    };
    // Whoever came after the list was begun may be on a page that had been read.
    if roll.listed.contains(connection) || seen_at.max(held.since) >= roll.begun {
        held.misses = 0;
        return true;
    }
    held.misses += 1;
    held.misses < if roll.servers.contains(&connection.server) { MISSES_MAX } else { SILENT_MISSES_MAX }
}

/// Whether narrowings have come or gone that change what the broker allows. Where the chain is not at hand they may:
/// the agent comes back and is judged anew.
fn changed(
    held: &Held,
    domain: &TrustDomain,
    view: &View,
    redraw: impl Fn(&VerifiedChain) -> Allowed,
) -> Option<Ended> {
    let narrowings = held.standing.narrowings(domain, view);
    if narrowings == held.narrowings || view.epoch() < held.epoch {
        return None;
    }
    if held.chain.as_ref().is_some_and(|chain| redraw(chain) == held.allowed) {
        return None;
    }
    let directive = narrowings.symmetric_difference(&held.narrowings).next().copied();
    Some(Ended { code: Code::Narrowed, directive })
}

#[cfg(test)]
mod tests;
