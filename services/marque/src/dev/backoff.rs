//! How long to wait before a process that ended is started again.

use std::time::Duration;

const DELAY_FIRST: Duration = Duration::from_millis(200);
const DELAY_LAST: Duration = Duration::from_secs(10);
/// What has lived so long did not end because of how it was started.
const SETTLED_TIME: Duration = Duration::from_secs(30);

/// Doubles from one early end to the next.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    early_ends: u32,
}

impl Backoff {
    /// The delay after an end, of a process that had lived so long.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= SETTLED_TIME {
            self.early_ends = 0;
        }
        let delay = DELAY_FIRST.saturating_mul(1 << self.early_ends.min(16)).min(DELAY_LAST);
        self.early_ends = self.early_ends.saturating_add(1);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_limit_and_forgets_once_a_process_has_settled() {
        let mut backoff = Backoff::default();
        let delays: Vec<u128> = (0..8).map(|_| backoff.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(delays, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(backoff.after(SETTLED_TIME - Duration::from_millis(1)), DELAY_LAST);
        assert_eq!(backoff.after(SETTLED_TIME), DELAY_FIRST);
        backoff.early_ends = u32::MAX;
        assert_eq!(backoff.after(Duration::ZERO), DELAY_LAST);
    }
}
