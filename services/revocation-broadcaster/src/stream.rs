//! The directive stream as this broadcaster knows it: how far it reaches, and what is active there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use marque_bus::{Bus, BusError, streams};
use marque_identity::{Did, Digest, Epoch, UnixMillis, UnixSeconds};
use marque_revocation::{
    ActiveSet, DirectiveId, DirectiveStatus, Item, Op, Opener, SetDigest, SignedDirective, StatusReply,
};
use marque_signing::PublicKey;

use crate::authority::Ended;

const BATCH_MESSAGES: usize = 1000;
/// A status answer stays well below the bus's 64 KiB.
const STATUS_PAGE: usize = 50;
/// A replica that lags behind the leader catches up within this, or is asked again.
const REPLICA_LAG: Duration = Duration::from_millis(100);
const REPLICA_LAG_TRIES: usize = 10;
/// Beyond twice the active ones, who asked for ended ones is forgotten.
const REQUESTERS_SPARE: usize = 1024;

/// What is active at the head of the stream. Cheap to clone; read by requests, written by the publisher.
#[derive(Clone, Default)]
pub struct Head(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    last: u64,
    set: ActiveSet,
    requesters: HashMap<DirectiveId, Did>,
}

impl Head {
    /// The stream's last sequence, as far as it is known here.
    pub fn last(&self) -> u64 {
        self.locked().last
    }

    /// What a heartbeat of time `t` behind the last message must vouch for, and whether that ends anything.
    pub fn at(&self, t: UnixMillis) -> (SetDigest, u64, bool) {
        let inner = self.locked();
        let (digest, active) = inner.set.at(t);
        (digest, active, active != inner.set.committed_len() as u64)
    }

    /// The latest heartbeat's time in the stream.
    pub fn time(&self) -> UnixMillis {
        self.locked().set.time()
    }

    /// Takes the next message that this broadcaster has stored, or read.
    pub fn take(&self, seq: u64, item: &Item) {
        let mut inner = self.locked();
        inner.last = inner.last.max(seq);
        match item {
            Item::Directive(signed) => inner.commit(Epoch(seq), signed),
            // A heartbeat at another place than its own counts for nothing, as in every view.
            Item::Heartbeat(beat) if beat.epoch == Epoch(seq) => drop(inner.set.advance(beat.t)),
            Item::Heartbeat(_) | Item::Skipped => {}
        }
    }

    /// What a resume or lift of this id would end, and until when that lasts.
    pub fn find(&self, id: DirectiveId) -> Option<(Ended, Option<UnixSeconds>)> {
        let inner = self.locked();
        let requested_by = *inner.requesters.get(&id)?;
        let (target, active) = inner.set.iter().find(|(_, active)| active.id() == id)?;
        Some((Ended { op: active.op(), target, requested_by }, active.until()))
    }

    /// How many are active.
    pub fn active(&self) -> u64 {
        self.locked().set.committed_len() as u64
    }

    /// A page of what is active, by sequence, and the rest of a status answer that is known here.
    pub fn status(&self, after: Epoch) -> StatusReply {
        let inner = self.locked();
        let mut directives: Vec<_> = inner
            .set
            .iter()
            .filter_map(|(target, active)| {
                let epoch = active.epoch().filter(|epoch| *epoch > after)?;
                Some(DirectiveStatus { id: active.id(), epoch, op: active.op(), target, until: active.until() })
            })
            .collect();
        directives.sort_by_key(|directive| directive.epoch);
        let more = directives.len() > STATUS_PAGE;
        directives.truncate(STATUS_PAGE);
        StatusReply {
            epoch: Epoch(inner.last),
            active: inner.set.committed_len() as u64,
            set_digest: inner.set.digest(),
            pending: 0,
            verifiers: Vec::new(),
            directives,
            more,
        }
    }

    /// A panic while it was held has left the set behind the stream at worst: the next publish then fails, and all is
    /// read again.
    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn commit(&mut self, epoch: Epoch, signed: &SignedDirective) {
        self.set.commit(epoch, signed);
        let directive = signed.directive();
        if matches!(directive.op, Op::Revoke | Op::Suspend | Op::Narrow) {
            self.requesters.insert(directive.id, directive.requested_by);
        }
        if self.requesters.len() > 2 * self.set.len() + REQUESTERS_SPARE {
            let active: std::collections::HashSet<_> = self.set.iter().map(|(_, active)| active.id()).collect();
            self.requesters.retain(|id, _| active.contains(id));
        }
    }
}

/// Reads the stream from where the head stands to its end. Gives the directives that it met.
///
/// The end is the leader's word; what a lagging replica does not show yet is waited for. What it never shows has
/// expired. Should one of ours be missed all the same, publishing it again is answered as a duplicate.
pub async fn catch_up(bus: &Bus, head: &Head, broadcasters: &[PublicKey]) -> Result<Vec<(Digest, Epoch)>, BusError> {
    let mut opener = Opener::new(broadcasters.to_vec());
    let mut met = Vec::new();
    let mut tries = 0;
    loop {
        let batch = bus.read(streams::DIRECTIVES, head.last() + 1, BATCH_MESSAGES).await?;
        for message in &batch.messages {
            let (item, refused) = opener.item(&message.payload);
            if let Some(error) = refused {
                tracing::error!(sequence = message.sequence, %error, "the stream holds what no broadcaster signed");
            }
            if let Item::Directive(signed) = &item {
                met.push((signed.digest(), Epoch(message.sequence)));
            }
            head.take(message.sequence, &item);
        }
        if !batch.messages.is_empty() {
            continue;
        }
        let state = bus.stream_state(streams::DIRECTIVES).await?;
        if head.last() >= state.last_sequence {
            return Ok(met);
        }
        let replicas = state.settings.get("num_replicas").and_then(serde_json::Value::as_u64).unwrap_or(1);
        if replicas <= 1 || tries >= REPLICA_LAG_TRIES {
            // One more look, from behind what has expired: nothing stands between, or it would have been read.
            head.take(state.last_sequence, &Item::Skipped);
            return Ok(met);
        }
        tries += 1;
        tokio::time::sleep(REPLICA_LAG).await;
    }
}
