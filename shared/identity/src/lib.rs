//! The names of things: who acts, for which task, under which token, when, and why something was refused.
//!
//! In scope: vocabulary with its parsing and printing. Out of scope: keys (see `marque-signing`), JSON
//! (see `marque-json`), and every judgement.

mod base58;
mod did;
mod digits;
mod domain;
mod epoch;
mod name;
pub mod refusal;
mod task;
mod time;
mod token;

pub use did::{Did, DidError};
pub use domain::{TrustDomain, TrustDomainError};
pub use epoch::Epoch;
pub use name::{BlueprintName, NameError, Sponsor};
pub use refusal::{Blame, Code, Refusal};
pub use task::{TaskId, TaskIdError};
pub use time::{UnixMillis, UnixSeconds};
pub use token::{Digest, DigestError, TokenId};
