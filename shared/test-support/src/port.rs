//! Ports for servers that a test starts.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range from which systems take ports for connections that go out and for port 0 (32768 on Linux, 49152
/// elsewhere): none of those can take one of ours between the choice and the server's start, or during a restart.
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;
/// Each process begins this far from its neighbours.
const STRIDE: u32 = 97;

/// A port of 127.0.0.1 that nobody listens on; never the same one twice in a process.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(STRIDE);
    for _ in 0..COUNT {
        let place = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + place).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST} is free");
}
