//! Checking an exported log from its files alone: every entry, every tile, the checkpoint, every record, the index.
//!
//! The order is that of the commitments: entries → tiles of level 0 → tiles above → root → checkpoint's signature.
//! Each is compared with the *stored* next one, so that a finding names the place that is wrong and not all above it;
//! where nothing differs, the root is by that the one recomputed from the entries.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use marque_signing::sha256;
use serde::Serialize;

use crate::layout::{CHECKPOINT, CONFLICT, DUPLICATE, VALID, VERDICTS, VerdictLine};
use crate::tile::FILE_BYTES_MAX;
use crate::{Checkpoint, Entry, Files, Hash, Note, TileId, TileKind, TileSource, VerifierKey, decode_bundle, root_at};
use crate::{LedgerError, TILE_WIDTH};

/// Findings after which the check stops: a log that is wrong in so many places is another log.
pub const FINDINGS_MAX: usize = 1000;
/// The most that one line of the index can have: a record id of hostile length is cut off by the record's own limits.
const VERDICT_LINE_BYTES_MAX: u64 = 64 * 1024;

/// What the caller's check says of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordCheck {
    /// The record's id, where the record could be read.
    pub record: Option<String>,
    /// [`VALID`], or the code of what is wrong with it.
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

/// What was checked, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The log's name.
    pub origin: String,
    /// Its leaves, as the checkpoint states.
    pub tree_size: u64,
    /// Its root in base64, as the checkpoint states.
    pub root: String,
    /// Leaves whose entry was read and compared.
    pub leaves_checked: u64,
    /// Tiles of hashes that were read and compared.
    pub tiles_checked: u64,
    /// How many records stand under each verdict; a record that is not valid is evidence, not a fault of the log.
    pub verdicts: std::collections::BTreeMap<String, u64>,
    /// What is wrong, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// Nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, file: impl Into<String>, leaf: Option<u64>, what: impl Into<String>) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { file: file.into(), leaf, what: what.into() });
        }
    }

    fn is_full(&self) -> bool {
        self.findings.len() >= FINDINGS_MAX
    }
}

