//! Where each part of a log stands in a directory: C2SP `tlog-tiles`, and our own index under `marque/`.

use serde::{Deserialize, Serialize};

use crate::TileId;

/// The newest checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
/// The index of verdicts: one [`VerdictLine`] per leaf, in order.
pub const VERDICTS: &str = "marque/verdicts.jsonl";
/// The trust bundle under which the verdicts were made, as it was signed.
pub const BUNDLE: &str = "marque/bundle.jwt";

/// Every file of a log of `size` leaves, the checkpoint last: a copy that breaks off has none, or an older one.
pub fn files(size: u64) -> impl Iterator<Item = String> {
    TileId::all(size).map(|tile| tile.path()).chain([VERDICTS, BUNDLE, CHECKPOINT].into_iter().map(str::to_owned))
}

/// Standing of a record that is what it should be.
pub const VALID: &str = "valid";
/// Standing of a valid record that an earlier leaf holds already, byte for byte.
pub const DUPLICATE: &str = "duplicate";
/// Standing of a valid record whose id an earlier leaf has with other bytes.
pub const CONFLICT: &str = "conflict";

/// What the index says of one leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerdictLine {
    /// The leaf's index.
    pub leaf: u64,
    /// The record's id, where the record could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// [`VALID`], [`DUPLICATE`], [`CONFLICT`], or the code of what is wrong with the record.
    pub verdict: String,
    /// For a duplicate or a conflict: the first leaf with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
}

impl VerdictLine {
    /// The line, with its newline; one text per value.
    pub fn text(&self) -> String {
        // Strings and numbers only: serialization has no way to fail.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}
