//! One bundle of entries: against its tile of level 0, each record by itself.

use std::panic::{AssertUnwindSafe, catch_unwind};

use marque_signing::sha256;

use super::tiles::tile_file;
use super::{Check, Finding, RecordCheck};
use crate::tile::FILE_BYTES_MAX;
use crate::{Entry, Files, Hash, TILE_WIDTH, TileId, TileKind, decode_bundle};

/// A leaf that was read.
pub(super) struct Leaf<K> {
    pub(super) leaf: u64,
    pub(super) digest: [u8; 32],
    pub(super) check: RecordCheck,
    pub(super) kept: Option<K>,
}

/// One bundle's outcome.
pub(super) struct Part<K> {
    pub(super) leaves: Vec<Leaf<K>>,
    pub(super) findings: Vec<Finding>,
}

/// Which leaves of which log.
pub(super) struct Bundles<'a, F, K> {
    pub(super) files: &'a F,
    pub(super) from: u64,
    pub(super) size: u64,
    /// The stream's sequence that leaf 0 stands for.
    pub(super) first_sequence: u64,
    pub(super) check: Option<&'a Check<'a, K>>,
}

impl<F: Files, K> Bundles<'_, F, K> {
    /// Reads and compares a bundle. A check that breaks off is a finding, never a bundle that nobody looked at.
    pub(super) fn read(&self, index: u64) -> Part<K> {
        catch_unwind(AssertUnwindSafe(|| self.bundle(index))).unwrap_or_else(|_| {
            let id = TileId { kind: TileKind::Entries, index, width: TILE_WIDTH as u16 };
            let what = "the check of this bundle broke off".to_owned();
            Part { leaves: Vec::new(), findings: vec![Finding { file: id.path(), leaf: None, what }] }
        })
    }

    fn bundle(&self, index: u64) -> Part<K> {
        let mut part = Part { leaves: Vec::new(), findings: Vec::new() };
        let mut find =
            |file: &str, leaf, what: String| part.findings.push(Finding { file: file.to_owned(), leaf, what });
        let (Some(entries_id), Some(hashes_id)) = (
            TileId::covering(TileKind::Entries, index, self.size),
            TileId::covering(TileKind::Hashes(0), index, self.size),
        ) else {
            return part;
        };
        let hashes = match tile_file(self.files, hashes_id) {
            Ok(hashes) => Some(hashes),
            Err(what) => {
                find(&hashes_id.path(), None, what);
                None
            }
        };
        let path = entries_id.path();
        let bytes = match self.files.read(&path, FILE_BYTES_MAX as u64) {
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
            if leaf < self.from {
                continue;
            }
            if hashes.as_ref().is_some_and(|hashes| hashes.get(place) != Some(&Hash::leaf(frame))) {
                find(&path, Some(leaf), format!("the entry does not hash to what `{}` holds for it", hashes_id.path()));
            }
            let unread = |verdict: &str| RecordCheck { record: None, verdict: verdict.to_owned() };
            leaves.push(match Entry::decode(frame) {
                Ok(entry) => {
                    let due = leaf.saturating_add(self.first_sequence);
                    if entry.stream_seq != due {
                        let what = format!("holds stream sequence {}, not {due}", entry.stream_seq);
                        find(&path, Some(leaf), what);
                    }
                    let (check, kept) = self.check.map_or_else(|| (unread(""), None), |check| check(&entry));
                    Leaf { leaf, digest: sha256(entry.payload).0, check, kept }
                }
                Err(error) => {
                    find(&path, Some(leaf), error.to_string());
                    Leaf { leaf, digest: [0; 32], check: unread(error.code().as_str()), kept: None }
                }
            });
        }
        part.leaves = leaves;
        part
    }
}
