//! The issuer's own memory: evidence that was used, requests that were answered, and with what.
//!
//! One redb file. A grant is written here, durable, with the use of its evidence in the same transaction, before
//! its *issued* record is published; killed at any point and run again, the same request finds the same bytes.
//!
//! A thief of the file gets credentials and tokens that are bound to keys he does not have. A writer of the file can
//! make used evidence new again, no more: what it answers with is signed.

mod error;
mod rows;

use std::path::Path;
use std::sync::Arc;

use marque_credential::EvidenceKind;
use marque_identity::{Did, Digest, TokenId, TrustDomain, UnixSeconds};
use marque_runtime::whole::make_whole;
use marque_signing::sha256;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

pub use error::StoreError;
pub use rows::{Begun, EvidenceUse, Grant, GrantKind, Totals};

/// Of whom and in which form: a store of another issuer or format is refused, not converted.
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// [`join_key`] or [`use_key`] → [`EvidenceUse`] as JSON. Called as it was made: when join tokens were the only evidence.
const USES: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("join_tokens_used");
/// Request id → [`Grant`] as JSON.
const GRANTS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("grants");
/// Request ids whose record is not known to be stored.
const PENDING: TableDefinition<'_, [u8; 32], ()> = TableDefinition::new("grants_pending");
/// When rows may go: (unix seconds, what, key).
const FORGET: TableDefinition<'_, (i64, u8, [u8; 32]), ()> = TableDefinition::new("forget");
/// Names to totals.
const TOTALS: TableDefinition<'_, &str, u64> = TableDefinition::new("totals");

const FORMAT: &str = "1";
/// Rows that one call of [`Store::forget`] removes at most, so that no request waits long for it.
pub const FORGOTTEN_ROWS_MAX: usize = 1_000;
/// redb's page cache: the store holds minutes of grants, not a history.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

const FORGET_GRANT: u8 = 0;
const FORGET_USE: u8 = 1;

/// What a request is remembered by: its signer and its `jti`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// The id of an agent's request.
    pub fn of(agent: &Did, jti: &TokenId) -> Self {
        Self(named(agent, jti))
    }
}

/// The key of a join token: the operator who signed it and its `jti`, so that no operator uses up another's.
pub fn join_key(operator: &Did, jti: &TokenId) -> [u8; 32] {
    named(operator, jti)
}

/// The key of other evidence that enrols once: its kind, who made it (a DID or a URI) and how that one calls it, so
/// that nobody uses up another's.
pub fn use_key(kind: EvidenceKind, maker: &str, name: &str) -> [u8; 32] {
    // INVARIANT: the length keeps maker and name apart, whatever stands in them.
    sha256(format!("{kind}:{}:{maker}:{name}", maker.len()).as_bytes()).0
}

fn named(signer: &Did, jti: &TokenId) -> [u8; 32] {
    let mut bytes = signer.key_bytes().to_vec();
    bytes.extend_from_slice(jti.0.as_bytes());
    sha256(&bytes).0
}

/// The open store. Cheap to clone. Its calls block on the disk.
#[derive(Clone)]
pub struct Store {
    database: Arc<Database>,
}

impl Store {
    /// Opens the store of this issuer, or makes it.
    ///
    /// Refuses a store of another issuer or trust domain, of another format, and one that another process has open.
    pub fn open(path: &Path, domain: &TrustDomain, issuer: &Did) -> Result<Self, StoreError> {
        let at = |path: &Path| Self::on(builder().create(path).map_err(StoreError::of)?, domain, issuer);
        make_whole(path, |making| at(making).map(drop), |error| StoreError::of(redb::StorageError::from(error)))?;
        at(path)
    }

    /// The same on a database that is open already.
    pub(crate) fn on(database: Database, domain: &TrustDomain, issuer: &Did) -> Result<Self, StoreError> {
        let store = Self { database: Arc::new(database) };
        store.claim(domain, issuer)?;
        Ok(store)
    }

    fn claim(&self, domain: &TrustDomain, issuer: &Did) -> Result<(), StoreError> {
        let write = self.database.begin_write()?;
        {
            let mut meta = write.open_table(META)?;
            for (key, ours) in [("format", FORMAT), ("trust_domain", domain.as_str()), ("issuer", &issuer.to_string())]
            {
                let stored = meta.get(key)?.map(|value| value.value().to_owned());
                match stored {
                    None => drop(meta.insert(key, ours)?),
                    Some(stored) if stored == ours => {}
                    Some(stored) => return Err(StoreError::Foreign { key, stored, ours: ours.to_owned() }),
                }
            }
            // So that readers find every table.
            write.open_table(USES)?;
            write.open_table(GRANTS)?;
            write.open_table(PENDING)?;
            write.open_table(FORGET)?;
            write.open_table(TOTALS)?;
        }
        write.commit()?;
        Ok(())
    }

