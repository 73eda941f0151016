//! Waiting for a thing, with a deadline. The only place in the tests that looks again after a moment.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use marque_bus::Feed;

/// Long enough for two slow cores that are shared; a test that needs it has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `look` gives a value; panics with its last complaint at the deadline.
pub async fn eventually<T, E, F, Fut>(what: &str, deadline: Duration, mut look: F) -> T
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let until = Instant::now() + deadline;
    loop {
        match look().await {
            Ok(value) => return value,
            Err(complaint) if Instant::now() >= until => panic!("{what}: not within {deadline:?}: {complaint}"),
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Waits until `is_so`; panics at the deadline.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    eventually(what, DEADLINE, || std::future::ready(if is_so() { Ok(()) } else { Err("still not") })).await;
}

/// Waits until a view is fresh within `bound`; panics at the deadline.
pub async fn fresh(feed: &Feed, bound: Duration) {
    let waited = tokio::time::timeout(DEADLINE, feed.fresh(bound)).await;
    waited.unwrap_or_else(|_| panic!("the view is not fresh: not within {DEADLINE:?}: {:?}", feed.counted()));
}
