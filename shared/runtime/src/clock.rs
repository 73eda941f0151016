//! The clock: the only place that asks the system what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use marque_identity::{UnixMillis, UnixSeconds};

/// Wall time, and monotonic time since this clock was made. Copies share the same start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// A clock whose monotonic time begins now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Seconds since 1970.
    pub fn unix(&self) -> UnixSeconds {
        self.unix_millis().seconds()
    }

    /// Milliseconds since 1970. A system clock before 1970 reads as 0.
    pub fn unix_millis(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Monotonic time since the start.
    pub fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
