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
    /// `new-epoch`: what a try before has left lies aside.
    SetAside,
    /// `new-epoch`: the epoch's folder is there, and empty.
    Founded,
    /// `new-epoch`: its store is there, without a leaf.
    Stored,
    /// `new-epoch`: its genesis is a leaf.
    Begun,
    /// `new-epoch`: its genesis is a file, too, and the epoch is not the log.
    GenesisKept,
    /// `bootstrap`: some of an archive's leaves are in a store that is no log yet.
    Filling,
    /// `bootstrap`: the log is there, and of a later epoch: not named.
    Restored,
    /// `new-epoch`, and `bootstrap` of a later epoch: the epoch is the log.
    Entered,
}

impl Step {
    /// Every step of a sink that serves, in the order in which a record comes by.
    pub const SERVING: [Self; 10] = [
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

    /// Every step of `new-epoch`, in its order.
    pub const NEW_EPOCH: [Self; 9] = [
        Self::Rooted,
        Self::Kept,
        Self::Final,
        Self::SetAside,
        Self::Founded,
        Self::Stored,
        Self::Begun,
        Self::GenesisKept,
        Self::Entered,
    ];

    /// Every step of `bootstrap`, in its order.
    pub const BOOTSTRAP: [Self; 3] = [Self::Filling, Self::Restored, Self::Entered];

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
            Self::SetAside => "set_aside",
            Self::Founded => "founded",
            Self::Stored => "stored",
            Self::Begun => "begun",
            Self::GenesisKept => "genesis_kept",
            Self::Filling => "filling",
            Self::Restored => "restored",
            Self::Entered => "entered",
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
