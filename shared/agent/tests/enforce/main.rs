//! Tool hosts under enforcement, against a real nats-server.

mod chains;
mod directives;
mod hostile;
mod permits;
mod replay;
mod stage;
