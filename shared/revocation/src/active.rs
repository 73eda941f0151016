//! A directive that is in force.

use std::sync::Arc;

use marque_identity::{Digest, Epoch, UnixSeconds};

use crate::{DirectiveId, Narrow, Op};

/// A tightening directive in force, as a decision sees it.
#[derive(Debug, Clone)]
pub struct ActiveDirective {
    pub(crate) id: DirectiveId,
    pub(crate) digest: Digest,
    pub(crate) op: Op,
    /// The place in the stream; `None` while only the raw copy was seen.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) until: Option<UnixSeconds>,
    pub(crate) narrow: Option<Arc<Narrow>>,
}

/// What an active directive takes away.
#[derive(Debug, Clone, Copy)]
pub enum Overlay<'a> {
    /// Everything, for good.
    Revoked,
    /// Everything, until it is resumed or expires.
    Suspended,
    /// What this narrowing does not allow.
    Narrow(&'a Narrow),
}

impl ActiveDirective {
    /// Its id.
    pub fn id(&self) -> DirectiveId {
        self.id
    }

    /// SHA-256 of its compact form.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What it does: revoke, suspend or narrow.
    pub fn op(&self) -> Op {
        self.op
    }

    /// Its place in the stream; `None` while only the raw copy was seen.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// When it ends by itself, by the heartbeats' time.
    pub fn until(&self) -> Option<UnixSeconds> {
        self.until
    }

    /// What it takes away. A narrowing without its constraints takes everything.
    pub fn overlay(&self) -> Overlay<'_> {
        match (self.op, self.narrow.as_deref()) {
            (Op::Narrow, Some(narrow)) => Overlay::Narrow(narrow),
            (Op::Revoke, _) => Overlay::Revoked,
            (Op::Suspend | Op::Narrow | Op::Resume | Op::Lift, _) => Overlay::Suspended,
        }
    }
}
