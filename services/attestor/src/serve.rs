//! The service's life: takes its socket, serves until it is asked to stop, leaves the path clean.

use std::time::Duration;

use marque_runtime::Shutdown;
use marque_runtime::run::{Context, Failure, ServiceSpec};
use marque_signing::Role;
use tokio::task::JoinSet;

use crate::Config;
use crate::desk::Desk;
use crate::metrics::Metrics;
use crate::socket::Socket;

/// What the service is called.
pub const SPEC: ServiceSpec = ServiceSpec {
    name: "marque-attestor",
    section: "attestor",
    version: env!("CARGO_PKG_VERSION"),
    about: "States, signed by the machine's key, which process holds an agent's key",
};

/// Tasks at once. More than there are seats, so that whoever finds none is told so; the rest wait in the kernel.
const TASKS_MAX: usize = 2 * crate::seats::CONNECTIONS_MAX;
/// After a failed accept, most likely for want of descriptors: until some are free again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long answers in hand may take after a drain was asked for: one line, one look, one answer.
const DRAIN_DEADLINE: Duration = Duration::from_secs(40);

/// Runs the service until it is asked to stop.
pub async fn serve(context: Context<Config>) -> Result<(), Failure> {
    let Context { config, shutdown, clock, health } = context;
    let (key, bundle) = (config.common.signing_key()?, config.common.trust_bundle()?);
    if !bundle.keys(Role::Attestor).contains(&key.public()) {
        tracing::warn!(attestor = %key.did(), "the trust bundle names no such attestor: issuers that go by it refuse this");
    }
    if !crate::hold::Hold::is_given() {
        tracing::warn!(
            "this kernel is older than 6.5: a number that is given anew before the first look does not show"
        );
    }
    let (path, host) = (config.attestor.socket()?, config.attestor.host_of(&bundle, &key.did())?);
    let domain = bundle.trust_domain;
    let metrics = Metrics::new();
    health.metrics(|registry| metrics.register(registry.sub_registry_with_prefix("attestor")));
    let socket = Socket::bind(&path).map_err(Failure::fatal)?;
    tracing::info!(socket = %path.display(), attestor = %key.did(), "serving");
    health.serving();
    let mut tasks = accept(&socket, &Desk::new(key, domain, host, clock, metrics), &shutdown).await;
    // The path goes first: nobody connects to what answers no more.
    drop(socket);
    let drained = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN_DEADLINE, drained).await;
    Ok(())
}

async fn accept(socket: &Socket, desk: &Desk, shutdown: &Shutdown) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.requested() => return tasks,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            accepted = socket.listener.accept(), if tasks.len() < TASKS_MAX => match accepted {
                Ok((stream, _)) => {
                    let desk = desk.clone();
                    tasks.spawn(async move { desk.serve(stream).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection could be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}