/// Checks a log.
///
/// `keys` are those that may sign its checkpoint; `check` judges one record by its signature (the ledger does not know
/// who writes in it) and is called from `threads` threads; `progress` is told how many leaves are done.
pub fn verify(
    files: &(impl Files + Sync),
    keys: &[VerifierKey],
    threads: usize,
    check: &(dyn Fn(&Entry<'_>) -> RecordCheck + Sync),
    progress: &(dyn Fn(u64) + Sync),
) -> Report {
    let mut report = Report::default();
    // 1. The checkpoint: its signature, and what it states. Without a statement there is nothing to compare with.
    let Some(checkpoint) = stated_checkpoint(files, keys, &mut report) else { return report };
    (report.origin, report.tree_size) = (checkpoint.origin.clone(), checkpoint.size);
    report.root = checkpoint.root.to_base64();
    // 2. The entries against the tiles of level 0, and each record by itself; in parallel.
    let mut standing = Standing::default();
    let mut lines = VerdictFile::open(files, checkpoint.size, &mut report);
    let bundles = checkpoint.size.div_ceil(TILE_WIDTH);
    let (window, done) = (threads.max(1) as u64 * 8, AtomicU64::new(0));
    let mut first = 0;
    while first < bundles && !report.is_full() {
        let last = bundles.min(first + window);
        for part in bundles_in_parallel(files, checkpoint.size, first..last, threads, check, &|leaves| {
            progress(done.fetch_add(leaves, Ordering::Relaxed) + leaves);
        }) {
            report.leaves_checked += part.leaves.len() as u64;
            report.tiles_checked += 1;
            part.findings.into_iter().for_each(|f| report.find(f.file, f.leaf, f.what));
            // 3. The verdicts in leaf order, against the index.
            for (leaf, digest, record) in part.leaves {
                let line = standing.line(leaf, digest, record);
                *report.verdicts.entry(line.verdict.clone()).or_default() += 1;
                lines.compare(&line, &mut report);
            }
        }
        first = last;
    }
    if report.is_full() {
        return report;
    }
    lines.close(&mut report);
    // 4. Each level's hashes against the tiles below, up to the root.
    upper_levels(files, checkpoint.size, &mut report);
    match root_at(&Stored(files), checkpoint.size) {
        Ok(root) if root == checkpoint.root => {}
        Ok(root) => report.find(CHECKPOINT, None, format!("states root {}, the tiles give {root}", checkpoint.root)),
        Err(error) => report.find(CHECKPOINT, None, format!("its root can't be recomputed: {error}")),
    }
    report
}

fn stated_checkpoint(files: &impl Files, keys: &[VerifierKey], report: &mut Report) -> Option<Checkpoint> {
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
    match Checkpoint::open(&bytes, keys) {
        Ok(checkpoint) => Some(checkpoint),
        Err(error) => {
            report.find(CHECKPOINT, None, error.to_string());
            // Untrusted, but it may still show which leaf was touched.
            Note::parse(&bytes).and_then(|note| Checkpoint::parse(note.text())).ok()
        }
    }
}

/// One bundle's outcome.
#[derive(Default)]
struct Part {
    leaves: Vec<(u64, [u8; 32], RecordCheck)>,
    findings: Vec<Finding>,
}

fn bundles_in_parallel(
    files: &(impl Files + Sync),
    size: u64,
    range: std::ops::Range<u64>,
    threads: usize,
    check: &(dyn Fn(&Entry<'_>) -> RecordCheck + Sync),
    done: &(dyn Fn(u64) + Sync),
) -> Vec<Part> {
    let next = AtomicU64::new(range.start);
    let mut parts: Vec<(u64, Part)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1))
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= range.end {
                            return mine;
                        }
                        let part = bundle(files, size, index, check);
                        done(part.leaves.len() as u64);
                        mine.push((index, part));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    parts.sort_by_key(|(index, _)| *index);
    parts.into_iter().map(|(_, part)| part).collect()
}

fn bundle(files: &impl Files, size: u64, index: u64, check: &dyn Fn(&Entry<'_>) -> RecordCheck) -> Part {
    let mut part = Part::default();
    let mut find = |file: &str, leaf, what: String| part.findings.push(Finding { file: file.to_owned(), leaf, what });
    let (Some(entries_id), Some(hashes_id)) =
        (TileId::covering(TileKind::Entries, index, size), TileId::covering(TileKind::Hashes(0), index, size))
    else {
        return part;
    };
    let hashes = match tile_file(files, hashes_id) {
        Ok(hashes) => Some(hashes),
        Err(what) => {
            find(&hashes_id.path(), None, what);
            None
        }
    };
    let path = entries_id.path();
    let bytes = match files.read(&path, FILE_BYTES_MAX as u64) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            find(&path, None, "the file is missing".into());
            return part;
        }
        Err(why) => {
            find(&path, None, why);
            return part;
        }
    };
    let entries = match decode_bundle(&bytes, entries_id.width) {
        Ok(entries) => entries,
        Err(error) => {
            find(&path, None, error.to_string());
            return part;
        }
    };
    let mut leaves = Vec::with_capacity(entries.len());
    for (place, frame) in entries.into_iter().enumerate() {
        let leaf = index * TILE_WIDTH + place as u64;
        if hashes.as_ref().is_some_and(|hashes| hashes.get(place) != Some(&Hash::leaf(frame))) {
            find(&path, Some(leaf), format!("the entry does not hash to what `{}` holds for it", hashes_id.path()));
        }
        let (digest, record) = match Entry::decode(frame) {
            Ok(entry) => {
                if entry.stream_seq != leaf + 1 {
                    find(&path, Some(leaf), format!("holds stream sequence {}, not {}", entry.stream_seq, leaf + 1));
                }
                (sha256(entry.payload).0, check(&entry))
            }
            Err(error) => {
                find(&path, Some(leaf), error.to_string());
                ([0; 32], RecordCheck { record: None, verdict: error.code().as_str().to_owned() })
            }
        };
        leaves.push((leaf, digest, record));
    }
    part.leaves = leaves;
    part
}

fn tile_file(files: &impl Files, id: TileId) -> Result<Vec<Hash>, String> {
    let bytes = files.read(&id.path(), FILE_BYTES_MAX as u64)?.ok_or("the file is missing")?;
    let (hashes, rest) = bytes.as_chunks::<{ Hash::BYTES }>();
    if !rest.is_empty() || hashes.len() != usize::from(id.width) {
        return Err(format!("is {} bytes long, not {} hashes", bytes.len(), id.width));
    }
    Ok(hashes.iter().copied().map(Hash).collect())
}

fn upper_levels(files: &impl Files, size: u64, report: &mut Report) {
    for id in TileId::all(size) {
        let TileKind::Hashes(level @ 1..) = id.kind else { continue };
        if report.is_full() {
            return;
        }
        report.tiles_checked += 1;
        let stored = match tile_file(files, id) {
            Ok(stored) => stored,
            Err(what) => {
                report.find(id.path(), None, what);
                continue;
            }
        };
        for (place, hash) in stored.into_iter().enumerate() {
            let below = TileId {
                kind: TileKind::Hashes(level - 1),
                index: id.index * TILE_WIDTH + place as u64,
                width: TILE_WIDTH as u16,
            };
            // What is wrong with the tile below is said when it is its turn.
            let Ok(hashes) = tile_file(files, below) else { continue };
            if crate::hash::fold(&hashes) != hash {
                report.find(id.path(), None, format!("its hash {place} is not that of `{}`", below.path()));
            }
        }
    }
}

/// The stored tiles, for the root.
struct Stored<'a, F>(&'a F);

