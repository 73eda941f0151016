//! What a verifier answers: that it is there, and that it has applied a directive.

use std::collections::BTreeMap;

use marque_identity::{Did, Epoch, UnixMillis};
use marque_signing::{PublicKey, SigningKey, jws};
use serde::{Deserialize, Serialize};

use crate::error::RevocationError;
use crate::{DirectiveId, SetDigest};

/// `typ` of an ack.
pub const ACK_TYP: &str = "marque-ack+jwt";
/// A verifier's takes 600 bytes; a gatekeeper's names connections, of some 150 bytes each.
pub const ACK_BYTES_MAX: usize = 8 * 1024;
/// How many closed connections an ack names; of more it tells the number.
pub const CLOSED_NAMED_MAX: usize = 24;
/// A server's id is its public nkey: `N` and 55 characters of base32.
const SERVER_ID_BYTES_MAX: usize = 56;
/// The largest integer that JSON carries exactly (RFC 8785: IEEE 754 doubles). A sum beyond it is written as this.
const COUNT_MAX: u64 = (1 << 53) - 1;

/// Why it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AckKind {
    /// On joining and every 5 s: the roster.
    Presence,
    /// On applying a directive.
    Applied,
}

/// An agent's connection to the broker that a directive has ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClosedConnection {
    /// The agent.
    #[schemars(with = "String")]
    pub agent: Did,
    /// The server's id, `N…`.
    pub server: String,
    /// The connection's number there.
    pub cid: u64,
}

/// What one gatekeeper closed on a directive, or all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// How many.
    pub count: u64,
    /// Which; of one gatekeeper's at most [`CLOSED_NAMED_MAX`].
    pub named: Vec<ClosedConnection>,
}

impl Closed {
    /// These connections; what lies beyond the limit is counted, not named.
    pub fn of(connections: Vec<ClosedConnection>) -> Self {
        let count = u64::try_from(connections.len()).unwrap_or(u64::MAX);
        let mut named = connections;
        named.truncate(CLOSED_NAMED_MAX);
        Self { count, named }
    }

    /// What several gatekeepers closed, each connection that they name told once, at most `named_max` of them named.
    /// What a gatekeeper counted without a name may be another's too: it is counted.
    pub fn merged(parts: impl IntoIterator<Item = Self>, named_max: usize) -> Self {
        let number = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let (mut unnamed, mut named) = (0_u64, BTreeMap::new());
        for part in parts {
            unnamed = unnamed.saturating_add(part.count.saturating_sub(number(part.named.len())));
            for connection in part.named {
                named.entry((connection.server.clone(), connection.cid)).or_insert(connection);
            }
        }
        let count = unnamed.saturating_add(number(named.len())).min(COUNT_MAX);
        Self { count, named: named.into_values().take(named_max).collect() }
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// An ack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// The DID of the key that signs it.
    #[schemars(with = "String")]
    pub verifier: Did,
    /// Why it is sent.
    pub kind: AckKind,
    /// The directive that was applied; absent on presence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub id: Option<DirectiveId>,
    /// The sequence up to which the verifier holds everything.
    #[schemars(with = "u64")]
    pub epoch: Epoch,
    /// The digest of its committed active set.
    #[schemars(with = "String")]
    pub set_digest: SetDigest,
    /// The verifier's time; for people, nothing is measured by it.
    #[schemars(with = "i64")]
    pub iat: UnixMillis,
    /// What a gatekeeper closed on the directive, before it sent this.
    #[serde(default, skip_serializing_if = "Closed::is_empty")]
    pub closed: Closed,
}

impl Ack {
    /// Signs it; the key is `verifier`'s.
    pub fn sign(&self, verifier: &SigningKey) -> Result<String, RevocationError> {
        self.check()?;
        Ok(jws::sign_as_did(verifier, ACK_TYP, self)?)
    }

