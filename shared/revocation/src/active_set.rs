//! The set of active directives: what the stream says, and what only raw copies have said so far.
//!
//! What is committed is a function of the stream alone: the same messages in the same order give the same set and
//! the same digest everywhere, whoever reads them when. Raw copies lie above it, tighten, and are in no digest.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use marque_identity::{Did, Digest, Epoch, UnixMillis};

use crate::active::ActiveDirective;
use crate::slot::Slot;
use crate::{Directive, DirectiveId, Narrow, SetDigest, SignedDirective, Target, TargetRef};

/// At about 400 bytes each: 400 MiB at the most. Beyond, a view denies everything rather than forget.
const DIRECTIVES_MAX: usize = 1 << 20;
/// How long, by the heartbeats' time, a raw copy stands that the stream does not have. Long enough for a
/// broadcaster to come back and publish what its outbox holds; while it is away there are no heartbeats, and
/// this time does not run.
const ORPHAN_AFTER_MS: i64 = 10 * 60 * 1000;

/// The active directives, by target.
#[derive(Debug, Default)]
pub struct ActiveSet {
    tokens: HashMap<Digest, Slot>,
    keys: HashMap<Did, Slot>,
    blueprints: HashMap<Box<str>, Slot>,
    tasks: HashMap<Box<str>, Slot>,
    manifests: HashMap<Digest, Slot>,
    issuers: HashMap<Box<str>, Slot>,
    domains: HashMap<Box<str>, Slot>,
    /// Tightening directives that were committed and whose `until` has not passed, ended ones included: a second
    /// committed copy, or a late raw one, of a directive that was lifted must not come back.
    committed: HashSet<Digest>,
    /// By `until` in seconds: whatever ends by itself, raw or committed.
    expiring: BTreeMap<(i64, Digest), Target>,
    /// Raw copies that the stream has not shown, and the heartbeat time since which it has not.
    raw_only: HashMap<Digest, RawOnly>,
    /// The latest time of a committed heartbeat.
    time: UnixMillis,
    digest: SetDigest,
    /// Committed and active.
    count: usize,
}

#[derive(Debug)]
struct RawOnly {
    id: DirectiveId,
    target: Target,
    since: Option<UnixMillis>,
}

