//! The audit sink: takes the audit stream into a Merkle log, signs its checkpoints, and answers what is asked of it.
//!
//! In scope: LOG.md's rules over one stream and one redb log. Out of scope: the formats themselves (`marque-ledger`),
//! what a record means (`marque_judgement::record`).
//!
//! ```text
//!  guard ─► intake: fetch ─► store (leaves, tiles, size) ─► judge ─► index
//!            mend (a hole) ────┤                                      │
//!                              ▼                                      ▼        ▼
//!              peers, outside witnesses ◄─► seal, finality (checkpoints)   query · explain · prove · files   inventory
//!                                                                                 │
//!                                     agents · completeness · notices (what it says itself)
//! ```

pub mod agents;
pub mod archive;
mod carried;
pub mod causes;
pub mod cloned;
mod compact;
pub mod completeness;
mod config;
mod derived;
pub mod desk;
pub mod epoch;
mod error;
pub mod explain;
pub mod files;
pub mod finality;
pub mod finding;
mod guard;
pub mod headroom;
pub mod index;
pub mod intake;
pub mod inventory;
pub mod judge;
mod keep;
pub mod mend;
pub mod metrics;
pub mod narrowed;
pub mod notices;
mod offline;
pub mod outside;
pub mod parted;
pub mod parting;
pub mod peers;
pub mod postings;
pub mod prove;
pub mod pull;
pub mod query;
pub mod reader;
pub mod restore;
pub mod row;
pub mod seal;
mod serve;
pub mod step;
pub mod store;
pub mod tiles;

pub use config::{AuditSink, Config};
pub use error::{Hole, SinkError};
pub use files::export;
pub use offline::offline;
pub use serve::{SPEC, serve};