    /// Verifies one: signed by the key that it names. The caller asks whether that key is a verifier's, before
    /// (`claimed` is the DID in the bus subject, or the roster's).
    pub fn verify(bytes: &[u8], claimed: &PublicKey) -> Result<Self, RevocationError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RevocationError::NotUtf8)?;
        let ack: Self = jws::verify_json(text, claimed, ACK_TYP, ACK_BYTES_MAX)?;
        if ack.verifier != claimed.did() {
            return Err(RevocationError::SignerUnknown);
        }
        ack.check()?;
        Ok(ack)
    }

    fn check(&self) -> Result<(), RevocationError> {
        if (self.kind == AckKind::Applied) != self.id.is_some() {
            return Err(RevocationError::Shape { rule: "an applied ack names a directive, and presence none" });
        }
        let named = u64::try_from(self.closed.named.len()).unwrap_or(u64::MAX);
        if self.closed.named.len() > CLOSED_NAMED_MAX || named > self.closed.count {
            return Err(RevocationError::Shape { rule: "an ack names some of the connections that it counts" });
        }
        if self.kind == AckKind::Presence && !self.closed.is_empty() {
            return Err(RevocationError::Shape { rule: "presence closes nothing" });
        }
        let is_server_id = |server: &str| {
            (1..=SERVER_ID_BYTES_MAX).contains(&server.len()) && server.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        if !self.closed.named.iter().all(|connection| is_server_id(&connection.server)) {
            return Err(RevocationError::Shape { rule: "a server's id is at most 56 letters and digits" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_verifiers_own_and_refuses_anothers() {
        let (key, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let mut ack = Ack {
            verifier: key.did(),
            kind: AckKind::Presence,
            id: None,
            epoch: Epoch(3),
            set_digest: SetDigest::default(),
            iat: UnixMillis(5),
            closed: Closed::default(),
        };
        let signed = ack.sign(&key).unwrap();
        assert_eq!(Ack::verify(signed.as_bytes(), &key.public()), Ok(ack.clone()));
        assert!(Ack::verify(signed.as_bytes(), &other.public()).is_err());
        let posed = ack.sign(&other).unwrap();
        assert_eq!(Ack::verify(posed.as_bytes(), &other.public()), Err(RevocationError::SignerUnknown));
        ack.kind = AckKind::Applied;
        assert!(ack.sign(&key).is_err());
    }

    #[test]
    fn a_full_list_of_closed_connections_fits() {
        let key = SigningKey::from_seed(&[1; 32]);
        let one = ClosedConnection { agent: key.did(), server: "N".repeat(56), cid: COUNT_MAX };
        let ack = Ack {
            verifier: key.did(),
            kind: AckKind::Applied,
            id: Some(DirectiveId::from_bytes([1; 16])),
            epoch: Epoch(COUNT_MAX),
            set_digest: SetDigest::default(),
            iat: UnixMillis(COUNT_MAX as i64),
            closed: Closed::of(vec![one.clone(); CLOSED_NAMED_MAX + 5]),
        };
        let signed = ack.sign(&key).unwrap();
        let read = Ack::verify(signed.as_bytes(), &key.public()).unwrap();
        assert_eq!((read.closed.count, read.closed.named.len()), (CLOSED_NAMED_MAX as u64 + 5, CLOSED_NAMED_MAX));
        for closed in [
            Closed { count: 0, named: vec![one.clone()] },
            Closed { count: 99, named: vec![one.clone(); CLOSED_NAMED_MAX + 1] },
            Closed::of(vec![ClosedConnection { server: "N".repeat(57), ..one.clone() }]),
            Closed::of(vec![ClosedConnection { server: String::new(), ..one.clone() }]),
            Closed::of(vec![ClosedConnection { server: "N\u{1b}[2J".into(), ..one.clone() }]),
        ] {
            assert!(Ack { closed, ..ack.clone() }.sign(&key).is_err());
        }
        let present = Ack { kind: AckKind::Presence, id: None, ..ack };
        assert!(present.sign(&key).is_err(), "presence closes nothing");
    }

    #[test]
    fn tells_a_connection_once_however_many_closed_it() {
        let one = |cid| ClosedConnection { agent: Did::from_key_bytes([1; 32]), server: "NA".into(), cid };
        let elsewhere = ClosedConnection { server: "NB".into(), ..one(1) };
        let parts = [
            Closed::of(vec![one(2), one(1)]),
            Closed { count: 5, named: vec![one(2), elsewhere.clone(), one(2)] },
            Closed::default(),
        ];
        let merged = Closed::merged(parts.clone(), 9);
        assert_eq!(merged, Closed { count: 5, named: vec![one(1), one(2), elsewhere] });
        assert_eq!(Closed::merged(parts, 2), Closed { count: 5, named: vec![one(1), one(2)] });
        let most = Closed { count: u64::MAX, named: vec![] };
        assert_eq!(Closed::merged([most.clone(), most], 2).count, COUNT_MAX);
        assert!(Closed::merged([], 2).is_empty());
    }
}
