//! The checkpoint that a copy has already: the next one must go on from it, and it is kept beside the next.

use std::path::Path;

use marque_identity::Code;
use marque_ledger::verify::goes_on_by;
use marque_ledger::{Checkpoint, Files as _, Gathered, Policy, layout};

use super::durable::Durable;
use super::{CHECKPOINT_BYTES_MAX, fetch_when_there, not_the_logs, stated_in};
use crate::Failure;

/// Where the first checkpoint lies that did not go on from the copy's.
const REFUSED: &str = "marque/checkpoint.refused";

/// A copy's checkpoint.
pub(super) struct Earlier<'a> {
    copy: &'a Path,
    note: Vec<u8>,
    /// What it states. TRUST: its signatures are not looked at here.
    pub(super) checkpoint: Checkpoint,
}

impl<'a> Earlier<'a> {
    /// The one in this folder, if there is one.
    pub(super) fn there(copy: &'a Path) -> Result<Option<Self>, Failure> {
        super::folder_or_none(copy)?;
        let note = marque_ledger::Directory::new(copy).read(layout::CHECKPOINT, CHECKPOINT_BYTES_MAX);
        let unreadable = |why| {
            let file = copy.join(layout::CHECKPOINT);
            Failure::new(Code::FileUnusable, format!("{}: {why}", file.display()))
        };
        let Some(note) = note.map_err(unreadable)? else { return Ok(None) };
        Ok(Some(Self { copy, checkpoint: stated_in(&note)?, note }))
    }

    /// Refuses to write over a copy of another log, of a larger one, or of one that differs: it may be all that is left
    /// of it, or the evidence.
    pub(super) fn may_become(&self, now: &Checkpoint) -> Result<(), Failure> {
        let there = &self.checkpoint;
        let why = if there.origin != now.origin {
            format!("holds log `{}`, the sink shows `{}`", there.origin, now.origin)
        } else if there.size > now.size {
            format!("holds {} leaves, the sink shows {}", there.size, now.size)
        } else if there.size == now.size && there.root != now.root {
            format!("holds root {} at size {}, the sink shows {}", there.root, there.size, now.root)
        } else {
            return Ok(());
        };
        let copy = self.copy.display();
        Err(Failure::new(Code::Conflict, format!("{copy} {why}")).hint("copy into another directory"))
    }

    /// A larger one is there now: this one is to be kept.
    pub(super) fn is_before(&self, now: &Checkpoint) -> bool {
        self.checkpoint.size < now.size
    }

    /// Refuses one that nobody whom we trust signed: kept, it would be a finding at each check from then on.
    pub(super) fn is_trusted(&self, policy: &Policy) -> Result<(), Failure> {
        let opened = Checkpoint::open(&self.note, policy.logs()).map(drop);
        opened.map_err(|error| {
            let there = self.copy.join(layout::CHECKPOINT);
            Failure::new(error.code(), format!("{}, which is to be kept: {error}", there.display())).hint(
                "name the key that signed it, too (--key may stand several times); or copy into another directory",
            )
        })
    }

    /// Whether a sink's checkpoint goes on from this one, by the sink's own tiles. Writes nothing: what the copy has is
    /// still that of this one, whatever the sink shows. The refusal's words are none of a transport's: both were read.
    pub(super) async fn leads_to(&self, from: &str, now: &Checkpoint) -> Result<Result<(), String>, Failure> {
        let mut tiles = Gathered::default();
        loop {
            let Err(why) = goes_on_by(&tiles, &self.checkpoint, now) else { return Ok(Ok(())) };
            let Some(id) = tiles.lacking() else { return Ok(Err(why)) };
            let bytes = fetch_when_there(from, &format!("{}?tree_size={}", id.path(), now.size)).await?;
            tiles.put(id, bytes).map_err(|error| not_the_logs(from, error))?;
        }
    }

    /// The refusal of a sink whose checkpoint does not go on from this one. `besides`: what became of the sink's.
    pub(super) fn refused(&self, from: &str, why: &str, besides: &str) -> Failure {
        let there = self.copy.join(layout::CHECKPOINT);
        let why = format!("the checkpoint of the sink at {from} {why}, which {} is{besides}", there.display());
        Failure::new(Code::LogInvalid, why).hint(
            "the log was rewritten, or the sink's tiles are not its own: keep both checkpoints, compare them with another \
             sink's (--from HOST:PORT), and copy into another directory",
        )
    }

    /// Keeps the sink's checkpoint that was refused: with this one it is the evidence. Gives what became of it.
    pub(super) fn keep_refused(&self, note: &[u8]) -> String {
        let refused = self.copy.join(REFUSED);
        // The first one is evidence enough, and is not written over.
        if refused.exists() {
            return format!("; the first that did not lies in {}", refused.display());
        }
        let keep = |mut files: Durable<'_>| files.write(REFUSED, note).and_then(|_| files.settle());
        match Durable::at(self.copy).and_then(keep) {
            Ok(()) => format!("; it lies in {}", refused.display()),
            Err(failure) => format!("; it could not be kept: {}", failure.message),
        }
    }

    /// Keeps it under its size; on the disk when this returns.
    pub(super) fn keep(&self, files: &mut Durable<'_>) -> Result<(), Failure> {
        let path = layout::kept_checkpoint(self.checkpoint.size);
        let kept = marque_ledger::Directory::new(self.copy).read(&path, CHECKPOINT_BYTES_MAX);
        match kept.map_err(|why| Failure::new(Code::Unavailable, format!("{path}: {why}")))? {
            // A try that broke off has kept it, or the checkpoint of another sink of this log.
            Some(kept) if stated_in(&kept).is_ok_and(|stated| stated == self.checkpoint) => files.adopt(&path)?,
            Some(_) => {
                let why = format!("{} is not the checkpoint that the copy had", self.copy.join(path).display());
                return Err(Failure::new(Code::Conflict, why)
                    .hint("`marque log verify` says what is wrong with it; copy into another directory"));
            }
            None => drop(files.write(&path, &self.note)?),
        }
        files.settle()
    }
}
