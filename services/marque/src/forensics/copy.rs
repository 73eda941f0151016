//! A copy of the log to read: one that is at hand, or one that is taken now and deleted afterwards.

use std::collections::HashSet;
use std::path::PathBuf;

use clap::Args;
use marque_identity::Code;
use marque_judgement::record::{Bad, Judge, Record, VALID};
use marque_ledger::{
    Checkpoint, Entry, FILE_BYTES_MAX, Files as _, TILE_WIDTH, TileId, TileKind, decode_bundle, layout,
};
use marque_signing::TrustBundle;
use tempfile::TempDir;

use crate::cli::Common;
use crate::directory::Directory;
use crate::output::Output;
use crate::{Failure, log, trust};

/// Which copy.
#[derive(Debug, Clone, Args)]
pub(crate) struct CopyArgs {
    /// A copy of the log, made by `marque log export`; without one, the sink's log is copied now and deleted afterwards.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// The sink's page to copy from, `host:port`; the default stands in the bootstrap directory.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "log")]
    from: Option<String>,
    /// File with the trust bundle; the default is the bootstrap directory's, else the copy's own.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

/// A valid record of the log: the first with its id.
pub(super) struct Leaf {
    /// Its index.
    pub leaf: u64,
    /// When the broker stored it, in milliseconds.
    pub stored_ms: i64,
    /// What it says.
    pub record: Box<Record>,
}

/// A leaf as it is stored, whatever it holds.
pub(crate) struct StoredLeaf<'a> {
    /// Its index.
    pub leaf: u64,
    /// Its bytes: what the leaf's hash is of.
    pub frame: &'a [u8],
    /// The stored message.
    pub entry: Entry<'a>,
    /// What is to be said of it under the bundle.
    pub judged: Result<Box<Record>, Bad>,
}

impl StoredLeaf<'_> {
    /// `valid`, or the code of what is wrong with what it holds.
    pub(crate) fn verdict(&self) -> &str {
        self.judged.as_ref().map_or_else(|bad| bad.verdict.as_str(), |_| VALID)
    }
}

/// A log that can be read again and again.
pub(crate) struct LogCopy {
    folder: PathBuf,
    bundle: TrustBundle,
    judge: Judge,
    stated: Checkpoint,
    // Deleted with it, where it was taken for this command alone.
    _taken: Option<TempDir>,
}

impl LogCopy {
    /// Opens it, or takes it.
    pub(crate) async fn open(args: &CopyArgs, common: &Common, out: &Output) -> Result<Self, Failure> {
        let named = match (&args.bundle, &common.connection.dir) {
            (Some(file), _) => Some(trust::open(file, None)?),
            (None, Some(directory)) => Some(Directory::at(directory).bundle()?),
            (None, None) => None,
        };
        let (folder, taken) = match &args.log {
            Some(folder) => (folder.clone(), None),
            None => {
                let from = match &args.from {
                    Some(from) => from.clone(),
                    None => common.connection.directory()?.sink_page()?,
                };
                let Some(bundle) = &named else {
                    return Err(Failure::usage("nobody says whose log to believe").hint(
                        "name a trust bundle (--bundle) or --dir; or copy first: `marque log export DIR --key VKEY`",
                    ));
                };
                let taken = tempfile::tempdir()
                    .map_err(|error| Failure::new(Code::Internal, format!("no folder for a copy: {error}")))?;
                log::export_entries(&from, taken.path(), bundle).await?;
                (taken.path().to_owned(), Some(taken))
            }
        };
        let stated = log::stated(&folder)?;
        let bundle = match named {
            Some(bundle) => bundle,
            None => trust::open(&folder.join(layout::BUNDLE), None)?,
        };
        out.talk(format!(
            "reads {} leaves; signatures of records are checked, `marque log verify` checks the tree",
            stated.size
        ));
        if args.bundle.is_none() && common.connection.dir.is_none() {
            out.talk("the bundle is the copy's own and was compared with nothing: pass --bundle, or --dir");
        }
        let judge = Judge::new(bundle.clone());
        Ok(Self { folder, bundle, judge, stated, _taken: taken })
    }

    /// The trust bundle that its records are judged under.
    pub(super) fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// Its leaves.
    pub(crate) fn size(&self) -> u64 {
        self.stated.size
    }

    /// What its checkpoint states.
    pub(crate) fn stated(&self) -> &Checkpoint {
        &self.stated
    }

    /// Hands each valid record to `each`, in leaf order. Gives how many leaves hold none.
    pub(super) fn read(&self, mut each: impl FnMut(Leaf) -> Result<(), Failure>) -> Result<u64, Failure> {
        let (mut seen, mut passed_over) = (HashSet::new(), 0);
        self.read_every(0, |stored| {
            match stored.judged {
                Ok(record) if seen.insert(record.id.clone()) => {
                    let stored_ms = stored.entry.broker_ms();
                    each(Leaf { leaf: stored.leaf, stored_ms, record })?;
                }
                Ok(_) | Err(_) => passed_over += 1,
            }
            Ok(())
        })?;
        Ok(passed_over)
    }

    /// Hands every leaf from `first` on to `each`, in order, whatever it holds.
    pub(crate) fn read_every(
        &self,
        first: u64,
        each: impl FnMut(StoredLeaf<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.read_from_to(first, self.stated.size, each)
    }

    /// The same, up to a leaf of the log.
    pub(crate) fn read_from_to(
        &self,
        first: u64,
        end: u64,
        mut each: impl FnMut(StoredLeaf<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let files = marque_ledger::Directory::new(&self.folder);
        let size = self.stated.size;
        for index in first / TILE_WIDTH..end.min(size).div_ceil(TILE_WIDTH) {
            let Some(id) = TileId::covering(TileKind::Entries, index, size) else { break };
            let damaged = |why: String| Failure::new(Code::LogInvalid, format!("{}: {why}", id.path()));
            let bytes = files.read(&id.path(), FILE_BYTES_MAX as u64).map_err(damaged)?;
            let bytes = bytes.ok_or_else(|| damaged("the file is missing".into()))?;
            let frames = decode_bundle(&bytes, id.width).map_err(|error| damaged(error.to_string()))?;
            for (leaf, frame) in (index * TILE_WIDTH..).zip(frames).filter(|(leaf, _)| (first..end).contains(leaf)) {
                let entry = Entry::decode(frame).map_err(|error| damaged(error.to_string()))?;
                each(StoredLeaf { leaf, frame, entry, judged: self.judge.judge(entry.payload) })?;
            }
        }
        Ok(())
    }
}
