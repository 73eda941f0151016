//! The steps of a request between which the issuer may be killed, by name, so that a test can kill it at each
//! ([`marque_runtime::kill_at`]).

pub use marque_runtime::kill_at::KILL_AT;

/// A step of the desk's story that has just been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// What is granted is signed, and nothing of it is kept.
    Signed,
    /// The grant is kept with the use of its evidence, and its record is not published.
    Begun,
    /// The record is stored, and the store does not know it.
    Recorded,
    /// The store knows it, and the request is not answered.
    Settled,
}

impl Step {
    /// Every step, in its order.
    pub const ALL: [Self; 4] = [Self::Signed, Self::Begun, Self::Recorded, Self::Settled];

    /// What [`KILL_AT`] calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Begun => "begun",
            Self::Recorded => "recorded",
            Self::Settled => "settled",
        }
    }

    /// The step has been taken.
    pub(crate) fn taken(self) {
        marque_runtime::kill_at::taken(self.name());
    }
}