impl ActiveSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The active directives on this target; empty if none. Does not allocate.
    pub fn overlay(&self, target: TargetRef<'_>) -> &[ActiveDirective] {
        let slot = match target {
            TargetRef::Token(digest) => self.tokens.get(digest),
            TargetRef::Key(did) => self.keys.get(did),
            TargetRef::Blueprint(name) => self.blueprints.get(name),
            TargetRef::Task(task) => self.tasks.get(task),
            TargetRef::Manifest(digest) => self.manifests.get(digest),
            TargetRef::Issuer(uri) => self.issuers.get(uri),
            TargetRef::Domain(name) => self.domains.get(name),
        };
        slot.map_or(&[], Slot::as_slice)
    }

    /// Whether nothing is active, raw ones included.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.raw_only.is_empty()
    }

    /// How many are active, raw ones included.
    pub fn len(&self) -> usize {
        self.count + self.raw_only.len()
    }

    /// How many are committed and active.
    pub fn committed_len(&self) -> usize {
        self.count
    }

    /// The digest of what is committed and active.
    pub fn digest(&self) -> SetDigest {
        self.digest
    }

    /// The latest time of a committed heartbeat.
    pub fn time(&self) -> UnixMillis {
        self.time
    }

    /// Whether these bytes (SHA-256 of the compact form) tighten now, or have been committed and ended.
    pub fn knows(&self, digest: &Digest) -> bool {
        self.committed.contains(digest) || self.raw_only.contains_key(digest)
    }

    /// Whether there are more than a view holds.
    pub(crate) fn is_overfull(&self) -> bool {
        self.len() > DIRECTIVES_MAX || self.committed.len() > 4 * DIRECTIVES_MAX
    }

    /// The digest and number of what will be active once a heartbeat of time `t` is committed next.
    pub fn at(&self, t: UnixMillis) -> (SetDigest, u64) {
        let (mut digest, mut count) = (self.digest, self.count);
        for ((_, ending), target) in self.expiring.iter().take_while(|((until, _), _)| has_passed(*until, t)) {
            let active = self.overlay(target.as_ref()).iter().any(|a| a.digest == *ending && a.epoch.is_some());
            if active {
                digest.remove(ending);
                count -= 1;
            }
        }
        (digest, count as u64)
    }

    /// Every directive in force, raw ones included, with its target, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Target, &ActiveDirective)> {
        let tokens = self.tokens.iter().map(|(value, slot)| (TargetRef::Token(value), slot));
        let keys = self.keys.iter().map(|(value, slot)| (TargetRef::Key(value), slot));
        let blueprints = self.blueprints.iter().map(|(value, slot)| (TargetRef::Blueprint(value), slot));
        let tasks = self.tasks.iter().map(|(value, slot)| (TargetRef::Task(value), slot));
        let manifests = self.manifests.iter().map(|(value, slot)| (TargetRef::Manifest(value), slot));
        let issuers = self.issuers.iter().map(|(value, slot)| (TargetRef::Issuer(value), slot));
        let domains = self.domains.iter().map(|(value, slot)| (TargetRef::Domain(value), slot));
        let slots = tokens.chain(keys).chain(blueprints).chain(tasks).chain(manifests).chain(issuers).chain(domains);
        slots.flat_map(|(target, slot)| slot.as_slice().iter().map(move |active| (target.to_owned(), active)))
    }

    /// A raw copy: tightens at once. Gives whether it is news.
    pub fn apply_raw(&mut self, signed: &SignedDirective) -> bool {
        let directive = signed.directive();
        let digest = signed.digest();
        if !directive.op.tightens() || self.knows(&digest) || self.is_dead(directive) {
            return false;
        }
        self.insert(signed, None);
        let raw = RawOnly { id: directive.id, target: directive.target.clone(), since: None };
        self.raw_only.insert(digest, raw);
        true
    }

    /// The committed copy at its place. Must be called in sequence order. Gives whether it is news.
    pub fn commit(&mut self, epoch: Epoch, signed: &SignedDirective) -> bool {
        let directive = signed.directive();
        if !directive.op.tightens() {
            self.end(directive);
            return true;
        }
        let digest = signed.digest();
        if self.is_dead(directive) || !self.committed.insert(digest) {
            return false;
        }
        self.digest.insert(&digest);
        self.count += 1;
        let was_raw = self.raw_only.remove(&digest).is_some();
        if was_raw {
            self.edit(&directive.target, |slot| slot.set_epoch(&digest, epoch));
        } else {
            self.insert(signed, Some(epoch));
        }
        !was_raw
    }

    /// A committed heartbeat's time: ends what has expired by it. Gives the raw copies that were dropped because
    /// the stream has never shown them.
    pub fn advance(&mut self, t: UnixMillis) -> Vec<DirectiveId> {
        self.time = self.time.max(t);
        while let Some(((until, digest), target)) = self.expiring.pop_first() {
            if !has_passed(until, self.time) {
                self.expiring.insert((until, digest), target);
                break;
            }
            self.committed.remove(&digest);
            self.raw_only.remove(&digest);
            self.take(&target, |active| active.digest == digest);
        }
        self.drop_orphans()
    }

    /// Forgets the stream, keeps what tightens as raw copies.
    pub(crate) fn restart(&mut self) {
        let committed: Vec<_> = self
            .iter()
            .filter(|(_, active)| active.epoch.is_some())
            .map(|(target, active)| (active.digest, RawOnly { id: active.id, target, since: None }))
            .collect();
        for (digest, raw) in committed {
            self.edit(&raw.target, |slot| slot.clear_epoch(&digest));
            self.raw_only.insert(digest, raw);
        }
        self.raw_only.values_mut().for_each(|raw| raw.since = None);
        self.committed.clear();
        self.digest = SetDigest::default();
        self.count = 0;
    }

    fn is_dead(&self, directive: &Directive) -> bool {
        directive.until.is_some_and(|until| has_passed(until.0, self.time))
    }

    fn insert(&mut self, signed: &SignedDirective, epoch: Option<Epoch>) {
        let directive = signed.directive();
        let active = ActiveDirective {
            id: directive.id,
            digest: signed.digest(),
            op: directive.op,
            epoch,
            until: directive.until,
            narrow: directive.narrow.clone().map(|value| Arc::new(Narrow::new(value))),
        };
        if let Some(until) = directive.until {
            self.expiring.insert((until.0, signed.digest()), directive.target.clone());
        }
        self.edit(&directive.target, |slot| slot.push(active));
    }

    /// A resume or lift: ends what it names, if that is committed, has the same target and may be ended by it.
    fn end(&mut self, directive: &Directive) {
        let Some(lifts) = directive.lifts else { return };
        let ends =
            |active: &ActiveDirective| active.id == lifts && active.epoch.is_some() && directive.op.may_end(active.op);
        self.take(&directive.target, ends);
    }

    fn take(&mut self, target: &Target, which: impl Fn(&ActiveDirective) -> bool) {
        let mut taken = Vec::new();
        self.edit(target, |slot| slot.take(&which, &mut taken));
        for active in taken.iter().filter(|active| active.epoch.is_some()) {
            self.digest.remove(&active.digest);
            self.count -= 1;
        }
    }

    fn drop_orphans(&mut self) -> Vec<DirectiveId> {
        let now = self.time;
        let mut dropped = Vec::new();
        for (digest, raw) in &mut self.raw_only {
            let since = *raw.since.get_or_insert(now);
            if now.0.saturating_sub(since.0) >= ORPHAN_AFTER_MS {
                dropped.push((*digest, raw.id, raw.target.clone()));
            }
        }
        for (digest, _, target) in &dropped {
            self.raw_only.remove(digest);
            self.take(target, |active| active.digest == *digest);
        }
        dropped.into_iter().map(|(_, id, _)| id).collect()
    }

    /// Edits the slot of a target; an empty one goes.
    fn edit(&mut self, target: &Target, edit: impl FnOnce(&mut Slot)) {
        match target {
            Target::Token(digest) => edit_slot(&mut self.tokens, digest, |d| *d, edit),
            Target::Key(did) => edit_slot(&mut self.keys, did, |d| *d, edit),
            Target::Blueprint(name) => edit_slot(&mut self.blueprints, name.as_str(), |text| text.into(), edit),
            Target::Task(task) => edit_slot(&mut self.tasks, task.as_str(), |text| text.into(), edit),
            Target::Manifest(digest) => edit_slot(&mut self.manifests, digest, |d| *d, edit),
            Target::Issuer(uri) => edit_slot(&mut self.issuers, uri.as_str(), |text| text.into(), edit),
            Target::Domain(domain) => edit_slot(&mut self.domains, domain.as_str(), |text| text.into(), edit),
        }
    }
}

fn edit_slot<K, Q>(map: &mut HashMap<K, Slot>, key: &Q, own: impl FnOnce(&Q) -> K, edit: impl FnOnce(&mut Slot))
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ?Sized,
{
    let mut slot = map.remove(key).unwrap_or_default();
    edit(&mut slot);
    if !slot.as_slice().is_empty() {
        map.insert(own(key), slot);
    }
}

/// Whether a directive that ends at `until` (seconds) has ended at a heartbeat of time `t`.
fn has_passed(until_seconds: i64, t: UnixMillis) -> bool {
    t.0 > until_seconds.saturating_mul(1000)
}
