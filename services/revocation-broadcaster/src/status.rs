//! `marque.revocation.status`: what is active, who is present, what waits.

use std::time::Instant;

use marque_identity::{Code, Refusal};
use marque_json::Limits;
use marque_revocation::StatusRequest;

use crate::outbox::Outbox;
use crate::records::blocking;
use crate::roster::Roster;
use crate::stream::Head;

const REQUEST_BYTES_MAX: usize = 1024;
/// A status answer stays well below the bus's 64 KiB.
const VERIFIERS_MAX: usize = 200;

/// Answers a status request; an empty one asks for the first page.
pub(crate) async fn answer(head: &Head, outbox: &Outbox, roster: &Roster, payload: &[u8]) -> Result<Vec<u8>, Refusal> {
    let request = match payload {
        [] => StatusRequest::default(),
        payload => marque_json::from_slice(payload, Limits::bytes(REQUEST_BYTES_MAX))
            .map_err(|error| Refusal::new(marque_signing::jws::json_code(&error), error.to_string()))?,
    };
    let mut status = head.status(request.after.unwrap_or_default());
    (status.pending, _) = blocking(outbox, Outbox::waiting).await?;
    status.verifiers = roster.present(Instant::now());
    status.verifiers.truncate(VERIFIERS_MAX);
    serde_json::to_vec(&status).map_err(|error| Refusal::new(Code::Internal, error.to_string()))
}
