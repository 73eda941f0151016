//! Takes the verifiers' acks: from keys of the bundle alone, each signature checked.

use std::collections::HashMap;
use std::time::Instant;

use futures::StreamExt;
use marque_bus::{Bus, BusError, subjects};
use marque_identity::Did;
use marque_revocation::{ACK_BYTES_MAX, Ack};
use marque_signing::{PublicKey, Role, TrustBundle};

use crate::metrics::Metrics;
use crate::roster::Roster;

/// Takes acks for ever.
pub(crate) async fn take(bus: Bus, bundle: TrustBundle, roster: Roster, metrics: Metrics) -> Result<(), BusError> {
    let keys: HashMap<Did, PublicKey> =
        [Role::Verifier, Role::Host].iter().flat_map(|role| bundle.keys(*role)).map(|key| (key.did(), key)).collect();
    let acks = bus.client().subscribe(subjects::ACKS_ALL).await;
    let mut acks = acks.map_err(|error| BusError::Unavailable(error.to_string()))?;
    while let Some(message) = acks.next().await {
        match open(&keys, message.subject.as_str(), &message.payload) {
            Some(ack) => {
                if let Some(took) = roster.heard(&ack, Instant::now()) {
                    metrics.acked(took);
                }
            }
            None => metrics.ack_refused(),
        }
    }
    Ok(())
}

/// The key is chosen by the bus subject, before any signature is looked at: noise costs a look-up.
fn open(keys: &HashMap<Did, PublicKey>, subject: &str, payload: &[u8]) -> Option<Ack> {
    let did = Did::from_multibase(subject.rsplit('.').next()?).ok()?;
    let key = keys.get(&did).filter(|_| payload.len() <= ACK_BYTES_MAX)?;
    Ack::verify(payload, key).ok()
}
