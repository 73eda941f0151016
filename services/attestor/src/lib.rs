//! The attestor: one on each machine, on a Unix socket. It looks at the process on the other end and states, signed by
//! the machine's key, what it saw.
//!
//! ```text
//!  process ── {"request": signed by the agent's key} ──► Desk ── pid, uid, gid: the kernel's word
//!     ▲                                                   │ /proc/<pid>: start, executable, command line, cgroup
//!     └── {"evidence": signed by the machine's key} ◄─────┘
//! ```
//!
//! In the manner of SPIRE's workload attestation. The agent's key is in the evidence, so that it is of no use to
//! another process.
//!
//! What evidence proves: on this machine a process with this executable, user and container opened the connection, and
//! whoever wrote on it held the agent's key. What it does not: that the process does what its executable says. Whoever
//! may run the executable may trace it (ptrace), preload a library into it (`LD_PRELOAD`), give it other arguments, or
//! open the connection first and become it by `exec`; a child that was forked holds the socket of its parent and
//! speaks for it; a script's executable is its interpreter. A command line is the process's own word, a container's id
//! that of whoever may make control groups. The machine's root is trusted, and its kernel.
//!
//! In scope: the socket, the look, the signature. Out of scope: which evidence lets an agent enrol (the issuer, by its
//! blueprints). It needs no broker.

mod cgroup;
pub mod config;
mod desk;
mod error;
mod hold;
mod line;
mod metrics;
mod process;
mod seats;
mod serve;
mod socket;

pub use config::Config;
pub use error::AttestError;
pub use line::read_request;
pub use serve::{SPEC, serve};
