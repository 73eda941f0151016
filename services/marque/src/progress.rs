//! How far a long command is: one line on a terminal that overwrites itself. Nothing anywhere else.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// A line is drawn at most so often.
const DRAW_TIME: Duration = Duration::from_millis(100);
const BAR_CELLS: u64 = 30;

/// A progress line on stderr.
pub(crate) struct Progress {
    shown: bool,
    begun: Instant,
    drawn: Cell<Option<Instant>>,
    what: &'static str,
}

impl Progress {
    /// Of so many `what`; shown only where stderr is a terminal.
    pub(crate) fn of(what: &'static str) -> Self {
        let shown = std::io::stderr().is_terminal();
        Self { shown, begun: Instant::now(), drawn: Cell::new(None), what }
    }

    /// So many are done.
    pub(crate) fn at(&self, done: u64, of: u64) {
        if !self.shown || self.drawn.get().is_some_and(|drawn| drawn.elapsed() < DRAW_TIME) {
            return;
        }
        self.drawn.set(Some(Instant::now()));
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K{}", line(done, of, self.what, self.begun.elapsed()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.get().is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn line(done: u64, of: u64, what: &str, took: Duration) -> String {
    let share = |whole: u64| u128::from(done.min(of)) * u128::from(whole) / u128::from(of.max(1));
    let full = usize::try_from(share(BAR_CELLS)).unwrap_or(0);
    let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR_CELLS as usize - full));
    let rate = done as f64 / took.as_secs_f64().max(0.001);
    format!("{bar} {:>3} %  {done} of {of} {what}, {rate:.0}/s", share(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far() {
        let at = |done, of| line(done, of, "leaves", Duration::from_secs(2));
        assert!(at(50, 100).contains(" 50 %  50 of 100 leaves, 25/s"));
        assert_eq!(at(100, 100).matches('█').count(), 30);
        assert_eq!(at(0, 0).matches('░').count(), 30);
        assert!(at(u64::MAX, 1).contains("100 %"));
    }
}
