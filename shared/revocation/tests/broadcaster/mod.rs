//! A broadcaster and a stream as simple as can be: a list of messages with the time at which each was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use marque_identity::{Did, Digest, Epoch, UnixMillis, UnixSeconds};
use marque_revocation::{Directive, DirectiveId, Heartbeat, Item, Op, SetDigest, SignedDirective, Target, TargetKind};
use marque_signing::SigningKey;
use proptest::prelude::*;

/// Without a stop nothing is slower.
pub(crate) const NETWORK_MS_MAX: i64 = 150;
const HEARTBEAT_MS: i64 = 250;
const HEARTBEAT_TTL_MS: i64 = 5000;
/// A directive leaves the stream so long after its `until`: later than a heartbeat that still
/// counts it can come out of a stopped process's socket.
const TTL_MARGIN_MS: i64 = 20_000;
const CALM_MS: i64 = 4000;
/// The broadcaster's wall clock at the model's time 0.
const WALL_MS: i64 = 1_800_000_000_000;

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_seed(&[3; 32]));

pub(crate) fn bound_ms() -> i64 {
    2000
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Copies {
    Lost,
    Once(i64),
    Twice(i64, i64),
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Tighten {
        op: Op,
        target: u8,
        until_s: Option<i64>,
    },
    /// Ends the n-th directive before, if any may be ended so.
    Loosen {
        op: Op,
        back: usize,
    },
    /// Someone stores an old message again.
    Replay {
        back: usize,
    },
    Restart {
        forward_ms: i64,
    },
    /// The next heartbeat vouches for another set, or for another number of directives.
    Lie {
        of_count: bool,
    },
    /// Someone stores an old heartbeat again, at another place than it was signed for.
    OldBeat {
        back: usize,
    },
    Garbage,
}

#[derive(Debug, Clone)]
pub(crate) struct Act {
    after_ms: i64,
    kind: Kind,
    raw: Copies,
    committed: Copies,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    acts: Vec<Act>,
    beats: Vec<Copies>,
    pub(crate) joins_ms: i64,
    pub(crate) stop: Option<(i64, i64)>,
    pub(crate) replica_lag_ms: i64,
    pub(crate) batch: usize,
}

fn copies() -> impl Strategy<Value = Copies> {
    let delay = || 0..NETWORK_MS_MAX;
    prop_oneof![
        2 => Just(Copies::Lost),
        4 => delay().prop_map(Copies::Once),
        1 => (delay(), delay()).prop_map(|(one, two)| Copies::Twice(one, two)),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    let tighten =
        (prop_oneof![Just(Op::Revoke), Just(Op::Suspend), Just(Op::Narrow)], 0u8..8, prop::option::of(0i64..8));
    prop_oneof![
        5 => tighten.prop_map(|(op, target, until_s)| Kind::Tighten { op, target, until_s }),
        4 => (prop_oneof![Just(Op::Resume), Just(Op::Lift)], 0usize..4).prop_map(|(op, back)| Kind::Loosen { op, back }),
        1 => (0usize..6).prop_map(|back| Kind::Replay { back }),
        1 => (0i64..20_000).prop_map(|forward_ms| Kind::Restart { forward_ms }),
        1 => any::<bool>().prop_map(|of_count| Kind::Lie { of_count }),
        1 => (0usize..6).prop_map(|back| Kind::OldBeat { back }),
        1 => Just(Kind::Garbage),
    ]
}

pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    let act = (0i64..700, kind(), copies(), copies()).prop_map(|(after_ms, kind, raw, committed)| Act {
        after_ms,
        kind,
        raw,
        committed,
    });
    (
        prop::collection::vec(act, 1..40),
        prop::collection::vec(copies(), 1..40),
        0i64..8000,
        prop::option::of((0i64..6000, 500i64..12_000)),
        0i64..400,
        1usize..40,
    )
        .prop_map(|(acts, beats, joins_ms, stop, replica_lag_ms, batch)| Plan {
            acts,
            beats,
            joins_ms,
            stop,
            replica_lag_ms,
            batch,
        })
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) seq: Epoch,
    at_ms: i64,
    gone_ms: i64,
    pub(crate) item: Item,
    raw: Copies,
    committed: Copies,
}

