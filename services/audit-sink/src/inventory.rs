//! The inventory: which agents, credentials and connections the log tells of. Derived from the log alone: delete it and
//! it comes back.
//!
//! In scope: folding records in, in leaf order, and reading what came of it. Out of scope: what is to be thought of it
//! (`agents`, `completeness`).
//!
//! Killed at any point: it reaches as far as `upto`, and the rest is folded in again out of the log. Its thief can read
//! what the log tells anyway. A row is bounded by the record that made it, and a batch's memory by
//! [`FOLDED_LEAVES_MAX`]: how many agents there are does not matter but to the disk.

mod draft;
mod fold;
mod kept;
mod tables;
mod view;

use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use marque_judgement::record::Record;
use marque_signing::TrustBundle;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, WriteTransaction};
use tokio::sync::Notify;

pub(crate) use fold::WIRE_TOOLS;
pub use kept::{
    Agent, CLOSED_LATELY_MAX, Connection, Credential, CredentialKind, Fork, GAPS_MAX, Gap, Head, Mark, OpenPermit,
    Sequence, Standing,
};
pub use view::{ALIKE_COUNTED_MAX, InventoryView};

use crate::SinkError;
use crate::index::Indexed;
use draft::Draft;
use fold::Folding;
use tables::META;

const UPTO: &str = "upto";
const BASIS: &str = "basis";
/// Layout of the tables and meaning of the rows: another one is rebuilt.
const VERSION: &str = "1";
const CACHE_BYTES: usize = 32 << 20;
/// Leaves in one transaction: a leaf touches at most 65 credentials of some 500 bytes, so that a batch of the worst
/// kind takes 32 MB.
pub const FOLDED_LEAVES_MAX: usize = 1024;
/// Batches after which the inventory is synced to disk.
const BATCHES_PER_SYNC: u64 = 16;
/// Forks of one key that become *risk* records: one says that the key is cloned, and an agent that forks its own chain
/// on purpose must not make the sink write for ever. All of them are in the report.
pub const FORKS_RAISED_MAX: u64 = 16;

/// The inventory's store.
pub struct Inventory {
    db: Database,
    bundle: TrustBundle,
    upto: RwLock<u64>,
    unsynced: AtomicU64,
    folded: Notify,
}

impl Inventory {
    /// Opens the inventory of a log of which `indexed_upto` leaves are indexed, judged under the trust bundle with this
    /// fingerprint; one of another bundle, another layout or another log is dropped and begun anew.
    pub fn open(path: &Path, bundle: TrustBundle, fingerprint: &str, log_size: u64) -> Result<Self, SinkError> {
        let basis = format!("{VERSION} {fingerprint}");
        let found = Self::open_as(path, &basis).map(|found| Some(found).filter(|(_, upto)| *upto <= log_size));
        let (db, upto) = match found {
            Ok(Some(found)) => found,
            // Another process has it: it is not ours to drop.
            Err(SinkError::Store(error)) if matches!(*error, redb::Error::DatabaseAlreadyOpen) => {
                return Err(SinkError::Store(error));
            }
            other => {
                match other {
                    Err(error @ SinkError::ForeignStore(_)) => tracing::info!(%error, "the inventory is rebuilt"),
                    Err(error) => tracing::warn!(%error, "the inventory can't be read: it is rebuilt"),
                    Ok(_) => tracing::info!("the inventory does not belong to this log: it is rebuilt"),
                }
                std::fs::remove_file(path)
                    .map_err(|source| SinkError::Io { path: path.display().to_string(), source })?;
                Self::open_as(path, &basis)?
            }
        };
        Ok(Self { db, bundle, upto: RwLock::new(upto), unsynced: AtomicU64::new(0), folded: Notify::new() })
    }

    fn open_as(path: &Path, basis: &str) -> Result<(Database, u64), SinkError> {
        let db = redb::Builder::new().set_cache_size(CACHE_BYTES).create(path)?;
        let txn = begin(&db)?;
        let upto = {
            let mut meta = txn.open_table(META)?;
            let known = meta.get(BASIS)?.map(|value| value.value().to_vec());
            match known {
                None => drop(meta.insert(BASIS, basis.as_bytes())?),
                Some(known) if known == basis.as_bytes() => {}
                Some(_) => return Err(SinkError::ForeignStore("the inventory was made under another bundle".into())),
            }
            // Every table is there for readers, empty or not.
            drop(Draft::begin(&txn)?);
            upto_of(&meta)?
        };
        txn.commit()?;
        Ok((db, upto))
    }

    /// Leaves below this are folded in.
    pub fn upto(&self) -> u64 {
        *self.upto.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until more is folded in than at some moment after this was called.
    pub async fn grown(&self) {
        self.folded.notified().await;
    }

    /// Folds in the next leaves, in order and without a gap; those in `repeated` bear an id that stood before, and say
    /// nothing new.
    pub fn apply(&self, batch: &[Indexed], repeated: &[u64]) -> Result<(), SinkError> {
        for part in batch.chunks(FOLDED_LEAVES_MAX) {
            self.apply_part(part, repeated)?;
        }
        Ok(())
    }

    fn apply_part(&self, part: &[Indexed], repeated: &[u64]) -> Result<(), SinkError> {
        let (Some(first), Some(last)) = (part.first(), part.last()) else { return Ok(()) };
        if first.leaf != self.upto() {
            return Err(SinkError::NotNext { next: self.upto(), got: first.leaf });
        }
        let mut txn = begin(&self.db)?;
        let unsynced = self.unsynced.fetch_add(1, Ordering::Relaxed);
        if !unsynced.is_multiple_of(BATCHES_PER_SYNC) {
            // What is lost with the power is folded in again out of the log.
            txn.set_durability(Durability::None)
                .map_err(redb::Error::from)
                .map_err(|error| SinkError::Store(Box::new(error)))?;
        }
        {
            let mut draft = Draft::begin(&txn)?;
            for entry in part {
                let Some(record) = record_of(entry, repeated) else { continue };
                let at = Mark { leaf: entry.leaf, ms: entry.broker_ts_ns.div_euclid(1_000_000) };
                Folding { draft: &mut draft, bundle: &self.bundle, at }.fold(record)?;
            }
            draft.finish()?;
            txn.open_table(META)?.insert(UPTO, &(last.leaf + 1).to_be_bytes()[..])?;
        }
        txn.commit()?;
        *self.upto.write().unwrap_or_else(std::sync::PoisonError::into_inner) = last.leaf + 1;
        self.folded.notify_waiters();
        Ok(())
    }

    /// The inventory at this moment.
    pub fn view(&self) -> Result<InventoryView, SinkError> {
        let txn = self.db.begin_read()?;
        let upto = upto_of(&txn.open_table(META)?)?;
        Ok(InventoryView::new(txn, upto))
    }
}

fn record_of<'e>(entry: &'e Indexed, repeated: &[u64]) -> Option<&'e Record> {
    let record = entry.verdict.as_ref().ok()?;
    repeated.binary_search(&entry.leaf).is_err().then_some(record)
}

fn begin(db: &Database) -> Result<WriteTransaction, SinkError> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    Ok(txn)
}

fn upto_of(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<u64, SinkError> {
    Ok(meta.get(UPTO)?.and_then(|value| value.value().try_into().ok()).map_or(0, u64::from_be_bytes))
}
