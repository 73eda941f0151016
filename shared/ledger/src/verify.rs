//! Checking an exported log from its files alone: every entry, every tile, the checkpoint, every record, the index.
//!
//! The order is that of the commitments: entries → tiles of level 0 → tiles above → root → checkpoint's signature.
//! Each is compared with the *stored* next one, so that a finding names the place that is wrong and not all above it;
//! where nothing differs, the root is by that the one recomputed from the entries.
//!
//! What is held of a log while it is checked: some bundles for each thread, and 72 bytes for each record's id.

mod bundles;
mod genesis;
mod in_order;
mod index;
mod kept;
mod tiles;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::epoch::{Genesis, later_epoch};
use crate::layout::CHECKPOINT;
use crate::tile::FILE_BYTES_MAX;
use crate::{Checkpoint, Entry, Files, Hash, LedgerError, Policy, TILE_WIDTH, TileSource, VerifierKey};
use crate::{prove_consistency, root_at, verify_consistency};

use bundles::{Bundles, Part};
pub use genesis::begins_at;
use genesis::{genesis, goes_on_from};
use in_order::in_order;
use index::{Index, Standing};
pub use kept::{KEPT_BYTES_MAX, KEPT_MAX, KEPT_NAMES_MAX, Kept};
use tiles::{Stored, upper_levels};

/// Findings after which the check stops: a log that is wrong in so many places is another log.
pub const FINDINGS_MAX: usize = 1000;

/// What the caller's check says of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordCheck {
    /// The record's id, where the record could be read.
    pub record: Option<String>,
    /// [`VALID`](crate::layout::VALID), or the code of what is wrong with it.
    pub verdict: String,
}

/// Something in the log that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file it stands in.
    pub file: String,
    /// The leaf, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf: Option<u64>,
    /// What is wrong, one sentence.
    pub what: String,
}

/// A witness's word on the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// What the policy calls the witness.
    pub witness: String,
    /// When it says that it cosigned, in Unix seconds.
    pub at: i64,
}

/// What was checked, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The log's name.
    pub origin: String,
    /// Its leaves, as the checkpoint states.
    pub tree_size: u64,
    /// Its root in base64, as the checkpoint states.
    pub root: String,
    /// What a later epoch goes on from, as its first leaf says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genesis: Option<Genesis>,
    /// The first leaf that was looked at: not 0 where an earlier checkpoint was given.
    pub from: u64,
    /// Leaves whose entry was read and compared.
    pub leaves_checked: u64,
    /// Tiles of hashes that were read and compared.
    pub tiles_checked: u64,
    /// Which of the policy's witnesses have cosigned the checkpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<Seen>,
    /// How many records stand under each verdict; a record that is not valid is evidence, not a fault of the log.
    pub verdicts: BTreeMap<String, u64>,
    /// The checkpoints that the copy had before this one.
    pub kept: Kept,
    /// Records that the index calls repetitions of one before `from`: taken as it says.
    pub repeats_unchecked: u64,
    /// What is wrong, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// Nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// Adds what the caller found in a file of the log.
    pub fn find(&mut self, file: impl Into<String>, leaf: Option<u64>, what: impl Into<String>) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { file: file.into(), leaf, what: what.into() });
        }
    }

    /// So much is wrong that the check stopped.
    pub fn is_full(&self) -> bool {
        self.findings.len() >= FINDINGS_MAX
    }

    fn tally(&mut self, verdict: &str) {
        match self.verdicts.get_mut(verdict) {
            Some(count) => *count += 1,
            None => {
                self.verdicts.insert(verdict.to_owned(), 1);
            }
        }
    }
}

/// Judges one record by its signature (the ledger does not know who writes in it), and keeps of it what is to be
/// followed from leaf to leaf. Called from several threads.
pub type Check<'c, K> = dyn Fn(&Entry<'_>) -> (RecordCheck, Option<K>) + Sync + 'c;

