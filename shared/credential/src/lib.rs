//! Credentials: who an agent is, and what it may do.
//!
//! In scope: the tokens of AAT draft -02 (root, derived, proof) read and minted, their constraints with `check` and
//! `subsumes`, the identity credential (W3C VC 2.0 as a JWT), and an attestor's evidence behind it. Out of scope: whether a chain holds (see
//! `marque-judgement`), whether a directive has ended it (see `marque-revocation`), and where keys live.
//!
//! What this room gives is well-formed, not trusted: only `judgement::chain` makes a verified chain.

pub mod aat;
pub mod constraint;
mod equality;
mod error;
pub mod evidence;
pub mod identity_credential;
pub mod limits;
pub mod proof;
mod schema;
pub mod tools;

pub use aat::{AgentClaim, DerivedRequest, MarqueClaims, RootRequest, derive, mint_root};
pub use constraint::{Constraint, ConstraintError};
pub use equality::canonically_equal;
pub use error::CredentialError;
pub use evidence::{EvidenceDigest, EvidenceKind, Manifest, ProcessEvidence};
pub use identity_credential::{Assurance, IdentityClaims, IdentityCredential, Runtime, VerifiedCredential};
pub use proof::{ProofRequest, make_proof};
pub use tools::{CallRefused, ConstraintMap, Entry, Tools, ToolsError, Widening};
