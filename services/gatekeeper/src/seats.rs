//! A seat: one of the connections that an agent may have, taken before anything of the new one is recorded.

use std::sync::Arc;
use std::time::Duration;

use marque_identity::{Code, Did, Refusal};
use marque_judgement::record::Connection;
use tokio::sync::Semaphore;

use crate::roster::Roster;

/// So long whoever has no seat left waits for one. A client whose connection was closed is back within milliseconds, and
/// the word of the end may come after it: by another connection, from a busy server. Beyond that the client asks again.
const SEAT_WITHIN: Duration = Duration::from_secs(1);
/// Of the questions in hand so many may wait for a seat, one of this: whoever has too many keeps nobody else out.
const WAITING_SHARE: usize = 4;

/// The seats of every agent.
pub(crate) struct Seats {
    roster: Arc<Roster>,
    of_agent_max: usize,
    waiting: Semaphore,
}

/// A seat that is taken; free again when this is dropped, which is done once its connection is in the registry.
pub(crate) struct Seat {
    roster: Arc<Roster>,
    /// None: the seat is the connection's own already.
    agent: Option<Did>,
}

impl Seats {
    /// So many for each agent, counted with the connections of the roster, where so many questions are in hand at most.
    pub(crate) fn new(roster: Arc<Roster>, of_agent_max: usize, requests_max: usize) -> Self {
        Self { roster, of_agent_max, waiting: Semaphore::new(requests_max / WAITING_SHARE) }
    }

    /// Takes one for this agent, and waits a little for it where all are taken. A connection that counts as this agent's
    /// already, and is let in again over its link, keeps the one it has.
    ///
    /// Refuses as `too_many_connections`.
    pub(crate) async fn take(&self, agent: Did, connection: &Connection) -> Result<Seat, Refusal> {
        if self.roster.locked().has_seat(&agent, connection) {
            return Ok(Seat { roster: self.roster.clone(), agent: None });
        }
        if let Some(seat) = self.try_take(agent) {
            return Ok(seat);
        }
        let full = || {
            let message = format!("the agent has {} connections, and may not have more", self.of_agent_max);
            Refusal::new(Code::TooManyConnections, message)
        };
        let _turn = self.waiting.try_acquire().map_err(|_| full())?;
        let freed = async {
            loop {
                let freed = self.roster.freed.notified();
                tokio::pin!(freed);
                // Before the look: what is freed after it is heard of.
                freed.as_mut().enable();
                if let Some(seat) = self.try_take(agent) {
                    return seat;
                }
                freed.await;
            }
        };
        tokio::time::timeout(SEAT_WITHIN, freed).await.map_err(|_| full())
    }

    fn try_take(&self, agent: Did) -> Option<Seat> {
        let taken = self.roster.locked().take_seat(agent, self.of_agent_max);
        taken.then(|| Seat { roster: self.roster.clone(), agent: Some(agent) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(agent) = &self.agent {
            self.roster.locked().leave_seat(agent);
            self.roster.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures::FutureExt;
    use marque_bus::permissions::Allowed;

    use super::*;
    use crate::connections::Held;
    use crate::standing::Standing;

    const OF_AGENT_MAX: usize = 2;
    const REQUESTS_MAX: usize = 4;

    fn agent(seed: u8) -> Did {
        Did::from_key_bytes([seed; 32])
    }

    fn seats() -> Seats {
        Seats::new(Arc::default(), OF_AGENT_MAX, REQUESTS_MAX)
    }

    /// A connection of agent 1.
    fn put(seats: &Seats, cid: u64) -> Connection {
        let connection = Connection { server: "N".into(), cid };
        let held = Held {
            standing: Arc::new(Standing::of_key(agent(1))),
            sequence: cid,
            allowed: Allowed::default(),
            narrowings: BTreeSet::new(),
            epoch: marque_identity::Epoch(0),
            chain: None,
            since: Duration::ZERO,
            renew_at: Duration::MAX,
            seen_at: Some(Duration::ZERO),
            misses: 0,
        };
        assert!(seats.roster.locked().put(connection.clone(), held));
        connection
    }

    /// One that is about to be let in.
    fn new() -> Connection {
        Connection { server: "N".into(), cid: u64::MAX }
    }

    fn code(outcome: Option<Result<Seat, Refusal>>) -> Option<Code> {
        outcome.and_then(Result::err).map(|refusal| refusal.code)
    }

    #[tokio::test]
    async fn seats_and_connections_count_together_and_each_agent_for_itself() {
        let seats = seats();
        put(&seats, 1);
        let seat = seats.take(agent(1), &new()).await.unwrap();
        assert!(seats.take(agent(1), &new()).now_or_never().is_none(), "it waits");
        let others = [seats.take(agent(2), &new()).await.unwrap(), seats.take(agent(2), &new()).await.unwrap()];
        drop(seat);
        assert!(seats.take(agent(1), &new()).now_or_never().is_some_and(|outcome| outcome.is_ok()));
        drop(others);
    }

    #[tokio::test]
    async fn whoever_comes_back_before_its_end_is_heard_of_is_let_in() {
        let seats = seats();
        let (first, _second) = (put(&seats, 1), put(&seats, 2));
        let new = new();
        let mut back = std::pin::pin!(seats.take(agent(1), &new));
        assert!(back.as_mut().now_or_never().is_none());
        seats.roster.locked().remove(&first, Duration::ZERO);
        seats.roster.freed.notify_waiters();
        assert!(back.await.is_ok());
    }

    #[tokio::test]
    async fn a_connection_that_counts_already_needs_no_other_seat_and_gives_none_free() {
        let seats = seats();
        let (first, _second) = (put(&seats, 1), put(&seats, 2));
        for _ in 0..OF_AGENT_MAX + 1 {
            assert!(seats.take(agent(1), &first).now_or_never().is_some_and(|outcome| outcome.is_ok()));
        }
        assert!(seats.take(agent(1), &new()).now_or_never().is_none(), "another one does");
        // Over the same link another agent needs one of its own.
        let others = [seats.take(agent(2), &first).await.unwrap(), seats.take(agent(2), &first).await.unwrap()];
        assert!(seats.take(agent(2), &first).now_or_never().is_none());
        drop(others);
    }

    #[tokio::test]
    async fn only_some_wait_and_the_others_are_refused_at_once() {
        let seats = seats();
        put(&seats, 1);
        put(&seats, 2);
        let new = new();
        let mut waits = std::pin::pin!(seats.take(agent(1), &new));
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(code(seats.take(agent(1), &new).now_or_never()), Some(Code::TooManyConnections));
        assert!(seats.take(agent(2), &new).now_or_never().is_some(), "another has seats, and needs no turn");
        assert_eq!(waits.await.err().map(|refusal| refusal.code), Some(Code::TooManyConnections), "in the end");
    }
}
