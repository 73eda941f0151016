//! The directives on one target: nearly always one, so that it needs no allocation of its own.

use marque_identity::{Digest, Epoch};

use crate::active::ActiveDirective;

#[derive(Debug)]
pub(crate) enum Slot {
    /// One.
    One([ActiveDirective; 1]),
    /// None, or several.
    Many(Vec<ActiveDirective>),
}

impl Default for Slot {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Slot {
    pub(crate) fn as_slice(&self) -> &[ActiveDirective] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [ActiveDirective] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }

    pub(crate) fn push(&mut self, active: ActiveDirective) {
        *self = match std::mem::take(self) {
            Self::Many(many) if many.is_empty() => Self::One([active]),
            Self::Many(mut many) => {
                many.push(active);
                Self::Many(many)
            }
            Self::One([first]) => Self::Many(vec![first, active]),
        };
    }

    /// Moves what `which` names into `taken`.
    pub(crate) fn take(&mut self, which: impl Fn(&ActiveDirective) -> bool, taken: &mut Vec<ActiveDirective>) {
        let all = match std::mem::take(self) {
            Self::One([one]) => vec![one],
            Self::Many(many) => many,
        };
        let (gone, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|active| which(active));
        taken.extend(gone);
        left.into_iter().for_each(|active| self.push(active));
    }

    pub(crate) fn set_epoch(&mut self, digest: &Digest, epoch: Epoch) {
        let found = self.as_mut_slice().iter_mut().find(|active| active.digest == *digest);
        found.into_iter().for_each(|active| active.epoch = Some(epoch));
    }

    pub(crate) fn clear_epoch(&mut self, digest: &Digest) {
        let found = self.as_mut_slice().iter_mut().find(|active| active.digest == *digest);
        found.into_iter().for_each(|active| active.epoch = None);
    }
}
