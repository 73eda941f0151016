//! What happened, out of a copy of the log alone: who handed what to whom, what was done in which order, what rested on
//! a token that is now in doubt, and what would have been decided otherwise.
//!
//! Everything is ordered by leaf, never by what a signer says of the time: a stolen key dates back.

mod blast;
pub(crate) mod copy;
mod picture;
mod replay;
mod timeline;
mod tree;

pub(crate) use blast::BlastArgs;
pub(crate) use replay::ReplayArgs;
pub(crate) use timeline::TimelineArgs;
pub(crate) use tree::TreeArgs;

pub(crate) use blast::run as blast;
pub(crate) use replay::run as replay;
pub(crate) use timeline::run as timeline;
pub(crate) use tree::run as tree;
