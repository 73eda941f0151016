//! The audit log's formats: a leaf, the tree over the leaves, its tiles, its checkpoint, and proofs of both kinds.
//!
//! In scope: RFC 6962 hashing, C2SP `tlog-tiles`, `tlog-checkpoint`, `signed-note`, `cosignature/v1`, `tlog-proof`,
//! `tlog-policy` and what a witness decides, making and checking proofs, and checking an exported log from its files
//! alone. Out of scope: who writes in the log, what a
//! record says, and where the log is kept. Everything here is a function of its arguments: no clock, no network;
//! [`Directory`] alone reads files.

mod checkpoint;
mod cosignature;
mod directory;
mod entry;
pub mod epoch;
mod error;
mod gathered;
mod hash;
pub mod layout;
mod lines;
mod nodes;
mod note;
pub mod plumbing;
mod policy;
mod proof;
mod tile;
mod tlog_proof;
mod tree;
pub mod verify;
pub mod witness;

pub use checkpoint::{Checkpoint, origin};
pub use cosignature::{cosign, verify_cosignature};
pub use directory::{Directory, Files};
pub use entry::{ENTRY_BYTES_MAX, Entry};
pub use error::LedgerError;
pub use gathered::Gathered;
pub use hash::Hash;
pub use nodes::{BLOCK_HASHES, Nodes};
pub use note::{KeyKind, Note, NoteSignature, VerifierKey};
pub use policy::{POLICY_BYTES_MAX, Policy, Witness, Witnessed};
pub use proof::{TileSource, prove_consistency, prove_inclusion, root_at, verify_consistency, verify_inclusion};
pub use tile::{FILE_BYTES_MAX, TILE_WIDTH, TileId, TileKind, decode_bundle, encode_bundle, split_bundle};
pub use tlog_proof::{EXTENSION as PROOF_EXTENSION, PROOF_BYTES_MAX, TlogProof};
pub use tree::{Edge, FullTile};
