//! The heartbeats' time: never goes back, runs at the pace of a monotonic clock, and follows the wall clock forward.

use std::time::Duration;

use marque_identity::UnixMillis;

/// Further ahead than this, the wall clock was set, or this machine slept: a new boot begins.
const STEP_MS: i64 = 1000;

/// Gives each heartbeat its `boot`, `n` and `t`.
#[derive(Debug)]
pub struct Beat {
    boot: UnixMillis,
    began: Duration,
    n: u64,
}

impl Beat {
    /// Begins at the wall clock's time, or at `floor` if that is later: the stream's last heartbeat.
    pub fn new(wall: UnixMillis, floor: UnixMillis, monotonic: Duration) -> Self {
        Self { boot: wall.max(floor), began: monotonic, n: 0 }
    }

    /// The next heartbeat's `boot`, `n` and `t`.
    pub fn next(&mut self, wall: UnixMillis, monotonic: Duration) -> (UnixMillis, u64, UnixMillis) {
        let mut t = self.time(monotonic);
        if wall.0.saturating_sub(t.0) > STEP_MS {
            // A wall clock that falls behind changes nothing: time does not go back.
            *self = Self::new(wall, t, monotonic);
            t = self.boot;
        }
        self.n += 1;
        (self.boot, self.n, t)
    }

    /// A later floor has become known: a heartbeat in the stream that is ahead of us.
    pub fn raise(&mut self, floor: UnixMillis, monotonic: Duration) {
        if floor > self.time(monotonic) {
            *self = Self::new(floor, floor, monotonic);
        }
    }

    fn time(&self, monotonic: Duration) -> UnixMillis {
        let since_ms = i64::try_from(monotonic.saturating_sub(self.began).as_millis()).unwrap_or(i64::MAX);
        UnixMillis(self.boot.0.saturating_add(since_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn runs_with_the_monotonic_clock_whatever_the_wall_clock_does_by_little() {
        let mut beat = Beat::new(UnixMillis(5000), UnixMillis(0), ms(10));
        assert_eq!(beat.next(UnixMillis(5900), ms(260)), (UnixMillis(5000), 1, UnixMillis(5250)));
        assert_eq!(beat.next(UnixMillis(1), ms(510)), (UnixMillis(5000), 2, UnixMillis(5500)));
    }

    #[test]
    fn a_step_forward_is_a_new_boot() {
        let mut beat = Beat::new(UnixMillis(5000), UnixMillis(0), ms(0));
        beat.next(UnixMillis(5250), ms(250));
        assert_eq!(beat.next(UnixMillis(60_000), ms(500)), (UnixMillis(60_000), 1, UnixMillis(60_000)));
    }

    #[test]
    fn never_goes_below_the_stream() {
        let mut beat = Beat::new(UnixMillis(5000), UnixMillis(9000), ms(0));
        assert_eq!(beat.next(UnixMillis(5000), ms(250)).2, UnixMillis(9250));
        beat.raise(UnixMillis(20_000), ms(500));
        assert_eq!(beat.next(UnixMillis(5000), ms(750)), (UnixMillis(20_000), 1, UnixMillis(20_250)));
    }
}
