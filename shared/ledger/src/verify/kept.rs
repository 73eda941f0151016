//! The checkpoints that a copy had before its newest: each signed by the log, under the name of its size, and of a tree
//! that the newest one's begins with.
//!
//! Each is held to the newest by the newest one's tiles. Trees that one tree begins with begin with each other in the
//! order of their sizes, so that by this each is consistent with the one before it, too, and no tile of an earlier
//! size needs to be there.
//!
//! TRUST: one that was dropped leaves no trace, since nothing says how often a copy was brought up to date. Witnesses are
//! not asked for: at its time a copy may have gone by a policy without them, and that it is a beginning of the newest
//! one, which has them, says more. How many lack them is told.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::layout::{KEPT_CHECKPOINTS, kept_checkpoint, kept_size};
use crate::{Checkpoint, Files, LedgerError, Policy};

use super::{Report, goes_on};

/// Kept checkpoints that are looked at, the largest ones: one a day are eleven years, and each costs some tiles to read.
pub const KEPT_MAX: usize = 4096;
/// Names in their folder that are listed at the most, whatever they are.
pub const KEPT_NAMES_MAX: usize = 1 << 20;
/// What one may have: a checkpoint with the cosignatures of every witness that a policy can name has less.
pub const KEPT_BYTES_MAX: u64 = 64 * 1024;

/// What was looked at of the checkpoints that a copy had before its newest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Those that were looked at.
    pub checked: u64,
    /// Of these, the ones that too few of the policy's witnesses have cosigned.
    pub unwitnessed: u64,
    /// Smaller ones that were not looked at: more are there than [`KEPT_MAX`].
    pub unchecked: u64,
    /// Names in their folder that are none of a checkpoint's: not looked at.
    pub strange: u64,
    /// The folder has more names than are listed ([`KEPT_NAMES_MAX`]).
    pub unlisted: bool,
}

/// Checks those that lie beside `now`, the smallest first. What is wrong is a finding in the file.
pub(super) fn kept(files: &impl Files, policy: &Policy, now: &Checkpoint, report: &mut Report) {
    let mut kept = Kept::default();
    for size in sizes(files, &mut kept, report) {
        if report.is_full() {
            // Of the largest that were to be looked at, these are left.
            kept.unchecked += 1;
            continue;
        }
        kept.checked += 1;
        let file = kept_checkpoint(size);
        let checked = one(files, policy, size, &file).and_then(|(checkpoint, witnessed)| {
            kept.unwitnessed += u64::from(!witnessed);
            goes_on(files, &checkpoint, now).map_err(|why| format!("the newest checkpoint: {why}"))
        });
        if let Err(what) = checked {
            report.find(file, None, what);
        }
    }
    report.kept = kept;
}

/// The sizes that are to be looked at.
fn sizes(files: &impl Files, kept: &mut Kept, report: &mut Report) -> BTreeSet<u64> {
    let (mut sizes, mut listed) = (BTreeSet::new(), 0);
    let named = files.names(KEPT_CHECKPOINTS, &mut |name| {
        if listed == KEPT_NAMES_MAX {
            kept.unlisted = true;
            return false;
        }
        listed += 1;
        match kept_size(name) {
            Some(size) => {
                sizes.insert(size);
            }
            None => kept.strange += 1,
        }
        if sizes.len() > KEPT_MAX {
            sizes.pop_first();
            kept.unchecked += 1;
        }
        true
    });
    if let Err(why) = named {
        report.find(KEPT_CHECKPOINTS, None, why);
    }
    sizes
}

/// What the file of this size states, and whether the policy's quorum has cosigned it.
fn one(files: &impl Files, policy: &Policy, size: u64, file: &str) -> Result<(Checkpoint, bool), String> {
    let note = files.read(file, KEPT_BYTES_MAX)?.ok_or("the file is missing")?;
    let (checkpoint, witnessed) = match policy.open(&note) {
        Ok(witnessed) => (witnessed.checkpoint, true),
        Err(LedgerError::QuorumMissing) => {
            let signed = Checkpoint::open(&note, policy.logs());
            (signed.map_err(|error| error.to_string())?, false)
        }
        Err(error) => return Err(error.to_string()),
    };
    if checkpoint.size == size {
        Ok((checkpoint, witnessed))
    } else {
        Err(format!("states {} leaves, its name {size}", checkpoint.size))
    }
}
