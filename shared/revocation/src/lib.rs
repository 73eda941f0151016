//! Directives, a verifier's view of them, and how fresh that view is.
//!
//! In scope: what a directive is and how it is signed (RFC 8417, CAEP), heartbeats, acks and receipts, the
//! signed request for a directive, and [`View`]: a state machine without I/O and without a clock, event in,
//! effects out. Out of scope: how bytes travel (`marque-bus`), who may ask (`revocation-broadcaster`), what a
//! narrowing means for a call (`marque-judgement`).
//!
//! Source: schemas/README.md, "Directives".

mod ack;
mod active;
mod active_set;
mod directive;
mod error;
mod freshness;
mod heartbeat;
mod id;
mod narrow;
mod opener;
mod pace;
mod receipt;
mod request;
mod security_event;
mod signer;
mod slot;
mod sum;
mod target;
mod view;

pub use ack::{ACK_BYTES_MAX, ACK_TYP, Ack, AckKind, CLOSED_NAMED_MAX, Closed, ClosedConnection};
pub use active::{ActiveDirective, Overlay};
pub use active_set::ActiveSet;
pub use directive::{Directive, Op, REASON_BYTES_MAX, SignedDirective};
pub use error::RevocationError;
pub use freshness::Freshness;
pub use heartbeat::{HEARTBEAT_BYTES_MAX, HEARTBEAT_TYP, Heartbeat};
pub use id::{DirectiveId, DirectiveIdError};
pub use narrow::{NARROW_BYTES_MAX, Narrow};
pub use opener::{OPENED_MAX, Opener};
pub use receipt::{RECEIPT_CLOSED_NAMED_MAX, Receipt};
pub use request::{
    DirectiveReply, DirectiveRequest, DirectiveStatus, REQUEST_BYTES_MAX, REQUEST_TYP, StatusReply, StatusRequest,
    VerifierStatus, Wait,
};
pub use security_event::{DIRECTIVE_BYTES_MAX, DIRECTIVE_TYP, DirectiveEvent, SecurityEvent};
pub use sum::SetDigest;
pub use target::{Target, TargetKind, TargetRef};
pub use view::{Alarm, Effect, Event, Item, View};