/// How a log is checked.
#[derive(Debug, Clone, Copy)]
pub struct Verification<'a> {
    /// Whose checkpoint is believed.
    pub policy: &'a Policy,
    /// A checkpoint of this log that was verified before: leaves that it covers are not looked at again.
    pub from: Option<&'a Checkpoint>,
    /// Threads that check.
    pub threads: usize,
}

impl Verification<'_> {
    /// Checks a log. Without `check` no record is judged, and the index is not compared.
    ///
    /// `follow` is handed in leaf order what `check` has kept, with how the record stands in the log; `progress` is
    /// told how many leaves are done, and of how many.
    pub fn run<K: Send>(
        &self,
        files: &(impl Files + Sync),
        check: Option<&Check<'_, K>>,
        follow: &mut dyn FnMut(u64, &str, K),
        progress: &dyn Fn(u64, u64),
    ) -> Report {
        let mut report = Report::default();
        // 1. The checkpoint: its signatures, and what it states. Without a statement there is nothing to compare with.
        let Some(checkpoint) = self.checkpoint(files, &mut report) else { return report };
        (report.origin, report.tree_size) = (checkpoint.origin.clone(), checkpoint.size);
        report.root = checkpoint.root.to_base64();
        // 2. That it goes on from the one that was verified before.
        if let Some(earlier) = self.from {
            report.from = earlier.size.min(checkpoint.size);
            if let Err(what) = goes_on(files, earlier, &checkpoint) {
                report.find(CHECKPOINT, None, what);
            }
        }
        // A later epoch says in its first leaf where in the stream it begins.
        let mut first_sequence = 1;
        if later_epoch(&checkpoint.origin).is_some() && checkpoint.size > 0 {
            match genesis(files, &checkpoint) {
                Ok(genesis) => {
                    if let Err(what) = goes_on_from(&genesis, self.policy) {
                        report.find(CHECKPOINT, Some(0), what);
                    }
                    first_sequence = genesis.first_sequence - 1;
                    report.genesis = Some(genesis);
                }
                Err(what) => report.find(CHECKPOINT, Some(0), what),
            }
        }
        // 3. The entries against the tiles of level 0, and each record by itself; in parallel.
        let (from, size) = (report.from, checkpoint.size);
        let bundles = Bundles { files, from, size, first_sequence, check };
        let mut standing = Standing::default();
        let mut index = if check.is_some() { Index::open(files, from, &mut report) } else { Index::unread() };
        let mut take = |part: Part<K>| {
            report.leaves_checked += part.leaves.len() as u64;
            report.tiles_checked += 1;
            part.findings.into_iter().for_each(|f| report.find(f.file, f.leaf, f.what));
            // 4. The verdicts in leaf order, against the index.
            for leaf in part.leaves {
                if check.is_none() {
                    continue;
                }
                let due = standing.line(leaf.leaf, leaf.digest, leaf.check);
                let line = index.compare(due, &mut report);
                report.tally(&line.verdict);
                if let Some(kept) = leaf.kept {
                    follow(leaf.leaf, &line.verdict, kept);
                }
            }
            progress(report.leaves_checked, size - from);
            !report.is_full()
        };
        let range = from / TILE_WIDTH..size.div_ceil(TILE_WIDTH);
        if from < size {
            in_order(range, self.threads, &|at| bundles.read(at), &mut take);
        }
        if report.is_full() {
            return report;
        }
        index.close(size, &mut report);
        if report.is_ok() && report.leaves_checked != size - from {
            report.find(CHECKPOINT, None, format!("only {} leaves could be looked at", report.leaves_checked));
        }
        // 5. Each level's hashes against the tiles below, up to the root.
        upper_levels(files, from, size, &mut report);
        match root_at(&Stored(files), size) {
            Ok(root) if root == checkpoint.root => {}
            Ok(root) => report.find(CHECKPOINT, None, not_its_root(&checkpoint, root)),
            // Which tile is in the way was said already.
            Err(_) if report.findings.iter().any(|finding| finding.file.starts_with("tile/")) => {}
            Err(error) => report.find(CHECKPOINT, None, no_root(&error)),
        }
        // 6. The checkpoints that were the newest before this one.
        kept::kept(files, self.policy, &checkpoint, &mut report);
        report
    }

    fn checkpoint(&self, files: &impl Files, report: &mut Report) -> Option<Checkpoint> {
        let bytes = match files.read(CHECKPOINT, FILE_BYTES_MAX as u64) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                report.find(CHECKPOINT, None, "the file is missing");
                return None;
            }
            Err(why) => {
                report.find(CHECKPOINT, None, why);
                return None;
            }
        };
        match self.policy.open(&bytes) {
            Ok(witnessed) => {
                let seen = |(witness, at): (String, marque_identity::UnixSeconds)| Seen { witness, at: at.0 };
                report.witnesses = witnessed.by.into_iter().map(seen).collect();
                Some(witnessed.checkpoint)
            }
            Err(error) => {
                report.find(CHECKPOINT, None, error.to_string());
                // Untrusted, but it may still show which leaf was touched.
                Checkpoint::stated(&bytes).ok()
            }
        }
    }
}