impl Entry {
    fn is_heartbeat(&self) -> bool {
        matches!(&self.item, Item::Heartbeat(beat) if beat.epoch == self.seq)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
    clock_ahead_ms: i64,
    boot_ms: i64,
    beats: u64,
    lies_next: Option<bool>,
    lies: BTreeSet<Epoch>,
}

impl Log {
    pub(crate) fn publish(plan: &Plan) -> Self {
        let mut log = Self { boot_ms: WALL_MS, ..Self::default() };
        let (mut now_ms, mut next_beat_ms) = (0, 0);
        let mut beats = plan.beats.iter().cycle().copied();
        for act in &plan.acts {
            now_ms += act.after_ms;
            while next_beat_ms <= now_ms {
                log.beat(next_beat_ms, beats.next().unwrap_or(Copies::Lost));
                next_beat_ms += HEARTBEAT_MS;
            }
            log.act(now_ms, act);
        }
        let calm_ms = now_ms.max(plan.joins_ms + 1000 + plan.stop.map_or(0, |(at, length)| at + length));
        while next_beat_ms <= calm_ms + CALM_MS {
            let copies = if next_beat_ms < calm_ms { beats.next().unwrap_or(Copies::Lost) } else { Copies::Once(0) };
            log.beat(next_beat_ms, copies);
            next_beat_ms += HEARTBEAT_MS;
        }
        log
    }

    fn push(&mut self, at_ms: i64, ttl_ms: Option<i64>, item: Item, raw: Copies, committed: Copies) {
        let seq = Epoch(self.entries.len() as u64 + 1);
        let gone_ms = ttl_ms.map_or(i64::MAX, |ttl_ms| at_ms + ttl_ms);
        self.entries.push(Entry { seq, at_ms, gone_ms, item, raw, committed });
    }

    fn t(&self, now_ms: i64) -> i64 {
        WALL_MS + now_ms + self.clock_ahead_ms
    }

    fn beat(&mut self, now_ms: i64, committed: Copies) {
        self.beats += 1;
        let t = UnixMillis(self.t(now_ms));
        let mut beat = Heartbeat {
            iss: KEY.did(),
            t,
            boot: UnixMillis(self.boot_ms),
            n: self.beats,
            epoch: Epoch(self.entries.len() as u64 + 1),
            active: 0,
            set_digest: SetDigest::default(),
        };
        self.push(now_ms, Some(HEARTBEAT_TTL_MS), Item::Heartbeat(beat.clone()), Copies::Lost, committed);
        let (active, digest) = self.active_at(self.last());
        (beat.active, beat.set_digest) = (active.len() as u64, digest);
        if let Some(of_count) = self.lies_next.take() {
            self.lies.insert(beat.epoch);
            if of_count { beat.active += 1 } else { beat.set_digest.insert(&Digest([0xee; 32])) }
        }
        self.entries.last_mut().unwrap().item = Item::Heartbeat(beat);
    }

