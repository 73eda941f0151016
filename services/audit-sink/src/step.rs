//! The steps between which the sink may be killed, by name, so that a test can kill it at each.
//!
//! In a debug build the process ends at once, as by `kill -9`, at the step that `MARQUE_KILL_AT` names, the n-th time it
//! is passed (`appended:3`; the first time without a number). In a release build a step is nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable.
pub const KILL_AT: &str = "MARQUE_KILL_AT";

/// A step that has just been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Messages have come, and nothing is written.
    Fetched,
    /// Leaves are durable; nobody has judged them.
    Appended,
    /// Leaves are judged, and not indexed.
    Judged,
    /// Leaves are in the index, and not in the inventory.
    Indexed,
    /// Leaves are in the inventory.
    TakenStock,
    /// A root is computed, and not signed.
    Rooted,
    /// A checkpoint is signed and kept, and not final.
    Kept,
    /// A checkpoint is final and kept, and not published.
    Final,
    /// A checkpoint is published.
    Published,
    /// Another sink's checkpoint is cosigned and kept, and nobody is told.
    Cosigned,
}

impl Step {
    /// Every step, in the order in which a record comes by.
    pub const ALL: [Self; 10] = [
        Self::Fetched,
        Self::Appended,
        Self::Judged,
        Self::Indexed,
        Self::TakenStock,
        Self::Rooted,
        Self::Kept,
        Self::Final,
        Self::Published,
        Self::Cosigned,
    ];

    /// What [`KILL_AT`] calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Appended => "appended",
            Self::Judged => "judged",
            Self::Indexed => "indexed",
            Self::TakenStock => "taken_stock",
            Self::Rooted => "rooted",
            Self::Kept => "kept",
            Self::Final => "final",
            Self::Published => "published",
            Self::Cosigned => "cosigned",
        }
    }

    /// The step has been taken.
    pub(crate) fn taken(self) {
        if cfg!(debug_assertions) && KillAt::is_due(self) {
            // No destructor, no flush: what is not on disk is lost.
            std::process::abort();
        }
    }
}

/// What a test asked for.
struct KillAt {
    step: String,
    left: AtomicU64,
}

impl KillAt {
    fn is_due(step: Step) -> bool {
        static ASKED: OnceLock<Option<KillAt>> = OnceLock::new();
        let asked = ASKED.get_or_init(|| std::env::var(KILL_AT).ok().and_then(|text| Self::parse(&text)));
        asked.as_ref().is_some_and(|asked| asked.step == step.name() && asked.left.fetch_sub(1, Ordering::SeqCst) == 1)
    }

    fn parse(text: &str) -> Option<Self> {
        let (step, nth) = text.split_once(':').unwrap_or((text, "1"));
        let nth: u64 = nth.parse().ok().filter(|nth| *nth > 0)?;
        Some(Self { step: step.to_owned(), left: AtomicU64::new(nth) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_due_the_nth_time() {
        let asked = KillAt::parse("kept:2").unwrap();
        assert_eq!((asked.step.as_str(), asked.left.load(Ordering::SeqCst)), ("kept", 2));
        assert_eq!(KillAt::parse("kept").unwrap().left.load(Ordering::SeqCst), 1);
        for text in ["kept:0", "kept:x", "kept:"] {
            assert!(KillAt::parse(text).is_none(), "{text}");
        }
    }
}
