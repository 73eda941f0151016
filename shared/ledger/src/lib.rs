//! The audit log's formats: a leaf, the tree over the leaves, its tiles, its checkpoint, and proofs of both kinds.
//!
//! In scope: RFC 6962 hashing, C2SP `tlog-tiles`, `tlog-checkpoint`, `signed-note` and `cosignature/v1`, making and
//! checking proofs, and checking an exported log from its files alone. Out of scope: who writes in the log, what a
//! record says, and where the log is kept. Everything here is a function of its arguments: no clock, no network;
//! [`Directory`] alone reads files.

mod checkpoint;
mod cosignature;
mod directory;
mod entry;
mod error;
mod hash;
pub mod layout;
mod note;
pub mod plumbing;
mod proof;
mod tile;
mod tree;
pub mod verify;

pub use checkpoint::{Checkpoint, origin};
pub use cosignature::{cosign, verify_cosignature};
pub use directory::{Directory, Files};
pub use entry::{ENTRY_BYTES_MAX, Entry};
pub use error::LedgerError;
pub use hash::Hash;
pub use note::{KeyKind, Note, NoteSignature, VerifierKey};
pub use proof::{TileSource, prove_consistency, prove_inclusion, root_at, verify_consistency, verify_inclusion};
pub use tile::{TILE_WIDTH, TileId, TileKind, decode_bundle, encode_bundle};
pub use tree::{Edge, FullTile};