    fn act(&mut self, now_ms: i64, act: &Act) {
        let (op, target, until, lifts) = match &act.kind {
            Kind::Tighten { op, target, until_s } => {
                let target = target_of(*target);
                let ends = *op != Op::Revoke || matches!(target, Target::Token(_));
                let until = until_s.filter(|_| ends).map(|s| UnixSeconds(self.t(now_ms) / 1000 + s));
                (*op, target, until, None)
            }
            Kind::Loosen { op, back } => {
                let Some(ended) = self.nth_back(*back).filter(|ended| op.may_end(ended.directive().op)) else { return };
                (*op, ended.directive().target.clone(), None, Some(ended.directive().id))
            }
            Kind::Replay { back } => {
                let Some(old) = self.nth_back(*back) else { return };
                return self.push(now_ms, None, Item::Directive(old), act.raw, act.committed);
            }
            Kind::Lie { of_count } => {
                self.lies_next = Some(*of_count);
                return;
            }
            Kind::OldBeat { back } => {
                let beats = self.entries.iter().filter(|entry| matches!(entry.item, Item::Heartbeat(_)));
                let Some(old) = beats.rev().nth(*back).map(|entry| entry.item.clone()) else { return };
                return self.push(now_ms, Some(HEARTBEAT_TTL_MS), old, Copies::Lost, act.committed);
            }
            Kind::Restart { forward_ms } => {
                self.clock_ahead_ms += forward_ms;
                (self.boot_ms, self.beats) = (self.t(now_ms), 0);
                return;
            }
            Kind::Garbage => return self.push(now_ms, None, Item::Skipped, act.raw, act.committed),
        };
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(self.entries.len() as u64).to_be_bytes());
        let directive = Directive {
            id: DirectiveId::from_bytes(id),
            op,
            target,
            until,
            narrow: (op == Op::Narrow).then(|| serde_json::json!({"tools": {"*": {}}})),
            lifts,
            reason: "walk".into(),
            requested_by: KEY.did(),
            iat: UnixSeconds(self.t(now_ms) / 1000),
            domain: "acme.example".parse().unwrap(),
        };
        let ttl_ms = until.map(|until| (until.0 * 1000 - self.t(now_ms)).max(0) + TTL_MARGIN_MS);
        let signed = SignedDirective::sign(directive, &KEY).unwrap();
        self.push(now_ms, ttl_ms, Item::Directive(Arc::new(signed)), act.raw, act.committed);
    }

    fn nth_back(&self, back: usize) -> Option<Arc<SignedDirective>> {
        self.directives().filter(|(_, signed)| signed.directive().op.tightens()).nth_back(back).map(|(_, s)| s.clone())
    }

    fn directives(&self) -> impl DoubleEndedIterator<Item = (&Entry, &Arc<SignedDirective>)> {
        self.entries.iter().filter_map(|entry| match &entry.item {
            Item::Directive(signed) => Some((entry, signed)),
            Item::Heartbeat(_) | Item::Skipped => None,
        })
    }

    pub(crate) fn last(&self) -> Epoch {
        Epoch(self.entries.len() as u64)
    }

    pub(crate) fn end_ms(&self) -> i64 {
        self.entries.last().map_or(0, |entry| entry.at_ms)
    }

    /// Time, raw or committed, index of each copy that reaches a view that joins when the plan says.
    pub(crate) fn deliveries(&self, plan: &Plan) -> Vec<(i64, (bool, usize))> {
        let mut deliveries = Vec::new();
        let mut first_beat = true;
        for (index, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.at_ms >= plan.joins_ms) {
            // The first heartbeat is in time: by it the view measures the others.
            let opens = first_beat && entry.is_heartbeat();
            let committed = if opens { Copies::Once(0) } else { entry.committed };
            first_beat &= !opens;
            for (raw, copies) in [(true, entry.raw), (false, committed)] {
                let delays = match copies {
                    Copies::Lost => vec![],
                    Copies::Once(delay) => vec![delay],
                    Copies::Twice(one, two) => vec![one, two],
                };
                deliveries.extend(delays.into_iter().map(|delay| (entry.at_ms + delay, (raw, index))));
            }
        }
        deliveries
    }

    /// What a replica that has what was stored by `visible_to_ms` reads at `now_ms`.
    pub(crate) fn read(&self, from: Epoch, visible_to_ms: i64, now_ms: i64, batch: usize) -> Vec<(Epoch, Item)> {
        let visible = self.entries.iter().filter(|e| e.seq >= from && e.at_ms <= visible_to_ms && e.gone_ms > now_ms);
        visible.take(batch).map(|entry| (entry.seq, entry.item.clone())).collect()
    }

