//! Where two logs part: the first leaf that is not the same in both, found from the root down, a tile at a time.
//!
//! Both logs state a root for the same size, and the roots differ. At each level the first hash that differs leads to
//! the tile below it: a log of 2⁶⁴ leaves takes eight tiles.

use std::future::Future;

use marque_ledger::{Hash, LedgerError, TILE_WIDTH, TileId, TileKind, TileSource};

use crate::SinkError;

/// The first leaf in which the log of `size` leaves in `ours` differs from the one that `theirs` gives tiles of; none
/// where every tile that was looked at is the same, so that one of the two roots is not its tiles' root.
pub async fn parting<F: Future<Output = Result<Vec<u8>, SinkError>>>(
    size: u64,
    ours: &(impl TileSource + Sync),
    mut theirs: impl FnMut(TileId) -> F,
) -> Result<Option<u64>, SinkError> {
    let mut level = top_level(size);
    // The tiles at the top have no tile above them: the right edge of the tree is in the open tile of each level.
    let mut index = None;
    loop {
        let differs = match index {
            Some(index) => differing(size, level, index, ours, &mut theirs).await?,
            None => {
                let last = last_index(size, level);
                match last {
                    Some(last) => differing(size, level, last, ours, &mut theirs).await?,
                    None => None,
                }
            }
        };
        match (differs, level) {
            (Some(place), 0) => return Ok(Some(place)),
            (Some(place), _) => index = Some(place),
            // In the edge of this level nothing differs: what differs hangs below it.
            (None, 0) => return Ok(None),
            (None, _) => index = None,
        }
        level -= 1;
    }
}

/// The highest level that a log of this size has a tile on.
fn top_level(size: u64) -> u8 {
    let mut level = 0;
    let mut hashes = size;
    while hashes > TILE_WIDTH {
        hashes /= TILE_WIDTH;
        level += 1;
    }
    level
}

/// The last tile of a level, full or open.
fn last_index(size: u64, level: u8) -> Option<u64> {
    let hashes = size >> (8 * u32::from(level));
    hashes.checked_sub(1).map(|last| last / TILE_WIDTH)
}

/// The first hash of a level's tile that differs, by its place in the level.
async fn differing<F: Future<Output = Result<Vec<u8>, SinkError>>>(
    size: u64,
    level: u8,
    index: u64,
    ours: &impl TileSource,
    theirs: &mut impl FnMut(TileId) -> F,
) -> Result<Option<u64>, SinkError> {
    let Some(id) = TileId::covering(TileKind::Hashes(level), index, size) else { return Ok(None) };
    let bytes = usize::from(id.width) * Hash::BYTES;
    let short = || LedgerError::TileUnreadable { path: id.path(), why: "it is too short".into() };
    let (ours, theirs) = (ours.tile(id)?, theirs(id).await?);
    let ours = ours.get(..bytes).ok_or_else(short)?;
    let theirs = theirs.get(..bytes).ok_or_else(short)?;
    let place = ours.chunks(Hash::BYTES).zip(theirs.chunks(Hash::BYTES)).position(|(a, b)| a != b);
    Ok(place.map(|place| index * TILE_WIDTH + place as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{LogStore, LogView};

    fn log(size: u64, changed: Option<u64>) -> (tempfile::TempDir, LogStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = LogStore::open(&directory.path().join("audit.redb"), "acme.example/audit").unwrap();
        let entry = |leaf: u64| if changed == Some(leaf) { vec![0xff] } else { leaf.to_be_bytes().to_vec() };
        let entries: Vec<_> = (0..size).map(entry).collect();
        store.append(0, &entries).unwrap();
        (directory, store)
    }

    async fn parts(size: u64, ours: &LogView, theirs: &LogView) -> Option<u64> {
        let tile = |id: TileId| {
            let read = theirs.file(id);
            async move { read }
        };
        parting(size, ours, tile).await.unwrap()
    }

    #[tokio::test]
    async fn finds_the_leaf_wherever_it_is() {
        for size in [1, 2, 255, 256, 257, 300, 512, 65_536, 65_537, 66_000] {
            let (_ours_dir, ours) = log(size, None);
            let ours = ours.view().unwrap();
            for leaf in [0, 1, 254, 255, 256, 299, 511, 65_535, 65_536, 65_999].into_iter().filter(|leaf| *leaf < size)
            {
                let (_theirs_dir, theirs) = log(size, Some(leaf));
                let theirs = theirs.view().unwrap();
                assert_eq!(parts(size, &ours, &theirs).await, Some(leaf), "{leaf} of {size}");
            }
            assert_eq!(parts(size, &ours, &ours).await, None, "{size}");
        }
    }
}
