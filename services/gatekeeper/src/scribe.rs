//! Agents' own statements: signed by the agent, stored for it. No agent writes into a stream itself.
//!
//! The broker lets an agent publish on `marque.record.<kind>.<its own key>` alone, which comes here.

use marque_agent::enforce::Policy;
use marque_bus::service::Request;
use marque_bus::{Reply, subjects};
use marque_identity::{Code, Did, Refusal};
use marque_judgement::record::{Body, RECORD_BYTES_MAX, Record, RecordKind, Requested, Verdict, may_sign};
use marque_signing::{TrustBundle, jws};
use serde_json::json;

use crate::metrics::Metrics;
use crate::records::Records;

/// What an agent may state of itself.
const KINDS: [RecordKind; 2] = [RecordKind::Delegated, RecordKind::Requested];

/// Stores agents' statements.
pub(crate) struct Scribe {
    pub(crate) records: Records,
    pub(crate) bundle: TrustBundle,
    /// Which tools are erasable.
    pub(crate) of_tools: Policy,
    pub(crate) metrics: Metrics,
}

impl Scribe {
    /// Stores a statement and answers where it stands: `{"sequence", "duplicate"}`.
    pub(crate) async fn store(&self, request: Request) -> Result<Reply, Refusal> {
        let outcome = self.judge_and_store(&request).await;
        self.metrics.stated(outcome.as_ref().err().map(|refusal| refusal.code));
        outcome
    }

    /// 1. the bus subject: a kind that agents state, and whose key
    /// 2. a record, signed by that key
    /// 3. of that kind, and such as its signer may state
    /// 4. not of a tool whose arguments are kept out of the log: its proof has them
    async fn judge_and_store(&self, request: &Request) -> Result<Reply, Refusal> {
        // 1
        let (kind, key) = addressed(&request.subject)
            .ok_or_else(|| Refusal::new(Code::NotAuthorized, "agents state no records of this kind"))?;
        // 2
        if request.payload.len() > RECORD_BYTES_MAX {
            return Err(Refusal::new(Code::Oversize, "the record is larger than one may be"));
        }
        let compact = std::str::from_utf8(&request.payload)
            .map_err(|_| Refusal::new(Code::Malformed, "the record is not UTF-8"))?;
        let (record, _) = Record::open_any(compact).map_err(|verdict| refused(&verdict))?;
        if record.by != key {
            return Err(Refusal::new(Code::NotAuthorized, "the record is not signed by the key of the subject"));
        }
        // 3
        if record.kind() != kind || !may_sign(&self.bundle, &record) {
            return Err(Refusal::new(Code::NotAuthorized, "the record states what its signer may not"));
        }
        // 4
        if let Body::Requested(requested) = &record.body
            && self.is_erasable(&record, requested)
        {
            return Err(Refusal::new(Code::NotAuthorized, "what this tool is called with is kept out of the log"));
        }
        let stored = self.records.forward(&record, compact).await?;
        Ok(json!({ "sequence": stored.sequence, "duplicate": stored.duplicate }).to_string().into_bytes().into())
    }
}

impl Scribe {
    /// Whether the record or the proof in it names an erasable tool.
    fn is_erasable(&self, record: &Record, requested: &Requested) -> bool {
        #[derive(serde::Deserialize)]
        struct Claims {
            aat_tool: String,
        }
        let proof = requested.proof.compact();
        let claims = proof.and_then(|proof| jws::unverified_payload::<Claims>(proof, RECORD_BYTES_MAX).ok());
        let named = [record.tool.as_deref(), claims.as_ref().map(|claims| claims.aat_tool.as_str())];
        named.into_iter().flatten().any(|tool| self.of_tools.erasable(tool).is_some())
    }
}

/// Reads `marque.statement.<kind>.<key>`; none where agents state nothing of that kind.
pub fn addressed(subject: &str) -> Option<(RecordKind, Did)> {
    if !subjects::matches(subjects::STATEMENTS_ALL, subject) {
        return None;
    }
    let mut tokens = subject.rsplit('.');
    let key = Did::from_multibase(tokens.next()?).ok()?;
    let kind = tokens.next()?.parse().ok().filter(|kind| KINDS.contains(kind))?;
    Some((kind, key))
}

fn refused(verdict: &Verdict) -> Refusal {
    Refusal::new(verdict.code(), verdict.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_kind_that_agents_state_and_a_key() {
        let key = Did::from_key_bytes([7; 32]);
        let at = |kind: &str| addressed(&format!("marque.statement.{kind}.{}", key.multibase()));
        assert_eq!(at("delegated"), Some((RecordKind::Delegated, key)));
        assert_eq!(at("requested"), Some((RecordKind::Requested, key)));
        for kind in ["decided", "issued", "connected", "risk", "x"] {
            assert_eq!(at(kind), None, "{kind}");
        }
        for subject in ["", "marque.statement.delegated", "marque.statement.delegated.x", "marque.record.delegated.x"] {
            assert_eq!(addressed(subject), None, "{subject}");
        }
    }
}