impl<F: Files> TileSource for Stored<'_, F> {
    fn tile(&self, id: TileId) -> Result<Vec<u8>, LedgerError> {
        let unreadable = |why: String| LedgerError::TileUnreadable { path: id.path(), why };
        let read = self.0.read(&id.path(), FILE_BYTES_MAX as u64).map_err(unreadable)?;
        read.ok_or_else(|| unreadable("the file is missing".into()))
    }
}

/// Which records have been seen: a valid record's first leaf is canonical, later ones with its id are not.
#[derive(Default)]
struct Standing {
    first: HashMap<String, (u64, [u8; 32])>,
}

impl Standing {
    fn line(&mut self, leaf: u64, payload_digest: [u8; 32], check: RecordCheck) -> VerdictLine {
        let mut line = VerdictLine { leaf, record: check.record, verdict: check.verdict, first: None };
        if let (VALID, Some(id)) = (line.verdict.as_str(), &line.record) {
            let (first, digest) = *self.first.entry(id.clone()).or_insert((leaf, payload_digest));
            if first != leaf {
                line.first = Some(first);
                line.verdict = if digest == payload_digest { DUPLICATE } else { CONFLICT }.to_owned();
            }
        }
        line
    }
}

/// The index as it stands in the directory, read line by line beside the leaves.
struct VerdictFile {
    bytes: Vec<u8>,
    at: usize,
    broken: bool,
}

impl VerdictFile {
    fn open(files: &impl Files, size: u64, report: &mut Report) -> Self {
        let read = files.read(VERDICTS, size.saturating_mul(VERDICT_LINE_BYTES_MAX));
        let bytes = match read {
            Ok(Some(bytes)) => Some(bytes),
            Ok(None) => {
                report.find(VERDICTS, None, "the file is missing");
                None
            }
            Err(why) => {
                report.find(VERDICTS, None, why);
                None
            }
        };
        Self { broken: bytes.is_none(), bytes: bytes.unwrap_or_default(), at: 0 }
    }

    fn compare(&mut self, due: &VerdictLine, report: &mut Report) {
        if self.broken {
            return;
        }
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let line = &rest[..end];
        self.at += end;
        if line == due.text().as_bytes() {
            return;
        }
        let stated: Option<VerdictLine> = marque_json::from_slice(line, marque_json::Limits::DEFAULT).ok();
        let what = match stated {
            _ if line.is_empty() => "the index ends before this leaf".to_owned(),
            Some(stated) if stated.leaf == due.leaf && stated.verdict != due.verdict => {
                format!(
                    "the index says {}, the record is {}",
                    marque_identity::refusal::quoted(&stated.verdict),
                    due.verdict
                )
            }
            Some(_) | None => "the index's line is not this leaf's".to_owned(),
        };
        // One line too few or too many shifts all behind it: say it once.
        self.broken = line.is_empty();
        report.find(VERDICTS, Some(due.leaf), what);
    }

    fn close(&self, report: &mut Report) {
        if !self.broken && self.at < self.bytes.len() {
            report.find(VERDICTS, None, "lines behind the last leaf");
        }
    }
}
