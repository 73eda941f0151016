//! The log in a directory, as C2SP `tlog-tiles` lays it out, that grows with it: every tile of a final checkpoint, and
//! the checkpoint last. Everything in it is under the checkpoint; nothing else is in it.
//!
//! Full tiles are written once. Each file is there whole or not at all, and durable before the checkpoint that needs
//! it; what the checkpoint before needs goes only after the new one is there. Killed anywhere: the archive is that of
//! its checkpoint. Its thief can read every record, and change none unseen.
//!
//! Of its checkpoints it has the newest alone: each round holds the one before to the log itself, and a sink makes
//! thousands a day. An export keeps those that it had.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use marque_ledger::layout::CHECKPOINT;
use marque_ledger::{Checkpoint, TileId, TileKind, root_at};
use tokio::sync::watch;

use crate::SinkError;
use crate::intake::blocking;
use crate::keep::{keep, make_room};
use crate::metrics::Metrics;
use crate::seal::Sealer;
use crate::store::{LogStore, LogView};

/// Between two rounds while the log grows: partial tiles are written anew in each.
const ROUNDS_APART: Duration = Duration::from_secs(10);
/// After a failure it is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// A checkpoint with cosignatures.
pub(crate) const CHECKPOINT_BYTES_MAX: u64 = 64 * 1024;

/// What an archive has, and what this round wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archived {
    /// The leaves of its checkpoint.
    pub size: u64,
    /// Files that were written.
    pub files: u64,
}

/// Brings an archive to a checkpoint of this log. One that states more than the log has, or another log, is refused
/// and not touched.
pub fn archive(log: &LogView, note: &str, to: &Path) -> Result<Archived, SinkError> {
    let stated = Checkpoint::stated(note.as_bytes())?;
    // 1. Everything that is shown is this log's: the checkpoint, and what the archive holds already.
    agrees(log, &stated, "the checkpoint")?;
    let before = read_checkpoint(to)?;
    if let Some(before) = &before {
        if before.origin != stated.origin {
            return Err(SinkError::Archive(format!("it holds log `{}`, not `{}`", before.origin, stated.origin)));
        }
        // One that states more than the log has can't be compared: it is another's, was touched, or the log is old.
        agrees(log, before, "the archive")?;
        if before.size >= stated.size {
            return Ok(Archived { size: before.size, files: 0 });
        }
    }
    // 2. What it lacks, and the checkpoint.
    let had =
        |id: &TileId| before.as_ref().and_then(|before| TileId::covering(id.kind, id.index, before.size)) == Some(*id);
    let mut files = 1;
    for id in TileId::all(stated.size).filter(|id| !had(id)) {
        write(to, &id.path(), &log.file(id)?)?;
        files += 1;
    }
    write(to, CHECKPOINT, note.as_bytes())?;
    // 3. Partial tiles that the checkpoint has not: of the one before, and of rounds that broke off on their way.
    let begun = before.map_or(0, |before| before.size);
    for kind in kinds() {
        let tiles = |size| TileId::count(kind, size) / marque_ledger::TILE_WIDTH;
        for index in tiles(begun)..=tiles(stated.size) {
            drop_others(to, TileId { kind, index, width: 1 }, stated.size)?;
        }
    }
    Ok(Archived { size: stated.size, files })
}

/// Whether a checkpoint is of this log; whose it is, where it is not.
pub(crate) fn agrees(log: &LogView, stated: &Checkpoint, whose: &str) -> Result<(), SinkError> {
    if stated.size > log.size() {
        let why = format!("{whose} states {} leaves, the log has {}", stated.size, log.size());
        return Err(SinkError::Archive(why));
    }
    let root = root_at(log, stated.size)?;
    if root != stated.root {
        let why = format!("{whose} states root {} at size {}, the log has {root}", stated.root, stated.size);
        return Err(SinkError::Archive(why));
    }
    Ok(())
}

pub(crate) fn read_checkpoint(of: &Path) -> Result<Option<Checkpoint>, SinkError> {
    use marque_ledger::Files as _;
    let read = marque_ledger::Directory::new(of).read(CHECKPOINT, CHECKPOINT_BYTES_MAX);
    match read.map_err(|why| SinkError::Archive(format!("{CHECKPOINT}: {why}")))? {
        Some(note) => Ok(Some(Checkpoint::stated(&note)?)),
        None => Ok(None),
    }
}

/// What tiles are of.
fn kinds() -> impl Iterator<Item = TileKind> {
    (0..8).map(TileKind::Hashes).chain([TileKind::Entries])
}

/// Drops every partial tile at a tile's place but the one that a log of this size has there.
fn drop_others(of: &Path, id: TileId, size: u64) -> Result<(), SinkError> {
    let path = of.join(id.path());
    let Some(folder) = path.parent() else { return Ok(()) };
    let kept = TileId::covering(id.kind, id.index, size).map(|id| of.join(id.path()));
    let drop = || -> std::io::Result<()> {
        for file in std::fs::read_dir(folder)? {
            let file = file?.path();
            if Some(&file) != kept.as_ref() {
                std::fs::remove_file(file)?;
            }
        }
        match kept {
            Some(kept) if kept.parent() == Some(folder) => Ok(()),
            Some(_) | None => std::fs::remove_dir(folder),
        }
    };
    drop()
        .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .map_err(SinkError::at(folder))
}

fn write(to: &Path, path: &str, bytes: &[u8]) -> Result<(), SinkError> {
    let file = to.join(path);
    make_room(&file)?;
    keep(&file, bytes)
}

/// Keeps the archive of a running sink up with its final checkpoints.
pub(crate) struct Archiver {
    pub(crate) store: Arc<LogStore>,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) metrics: Metrics,
    pub(crate) to: PathBuf,
}

impl Archiver {
    /// Archives until `stopped`. What fails is said, and tried again: the log does not need its archive.
    pub(crate) async fn run(&self, mut stopped: watch::Receiver<bool>) {
        let mut sizes = self.sealer.finality().sizes();
        let mut archived = 0;
        loop {
            let rest = match self.round().await {
                Ok(done) => {
                    archived = done.size;
                    self.metrics.archived(done.size);
                    tracing::debug!(size = done.size, files = done.files, "archived");
                    ROUNDS_APART
                }
                Err(error) => {
                    tracing::error!(%error, to = %self.to.display(), "the log is not archived");
                    RETRY
                }
            };
            let due = async {
                // The sealer outlives this: its sender can't be gone.
                let _ = sizes.wait_for(|(last, _)| *last > archived).await;
                tokio::time::sleep(rest).await;
            };
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                () = due => {}
            }
        }
    }

    async fn round(&self) -> Result<Archived, SinkError> {
        let Some(last) = self.sealer.last() else { return Ok(Archived { size: 0, files: 0 }) };
        let (store, to) = (Arc::clone(&self.store), self.to.clone());
        blocking(move || archive(&store.view()?, &last.note, &to)).await
    }
}
