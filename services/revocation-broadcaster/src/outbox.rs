//! What was accepted and is not yet done with: directives to publish, records to publish, answers to repeat.
//!
//! One redb file. A directive is written here, signed and durable, before it is published and before anyone is told;
//! killed at any point and run again, the same bytes are published, unless the stream has them already.
//!
//! A thief of the file learns what was revoked, and why. A writer of the file can publish nothing: what is in it is
//! signed, and its digest compared. One who deletes rows can make accepted requests be forgotten.

mod error;
mod rows;

use std::path::Path;
use std::sync::Arc;

use marque_identity::{Did, Digest, Epoch, TrustDomain, UnixMillis, UnixSeconds};
use marque_revocation::Receipt;
use marque_runtime::whole::make_whole;
use marque_signing::sha256;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::OutboxError;
pub use rows::{Accepted, RecordRow, Row};

/// Of whom and in which form.
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// Request key → [`Row`] as JSON.
const ROWS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("requests");
/// Order of acceptance → request key: what the stream is not known to hold.
const UNPUBLISHED: TableDefinition<'_, u64, [u8; 32]> = TableDefinition::new("unpublished");
/// Order → [`RecordRow`] as JSON: records that the audit stream is not known to hold.
const UNRECORDED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("unrecorded");
/// When a row may go: (unix seconds, request key).
const FORGET: TableDefinition<'_, (i64, [u8; 32]), ()> = TableDefinition::new("forget");
/// Names to numbers.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

const FORMAT: &str = "1";
/// The latest time at which a directive was ended by a heartbeat: no heartbeat goes below it, whatever the clock says.
const TIME_FLOOR: &str = "time_floor_ms";
/// Accepted requests that wait for the stream. Beyond, the answer is `unavailable`.
pub const UNPUBLISHED_MAX: u64 = 10_000;
/// How long an answer can be repeated. A request's own `iat` refuses it long before it is forgotten.
const REMEMBERED_SECONDS: i64 = 7 * 24 * 3600;
/// Rows that one call of [`Outbox::forget`] removes at most.
const FORGOTTEN_ROWS_MAX: usize = 1000;
/// redb's page cache: the outbox holds days of requests, not a history.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// What a request is remembered by: its signer and its `jti`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestKey([u8; 32]);

impl RequestKey {
    /// The key of a signer's request.
    pub fn of(signer: &Did, jti: &str) -> Self {
        let mut bytes = signer.key_bytes().to_vec();
        bytes.extend_from_slice(jti.as_bytes());
        Self(sha256(&bytes).0)
    }
}

/// The open outbox. Cheap to clone. Its calls block on the disk.
#[derive(Clone)]
pub struct Outbox {
    database: Arc<Database>,
}

impl Outbox {
    /// Opens the outbox of this broadcaster, or makes it. Refuses another's, and one that another process has open.
    pub fn open(path: &Path, domain: &TrustDomain, broadcaster: &Did) -> Result<Self, OutboxError> {
        let at = |path: &Path| Self::on(builder().create(path).map_err(OutboxError::of)?, domain, broadcaster);
        make_whole(path, |making| at(making).map(drop), |error| OutboxError::of(redb::StorageError::from(error)))?;
        at(path)
    }

    /// The same on a database that is open already.
    pub(crate) fn on(database: Database, domain: &TrustDomain, broadcaster: &Did) -> Result<Self, OutboxError> {
        let outbox = Self { database: Arc::new(database) };
        let write = outbox.database.begin_write()?;
        {
            let mut meta = write.open_table(META)?;
            let broadcaster = broadcaster.to_string();
            for (key, ours) in
                [("format", FORMAT), ("trust_domain", domain.as_str()), ("broadcaster", broadcaster.as_str())]
            {
                let stored = meta.get(key)?.map(|value| value.value().to_owned());
                match stored {
                    None => drop(meta.insert(key, ours)?),
                    Some(stored) if stored == ours => {}
                    Some(stored) => return Err(OutboxError::Foreign { key, stored, ours: ours.to_owned() }),
                }
            }
            // So that readers find every table.
            write.open_table(ROWS)?;
            write.open_table(UNPUBLISHED)?;
            write.open_table(UNRECORDED)?;
            write.open_table(FORGET)?;
            write.open_table(NUMBERS)?;
        }
        write.commit()?;
        Ok(outbox)
    }

    /// What an earlier request of this key was answered with; refuses one that was another request.
    pub fn remembered(&self, key: RequestKey, request: &Digest) -> Result<Option<Row>, OutboxError> {
        let read = self.database.begin_read()?;
        let rows = read.open_table(ROWS)?;
        let Some(row) = rows.get(key.0)? else { return Ok(None) };
        parse::<Row>(row.value())?.for_request(request).map(Some)
    }

    /// Accepts a directive, durably. Of concurrent calls with one key the first wins; the others get what it accepted.
    pub fn accept(&self, key: RequestKey, row: Row, now: UnixSeconds) -> Result<Accepted, OutboxError> {
        let write = self.database.begin_write()?;
        {
            let mut rows = write.open_table(ROWS)?;
            let earlier = rows.get(key.0)?.map(|earlier| parse::<Row>(earlier.value())).transpose()?;
            if let Some(earlier) = earlier {
                return Ok(Accepted::Earlier(earlier.for_request(&row.request)?));
            }
            let mut unpublished = write.open_table(UNPUBLISHED)?;
            if unpublished.len()? >= UNPUBLISHED_MAX {
                return Err(OutboxError::Full);
            }
            let order = unpublished.last()?.map_or(0, |(order, _)| order.value()).saturating_add(1);
            unpublished.insert(order, key.0)?;
            rows.insert(key.0, text(&row)?.as_slice())?;
            write.open_table(FORGET)?.insert((now.plus(REMEMBERED_SECONDS).0, key.0), ())?;
        }
        write.commit()?;
        Ok(Accepted::Now(row))
    }

