//! The bus against a real nats-server with our own configuration.

mod feed;
mod permissions;
mod records;
mod service;
mod streams;
