//! Tool hosts under enforcement, against a real nats-server.
#![allow(clippy::unwrap_used)]

mod chains;
mod directives;
mod erasable;
mod hostile;
mod permits;
mod replay;
mod stage;
mod targets;
