//! The records that the issuer signs, and where they go.

use std::future::Future;

use marque_bus::Bus;
use marque_credential::{EvidenceDigest, EvidenceKind};
use marque_identity::{Did, Digest, Refusal, UnixMillis};
use marque_judgement::record::{Body, Carried, Issued, MANIFEST_CHANGED, Record, RecordKind, Refused, Risk, What};
use marque_signing::{Compact, SigningKey};

use crate::commitment::{Commitment, Matter};

/// What the issuer is called in its records.
const SERVICE: &str = "issuer";

/// Where records are stored.
pub trait Records: Send + Sync + 'static {
    /// Stores a record under its kind and the key that it is about; returns once it is stored. The same bytes again
    /// are stored once.
    fn publish(&self, kind: RecordKind, key: &Did, record: &str) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// The audit stream.
#[derive(Clone)]
pub struct StreamRecords(Bus);

impl StreamRecords {
    /// Stores over this connection.
    pub fn new(bus: Bus) -> Self {
        Self(bus)
    }
}

impl Records for StreamRecords {
    async fn publish(&self, kind: RecordKind, key: &Did, record: &str) -> Result<(), Refusal> {
        let recorded = self.0.publish_record(kind.as_str(), Some(key), record).await?;
        tracing::debug!(%kind, sequence = recorded.sequence, duplicate = recorded.duplicate, "recorded");
        Ok(())
    }
}

/// The signed *issued* record of a commitment, of which `signed` is the credential or token.
pub(crate) fn issued(
    key: &SigningKey,
    commitment: &Commitment,
    signed: &str,
    request: &Digest,
    now: UnixMillis,
) -> Result<String, Refusal> {
    let digest = Compact::split(signed)?.signing_digest();
    let about = &commitment.about;
    let (what, sponsor, evidence) = match &commitment.matter {
        Matter::Credential(claims) => (What::Credential, claims.sponsor.clone(), claims.evidence.clone()),
        Matter::Root(root) => {
            let agent = &root.marque.agent;
            let evidence = vec![
                EvidenceDigest::new(EvidenceKind::Credential, agent.vc_hash),
                EvidenceDigest::new(EvidenceKind::Request, *request),
            ];
            (What::Root, agent.sponsor.clone(), evidence)
        }
    };
    let carried = Some(Carried::of(signed));
    let (credential, root, links) = match what {
        What::Credential => (carried, None, Vec::new()),
        What::Root => (None, carried, vec![digest]),
    };
    let blueprint = about.blueprint.clone();
    let expires_at = commitment.matter.expires_at();
    let body = Body::Issued(Issued { what, credential, root, blueprint, sponsor, expires_at, evidence });
    seal(
        key,
        Record {
            agent: Some(about.agent),
            task: about.task.clone(),
            token: Some(digest),
            links,
            ..Record::new(now, key.did(), body)
        },
    )
}

/// The signed *refused* record: of the input only its digest and size. `agent` is who has proven a key, if anyone.
pub(crate) fn refused(
    key: &SigningKey,
    refusal: &Refusal,
    agent: Option<Did>,
    input: &[u8],
    now: UnixMillis,
) -> Result<String, Refusal> {
    let body = Body::Refused(Refused::of(refusal, SERVICE, Some(input)));
    seal(key, Record { agent, ..Record::new(now, key.did(), body) })
}

/// The signed *risk* record of an agent whose manifest has changed.
pub(crate) fn manifest_changed(
    key: &SigningKey,
    agent: Did,
    message: &str,
    now: UnixMillis,
) -> Result<String, Refusal> {
    let body = Body::Risk(Risk { signal: MANIFEST_CHANGED.to_owned(), message: message.to_owned() });
    seal(key, Record { agent: Some(agent), ..Record::new(now, key.did(), body) })
}

fn seal(key: &SigningKey, record: Record) -> Result<String, Refusal> {
    record.seal(key).map_err(|error| Refusal::new(error.code(), error.to_string()))
}
