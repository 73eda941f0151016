//! The steps between which the sink may be killed, by name, so that a test can kill it at each
//! ([`marque_runtime::kill_at`]).

pub use marque_runtime::kill_at::KILL_AT;

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
        marque_runtime::kill_at::taken(self.name());
    }
}
