//! Waiting until the broadcaster hears who applies its directives, so that a directive's reach counts all of them.

use std::time::Duration;

use marque_bus::Bus;
use marque_identity::{Code, Did};
use marque_revocation::StatusRequest;
use marque_signing::bundle::Role;

use crate::Failure;
use crate::directive::status;

/// A view is fresh after a heartbeat (250 ms) once the feed has caught up, and then it is acked.
const HEARD_TIME: Duration = Duration::from_secs(20);
/// One question to the broadcaster.
const ASK_TIME: Duration = Duration::from_secs(10);
/// How often it is asked whom it hears.
const POLL_TIME: Duration = Duration::from_millis(50);

/// Waits until it has heard this tool host, a verifier and a gatekeeper.
pub(crate) async fn until_heard(bus: &Bus, host: &Did) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + HEARD_TIME;
    loop {
        let verifiers = status::status(bus, StatusRequest::default(), ASK_TIME).await?.verifiers;
        let of = |role: Role| verifiers.iter().any(|heard| heard.role == role);
        let all = of(Role::Verifier) && of(Role::Gatekeeper);
        if all && verifiers.iter().any(|heard| heard.verifier == *host) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            let message = format!(
                "the broadcaster hears {}, not the verifier, the gatekeeper and the tool host",
                verifiers.len()
            );
            return Err(Failure::new(Code::Unavailable, message));
        }
        tokio::time::sleep(POLL_TIME).await;
    }
}

/// Waits until a tool's host answers for it.
pub(crate) async fn until_served(bus: &Bus, tool_subject: &str) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + HEARD_TIME;
    let ping = format!("$SRV.PING.{}", marque_agent::enforce::service_name(tool_subject));
    while let Err(error) = bus.request(&ping, Default::default(), Vec::new(), ASK_TIME).await {
        if tokio::time::Instant::now() > deadline {
            return Err(Failure::new(Code::Unavailable, format!("nobody serves nats:{tool_subject}: {error}")));
        }
        tokio::time::sleep(POLL_TIME).await;
    }
    Ok(())
}
