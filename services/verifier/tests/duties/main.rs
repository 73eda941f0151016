//! Both duties of the verifier, against a real nats-server.

mod decide;
mod gate;
mod several;
mod stage;
