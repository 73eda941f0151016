//! A verifier's view of the directives: event in, effects out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use marque_identity::{Digest, Epoch};

use crate::pace::Pace;
use crate::{ActiveDirective, ActiveSet, DirectiveId, Freshness, Heartbeat, SetDigest, SignedDirective, TargetRef};

/// One message of the directive stream, verified by [`Opener`](crate::Opener).
#[derive(Debug, Clone)]
pub enum Item {
    /// A directive.
    Directive(Arc<SignedDirective>),
    /// A heartbeat.
    Heartbeat(Heartbeat),
    /// Something whose signature does not verify, or that is neither: it counts in the sequence, nothing else.
    Skipped,
}

/// What happens to a view.
#[derive(Debug, Clone)]
pub enum Event {
    /// The raw copy of a directive.
    Raw(Arc<SignedDirective>),
    /// The committed copy of a message, received live.
    Committed {
        /// Its stream sequence.
        seq: Epoch,
        /// What it is.
        item: Item,
    },
    /// The answer to [`Effect::FillGap`]: stored messages in ascending sequence, beginning with the first at or
    /// after `from`, leaving out none in between (they may reach beyond the gap). Empty if there was none, or
    /// if nobody answered.
    Filled {
        /// The sequence that was asked from.
        from: Epoch,
        /// Sequence and message.
        items: Vec<(Epoch, Item)>,
    },
    /// Time has passed: asks again for gaps that nobody filled. Send it every 250 ms or so.
    Tick,
}

/// What a view wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A directive has taken effect for the first time, on either path: time to ack it.
    Applied {
        /// Its id.
        id: DirectiveId,
        /// Its place, if the committed copy is what brought it.
        epoch: Option<Epoch>,
    },
    /// Read the stream by Direct Get from `from` on, at least through `to`, and answer with [`Event::Filled`].
    FillGap {
        /// First sequence that is missing.
        from: Epoch,
        /// Last sequence that is known to be missing.
        to: Epoch,
    },
    /// Something that an operator must hear of.
    Alarm(Alarm),
}

/// What an operator must hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// The own set of active directives is not the one that a heartbeat vouches for. The view denies.
    Diverged {
        /// The heartbeat's place.
        epoch: Epoch,
        /// Our digest.
        ours: SetDigest,
        /// The heartbeat's digest.
        theirs: SetDigest,
    },
    /// A raw directive was dropped that the stream has never held.
    OrphanDropped {
        /// Its id.
        id: DirectiveId,
    },
    /// The stream has gone back: a new heartbeat stands at a sequence that was held already.
    Rewound {
        /// What was held.
        held: Epoch,
        /// Where the new heartbeat stands.
        seq: Epoch,
    },
    /// A heartbeat stands at another place than the one it was signed for.
    HeartbeatMisplaced {
        /// Where it stands.
        seq: Epoch,
    },
    /// More active directives than a view holds. The view denies.
    Overfull,
}

/// How many live messages may wait behind a gap: half an hour of heartbeats. What does not fit is a gap itself.
const WAITING_MAX: usize = 8192;
/// How many messages of one answer to a gap are looked at; the rest is asked for again.
const FILLED_MAX: usize = 65_536;
/// After this long without an answer a gap is asked for again.
const FILL_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The view: applies tightening on sight, everything else in sequence order, and knows how fresh it is.
///
/// - *Raw* copies and committed copies behind a gap tighten at once.
/// - *Committed* copies in order drive loosening, expiry, the set digest and freshness.
/// - A heartbeat that was received live at time r, and that was d late (see `pace`), proves for the time r − d
///   that every directive acknowledged before it is held, once every sequence up to it is held. A heartbeat read
///   from the stream proves nothing about now.
#[derive(Debug, Default)]
pub struct View {
    set: ActiveSet,
    held: Epoch,
    waiting: BTreeMap<Epoch, Waiting>,
    asked_at: Option<Duration>,
    pace: Pace,
    proven_at_ms: Option<i64>,
    diverged: Option<Epoch>,
    /// Whether an alarm has told of the divergence that stands.
    alarmed: bool,
    rewound: Option<Epoch>,
}