    fn state_at(
        &self,
        covers: impl Fn(&Entry) -> bool,
    ) -> (BTreeMap<Digest, Arc<SignedDirective>>, BTreeSet<DirectiveId>) {
        let mut active: BTreeMap<Digest, Arc<SignedDirective>> = BTreeMap::new();
        let (mut seen, mut ended) = (BTreeSet::new(), BTreeSet::new());
        let mut time_ms = 0;
        let passed = |signed: &SignedDirective, t: i64| signed.directive().until.is_some_and(|u| u.0 * 1000 < t);
        for entry in self.entries.iter().filter(|entry| covers(entry)) {
            match &entry.item {
                Item::Directive(signed) if signed.directive().op.tightens() => {
                    if passed(signed, time_ms) {
                        ended.insert(signed.directive().id);
                    } else if seen.insert(signed.digest()) {
                        active.insert(signed.digest(), signed.clone());
                    }
                }
                Item::Directive(loosens) => active.retain(|_, signed| {
                    let ends = Some(signed.directive().id) == loosens.directive().lifts;
                    _ = ends && ended.insert(signed.directive().id);
                    !ends
                }),
                Item::Heartbeat(_) if !entry.is_heartbeat() => {}
                Item::Heartbeat(beat) => {
                    time_ms = beat.t.0;
                    active.retain(|_, signed| {
                        _ = passed(signed, time_ms) && ended.insert(signed.directive().id);
                        !passed(signed, time_ms)
                    });
                }
                Item::Skipped => {}
            }
        }
        (active, ended)
    }

    pub(crate) fn active_at(&self, epoch: Epoch) -> (BTreeSet<DirectiveId>, SetDigest) {
        let (active, _) = self.state_at(|entry| entry.seq <= epoch);
        let mut digest = SetDigest::default();
        active.keys().for_each(|member| digest.insert(member));
        (active.values().map(|signed| signed.directive().id).collect(), digest)
    }

    pub(crate) fn ended_by(&self, now_ms: i64) -> BTreeSet<DirectiveId> {
        self.state_at(|entry| entry.at_ms <= now_ms).1
    }

    pub(crate) fn acked_by(&self, ms: i64) -> Vec<DirectiveId> {
        let acked = self.directives().filter(|(entry, signed)| entry.at_ms <= ms && signed.directive().op.tightens());
        acked.map(|(_, signed)| signed.directive().id).collect()
    }

    pub(crate) fn tightens(&self, id: &DirectiveId) -> bool {
        self.directives().any(|(_, signed)| signed.directive().id == *id && signed.directive().op.tightens())
    }

    /// The heartbeat that stands here, at the place that it was signed for: when it was sent, and whether it is true.
    pub(crate) fn heartbeat(&self, epoch: Epoch) -> Option<(i64, bool)> {
        let entry = self.entries.iter().find(|entry| entry.seq == epoch && entry.is_heartbeat())?;
        Some((entry.at_ms, !self.lies.contains(&epoch)))
    }

    /// Whether the broadcaster was ever started again.
    pub(crate) fn is_restarted(&self) -> bool {
        self.boot_ms != WALL_MS
    }

    /// Whether a heartbeat stands here that was signed for another place.
    pub(crate) fn is_misplaced(&self, epoch: Epoch) -> bool {
        self.entries.iter().any(|e| e.seq == epoch && matches!(e.item, Item::Heartbeat(_)) && !e.is_heartbeat())
    }
}

fn target_of(choice: u8) -> Target {
    match choice {
        0 => Target::Token(Digest([1; 32])),
        1 => Target::Token(Digest([2; 32])),
        2 => Target::Key(Did::from_key_bytes([1; 32])),
        3 => Target::Task("urn:task:one".parse().unwrap()),
        4 => Target::parse(TargetKind::Manifest, &Digest([1; 32]).to_string()).unwrap(),
        5 => Target::parse(TargetKind::Blueprint, "reader").unwrap(),
        6 => Target::parse(TargetKind::Issuer, "https://acme.example").unwrap(),
        _ => Target::parse(TargetKind::Domain, "acme.example").unwrap(),
    }
}
