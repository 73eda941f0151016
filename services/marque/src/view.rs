//! The directives that are in force, as an enforcement point sees them.

use std::time::Duration;

use marque_agent::enforce::STALENESS_STANDARD;
use marque_bus::{Bus, Feed, FeedOptions};
use marque_identity::Code;
use marque_signing::{Role, TrustBundle};

use crate::{Failure, bus_failure};

/// As old as the view may be: the standard tier's bound, which is the gatekeeper's too.
pub(crate) const STALENESS: Duration = STALENESS_STANDARD;
/// So long it is waited for: it begins with the next heartbeat, and rides out a leader crash.
const FRESH_TIME: Duration = Duration::from_secs(15);

/// A view that is fresh. A failure says that nobody could tell what is in force.
pub(crate) async fn fresh(bus: &Bus, bundle: &TrustBundle) -> Result<Feed, Failure> {
    let feed = Feed::start(bus, bundle.keys(Role::Broadcaster), FeedOptions::default()).await.map_err(bus_failure)?;
    tokio::time::timeout(FRESH_TIME, feed.fresh(STALENESS)).await.map_err(|_| {
        let pending = feed.view().freshness(feed.now(), STALENESS).pending().unwrap_or_default();
        Failure::new(Code::ViewStale, format!("which directives are in force could not be learned: {pending}"))
            .hint("`marque doctor` looks at the broadcaster and the broker; --offline tells what was signed, without directives")
    })?;
    Ok(feed)
}
