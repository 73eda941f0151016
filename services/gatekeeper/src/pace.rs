//! How many refusals are recorded one by one: strangers do not fill the audit stream.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Refusals that are recorded one by one; whoever knocks faster than that is counted (`refusals_unrecorded`).
const REFUSALS_PER_SECOND: f64 = 50.0;
/// And at once.
const REFUSALS_BURST: f64 = 200.0;

/// A bucket that fills at a rate.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<(f64, Instant)>);

impl Pace {
    /// A full bucket.
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new((REFUSALS_BURST, now)))
    }

    /// Takes one out, if there is one.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since: Duration = now.saturating_duration_since(bucket.1);
        let filled = (bucket.0 + since.as_secs_f64() * REFUSALS_PER_SECOND).min(REFUSALS_BURST);
        let allowed = filled >= 1.0;
        *bucket = (if allowed { filled - 1.0 } else { filled }, now);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_does_not_fill_the_stream() {
        let start = Instant::now();
        let pace = Pace::new(start);
        assert_eq!((0..1000).filter(|_| pace.allows(start)).count(), 200);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..1000).filter(|_| pace.allows(later)).count(), 50);
    }
}
