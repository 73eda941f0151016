//! Configuration in layers: flags over environment over file over default, each key with its origin.
//!
//! Keys are dotted paths (`nats.url`). In the environment: `MARQUE_NATS__URL`, or for one service alone
//! `MARQUE_<SERVICE>__NATS__URL`, which wins; a top-level key is `MARQUE__KEY_FILE`. `<KEY>_FILE` reads a value from
//! a file. A key that is not known is an error that names the nearest.

mod common;
mod error;
mod layers;
mod secret;
mod tree;

pub use common::{BundleConfig, Common, LogConfig, LogFormat, NatsConfig};
pub use error::ConfigError;
pub use layers::{Layers, Loaded, Origin, OriginKind};
pub use secret::Secret;
