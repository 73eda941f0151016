//! Random walks over the view: messages are lost, doubled, late and reordered, the process is stopped, the
//! broadcaster is restarted with another clock, replicas lag, heartbeats lie or are stored again. After every step
//! promises 2 and 6 are checked against a model that is too simple to be wrong; at the end everything has arrived, and
//! all must agree.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broadcaster;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broadcaster::{Log, Plan, bound_ms, plan};
use marque_identity::Epoch;
use marque_revocation::{Alarm, DirectiveId, Effect, Event, Freshness, Item, View};
use proptest::prelude::*;

/// What can't be measured: the fastest delivery, jitter, rounding, 500 ppm of a walk of a minute.
const SLACK_MS: i64 = broadcaster::NETWORK_MS_MAX + 100 + 50;

/// Tools are of several minds about how old a view may be: none of them is told that it is fresher than it is.
const BOUNDS_MS: [u64; 6] = [0, 100, 500, 1000, 2000, 5000];

/// Something that reaches the view at a time.
#[derive(Debug, Clone)]
enum Arrival {
    Raw(usize),
    Committed(usize),
    Answer { from: Epoch, visible_to_ms: i64, batch: usize },
    Tick,
}

struct Walk {
    log: Log,
    view: View,
    queue: BTreeMap<(i64, u64), Arrival>,
    queued: u64,
    applied: BTreeSet<DirectiveId>,
    /// What came ahead of all that was held, and whether it came live.
    came: BTreeMap<Epoch, bool>,
    /// Whether the lie that stands was told of.
    told: bool,
    stopped: Option<(i64, i64)>,
    lag_ms: i64,
    batch: usize,
}

impl Walk {
    fn new(plan: &Plan) -> Self {
        let log = Log::publish(plan);
        let mut walk = Self {
            view: View::new(),
            queue: BTreeMap::new(),
            queued: 0,
            applied: BTreeSet::new(),
            came: BTreeMap::new(),
            told: false,
            stopped: plan.stop.map(|(at, length)| (plan.joins_ms + 1000 + at, plan.joins_ms + 1000 + at + length)),
            lag_ms: plan.replica_lag_ms,
            batch: plan.batch,
            log,
        };
        for (at, arrival) in walk.log.deliveries(plan) {
            walk.enqueue(at, arrival.0, arrival.1);
        }
        for tick in (plan.joins_ms..walk.log.end_ms()).step_by(250) {
            walk.push(tick, Arrival::Tick);
        }
        walk
    }

    fn enqueue(&mut self, at_ms: i64, raw: bool, index: usize) {
        self.push(at_ms, if raw { Arrival::Raw(index) } else { Arrival::Committed(index) });
    }

    /// What would arrive while the process is stopped arrives when it goes on.
    fn push(&mut self, at_ms: i64, arrival: Arrival) {
        let at_ms = match self.stopped {
            Some((from, to)) if (from..to).contains(&at_ms) => to,
            Some(_) | None => at_ms,
        };
        self.queued += 1;
        self.queue.insert((at_ms, self.queued), arrival);
    }

    fn step(&mut self, now_ms: i64, arrival: Arrival) {
        let event = match arrival {
            Arrival::Raw(index) => match &self.log.entries[index].item {
                Item::Directive(signed) => Event::Raw(signed.clone()),
                Item::Heartbeat(_) | Item::Skipped => return,
            },
            Arrival::Committed(index) => {
                let entry = &self.log.entries[index];
                Event::Committed { seq: entry.seq, item: entry.item.clone() }
            }
            Arrival::Answer { from, visible_to_ms, batch } => {
                Event::Filled { from, items: self.log.read(from, visible_to_ms, now_ms, batch) }
            }
            Arrival::Tick => Event::Tick,
        };
        let held = self.view.epoch();
        match &event {
            Event::Committed { seq, .. } if *seq > held => _ = self.came.insert(*seq, true),
            Event::Filled { items, .. } => {
                for (seq, _) in items.iter().filter(|(seq, _)| *seq > held) {
                    self.came.entry(*seq).or_insert(false);
                }
            }
            Event::Raw(_) | Event::Committed { .. } | Event::Tick => {}
        }
        for effect in self.view.on(event, now(now_ms)) {
            match effect {
                Effect::Applied { id, .. } => _ = self.applied.insert(id),
                Effect::FillGap { from, to } => {
                    assert!(from <= to, "asks for nothing");
                    let answer = Arrival::Answer { from, visible_to_ms: now_ms - self.lag_ms, batch: self.batch };
                    self.push(now_ms + 5, answer);
                }
                Effect::Alarm(Alarm::HeartbeatMisplaced { seq }) if self.log.is_misplaced(seq) => {}
                Effect::Alarm(Alarm::Diverged { epoch, .. })
                    if self.log.heartbeat(epoch).is_some_and(|(_, is_true)| !is_true) =>
                {
                    self.told = true;
                }
                Effect::Alarm(alarm) => panic!("an alarm without cause: {alarm:?}"),
            }
        }
        self.check(now_ms);
        self.check_freshness(now_ms);
    }

