//! Test only: a private nats-server with our permissions and streams, a broadcaster's part to play, child processes
//! that can't outlive the test, a disk that fails, a collector of traces, and waiting for things.
//!
//! Panics are this room's way to fail: it is linked by tests alone.
#![allow(clippy::unwrap_used)]

mod broadcaster;
mod broker;
mod child;
mod collector;
mod disk;
mod port;
mod wait;

pub use broadcaster::TestBroadcaster;
pub use broker::Broker;
pub use child::ChildGuard;
pub use collector::TestCollector;
pub use disk::{Ending, Fault, Kept, TestDisk, Trial};
pub use port::free_port;
pub use wait::{DEADLINE, eventually, fresh, until};
