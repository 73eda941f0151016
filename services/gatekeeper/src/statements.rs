//! The connection over which agents' statements come: made anew whenever it is lost.
//!
//! An agent chooses the headers of what it sends here. On a bare carriage return in one, async-nats 0.51 ends the task
//! that drives the connection. Elsewhere that ends the process, to be started again; here it must not, since every agent
//! waits for this process to be let in.

use std::sync::Arc;
use std::time::Duration;

use marque_bus::{Bus, BusError, ConnectOptions, Endpoint, Service, subjects};
use marque_judgement::record::RECORD_BYTES_MAX;
use marque_runtime::Shutdown;
use tokio::sync::{oneshot, watch};
use tracing::Instrument;

use crate::scribe::Scribe;
use crate::serve::SPEC;
use crate::span;

/// Its name among the micro services.
const NAME: &str = "marque-gatekeeper-statements";
/// Whoever breaks it again and again is served again and again, this much later.
const PAUSE: Duration = Duration::from_millis(250);

/// The connection for agents' statements, of which there is always at most one.
pub(crate) struct Statements {
    options: ConnectOptions,
    /// The one that serves now.
    pub(crate) current: watch::Sender<Option<Bus>>,
}

impl Statements {
    /// Not connected yet; connects by these.
    pub(crate) fn by(options: ConnectOptions) -> Self {
        Self { options, current: watch::Sender::new(None) }
    }

    /// Serves statements until the shutdown, and what had come by then within `drain`; an error is one that trying again
    /// does not mend.
    pub(crate) async fn serve(
        &self,
        scribe: &Arc<Scribe>,
        requests_max: usize,
        shutdown: &Shutdown,
        drain: Duration,
    ) -> Result<(), BusError> {
        loop {
            let bus = Bus::connect(self.options.clone()).await?;
            let (lost, is_lost) = oneshot::channel();
            bus.when_lost(move || {
                let _ = lost.send(());
            });
            tokio::select! {
                () = bus.connected() => {}
                () = shutdown.requested() => return Ok(()),
            }
            let scribe = scribe.clone();
            let endpoint = Endpoint::new("statement", subjects::STATEMENTS_ALL, move |request| {
                let (scribe, span) = (scribe.clone(), span::of("statement", &request));
                async move { scribe.store(request).await }.instrument(span)
            });
            let endpoint = endpoint.concurrency(requests_max).bytes_max(RECORD_BYTES_MAX);
            let service = Service::new(NAME, SPEC.version, "Stores agents' own records").endpoint(endpoint);
            self.current.send_replace(Some(bus.clone()));
            tokio::select! {
                _ = is_lost => {}
                served = serving(service, &bus, shutdown, drain) => match served {
                    Ok(()) => return bus.drain().await,
                    Err(error) => tracing::warn!(%error, "agents' statements can't be served now"),
                }
            }
            // What nobody drives any more would be called connected for ever.
            self.current.send_replace(None);
            tracing::warn!("the connection for agents' statements was lost, and is made anew");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Serves until the shutdown, then what has come. The next statement goes to another gatekeeper.
async fn serving(service: Service, bus: &Bus, shutdown: &Shutdown, drain: Duration) -> Result<(), BusError> {
    let running = tokio::select! {
        running = service.start(bus) => running?,
        // The broker has gone meanwhile: nothing is served, so nothing is in hand.
        () = shutdown.requested() => return Ok(()),
    };
    shutdown.requested().await;
    running.drain(drain).await;
    Ok(())
}
