//! Times as people read and write them.

use std::time::Duration;

use marque_identity::{UnixMillis, UnixSeconds};

/// `2026-11-23T19:40:00Z`.
pub(crate) fn utc(time: UnixSeconds) -> String {
    jiff::Timestamp::from_second(time.0).map_or_else(|_| format!("{} s", time.0), |at| at.to_string())
}

/// The same with milliseconds.
pub(crate) fn utc_millis(time: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(time.0).map_or_else(|_| format!("{} ms", time.0), |at| at.to_string())
}

/// A moment as it is written on a command line: RFC 3339, Unix seconds, or `+15m` from now.
pub(crate) fn moment(text: &str) -> Result<UnixSeconds, String> {
    if let Some(ahead) = text.strip_prefix('+') {
        let seconds = i64::try_from(crate::cli::duration(ahead)?.as_secs()).unwrap_or(i64::MAX);
        return Ok(marque_runtime::Clock::new().unix().plus(seconds));
    }
    if let Ok(seconds) = text.parse() {
        return Ok(UnixSeconds(seconds));
    }
    let at: jiff::Timestamp =
        text.parse().map_err(|_| format!("`{text}` is no time: write 2026-01-31T12:00:00Z, Unix seconds, or +15m"))?;
    Ok(UnixSeconds(at.as_second()))
}

/// A measured time in a width that lines up: `812 µs`, `3.2 ms`, `1.25 s`.
pub(crate) fn measured(time: Duration) -> String {
    let micros = time.as_micros();
    if micros < 1_000 {
        format!("{micros} µs")
    } else if micros < 1_000_000 {
        format!("{:.1} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_three_ways_of_naming_a_moment() {
        assert_eq!(moment("1970-01-02T00:00:00Z"), Ok(UnixSeconds(86_400)));
        assert_eq!(moment("86400"), Ok(UnixSeconds(86_400)));
        assert!(moment("+1h").is_ok());
        assert!(moment("tomorrow").is_err());
        assert_eq!(utc(UnixSeconds(86_400)), "1970-01-02T00:00:00Z");
    }

    #[test]
    fn shows_a_time_in_a_fitting_unit() {
        assert_eq!(measured(Duration::from_micros(812)), "812 µs");
        assert_eq!(measured(Duration::from_micros(3_210)), "3.2 ms");
        assert_eq!(measured(Duration::from_millis(1_250)), "1.25 s");
    }
}
