//! The attack vectors: a declarative list, from which `schemas/vectors/` is written.
//!
//! Keys are fixed, signatures deterministic, so that the files are a function of this list alone. A test compares.

pub mod case;
mod draft;
mod extensions;
pub mod files;
mod layout;
mod pairs;
mod steps;
pub mod token;

pub use case::{Case, Expected, Group, Policy};

/// Every case: the draft's own, each step of AAT §8, each pair of constraint types, our extensions.
pub fn cases() -> Vec<Case> {
    let mut cases = draft::cases();
    cases.extend(steps::cases());
    cases.extend(pairs::cases());
    cases.extend(extensions::cases());
    cases
}