/// A message behind a gap.
#[derive(Debug)]
struct Waiting {
    item: Item,
    /// What it proves if it is a heartbeat that was received live: the local time in milliseconds.
    proves_ms: Option<i64>,
}

impl View {
    /// An empty, cold view.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an event at the local monotonic time `now`; gives what is to be done.
    pub fn on(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Raw(signed) => self.tighten(&signed, None, &mut effects),
            Event::Committed { seq, item } => self.on_committed(seq, item, now, &mut effects),
            Event::Filled { from, items } => self.on_filled(from, items, now, &mut effects),
            Event::Tick => {}
        }
        self.ask(now, &mut effects);
        effects
    }

    fn on_committed(&mut self, seq: Epoch, item: Item, now: Duration, effects: &mut Vec<Effect>) {
        if seq <= self.held {
            self.check_rewound(seq, &item, effects);
            return;
        }
        let proves_ms = match &item {
            Item::Heartbeat(heartbeat) if heartbeat.epoch == seq => {
                let now_ms = millis(now);
                self.pace.lag_ms(heartbeat.boot, heartbeat.t, now_ms).map(|lag_ms| now_ms - lag_ms)
            }
            Item::Directive(signed) if seq != self.held.next() => {
                self.tighten(signed, Some(seq), effects);
                None
            }
            Item::Heartbeat(_) | Item::Directive(_) | Item::Skipped => None,
        };
        if self.waiting.len() < WAITING_MAX {
            self.waiting.insert(seq, Waiting { item, proves_ms });
        }
        self.drain(Epoch(0), effects);
    }

    fn on_filled(&mut self, from: Epoch, items: Vec<(Epoch, Item)>, now: Duration, effects: &mut Vec<Effect>) {
        let before = self.held;
        let mut conclusive_to = Epoch(0);
        for (seq, item) in items.into_iter().take(FILLED_MAX) {
            if seq < from || seq <= conclusive_to {
                break;
            }
            conclusive_to = seq;
            if seq > self.held {
                self.waiting.entry(seq).or_insert(Waiting { item, proves_ms: None });
            }
        }
        // An answer that begins behind what we lack says nothing about what lies between.
        let gapless = from <= self.held.next();
        self.drain(if gapless { conclusive_to } else { Epoch(0) }, effects);
        self.asked_at = if self.held > before { None } else { Some(now) };
    }

    /// Applies what is next in sequence. Sequences up to `conclusive_to` that are not here do not exist any more.
    fn drain(&mut self, conclusive_to: Epoch, effects: &mut Vec<Effect>) {
        while let Some((&seq, _)) = self.waiting.first_key_value() {
            if seq > self.held.next() && seq > conclusive_to {
                return;
            }
            let Some((seq, next)) = self.waiting.pop_first() else { return };
            self.held = self.held.max(seq);
            self.apply(seq, next, effects);
        }
    }

    fn apply(&mut self, seq: Epoch, next: Waiting, effects: &mut Vec<Effect>) {
        match next.item {
            Item::Directive(signed) => {
                if self.set.commit(seq, &signed) {
                    effects.push(Effect::Applied { id: signed.directive().id, epoch: Some(seq) });
                }
                self.check_room(effects);
            }
            Item::Heartbeat(heartbeat) if heartbeat.epoch != seq => {
                effects.push(Effect::Alarm(Alarm::HeartbeatMisplaced { seq }));
            }
            Item::Heartbeat(heartbeat) => self.apply_heartbeat(seq, &heartbeat, next.proves_ms, effects),
            Item::Skipped => {}
        }
    }

    fn apply_heartbeat(&mut self, seq: Epoch, beat: &Heartbeat, proves_ms: Option<i64>, effects: &mut Vec<Effect>) {
        let orphans = self.set.advance(beat.t);
        effects.extend(orphans.into_iter().map(|id| Effect::Alarm(Alarm::OrphanDropped { id })));
        let ours = self.set.digest();
        let same = ours == beat.set_digest && self.set.committed_len() as u64 == beat.active;
        // While reading what is old, a difference raises no alarm, but it denies like any other; the first heartbeat
        // received live that still shows it tells of it.
        if !same && proves_ms.is_some() && !self.alarmed {
            effects.push(Effect::Alarm(Alarm::Diverged { epoch: seq, ours, theirs: beat.set_digest }));
        }
        self.alarmed = !same && (self.alarmed || proves_ms.is_some());
        self.diverged = (!same).then_some(seq);
        self.proven_at_ms = self.proven_at_ms.max(proves_ms);
    }

    fn tighten(&mut self, signed: &SignedDirective, epoch: Option<Epoch>, effects: &mut Vec<Effect>) {
        if self.set.apply_raw(signed) {
            effects.push(Effect::Applied { id: signed.directive().id, epoch });
        }
        self.check_room(effects);
    }

    fn check_room(&self, effects: &mut Vec<Effect>) {
        if self.set.is_overfull() {
            effects.push(Effect::Alarm(Alarm::Overfull));
        }
    }

    /// A copy of a message that is held is nothing; a heartbeat that is newer than all that is held, at a
    /// sequence that is held, means that the stream is another one.
    fn check_rewound(&mut self, seq: Epoch, item: &Item, effects: &mut Vec<Effect>) {
        let Item::Heartbeat(heartbeat) = item else { return };
        if heartbeat.epoch == seq && heartbeat.t > self.set.time() && self.rewound.is_none() {
            self.rewound = Some(seq);
            effects.push(Effect::Alarm(Alarm::Rewound { held: self.held, seq }));
        }
    }

    fn ask(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let Some((&first, _)) = self.waiting.first_key_value() else {
            self.asked_at = None;
            return;
        };
        let waits = self.asked_at.is_some_and(|at| now.saturating_sub(at) < FILL_AGAIN_AFTER);
        if !waits {
            self.asked_at = Some(now);
            effects.push(Effect::FillGap { from: self.held.next(), to: Epoch(first.0.saturating_sub(1)) });
        }
    }

    /// The active directives on this target; empty if none. Does not allocate.
    pub fn overlay(&self, target: TargetRef<'_>) -> &[ActiveDirective] {
        self.set.overlay(target)
    }

    /// Whether no directive at all is active: nothing to look up.
    pub fn is_clear(&self) -> bool {
        self.set.is_empty()
    }

    /// Whether the view may decide for a tool with this staleness bound.
    pub fn freshness(&self, now: Duration, bound: Duration) -> Freshness {
        if let Some(epoch) = self.rewound.or(self.diverged) {
            return Freshness::Diverged { epoch };
        }
        if self.set.is_overfull() {
            return Freshness::Diverged { epoch: self.held };
        }
        match self.age(now) {
            None => Freshness::Cold,
            Some(age) if age <= bound => Freshness::Fresh { epoch: self.held, age },
            Some(age) => Freshness::Stale { epoch: self.held, age },
        }
    }

    /// Age of the youngest proof of freshness; `None` while cold.
    pub fn age(&self, now: Duration) -> Option<Duration> {
        let proven_at_ms = self.proven_at_ms?;
        Some(Duration::from_millis(u64::try_from(millis(now).saturating_sub(proven_at_ms)).unwrap_or(0)))
    }

    /// The sequence up to which everything is held: the epoch of a decision.
    pub fn epoch(&self) -> Epoch {
        self.held
    }

    /// Whether a directive of these bytes (SHA-256 of its compact form) tightens now, or was committed and ended.
    pub fn knows(&self, digest: &Digest) -> bool {
        self.set.knows(digest)
    }

    /// The digest of the committed active set.
    pub fn set_digest(&self) -> SetDigest {
        self.set.digest()
    }

    /// How many directives are in force, raw ones included.
    pub fn active_count(&self) -> usize {
        self.set.len()
    }

    /// The set itself, to list it.
    pub fn active(&self) -> &ActiveSet {
        &self.set
    }

    /// Begins anew after a divergence or a rewound stream: cold, but all that tightens stays until it is seen
    /// committed, or is shown to be orphaned.
    pub fn restart(&mut self) {
        let mut set = std::mem::take(&mut self.set);
        set.restart();
        *self = Self { set, ..Self::default() };
    }
}

fn millis(monotonic: Duration) -> i64 {
    i64::try_from(monotonic.as_millis()).unwrap_or(i64::MAX)
}
