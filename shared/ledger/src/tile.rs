//! A tile: 256 hashes of one level, or 256 entries, and the path under which it is kept. Source: C2SP `tlog-tiles`.

use crate::{ENTRY_BYTES_MAX, LedgerError};

/// Hashes, or entries, in a full tile (C2SP `tlog-tiles`: tile height 8).
pub const TILE_WIDTH: u64 = 256;
/// The topmost level that a tree of 2⁶⁴ leaves can have.
const LEVEL_MAX: u8 = 7;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of this level: at level L, each covers `256^L` leaves.
    Hashes(u8),
    /// The leaves' entries.
    Entries,
}

/// Which tile, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// Hashes of a level, or entries.
    pub kind: TileKind,
    /// Its place in its level.
    pub index: u64,
    /// How many it holds: 1 to 256, 256 being a full tile.
    pub width: u16,
}

impl TileId {
    /// The tile of this kind and index in a tree of `size` leaves; none if the tree doesn't reach it.
    pub fn covering(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let before = index.checked_mul(TILE_WIDTH)?;
        let width = Self::count(kind, size).checked_sub(before)?.min(TILE_WIDTH);
        (width > 0).then_some(Self { kind, index, width: width as u16 })
    }

    /// How many hashes of this level, or entries, a tree of `size` leaves has.
    pub fn count(kind: TileKind, size: u64) -> u64 {
        match kind {
            TileKind::Hashes(level) => size.checked_shr(8 * u32::from(level)).unwrap_or(0),
            TileKind::Entries => size,
        }
    }

    /// Every tile of a tree of `size` leaves: the levels from 0, then the entries, each in order.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        (0..=LEVEL_MAX).map(TileKind::Hashes).chain([TileKind::Entries]).flat_map(move |kind| {
            (0..Self::count(kind, size).div_ceil(TILE_WIDTH)).filter_map(move |index| Self::covering(kind, index, size))
        })
    }

    /// Holds all 256.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    /// `tile/<L>/<N>[.p/<W>]`, or `tile/entries/<N>[.p/<W>]`.
    pub fn path(&self) -> String {
        let mut path = match self.kind {
            TileKind::Hashes(level) => format!("tile/{level}/"),
            TileKind::Entries => "tile/entries/".to_owned(),
        };
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (place, group) in groups.iter().enumerate().rev() {
            path.push_str(&if place == 0 { format!("{group:03}") } else { format!("x{group:03}/") });
        }
        if !self.is_full() {
            path.push_str(&format!(".p/{}", self.width));
        }
        path
    }

    /// The tile that a path names, strictly: there is one text per tile.
    pub fn parse(path: &str) -> Result<Self, LedgerError> {
        const REFUSED: LedgerError = LedgerError::TilePathMalformed;
        let (kind, rest) = path.strip_prefix("tile/").and_then(|rest| rest.split_once('/')).ok_or(REFUSED)?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes(level.parse().ok().filter(|level| *level <= LEVEL_MAX).ok_or(REFUSED)?),
        };
        let (index_text, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse().ok().filter(|w| (1..256).contains(w)).ok_or(REFUSED)?),
            None => (rest, TILE_WIDTH as u16),
        };
        let mut index: u64 = 0;
        for group in index_text.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            let value: u64 = digits.parse().map_err(|_| REFUSED)?;
            index = index.checked_mul(1000).and_then(|index| index.checked_add(value)).ok_or(REFUSED)?;
        }
        let tile = Self { kind, index, width };
        // One text per tile: whatever was lenient above (signs, leading zeros, groups) does not print the same.
        if tile.path() == path { Ok(tile) } else { Err(REFUSED) }
    }
}

/// A bundle of entries: `u16 length ‖ entry` each, big-endian.
pub fn encode_bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, LedgerError> {
    let mut out = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| LedgerError::EntryOversize(entry.len()))?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(entry);
    }
    Ok(out)
}