    /// What the stream is not known to hold, in the order of acceptance.
    pub fn unpublished(&self) -> Result<Vec<(RequestKey, Row)>, OutboxError> {
        let read = self.database.begin_read()?;
        let rows = read.open_table(ROWS)?;
        let mut unpublished = Vec::new();
        for entry in read.open_table(UNPUBLISHED)?.iter()? {
            let key = entry?.1.value();
            if let Some(row) = rows.get(key)? {
                unpublished.push((RequestKey(key), parse(row.value())?));
            }
        }
        Ok(unpublished)
    }

    /// The stream holds it, at this place; its record is to be published.
    pub fn published(&self, key: RequestKey, epoch: Epoch, record: &RecordRow) -> Result<(), OutboxError> {
        self.change(key, Some(record), |row| row.epoch = Some(epoch))
    }

    /// Its reach is known; its record is to be published.
    pub fn reached(&self, key: RequestKey, receipt: &Receipt, record: &RecordRow) -> Result<(), OutboxError> {
        self.change(key, Some(record), |row| row.receipt = Some(receipt.clone()))
    }

    fn change(
        &self,
        key: RequestKey,
        record: Option<&RecordRow>,
        change: impl FnOnce(&mut Row),
    ) -> Result<(), OutboxError> {
        let write = self.database.begin_write()?;
        {
            let mut rows = write.open_table(ROWS)?;
            let row = rows.get(key.0)?.map(|row| parse::<Row>(row.value())).transpose()?;
            if let Some(mut row) = row {
                change(&mut row);
                rows.insert(key.0, text(&row)?.as_slice())?;
                if row.epoch.is_some() {
                    write.open_table(UNPUBLISHED)?.retain(|_, published| published != key.0)?;
                }
            }
            if let Some(record) = record {
                let mut unrecorded = write.open_table(UNRECORDED)?;
                let order = unrecorded.last()?.map_or(0, |(order, _)| order.value()).saturating_add(1);
                unrecorded.insert(order, text(record)?.as_slice())?;
            }
        }
        write.commit()?;
        Ok(())
    }

    /// The oldest record that the audit stream is not known to hold.
    pub fn unrecorded(&self) -> Result<Option<(u64, RecordRow)>, OutboxError> {
        let read = self.database.begin_read()?;
        let unrecorded = read.open_table(UNRECORDED)?;
        let Some((order, record)) = unrecorded.first()? else { return Ok(None) };
        Ok(Some((order.value(), parse(record.value())?)))
    }

    /// The audit stream holds it. Not synced: lost, it is published once more, to no effect.
    pub fn recorded(&self, order: u64) -> Result<(), OutboxError> {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::None)?;
        write.open_table(UNRECORDED)?.remove(order)?;
        write.commit()?;
        Ok(())
    }

    /// How many directives wait for the stream, and how many records for the audit stream.
    pub fn waiting(&self) -> Result<(u64, u64), OutboxError> {
        let read = self.database.begin_read()?;
        Ok((read.open_table(UNPUBLISHED)?.len()?, read.open_table(UNRECORDED)?.len()?))
    }

    /// The time below which no heartbeat may go.
    pub fn time_floor(&self) -> Result<UnixMillis, OutboxError> {
        let read = self.database.begin_read()?;
        let floor = read.open_table(NUMBERS)?.get(TIME_FLOOR)?.map_or(0, |floor| floor.value());
        Ok(UnixMillis(i64::try_from(floor).unwrap_or(i64::MAX)))
    }

    /// Raises it, durably: before the heartbeat that ends something by this time.
    pub fn raise_time_floor(&self, floor: UnixMillis) -> Result<(), OutboxError> {
        let write = self.database.begin_write()?;
        write.open_table(NUMBERS)?.insert(TIME_FLOOR, u64::try_from(floor.0).unwrap_or(0))?;
        write.commit()?;
        Ok(())
    }

    /// Removes what need not be remembered any more, at most [`FORGOTTEN_ROWS_MAX`]; what is unpublished stays.
    pub fn forget(&self, now: UnixSeconds) -> Result<usize, OutboxError> {
        let write = self.database.begin_write()?;
        let mut gone = Vec::new();
        {
            let mut forget = write.open_table(FORGET)?;
            let mut rows = write.open_table(ROWS)?;
            for entry in forget.range(..(now.0, [0; 32]))?.take(FORGOTTEN_ROWS_MAX) {
                gone.push(entry?.0.value());
            }
            for (at, key) in &gone {
                let unpublished = rows.get(*key)?.map(|row| parse::<Row>(row.value())).transpose()?;
                if unpublished.is_none_or(|row| row.epoch.is_some()) {
                    rows.remove(*key)?;
                    forget.remove((*at, *key))?;
                }
            }
        }
        write.commit()?;
        Ok(gone.len())
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, OutboxError> {
    serde_json::from_slice(bytes).map_err(OutboxError::Row)
}

fn text<T: Serialize>(value: &T) -> Result<Vec<u8>, OutboxError> {
    serde_json::to_vec(value).map_err(OutboxError::Row)
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

#[cfg(test)]
pub(crate) mod failing;
#[cfg(test)]
pub(crate) mod tests;
