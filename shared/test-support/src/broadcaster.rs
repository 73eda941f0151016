//! The broadcaster's part, without its service: signs directives and heartbeats and publishes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use marque_bus::{Bus, raw_lead, subjects};
use marque_identity::{Epoch, UnixMillis, UnixSeconds};
use marque_revocation::{ActiveSet, Directive, DirectiveId, Heartbeat, Op, SignedDirective, Target};
use marque_signing::{PublicKey, SigningKey};

const DEADLINE: Duration = Duration::from_secs(10);
const HEARTBEAT_TTL: Duration = Duration::from_secs(5);

/// A broadcaster in the test's hands. The only publisher of its stream.
pub struct TestBroadcaster {
    bus: Bus,
    key: SigningKey,
    set: ActiveSet,
    last: u64,
    boot: UnixMillis,
    n: u64,
    viewers: usize,
}

impl TestBroadcaster {
    /// On a connection with the broadcaster's role, at the head of an empty stream.
    pub fn new(bus: Bus) -> Self {
        let boot = now();
        Self { bus, key: SigningKey::from_seed(&[0xb0; 32]), set: ActiveSet::new(), last: 0, boot, n: 0, viewers: 0 }
    }

    /// The same with so many to hear it.
    pub fn heard_by(self, viewers: usize) -> Self {
        Self { viewers, ..self }
    }

    /// Its key.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// A revocation of `target`, signed and not published.
    pub fn revocation(&self, target: Target) -> SignedDirective {
        self.sign(Op::Revoke, target, None)
    }

    /// Any directive without constraints, signed and not published.
    pub fn sign(&self, op: Op, target: Target, lifts: Option<DirectiveId>) -> SignedDirective {
        self.sign_with(op, target, lifts, None)
    }

    /// A narrowing of `target` to `narrow` (`{"tools": {…}}`), signed and not published.
    pub fn narrowing(&self, target: Target, narrow: serde_json::Value) -> SignedDirective {
        self.sign_with(Op::Narrow, target, None, Some(narrow))
    }

    fn sign_with(
        &self,
        op: Op,
        target: Target,
        lifts: Option<DirectiveId>,
        narrow: Option<serde_json::Value>,
    ) -> SignedDirective {
        let directive = Directive {
            id: DirectiveId::from_bytes(*uuid::Uuid::now_v7().as_bytes()),
            op,
            target,
            until: None,
            narrow,
            lifts,
            reason: "test".into(),
            requested_by: self.key.did(),
            iat: UnixSeconds(now().0 / 1000),
            domain: "acme.example".parse().unwrap(),
        };
        SignedDirective::sign(directive, &self.key).unwrap()
    }

    /// Goes on behind a sequence that another has published.
    pub fn skip_to(&mut self, last: u64) {
        self.last = last;
    }

    /// Publishes a directive, raw first, and waits until it is stored: its epoch.
    pub async fn publish(&mut self, signed: &SignedDirective) -> Epoch {
        if self.bus.send_raw(signed).await {
            tokio::time::sleep(raw_lead(self.viewers)).await;
        }
        let recorded = self.bus.publish_stored(&subject(signed), signed.compact().as_bytes(), None, DEADLINE).await;
        let epoch = Epoch(recorded.unwrap().sequence);
        self.set.commit(epoch, signed);
        self.last = epoch.0;
        epoch
    }

    /// Publishes a heartbeat: its epoch.
    pub async fn beat(&mut self) -> Epoch {
        self.n += 1;
        let t = now();
        let (set_digest, active) = self.set.at(t);
        let epoch = Epoch(self.last + 1);
        let beat = Heartbeat { iss: self.key.did(), t, boot: self.boot, n: self.n, epoch, active, set_digest };
        let signed = beat.sign(&self.key).unwrap();
        let (subject, ttl) = (subjects::HEARTBEAT, Some(HEARTBEAT_TTL));
        let recorded = self.bus.publish_after(subject, signed.as_bytes(), self.last, ttl, DEADLINE).await.unwrap();
        assert_eq!(recorded.sequence, epoch.0);
        self.set.advance(t);
        self.last = epoch.0;
        epoch
    }
}

/// Where a directive is published.
fn subject(signed: &SignedDirective) -> String {
    let directive = signed.directive();
    subjects::directive(directive.target.kind().as_str(), &directive.id.to_string())
}

fn now() -> UnixMillis {
    UnixMillis(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
}
