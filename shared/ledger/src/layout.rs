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

/// How a file of the log is served over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Content-Type.
    pub content_type: &'static str,
    /// Cache-Control.
    pub cache_control: &'static str,
}

/// How the file at this path is served; none where the layout has no such path, whatever lies there.
///
/// A tile never changes, full or partial: its path says how much it holds. All else grows with the log.
/// Source: C2SP `tlog-tiles`.
pub fn served(path: &str) -> Option<Served> {
    let growing = |content_type| Served { content_type, cache_control: "no-cache" };
    match path {
        CHECKPOINT => Some(growing("text/plain; charset=utf-8")),
        VERDICTS => Some(growing("application/x-ndjson")),
        BUNDLE => Some(growing("application/jwt")),
        tile => TileId::parse(tile).ok().map(|_| Served {
            content_type: "application/octet-stream",
            cache_control: "public, max-age=31536000, immutable",
        }),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_the_layout_and_nothing_else() {
        for path in files(70_000) {
            let served = served(&path).unwrap();
            assert_eq!(served.cache_control.contains("immutable"), path.starts_with("tile/"), "{path}");
        }
        for path in
            ["", "/checkpoint", "checkpoint/", "../checkpoint", "tile/../checkpoint", "marque/", "marque/x", "tile/0/1"]
        {
            assert_eq!(served(path), None, "{path}");
        }
    }
}
