//! The gatekeeper's process. See the crate's documentation for what it does.

fn main() {}
