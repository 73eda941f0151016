//! Clients that the broker turns away by itself, as what they sent was longer than a control line may be: a chain that is
//! too large, or somebody who tries how much is read. The broker never asks about them; it tells of their end, like of
//! every client's that was not let in.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use marque_bus::BusError;
use marque_bus::callout::QUEUE_GROUP;
use marque_identity::refusal::quoted;
use marque_identity::{Code, Refusal};

use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::records::Records;
use crate::server::{Overlong, Server, overlong};

/// Records them.
pub(crate) struct OverlongClients {
    pub(crate) server: Server,
    pub(crate) records: Records,
    pub(crate) metrics: Metrics,
    /// The door's: both are open to strangers.
    pub(crate) pace: Arc<Pace>,
}

impl OverlongClients {
    /// Records each, for ever; of several gatekeepers one does. Events come at most once, so that one may be missed.
    pub(crate) async fn watch(&self) -> Result<(), BusError> {
        let mut ends = self.server.strangers(QUEUE_GROUP).await?;
        while let Some(message) = ends.next().await {
            if let Some(client) = overlong(&message.payload) {
                self.record(&client).await;
            }
        }
        Err(BusError::Unavailable("the broker's events have ended".into()))
    }

    /// *refused*, of nobody: no key was shown that could have been proven.
    async fn record(&self, client: &Overlong) {
        let message = format!("the broker closed a client of {}: its CONNECT is too large", quoted(&client.host));
        let refusal = Refusal::new(Code::Oversize, message);
        self.metrics.overlong();
        tracing::info!(cid = client.connection.cid, %refusal, "not admitted");
        if self.pace.allows(Instant::now()) {
            self.records.refused(&refusal, None, None).await;
        } else {
            self.metrics.refusal_unrecorded();
        }
    }
}