/// The entries of a bundle, which must be exactly `width`.
pub fn decode_bundle(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, LedgerError> {
    const SHORT: LedgerError = LedgerError::BundleMalformed("cut short");
    let mut rest = bytes;
    let mut entries = Vec::with_capacity(width.min(TILE_WIDTH as u16).into());
    for _ in 0..width {
        let (entry, behind) = split_bundle(rest).ok_or(SHORT)?;
        entries.push(entry);
        rest = behind;
    }
    if rest.is_empty() { Ok(entries) } else { Err(LedgerError::BundleMalformed("bytes behind the last entry")) }
}

/// The first entry of a bundle, and what lies behind it; none where the entry is cut short.
pub fn split_bundle(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, behind) = bytes.split_first_chunk::<2>()?;
    behind.split_at_checked(u16::from_be_bytes(*length).into())
}

/// The most bytes that a file of the log can have: a full bundle of the longest entries.
pub const FILE_BYTES_MAX: usize = TILE_WIDTH as usize * (ENTRY_BYTES_MAX + 2);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tile(kind: TileKind, index: u64, width: u16) -> TileId {
        TileId { kind, index, width }
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(tile(TileKind::Hashes(0), 1_234_067, 256).path(), "tile/0/x001/x234/067");
        assert_eq!(tile(TileKind::Hashes(1), 0, 3).path(), "tile/1/000.p/3");
        assert_eq!(tile(TileKind::Entries, 999, 256).path(), "tile/entries/999");
        assert_eq!(tile(TileKind::Entries, 1000, 256).path(), "tile/entries/x001/000");
    }

    #[test]
    fn refuses_other_spellings() {
        for path in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/8/000",
            "tile/00/000",
            "tile/+0/000",
            "tile/0/0",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/x001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000/",
            "/tile/0/000",
            "tile/0/../000",
            "tile/data/000",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "tile/0/-01",
            "tile/0/+01",
            "tile/entries/000.p/+1",
        ] {
            assert_eq!(TileId::parse(path), Err(LedgerError::TilePathMalformed), "{path}");
        }
    }

    proptest! {
        #[test]
        fn paths_round_trip(level in 0..=LEVEL_MAX, entries: bool, index: u64, width in 1_u16..=256) {
            let id = tile(if entries { TileKind::Entries } else { TileKind::Hashes(level) }, index, width);
            prop_assert_eq!(TileId::parse(&id.path()), Ok(id));
        }

        #[test]
        fn path_noise(path in "(tile/)?([0-9x/.p]|entries){0,30}") {
            if let Ok(id) = TileId::parse(&path) { prop_assert_eq!(id.path(), path); }
        }

        #[test]
        fn bundles_round_trip(entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let bytes = encode_bundle(entries.iter().map(Vec::as_slice)).unwrap();
            prop_assert_eq!(decode_bundle(&bytes, entries.len() as u16).unwrap(), entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert!(decode_bundle(&bytes, entries.len() as u16 + 1).is_err());
            if !entries.is_empty() { prop_assert!(decode_bundle(&bytes, entries.len() as u16 - 1).is_err()); }
        }

        #[test]
        fn bundle_noise(bytes in proptest::collection::vec(any::<u8>(), 0..300), width: u16) {
            if let Ok(entries) = decode_bundle(&bytes, width) { prop_assert_eq!(encode_bundle(entries).unwrap(), bytes); }
        }
    }

    #[test]
    fn a_tree_has_the_tiles_of_its_size() {
        let paths = |size| TileId::all(size).map(|id| id.path()).collect::<Vec<_>>();
        assert!(paths(0).is_empty());
        assert_eq!(paths(1), ["tile/0/000.p/1", "tile/entries/000.p/1"]);
        assert_eq!(paths(256), ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]);
        assert_eq!(
            paths(257),
            ["tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/1"]
        );
        assert_eq!(TileId::all(65_536).filter(|id| id.kind == TileKind::Hashes(2)).count(), 1);
        assert_eq!(TileId::covering(TileKind::Hashes(0), u64::MAX, u64::MAX), None);
    }
}