/// Checks a log from its first leaf under these keys, whoever else may have seen it. See [`Verification`].
pub fn verify(
    files: &(impl Files + Sync),
    keys: &[VerifierKey],
    threads: usize,
    check: &(dyn Fn(&Entry<'_>) -> RecordCheck + Sync),
) -> Report {
    let policy = Policy::of_logs(keys.to_vec());
    let check = |entry: &Entry<'_>| (check(entry), None::<()>);
    let verification = Verification { policy: &policy, from: None, threads };
    verification.run(files, Some(&check), &mut |_, _, ()| {}, &|_, _| {})
}

/// Whether a log's tiles lead to its checkpoint's root; why not. Reads the few tiles at the tree's right edge: that those
/// below them lead there is not checked.
pub fn leads_to(files: &impl Files, checkpoint: &Checkpoint) -> Result<(), String> {
    match root_at(&Stored(files), checkpoint.size) {
        Ok(root) if root == checkpoint.root => Ok(()),
        Ok(root) => Err(not_its_root(checkpoint, root)),
        Err(error) => Err(no_root(&error)),
    }
}

fn not_its_root(checkpoint: &Checkpoint, root: Hash) -> String {
    format!("states root {}, the tiles give {root}", checkpoint.root)
}

fn no_root(error: &LedgerError) -> String {
    format!("its root can't be recomputed: {error}")
}

/// Whether a log's checkpoint commits to all that the earlier one committed to, by the log's own tiles; why not.
pub fn goes_on(files: &impl Files, earlier: &Checkpoint, now: &Checkpoint) -> Result<(), String> {
    goes_on_by(&Stored(files), earlier, now)
}

/// The same by the tiles of `now`, wherever they are read: what they are is proven by the two roots.
pub fn goes_on_by(tiles: &impl TileSource, earlier: &Checkpoint, now: &Checkpoint) -> Result<(), String> {
    if earlier.origin != now.origin {
        return Err(format!("is of another log than the earlier checkpoint's, {}", earlier.origin));
    }
    if earlier.size > now.size {
        return Err(format!("states {} leaves, fewer than the earlier checkpoint's {}", now.size, earlier.size));
    }
    let consistent = if earlier.size == 0 {
        // Every log begins with the empty one.
        earlier.root == Hash::empty_root()
    } else {
        let proof = prove_consistency(tiles, earlier.size, now.size)
            .map_err(|error| format!("its proof from the earlier checkpoint can't be made: {error}"))?;
        verify_consistency(earlier.size, now.size, &proof, earlier.root, now.root).is_ok()
    };
    if consistent {
        Ok(())
    } else {
        Err(format!("does not go on from the earlier checkpoint of {} leaves", earlier.size))
    }
}
