//! The health page: `/livez` (the process turns), `/readyz` (what is pending), `/metrics`.

use std::sync::{Arc, Mutex};

use prometheus_client::registry::Registry;

use crate::Shutdown;

/// What a service waits for before it is ready, and its metrics. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health {
    registry: Arc<Mutex<Registry>>,
}

impl Health {
    /// Nothing pending, no metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names something that is waited for; not ready until it is [`ready`](Self::ready).
    pub fn pending(&self, what: &str, why: &str) {
        let _ = (what, why);
        todo!()
    }

    /// It has come.
    pub fn ready(&self, what: &str) {
        let _ = what;
        todo!()
    }

    /// Something that is asked at each `/readyz`: `Some(why)` while it is pending (a stale view, for example).
    pub fn check(&self, what: &str, pending: impl Fn() -> Option<String> + Send + Sync + 'static) {
        let _ = (what, pending);
        todo!()
    }

    /// What is pending now: name and why.
    pub fn what_is_pending(&self) -> Vec<(String, String)> {
        todo!()
    }

    /// Registers metrics under a prefix `marque_…`.
    pub fn metrics(&self, register: impl FnOnce(&mut Registry)) {
        let _ = register;
        todo!()
    }

    /// The metrics as `/metrics` shows them (OpenMetrics text).
    pub fn metrics_text(&self) -> String {
        todo!()
    }
}

/// Serves the page until shut down. Binds before it returns; the address tells the port where 0 was asked for.
pub async fn serve(listen: &str, health: Health, shutdown: Shutdown) -> std::io::Result<std::net::SocketAddr> {
    let _ = (listen, health, shutdown);
    todo!()
}
