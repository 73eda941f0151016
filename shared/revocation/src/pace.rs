//! How late a heartbeat is when it is received, by the pace of the broadcaster's clock and our own.
//!
//! A heartbeat that is received now was not sent now: it may have lain in a socket while this process was
//! stopped. Measuring its age from its receipt would make a view fresh for the moment in which it reads an old
//! backlog (promise 2). So each heartbeat's `t` is compared with the fastest one so far: the clocks need not
//! agree, only run at nearly the same pace. The fastest delivery seen is what can't be measured; it is part of
//! the bound.

use marque_identity::UnixMillis;

/// Two clocks drift apart by no more than NTP's largest frequency correction, 500 ppm.
const DRIFT_PPM: i64 = 500;
/// Within a boot this much jitter is still real time.
const STEADY_JITTER_MS: i64 = 100;
/// A new boot whose clock lies behind is believed after heartbeats have arrived in real time for so long. A
/// backlog can't: it is read faster than it was written.
const STEADY_SPAN_MS: i64 = 1000;

/// What is known of the broadcaster's clock.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    floor: Option<Floor>,
    candidate: Option<Candidate>,
}

/// The smallest offset (receipt − `t`) seen, and when.
#[derive(Debug, Clone, Copy)]
struct Floor {
    boot: UnixMillis,
    offset_ms: i64,
    at_ms: i64,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    boot: UnixMillis,
    offset_ms: i64,
    since_t_ms: i64,
}

impl Pace {
    /// How many milliseconds a heartbeat is late that is received live at `now_ms`.
    pub(crate) fn lag_ms(&mut self, boot: UnixMillis, t: UnixMillis, now_ms: i64) -> i64 {
        let offset_ms = now_ms.saturating_sub(t.0);
        let Some(floor) = &mut self.floor else {
            self.floor = Some(Floor { boot, offset_ms, at_ms: now_ms });
            return 0;
        };
        let drift_ms = now_ms.saturating_sub(floor.at_ms).max(0).saturating_mul(DRIFT_PPM) / 1_000_000;
        let lag_ms = offset_ms.saturating_sub(floor.offset_ms.saturating_add(drift_ms));
        if lag_ms <= 0 {
            *floor = Floor { boot, offset_ms, at_ms: now_ms };
            self.candidate = None;
            return 0;
        }
        if boot == floor.boot {
            return lag_ms;
        }
        if lag_ms <= STEADY_JITTER_MS {
            floor.boot = boot;
            return lag_ms;
        }
        self.rebase(boot, t, offset_ms, now_ms, lag_ms)
    }

    /// A new boot with a clock behind the old one: a backlog, or a clock that was set back?
    fn rebase(&mut self, boot: UnixMillis, t: UnixMillis, offset_ms: i64, now_ms: i64, lag_ms: i64) -> i64 {
        let fresh = Candidate { boot, offset_ms, since_t_ms: t.0 };
        let candidate = match self.candidate {
            // Arrived sooner after its predecessors than it was sent after them: not yet real time.
            Some(known) if known.boot == boot && offset_ms >= known.offset_ms - STEADY_JITTER_MS => known,
            Some(_) | None => fresh,
        };
        self.candidate = Some(candidate);
        if t.0.saturating_sub(candidate.since_t_ms) < STEADY_SPAN_MS {
            return lag_ms;
        }
        self.floor = Some(Floor { boot, offset_ms: offset_ms.min(candidate.offset_ms), at_ms: now_ms });
        self.candidate = None;
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: UnixMillis = UnixMillis(1);

    fn seen(pace: &mut Pace, boot: UnixMillis, t: i64, now: i64) -> i64 {
        pace.lag_ms(boot, UnixMillis(t), now)
    }

    #[test]
    fn a_backlog_shows_its_age() {
        let mut pace = Pace::default();
        assert_eq!(seen(&mut pace, BOOT, 1_000_000, 100), 0);
        assert_eq!(seen(&mut pace, BOOT, 1_000_250, 350), 0);
        // Stopped for ten seconds, then forty heartbeats at once.
        let lags: Vec<i64> = (0..40).map(|n| seen(&mut pace, BOOT, 1_000_500 + 250 * n, 10_600)).collect();
        assert!(lags[0] > 9_900 && lags[39] < 260, "{lags:?}");
        assert!(lags.windows(2).all(|pair| pair[1] < pair[0]));
    }

    #[test]
    fn drift_does_not_add_up() {
        let mut pace = Pace::default();
        // Our clock runs 200 ppm faster than the broadcaster's, for a day.
        for beat in 0..(24 * 3600 * 4) {
            let now = beat * 250;
            assert!(seen(&mut pace, BOOT, now - now / 5000, now) <= 1);
        }
    }

    #[test]
    fn a_clock_set_back_is_believed_only_at_real_pace() {
        let mut pace = Pace::default();
        seen(&mut pace, BOOT, 1_000_000, 0);
        let boot = UnixMillis(2);
        let lags: Vec<i64> = (0..8).map(|n| seen(&mut pace, boot, 900_000 + 250 * n, 250 * n)).collect();
        assert!(lags[..4].iter().all(|lag| *lag > 90_000) && lags[4..].iter().all(|lag| *lag == 0), "{lags:?}");
    }

    #[test]
    fn a_backlog_of_another_boot_is_not_believed() {
        let mut pace = Pace::default();
        seen(&mut pace, BOOT, 1_000_000, 0);
        // Read at once after a stop of 60 s: written in a new boot at real time.
        for n in 0..100 {
            let lag = seen(&mut pace, UnixMillis(2), 1_010_000 + 250 * n, 60_000);
            assert!(lag >= 60_000 - 10_000 - 250 * n - 40, "{n} {lag}");
        }
    }
}
