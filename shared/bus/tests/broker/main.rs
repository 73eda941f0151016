//! The bus against a real nats-server with our own configuration.

#![allow(clippy::unwrap_used)]

mod feed;
mod nonce;
mod permissions;
mod records;
mod sealed;
mod service;
mod streams;
