//! Strict JSON in, canonical JSON out.
//!
//! In scope: RFC 8259 read strictly (duplicate members refused, numbers kept as they are written, bounded size
//! and depth) and RFC 8785 (JCS) written. Out of scope: what the values mean.
//!
//! Why not `serde_json` alone: AAT §3.4 judges numbers on their text, and duplicate members must be refused
//! anywhere, also below a member that nobody reads. `serde_json` keeps the text only with a feature that is
//! global to the build and that a member with a magic name can forge. Typed reading still goes through it,
//! after the strict scan: [`from_slice`].

mod canonical;
mod number;
mod parse;
mod scan;
mod tree;
mod typed;
mod value;

pub use number::Number;
pub use parse::{JsonError, Limits, Member, parse, parse_members};
pub use typed::{from_slice, from_tree, to_canonical};
pub use value::{Json, Object};
