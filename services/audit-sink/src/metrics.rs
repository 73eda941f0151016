//! What the sink counts. No agent, token or subject is a label.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The sink's metrics. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    appended: Counter,
    mended: Counter,
    not_valid: Counter,
    size: Gauge<u64, AtomicU64>,
    indexed_upto: Gauge<u64, AtomicU64>,
    signed_size: Gauge<u64, AtomicU64>,
    signed_at: Gauge<i64, AtomicI64>,
    final_size: Gauge<u64, AtomicU64>,
    archived_size: Gauge<u64, AtomicU64>,
    cosignatures_given: Counter,
    cosignatures_taken: Counter,
    witness_failures: Counter,
    halted: Gauge<u64, AtomicU64>,
}

impl Metrics {
    /// Registers them under `audit_…`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("audit_records_appended", "Records taken into the log", self.appended.clone());
        registry.register(
            "audit_records_mended",
            "Records among them that the stream lacked, taken over from another sink's log",
            self.mended.clone(),
        );
        registry.register("audit_records_not_valid", "Leaves whose verdict is not valid", self.not_valid.clone());
        registry.register("audit_log_size", "Leaves of the log", self.size.clone());
        registry.register("audit_indexed_upto", "Leaves in the index", self.indexed_upto.clone());
        registry.register(
            "audit_checkpoint_size",
            "Leaves under the newest signed checkpoint",
            self.signed_size.clone(),
        );
        registry.register("audit_checkpoint_timestamp_seconds", "When it was signed", self.signed_at.clone());
        registry.register("audit_final_size", "Leaves under the newest final checkpoint", self.final_size.clone());
        registry.register("audit_archived_size", "Leaves that the archive has", self.archived_size.clone());
        registry.register(
            "audit_cosignatures_given",
            "Checkpoints of other sinks that this one cosigned",
            self.cosignatures_given.clone(),
        );
        registry.register(
            "audit_cosignatures_taken",
            "Cosignatures under this sink's own checkpoints",
            self.cosignatures_taken.clone(),
        );
        registry.register(
            "audit_witness_failures",
            "Tries at an outside witness that brought no cosignature",
            self.witness_failures.clone(),
        );
        registry.register("audit_halted", "1 once the log has halted", self.halted.clone());
    }

    /// Leaves were appended.
    pub fn appended(&self, records: usize, size: u64) {
        self.appended.inc_by(records as u64);
        self.size.set(size);
    }

    /// Leaves that were appended did not come out of the stream.
    pub fn mended(&self, records: usize) {
        self.mended.inc_by(records as u64);
    }

    /// Leaves were indexed, some of them not valid.
    pub fn indexed(&self, not_valid: usize, upto: u64) {
        self.not_valid.inc_by(not_valid as u64);
        self.indexed_upto.set(upto);
    }

    /// A checkpoint was signed.
    pub fn signed(&self, size: u64, at_unix_seconds: i64) {
        self.signed_size.set(size);
        self.signed_at.set(at_unix_seconds);
    }

    /// A checkpoint became final.
    pub fn made_final(&self, size: u64) {
        self.final_size.set(size);
    }

    /// The archive reaches so far.
    pub fn archived(&self, size: u64) {
        self.archived_size.set(size);
    }

    /// Another sink's checkpoint was cosigned.
    pub fn cosigned(&self) {
        self.cosignatures_given.inc();
    }

    /// A cosignature under a checkpoint of ours came in.
    pub fn cosignature_taken(&self) {
        self.cosignatures_taken.inc();
    }

    /// An outside witness was asked in vain.
    pub fn witness_failed(&self) {
        self.witness_failures.inc();
    }

    /// How often an outside witness was asked in vain.
    pub fn witness_failures(&self) -> u64 {
        self.witness_failures.get()
    }

    /// The log has halted.
    pub fn halted(&self) {
        self.halted.set(1);
    }
}