    /// What an earlier request of this id was granted; refuses one that was another request.
    pub fn remembered(&self, id: RequestId, request: &Digest) -> Result<Option<Grant>, StoreError> {
        let read = self.database.begin_read()?;
        let grants = read.open_table(GRANTS)?;
        let Some(row) = grants.get(id.0)? else { return Ok(None) };
        Grant::read(row.value())?.for_request(request).map(Some)
    }

    /// Begins a grant, durably: the grant, and the use of each piece of its evidence that enrols once, or nothing.
    ///
    /// Of concurrent calls with one id the first wins and the others are handed what it began; of concurrent calls
    /// with one piece of evidence the first wins and the others get [`Begun::EvidenceUsed`].
    pub fn begin(&self, grant: Grant, uses: &[EvidenceUse]) -> Result<Begun, StoreError> {
        let write = self.database.begin_write()?;
        let begun = {
            let mut grants = write.open_table(GRANTS)?;
            let earlier = grants.get(grant.id.0)?.map(|row| Grant::read(row.value())).transpose()?;
            if let Some(earlier) = earlier {
                return Ok(Begun::Earlier(earlier.for_request(&grant.request)?));
            }
            let mut forget = write.open_table(FORGET)?;
            let mut used = write.open_table(USES)?;
            for piece in uses {
                if used.get(piece.key)?.is_some() {
                    return Ok(Begun::EvidenceUsed(piece.kind));
                }
                used.insert(piece.key, piece.to_row()?.as_slice())?;
                forget.insert((piece.keep_until.0, FORGET_USE, piece.key), ())?;
            }
            grants.insert(grant.id.0, grant.to_row()?.as_slice())?;
            forget.insert((grant.keep_until.0, FORGET_GRANT, grant.id.0), ())?;
            write.open_table(PENDING)?.insert(grant.id.0, ())?;
            Begun::Now(grant)
        };
        write.commit()?;
        Ok(begun)
    }

    /// Notes that a grant's record is stored. Not synced: lost, the record is published once more, to no effect.
    pub fn recorded(&self, grant: &Grant) -> Result<(), StoreError> {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::None)?;
        {
            if write.open_table(PENDING)?.remove(grant.id.0)?.is_some() {
                let mut totals = write.open_table(TOTALS)?;
                let before = totals.get(grant.kind.as_str())?.map_or(0, |total| total.value());
                totals.insert(grant.kind.as_str(), before.saturating_add(1))?;
            }
        }
        write.commit()?;
        Ok(())
    }

    /// Whether a grant's record is known to be stored.
    pub fn is_recorded(&self, id: RequestId) -> Result<bool, StoreError> {
        Ok(self.database.begin_read()?.open_table(PENDING)?.get(id.0)?.is_none())
    }

    /// Grants whose record is not known to be stored, at most `count`.
    pub fn pending(&self, count: usize) -> Result<Vec<Grant>, StoreError> {
        let read = self.database.begin_read()?;
        let grants = read.open_table(GRANTS)?;
        let mut pending = Vec::new();
        for row in read.open_table(PENDING)?.iter()?.take(count) {
            if let Some(grant) = grants.get(row?.0.value())? {
                pending.push(Grant::read(grant.value())?);
            }
        }
        Ok(pending)
    }

    /// Removes what need not be remembered any more, oldest first, at most [`FORGOTTEN_ROWS_MAX`]; says how many.
    ///
    /// A grant whose record is pending stays.
    pub fn forget(&self, now: UnixSeconds) -> Result<usize, StoreError> {
        let mut write = self.database.begin_write()?;
        // A row that comes back after a crash is forgotten again.
        write.set_durability(Durability::None)?;
        let due = {
            let mut forget = write.open_table(FORGET)?;
            let mut grants = write.open_table(GRANTS)?;
            let mut uses = write.open_table(USES)?;
            let pending = write.open_table(PENDING)?;
            let mut due = Vec::new();
            for row in forget.range(..(now.0, 0, [0; 32]))? {
                let (at, what, key) = row?.0.value();
                if what == FORGET_USE || pending.get(key)?.is_none() {
                    due.push((at, what, key));
                }
                if due.len() == FORGOTTEN_ROWS_MAX {
                    break;
                }
            }
            for row in &due {
                forget.remove(*row)?;
                if row.1 == FORGET_USE {
                    uses.remove(row.2)?
                } else {
                    grants.remove(row.2)?
                };
            }
            due.len()
        };
        if due > 0 {
            write.commit()?;
        }
        Ok(due)
    }

    /// How much was granted since the store was made, and how much is remembered now.
    pub fn totals(&self) -> Result<Totals, StoreError> {
        let read = self.database.begin_read()?;
        let totals = read.open_table(TOTALS)?;
        let of = |kind: GrantKind| Ok::<_, StoreError>(totals.get(kind.as_str())?.map_or(0, |total| total.value()));
        Ok(Totals {
            credentials: of(GrantKind::Credential)?,
            roots: of(GrantKind::Root)?,
            evidence_remembered: read.open_table(USES)?.len()?,
            grants_remembered: read.open_table(GRANTS)?.len()?,
            grants_pending: read.open_table(PENDING)?.len()?,
        })
    }
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
