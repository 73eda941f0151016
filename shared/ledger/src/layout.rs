//! Where each part of a log stands in a directory: C2SP `tlog-tiles`, and our own index under `marque/`.

use serde::{Deserialize, Serialize};

use crate::TileId;

/// The newest checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
/// The index of verdicts: one [`VerdictLine`] per leaf, in order.
pub const VERDICTS: &str = "marque/verdicts.jsonl";
/// The trust bundle under which the verdicts were made, as it was signed.
pub const BUNDLE: &str = "marque/bundle.jwt";

/// The folder of a copy that keeps each checkpoint it had before its newest; see [`kept_checkpoint`].
pub const KEPT_CHECKPOINTS: &str = "marque/checkpoints";

/// Where a copy keeps the checkpoint that it had at this size. A sink's own log has none: it shows its newest alone.
pub fn kept_checkpoint(size: u64) -> String {
    format!("{KEPT_CHECKPOINTS}/{size}")
}

/// The size that a name in [`KEPT_CHECKPOINTS`] says, strictly: there is one name per size.
pub fn kept_size(name: &str) -> Option<u64> {
    name.parse().ok().filter(|size: &u64| size.to_string() == name)
}

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
/// A tile never changes, full or partial: its path says how much it holds; nor does a checkpoint that a copy keeps. All
/// else grows with the log.
/// Source: C2SP `tlog-tiles`.
pub fn served(path: &str) -> Option<Served> {
    const NOTE: &str = "text/plain; charset=utf-8";
    let growing = |content_type| Served { content_type, cache_control: "no-cache" };
    let lasting = |content_type| Served { content_type, cache_control: "public, max-age=31536000, immutable" };
    let kept = path.strip_prefix(KEPT_CHECKPOINTS).and_then(|rest| rest.strip_prefix('/'));
    match path {
        CHECKPOINT => Some(growing(NOTE)),
        VERDICTS => Some(growing("application/x-ndjson")),
        BUNDLE => Some(growing("application/jwt")),
        _ if kept.is_some_and(|name| kept_size(name).is_some()) => Some(lasting(NOTE)),
        tile => TileId::parse(tile).ok().map(|_| lasting("application/octet-stream")),
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

    #[test]
    fn serves_each_kept_checkpoint_under_one_name_for_good() {
        for size in [0, 7, 70_000, u64::MAX] {
            let kept = served(&kept_checkpoint(size)).unwrap();
            assert!(kept.cache_control.contains("immutable") && kept.content_type.starts_with("text/plain"), "{size}");
            assert_eq!(kept_size(&size.to_string()), Some(size));
        }
        for name in ["", "/7", "7/", "07", "+7", "-7", "7.part", "../7", "18446744073709551616", "x"] {
            assert_eq!((kept_size(name), served(&format!("{KEPT_CHECKPOINTS}/{name}"))), (None, None), "{name}");
        }
        assert_eq!(served(KEPT_CHECKPOINTS), None);
        assert_eq!(served(&format!("{KEPT_CHECKPOINTS}7")), None);
    }
}
