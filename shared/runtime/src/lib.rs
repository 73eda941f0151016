//! Everything that knows the process: configuration, telemetry, keys on disk, the clock, signals, the health page.
//!
//! In scope: what every service of ours does before and after its duty, so that each `main.rs` is a few lines
//! ([`run::service`]). Out of scope: the bus (`marque-bus`), and every duty.

pub mod clock;
pub mod config;
pub mod durable;
pub mod http;
pub mod keys;
pub mod kill_at;
pub mod nats_server;
pub mod run;
pub mod shutdown;
pub mod telemetry;
pub mod whole;

pub use clock::Clock;
pub use config::{Common, ConfigError, Secret};
pub use http::Health;
pub use run::{Context, Failure, ServiceSpec};
pub use shutdown::Shutdown;
