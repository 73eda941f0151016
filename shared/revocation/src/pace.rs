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
/// A new boot tells nothing of how its clock stands to the old one, so it is believed after its heartbeats have
/// arrived in real time for so long. A backlog can't: it is read faster than it was written.
const STEADY_SPAN_MS: i64 = 1000;
/// This much jitter is still real time.
const STEADY_JITTER_MS: i64 = 100;

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
    /// How many milliseconds a heartbeat is late that is received live at `now_ms`; `None` while that can't be
    /// told: it proves nothing then.
    ///
    /// The first heartbeat of all is taken to be in time: the caller has only just subscribed.
    pub(crate) fn lag_ms(&mut self, boot: UnixMillis, t: UnixMillis, now_ms: i64) -> Option<i64> {
        let offset_ms = now_ms.saturating_sub(t.0);
        let here = Floor { boot, offset_ms, at_ms: now_ms };
        let floor = *self.floor.get_or_insert(here);
        if floor.boot != boot {
            return self.rebase(here, t);
        }
        self.candidate = None;
        let drift_ms = now_ms.saturating_sub(floor.at_ms).max(0).saturating_mul(DRIFT_PPM) / 1_000_000;
        let lag_ms = offset_ms.saturating_sub(floor.offset_ms.saturating_add(drift_ms));
        if lag_ms <= 0 {
            self.floor = Some(here);
        }
        Some(lag_ms.max(0))
    }

    fn rebase(&mut self, here: Floor, t: UnixMillis) -> Option<i64> {
        let candidate = match self.candidate {
            // Else it came sooner after its predecessors than it was sent after them: not real time.
            Some(known) if known.boot == here.boot && here.offset_ms >= known.offset_ms - STEADY_JITTER_MS => known,
            Some(_) | None => Candidate { boot: here.boot, offset_ms: here.offset_ms, since_t_ms: t.0 },
        };
        self.candidate = Some(candidate);
        if t.0.saturating_sub(candidate.since_t_ms) < STEADY_SPAN_MS {
            return None;
        }
        let offset_ms = here.offset_ms.min(candidate.offset_ms);
        self.floor = Some(Floor { offset_ms, ..here });
        self.candidate = None;
        Some(here.offset_ms - offset_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: UnixMillis = UnixMillis(1);

    fn seen(pace: &mut Pace, boot: UnixMillis, t: i64, now: i64) -> Option<i64> {
        pace.lag_ms(boot, UnixMillis(t), now)
    }

    #[test]
    fn a_backlog_shows_its_age() {
        let mut pace = Pace::default();
        assert_eq!(seen(&mut pace, BOOT, 1_000_000, 100), Some(0));
        assert_eq!(seen(&mut pace, BOOT, 1_000_250, 350), Some(0));
        // Stopped for ten seconds, then forty heartbeats at once.
        let lags: Vec<i64> = (0..40).filter_map(|n| seen(&mut pace, BOOT, 1_000_500 + 250 * n, 10_600)).collect();
        assert!(lags[0] > 9_900 && lags[39] < 260, "{lags:?}");
        assert!(lags.windows(2).all(|pair| pair[1] < pair[0]));
    }

    #[test]
    fn drift_does_not_add_up() {
        let mut pace = Pace::default();
        // Our clock runs 200 ppm faster than the broadcaster's, for a day.
        for beat in 0..(24 * 3600 * 4) {
            let now = beat * 250;
            assert!(seen(&mut pace, BOOT, now - now / 5000, now) <= Some(1));
        }
    }

    #[test]
    fn a_new_boot_is_believed_once_it_arrives_at_real_pace() {
        let mut pace = Pace::default();
        seen(&mut pace, BOOT, 1_000_000, 0);
        for clock in [900_000, 1_000_250, 9_000_000] {
            let boot = UnixMillis(clock);
            let lags: Vec<_> = (0..6).map(|n| seen(&mut pace, boot, clock + 250 * n, 250 * n)).collect();
            assert_eq!(lags, [None, None, None, None, Some(0), Some(0)]);
        }
    }

    #[test]
    fn a_backlog_of_a_new_boot_is_not_believed() {
        let mut pace = Pace::default();
        seen(&mut pace, BOOT, 1_000_000, 0);
        // Read at once after a stop: written in real time, by a clock that was set a minute forward.
        for n in 0..100 {
            assert_eq!(seen(&mut pace, UnixMillis(2), 1_060_000 + 250 * n, 60_000), None, "{n}");
        }
    }
}
