//! The verdict on one record: the shared one of `marque_judgement::record`, with decoded keys kept.
//!
//! Strict, one signature at a time, over as many threads as call it. A verdict never enters the tree.

pub use marque_judgement::record::{Bad, Judge};

/// What is to be said of a leaf.
pub type Verdict = Result<Box<marque_judgement::record::Record>, Bad>;
