//! Where a test kills a service: between two of its steps, by their names.
//!
//! In a debug build the process ends at once, as by `kill -9`, at the step that `MARQUE_KILL_AT` names, the n-th time it
//! is passed (`appended:3`; the first time without a number). In a release build a step is nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable.
pub const KILL_AT: &str = "MARQUE_KILL_AT";

/// The step of this name has been taken.
pub fn taken(step: &str) {
    if cfg!(debug_assertions) && is_due(step) {
        // No destructor, no flush: what is not on disk is lost.
        std::process::abort();
    }
}

fn is_due(step: &str) -> bool {
    static ASKED: OnceLock<Option<KillAt>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| std::env::var(KILL_AT).ok().and_then(|text| KillAt::parse(&text)));
    asked.as_ref().is_some_and(|asked| asked.passes(step))
}

/// What a test asked for.
struct KillAt {
    step: String,
    left: AtomicU64,
}

impl KillAt {
    fn parse(text: &str) -> Option<Self> {
        let (step, nth) = text.split_once(':').unwrap_or((text, "1"));
        let nth: u64 = nth.parse().ok().filter(|nth| *nth > 0)?;
        Some(Self { step: step.to_owned(), left: AtomicU64::new(nth) })
    }

    /// Whether this is the time at which the process ends.
    fn passes(&self, step: &str) -> bool {
        self.step == step && self.left.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_due_the_nth_time() {
        let asked = KillAt::parse("kept:2").unwrap();
        assert!(!asked.passes("kept") && !asked.passes("final") && asked.passes("kept") && !asked.passes("kept"));
        assert!(KillAt::parse("kept").unwrap().passes("kept"));
        for text in ["kept:0", "kept:x", "kept:"] {
            assert!(KillAt::parse(text).is_none(), "{text}");
        }
    }
}
