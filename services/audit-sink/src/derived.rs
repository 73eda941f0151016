//! A store that is derived from the log: what it was made on, and how far it reaches. One that can't be used is dropped
//! and begun anew.
//!
//! In scope: opening, growing in order and without a gap, reading at one moment. Out of scope: what is in it (`index`,
//! `inventory`).
//!
//! Killed at any point: it reaches as far as `upto`, and the rest is derived again out of the log.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::SinkError;

/// `upto`, `basis`.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const UPTO: &str = "upto";
const BASIS: &str = "basis";
/// Batches after which the store is synced to disk.
const BATCHES_PER_SYNC: u64 = 16;

/// What a store is made of.
pub(crate) struct Plan<'p> {
    /// What people call it.
    pub(crate) name: &'static str,
    /// What it is made on: its layout, and the trust bundle that records were judged under. One made on another is
    /// rebuilt.
    pub(crate) basis: &'p str,
    /// Pages that redb may keep, in bytes.
    pub(crate) cache_bytes: usize,
    /// Opens every table, so that all are there for readers, empty or not.
    pub(crate) tables: fn(&WriteTransaction) -> Result<(), SinkError>,
}

/// Such a store. Batches come one at a time; reads see whole batches.
pub(crate) struct Derived {
    db: Database,
    upto: RwLock<u64>,
    unsynced: AtomicU64,
}

impl Derived {
    /// Opens the store of a log of `log_size` leaves; one of another basis or another log is dropped and begun anew.
    pub(crate) fn open(path: &Path, plan: &Plan<'_>, log_size: u64) -> Result<Self, SinkError> {
        let name = plan.name;
        let found = Self::open_as(path, plan).map(|store| Some(store).filter(|store| store.upto() <= log_size));
        match found {
            Ok(Some(store)) => return Ok(store),
            Ok(None) => tracing::info!("the {name} does not belong to this log: it is rebuilt"),
            Err(error @ SinkError::ForeignStore(_)) => tracing::info!(%error, "the {name} is rebuilt"),
            Err(error) if !is_spoilt(&error) => return Err(error),
            Err(error) => tracing::warn!(%error, "the {name} can't be read: it is rebuilt"),
        }
        std::fs::remove_file(path).map_err(SinkError::at(path))?;
        Self::open_as(path, plan)
    }

    fn open_as(path: &Path, plan: &Plan<'_>) -> Result<Self, SinkError> {
        Self::on(builder(plan).create(path)?, plan)
    }

    /// The store on a database that is open already.
    fn on(db: Database, plan: &Plan<'_>) -> Result<Self, SinkError> {
        let txn = begin(&db)?;
        let upto = {
            let mut meta = txn.open_table(META)?;
            let known = meta.get(BASIS)?.map(|value| value.value().to_vec());
            match known {
                None => drop(meta.insert(BASIS, plan.basis.as_bytes())?),
                Some(known) if known == plan.basis.as_bytes() => {}
                Some(_) => {
                    return Err(SinkError::ForeignStore(format!("the {} was made under another bundle", plan.name)));
                }
            }
            upto_of(&meta)?
        };
        (plan.tables)(&txn)?;
        txn.commit()?;
        Ok(Self { db, upto: RwLock::new(upto), unsynced: AtomicU64::new(0) })
    }

    /// Leaves below this are in it.
    pub(crate) fn upto(&self) -> u64 {
        *self.upto.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes in the leaves `first..end`, which must be the next, in one transaction.
    pub(crate) fn extend<T>(
        &self,
        first: u64,
        end: u64,
        write: impl FnOnce(&WriteTransaction) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        if first != self.upto() {
            return Err(SinkError::NotNext { next: self.upto(), got: first });
        }
        let mut txn = begin(&self.db)?;
        let unsynced = self.unsynced.fetch_add(1, Ordering::Relaxed);
        if !unsynced.is_multiple_of(BATCHES_PER_SYNC) {
            // What is lost with the power is derived again out of the log; the log is what must not be lost.
            txn.set_durability(Durability::None)
                .map_err(redb::Error::from)
                .map_err(|error| SinkError::Store(Box::new(error)))?;
        }
        let written = write(&txn)?;
        txn.open_table(META)?.insert(UPTO, &end.to_be_bytes()[..])?;
        txn.commit()?;
        *self.upto.write().unwrap_or_else(std::sync::PoisonError::into_inner) = end;
        Ok(written)
    }

    /// The store at this moment, and how far it reached then.
    pub(crate) fn view(&self) -> Result<(ReadTransaction, u64), SinkError> {
        let txn = self.db.begin_read()?;
        let upto = upto_of(&txn.open_table(META)?)?;
        Ok((txn, upto))
    }
}

/// Whether the fault is in what the store holds. Where it is not (another process has it open, the disk is full or
/// fails), dropping it would cost the work of days and mend nothing.
fn is_spoilt(error: &SinkError) -> bool {
    let SinkError::Store(error) = error else { return false };
    match &**error {
        // redb's word for a file that is none of its own, and for one that ends too early.
        redb::Error::Io(error) => matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
        redb::Error::DatabaseAlreadyOpen | redb::Error::PreviousIo => false,
        // Corrupted, of another version of redb, of other tables.
        _ => true,
    }
}

fn builder(plan: &Plan<'_>) -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(plan.cache_bytes);
    builder
}

fn begin(db: &Database) -> Result<WriteTransaction, SinkError> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    Ok(txn)
}

fn upto_of(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<u64, SinkError> {
    Ok(meta.get(UPTO)?.and_then(|value| value.value().try_into().ok()).map_or(0, u64::from_be_bytes))
}

#[cfg(test)]
mod failing;
