//! What Marque costs, as ratios against the bare primitive or a rival in the same run.
//!
//! No assertions: these machines are noisy. [`report::run`] measures every row and prints one table.

pub mod cosign;
pub mod decision;
pub mod door;
pub mod fanout;
pub mod fixture;
pub mod log;
pub mod measure;
pub mod memory;
pub mod report;
pub mod rival;
pub mod sink;
