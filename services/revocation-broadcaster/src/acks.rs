//! Takes the acks of verifiers, hosts and gatekeepers: from keys of the bundle alone, each signature checked.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use marque_bus::{Bus, BusError, subjects};
use marque_identity::Did;
use marque_revocation::{ACK_BYTES_MAX, Ack};
use marque_signing::{PublicKey, Role, TrustBundle};
use tokio::time::MissedTickBehavior;

use crate::metrics::Metrics;
use crate::roster::Roster;

/// Between two looks at whether the broker can be heard: of a shorter silence no verifier is forgotten, since its
/// presence is kept for 15 s.
const LISTENS_EVERY: Duration = Duration::from_millis(250);

/// Who may ack, by key.
pub(crate) struct Ackers(HashMap<Did, (PublicKey, Role)>);

impl Ackers {
    /// Those of the bundle. A key that is a gatekeeper's beside something else acks as a gatekeeper: that one owes most.
    pub(crate) fn of(bundle: &TrustBundle) -> Self {
        let roles = [Role::Verifier, Role::Host, Role::Gatekeeper].into_iter();
        let of_role = |role| bundle.keys(role).into_iter().map(move |key| (key.did(), (key, role)));
        Self(roles.flat_map(of_role).collect())
    }

    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The ack, and what its sender is.
    fn open(&self, subject: &str, payload: &[u8]) -> Option<(Ack, Role)> {
        // 1: the key, by the bus subject, before any signature is looked at: noise costs a look-up.
        let did = Did::from_multibase(subject.rsplit('.').next()?).ok()?;
        let (key, role) = self.0.get(&did).filter(|_| payload.len() <= ACK_BYTES_MAX)?;
        // 2: its signature and its shape.
        let ack = Ack::verify(payload, key).ok()?;
        // 3: connections are closed by gatekeepers alone.
        (*role == Role::Gatekeeper || ack.closed.is_empty()).then_some((ack, *role))
    }
}

/// Takes acks for ever.
pub(crate) async fn take(bus: &Bus, ackers: &Ackers, roster: &Roster, metrics: &Metrics) -> Result<(), BusError> {
    let acks = bus.client().subscribe(subjects::ACKS_ALL).await;
    let mut acks = acks.map_err(|error| BusError::Unavailable(error.to_string()))?;
    let mut listens = tokio::time::interval(LISTENS_EVERY);
    listens.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            message = acks.next() => {
                let Some(message) = message else { return Ok(()) };
                match ackers.open(message.subject.as_str(), &message.payload) {
                    Some((ack, role)) => {
                        if let Some(took) = roster.heard(&ack, role, Instant::now()) {
                            metrics.acked(took);
                        }
                    }
                    None => metrics.ack_refused(),
                }
            }
            _ = listens.tick() => {
                if !bus.is_connected() {
                    roster.deaf(Instant::now());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marque_identity::{Epoch, UnixMillis, UnixSeconds};
    use marque_revocation::{AckKind, Closed, ClosedConnection, DirectiveId, SetDigest};
    use marque_signing::{Anchor, ServiceKey, SigningKey};

    fn ack(key: &SigningKey, closed: Closed) -> (String, Vec<u8>) {
        let ack = Ack {
            verifier: key.did(),
            kind: AckKind::Applied,
            id: Some(DirectiveId::from_bytes([1; 16])),
            epoch: Epoch(1),
            set_digest: SetDigest::default(),
            iat: UnixMillis(0),
            closed,
        };
        (subjects::ack(&key.did()), ack.sign(key).unwrap().into_bytes())
    }

    #[test]
    fn refuses_closed_connections_from_all_but_gatekeepers() {
        let roles = [Role::Verifier, Role::Host, Role::Gatekeeper, Role::Issuer, Role::Risk];
        let keys = [1, 2, 3, 4, 5].map(|n| SigningKey::from_seed(&[n; 32]));
        let service = |(role, key): (&Role, &SigningKey)| ServiceKey { role: *role, name: "s".into(), did: key.did() };
        let mut services: Vec<_> = roles.iter().zip(&keys).map(service).collect();
        // A gatekeeper's key that is listed as a verifier's too.
        services.push(ServiceKey { role: Role::Verifier, name: "s".into(), did: keys[2].did() });
        let domain: marque_identity::TrustDomain = "acme.example".parse().unwrap();
        let ackers = Ackers::of(&TrustBundle {
            issuers: vec![Anchor { iss: domain.issuer_uri(), did: keys[3].did() }],
            trust_domain: domain,
            version: 1,
            issued_at: UnixSeconds(0),
            services,
            operators: vec![],
        });
        assert_eq!(ackers.len(), 3);
        let one = ClosedConnection { agent: keys[0].did(), server: "NA".into(), cid: 4 };
        for closed in [Closed::of(vec![one]), Closed { count: 1, named: vec![] }] {
            let taken = keys.each_ref().map(|key| {
                let (subject, payload) = ack(key, closed.clone());
                ackers.open(&subject, &payload).map(|(_, role)| role)
            });
            assert_eq!(taken, [None, None, Some(Role::Gatekeeper), None, None]);
        }
        let taken = keys.each_ref().map(|key| {
            let (subject, payload) = ack(key, Closed::default());
            ackers.open(&subject, &payload).map(|(_, role)| role)
        });
        assert_eq!(taken, [Some(Role::Verifier), Some(Role::Host), Some(Role::Gatekeeper), None, None]);
        // Under another's subject.
        assert!(ackers.open(&subjects::ack(&keys[1].did()), &ack(&keys[2], Closed::default()).1).is_none());
    }
}