    /// Promise 6: what is not known for certain is not taken for known, by no bound.
    fn check_freshness(&mut self, now_ms: i64) {
        let held = self.view.epoch();
        let heartbeats =
            self.came.range(..=held).filter_map(|(seq, live)| Some((*seq, self.log.heartbeat(*seq)?, *live)));
        let heartbeats: Vec<(Epoch, (i64, bool), bool)> = heartbeats.collect();
        // Only what came live, with all before it held, says anything about now.
        let proof = heartbeats.iter().filter(|(_, _, live)| *live).map(|(_, (sent_ms, _), _)| *sent_ms).max();
        let lie = heartbeats.last().filter(|(_, (_, is_true), _)| !is_true);
        self.told &= lie.is_some();
        for bound_ms in BOUNDS_MS {
            let bound = Duration::from_millis(bound_ms);
            match (self.view.freshness(now(now_ms), bound), lie, proof) {
                (Freshness::Diverged { epoch }, Some((seq, _, live)), _) => {
                    assert_eq!(epoch, *seq);
                    // How late the first heartbeats of a new boot are can't be told yet: they deny, and raise no alarm.
                    assert!(self.told || !live || self.log.is_restarted(), "a lie that nobody was told of");
                }
                (other, Some((seq, _, _)), _) => panic!("{other:?} by a heartbeat that lies at {seq:?}"),
                (Freshness::Cold, None, _) => {}
                (other, None, None) => panic!("{other:?} without any proof"),
                (Freshness::Fresh { epoch, age }, None, Some(sent_ms)) => {
                    assert_eq!(epoch, held);
                    assert!(age <= bound, "fresh beyond {bound_ms} ms");
                    let real_ms = now_ms - sent_ms;
                    assert!(real_ms <= age.as_millis() as i64 + SLACK_MS, "{real_ms} ms old, and said to be {age:?}");
                }
                (Freshness::Stale { epoch, age }, None, Some(_)) => {
                    assert_eq!(epoch, held);
                    assert!(age > bound, "stale within {bound_ms} ms");
                }
                (Freshness::Diverged { epoch }, None, _) => panic!("diverged at {epoch:?} without cause"),
            }
        }
    }

    fn check(&self, now_ms: i64) {
        let in_force: BTreeSet<_> = self.view.active().iter().map(|(_, active)| active.id()).collect();
        // The committed set is the model's at this place; exactly, wherever a heartbeat stands. (Reading what is
        // old, what a heartbeat ended that has left the stream since ends at the next one.)
        let (active, digest) = self.log.active_at(self.view.epoch());
        if self.log.heartbeat(self.view.epoch()).is_some() {
            assert_eq!(self.view.set_digest(), digest, "at {:?}", self.view.epoch());
        }
        assert!(active.is_subset(&in_force));
        // What was once applied stays until the stream ends it.
        let ended = self.log.ended_by(now_ms);
        for id in self.applied.iter().filter(|id| self.log.tightens(id)) {
            assert!(in_force.contains(id) || ended.contains(id), "{id} loosened too early");
        }
        // Promise 2: fresh means that all that was acked a bound ago is in force, unless the stream ended it.
        let bound = bound_ms();
        match self.view.freshness(now(now_ms), Duration::from_millis(bound as u64)) {
            Freshness::Fresh { .. } => {
                for id in self.log.acked_by(now_ms - bound - SLACK_MS) {
                    assert!(in_force.contains(&id) || ended.contains(&id), "{id} is permitted against at {now_ms}");
                }
            }
            Freshness::Stale { .. } | Freshness::Cold | Freshness::Diverged { .. } => {}
        }
    }
}

fn now(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap())
}

fn walk(plan: &Plan) -> Walk {
    let mut walk = Walk::new(plan);
    let mut last_ms = 0;
    while let Some(((at_ms, _), arrival)) = walk.queue.pop_first() {
        last_ms = at_ms.max(last_ms);
        walk.step(last_ms, arrival);
    }
    walk
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn keeps_the_promises_whatever_the_network_does(plan in plan()) {
        let walk = walk(&plan);
        // The end of every plan is calm: three seconds in which all arrives. So the view ends fresh and complete.
        let end = walk.log.end_ms();
        let (active, digest) = walk.log.active_at(walk.log.last());
        prop_assert!(walk.view.freshness(now(end), Duration::from_secs(2)).is_fresh());
        prop_assert_eq!(walk.view.epoch(), walk.log.last());
        prop_assert_eq!(walk.view.set_digest(), digest);
        let in_force: BTreeSet<_> = walk.view.active().iter().map(|(_, active)| active.id()).collect();
        prop_assert_eq!(in_force, active);
    }

    #[test]
    fn tightening_commutes_and_repeats(plan in plan(), order in any::<u64>()) {
        let log = Log::publish(&plan);
        let mut raw: Vec<_> = log.entries.iter().filter_map(|entry| match &entry.item {
            Item::Directive(signed) => Some(signed.clone()),
            Item::Heartbeat(_) | Item::Skipped => None,
        }).collect();
        let in_force = |raw: &[_]| {
            let mut view = View::new();
            for signed in raw { view.on(Event::Raw(std::sync::Arc::clone(signed)), Duration::ZERO); }
            view.active().iter().map(|(target, active)| (target, active.id())).collect::<BTreeSet<_>>()
        };
        let before = in_force(&raw);
        raw.sort_by_key(|signed: &std::sync::Arc<marque_revocation::SignedDirective>| {
            let digest = signed.digest();
            u64::from_le_bytes(digest.0[..8].try_into().unwrap()) ^ order
        });
        let doubled: Vec<_> = raw.iter().chain(&raw).cloned().collect();
        prop_assert_eq!(in_force(&doubled), before);
    }
}
