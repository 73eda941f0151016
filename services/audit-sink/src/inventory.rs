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

use marque_judgement::record::Record;
use marque_signing::TrustBundle;
use redb::WriteTransaction;
use tokio::sync::Notify;

pub(crate) use fold::WIRE_TOOLS;
pub use kept::{
    Agent, CLOSED_LATELY_MAX, Connection, Credential, CredentialKind, Fork, GAPS_MAX, Gap, Head, Mark, OpenPermit,
    Sequence, Standing,
};
pub use view::{ALIKE_COUNTED_MAX, InventoryView};

use crate::SinkError;
use crate::derived::{Derived, Plan};
use crate::index::Indexed;
use draft::Draft;
use fold::Folding;

/// Layout of the tables and meaning of the rows: another one is rebuilt.
const VERSION: &str = "2";
const CACHE_BYTES: usize = 32 << 20;
/// Leaves in one transaction: a leaf touches at most 65 credentials of some 500 bytes, so that a batch of the worst
/// kind takes 32 MB.
pub const FOLDED_LEAVES_MAX: usize = 1024;
/// Forks of one key that become *risk* records: one says that the key is cloned, and an agent that forks its own chain
/// on purpose must not make the sink write for ever. All of them are in the report.
pub const FORKS_RAISED_MAX: u64 = 16;

/// The inventory's store.
pub struct Inventory {
    store: Derived,
    bundle: TrustBundle,
    folded: Notify,
}

impl Inventory {
    /// Opens the inventory of a log of which `indexed_upto` leaves are indexed, judged under the trust bundle with this
    /// fingerprint; one of another bundle, another layout or another log is dropped and begun anew.
    pub fn open(path: &Path, bundle: TrustBundle, fingerprint: &str, log_size: u64) -> Result<Self, SinkError> {
        let basis = format!("{VERSION} {fingerprint}");
        let plan = Plan { name: "inventory", basis: &basis, cache_bytes: CACHE_BYTES, tables };
        Ok(Self { store: Derived::open(path, &plan, log_size)?, bundle, folded: Notify::new() })
    }

    /// Leaves below this are folded in.
    pub fn upto(&self) -> u64 {
        self.store.upto()
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
        self.store.extend(first.leaf, last.leaf + 1, |txn| {
            let mut draft = Draft::begin(txn)?;
            for entry in part {
                let Some(record) = record_of(entry, repeated) else { continue };
                let at = Mark { leaf: entry.leaf, ms: entry.broker_ts_ns.div_euclid(1_000_000) };
                Folding { draft: &mut draft, bundle: &self.bundle, at }.fold(record)?;
            }
            draft.finish()
        })?;
        self.folded.notify_waiters();
        Ok(())
    }

    /// The inventory at this moment.
    pub fn view(&self) -> Result<InventoryView, SinkError> {
        let (txn, upto) = self.store.view()?;
        Ok(InventoryView::new(txn, upto, self.bundle.trust_domain.clone()))
    }
}

fn tables(txn: &WriteTransaction) -> Result<(), SinkError> {
    drop(Draft::begin(txn)?);
    Ok(())
}

fn record_of<'e>(entry: &'e Indexed, repeated: &[u64]) -> Option<&'e Record> {
    let record = entry.verdict.as_ref().ok()?;
    repeated.binary_search(&entry.leaf).is_err().then_some(record)
}
