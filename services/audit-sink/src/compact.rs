//! Room that a store's file has taken and does not use is given back to the disk.
//!
//! The log's own file is compacted at a start when it takes much more than its records have; all three files by
//! `compact STATE_DIR`, on a stopped sink. Pages are moved in transactions: killed anywhere, the store is what it was,
//! and its next opening takes a repair.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use redb::Database;

use crate::SinkError;
use crate::store::LogStore;

/// Below this nobody misses it.
const BYTES_MIN: u64 = 64 << 20;
/// More than so many times what the records have: measured, a file that only grew takes 1.2 to 1.6.
const TIMES_MAX: u64 = 2;
/// Bytes of a block, as the file system counts them: holes in the file are none.
const BLOCK_BYTES: u64 = 512;

/// What a file took, and takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// Bytes on disk before.
    pub before: u64,
    /// And after.
    pub after: u64,
}

/// Compacts the log's file if that is worth it. The log is the same.
pub(crate) fn if_large(store: &mut LogStore, path: &Path) -> Result<Option<Compacted>, SinkError> {
    let before = on_disk(path)?;
    let Some(records) = store.record_bytes()? else { return Ok(None) };
    if !is_large(before, records) {
        return Ok(None);
    }
    store.compact()?;
    Ok(Some(Compacted { before, after: on_disk(path)? }))
}

fn is_large(on_disk: u64, records: u64) -> bool {
    on_disk > BYTES_MIN && on_disk > records.saturating_mul(TIMES_MAX)
}

/// Compacts a store's file.
pub(crate) fn compact(path: &Path) -> Result<Compacted, SinkError> {
    let before = on_disk(path)?;
    let mut db = Database::open(path)?;
    give_back(&mut db)?;
    drop(db);
    Ok(Compacted { before, after: on_disk(path)? })
}

/// Compacts an open database.
pub(crate) fn give_back(db: &mut Database) -> Result<(), SinkError> {
    db.compact()?;
    // Killed after this, it opens in milliseconds again.
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    txn.commit()?;
    Ok(())
}

fn on_disk(path: &Path) -> Result<u64, SinkError> {
    let found = std::fs::metadata(path).map_err(SinkError::at(path))?;
    Ok(found.blocks() * BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_large_where_it_is_much_more_than_the_records_and_missed() {
        for (on_disk, records) in [(BYTES_MIN, 0), (2 * BYTES_MIN, BYTES_MIN), (u64::MAX, u64::MAX)] {
            assert!(!is_large(on_disk, records), "{on_disk} {records}");
        }
        for (on_disk, records) in [(BYTES_MIN + 1, 0), (2 * BYTES_MIN + 1, BYTES_MIN)] {
            assert!(is_large(on_disk, records), "{on_disk} {records}");
        }
    }
}
