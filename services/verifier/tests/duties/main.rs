//! Both duties of the verifier, against a real nats-server.
#![allow(clippy::unwrap_used)]

mod decide;
mod gate;
mod otlp;
mod several;
mod stage;
