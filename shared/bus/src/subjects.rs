//! Every bus subject, who publishes on it, who reads it: the one table, equal to `schemas/asyncapi.yaml`.
//!
//! Patterns use `{name}` for a parameter of one subject token and a final `{name...}` for one or more. The server's
//! permissions (`permissions`) are drawn from this table, so that a subject that is not here can't be used.

mod table;

use marque_identity::{Did, Digest};

use crate::permissions::BusRole;
pub use table::SUBJECTS;

/// How a subject is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// Request and reply with a NATS micro service (ADR-32).
    Service,
    /// Captured by a stream; a publish is acknowledged.
    Stream,
    /// Plain core NATS: at most once, nothing is kept.
    Core,
    /// Published by the server itself when a stream has committed a message.
    Republish,
}

impl SubjectKind {
    /// The word in `asyncapi.yaml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Stream => "stream",
            Self::Core => "core",
            Self::Republish => "republish",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Its name in `asyncapi.yaml`.
    pub name: &'static str,
    /// The subject with its parameters in braces.
    pub pattern: &'static str,
    /// How it is used.
    pub kind: SubjectKind,
    /// Who publishes on it; of a service, who asks. Empty when only the server does.
    pub publishers: &'static [BusRole],
    /// Who subscribes to it; of a service, who answers; of a stream, who reads the stream.
    pub readers: &'static [BusRole],
    /// The stream that captures it, or of a republished subject the stream that it comes from.
    pub stream: Option<&'static str>,
    /// What travels on it, one sentence.
    pub summary: &'static str,
}

impl Subject {
    /// The pattern with NATS wildcards: `{x}` is `*`, `{x...}` is `>`.
    pub fn wildcard(&self) -> String {
        let token = |token: &str| match (token.starts_with('{'), token.ends_with("...}")) {
            (true, true) => ">".to_owned(),
            (true, false) => "*".to_owned(),
            (false, _) => token.to_owned(),
        };
        self.pattern
            .split('.')
            .fold(Vec::new(), join_ellipsis)
            .into_iter()
            .map(|t| token(&t))
            .collect::<Vec<_>>()
            .join(".")
    }
}

/// `{x...}` contains dots of its own: put it together again.
fn join_ellipsis(mut tokens: Vec<String>, part: &str) -> Vec<String> {
    match tokens.last_mut() {
        Some(open) if open.starts_with('{') && !open.ends_with('}') => {
            open.push('.');
            open.push_str(part);
        }
        Some(_) | None => tokens.push(part.to_owned()),
    }
    tokens
}

/// The issuer's services.
pub mod issuer {
    /// Enrol an agent by join token: identity credential.
    pub const ENROL: &str = "marque.issuer.enrol";
    /// Ask for a root token for a task.
    pub const ISSUE: &str = "marque.issuer.issue";
    /// Renew an identity credential.
    pub const RENEW: &str = "marque.issuer.renew";
    /// The trust bundle.
    pub const BUNDLE: &str = "marque.issuer.bundle";
    /// The issuer's keys as a JWK set.
    pub const JWKS: &str = "marque.issuer.jwks";
    /// The issuer's DID document.
    pub const DID: &str = "marque.issuer.did";
    /// The blueprints: names, or one by name.
    pub const BLUEPRINTS: &str = "marque.issuer.blueprints";
}

/// The verifier's decision service (AuthZEN-shaped).
pub const VERIFIER_DECIDE: &str = "marque.verifier.decide";
/// What the verifier's gate subscribes to.
pub const GATE_ALL: &str = "marque.gate.>";
const GATE_PREFIX: &str = "marque.gate.";
/// Ask for a directive.
pub const REVOCATION_REQUEST: &str = "marque.revocation.request";
/// The broadcaster's state: active directives, verifiers heard, last epoch.
pub const REVOCATION_STATUS: &str = "marque.revocation.status";
/// The raw copy of every directive that tightens, before any disk.
pub const DIRECTIVES_RAW: &str = "marque.raw.*.*";
/// What the directive stream captures.
pub const DIRECTIVES_CAPTURED: &str = "marque.directive.>";
/// The broadcaster's heartbeat, through the directive stream.
pub const HEARTBEAT: &str = "marque.directive.heartbeat";
/// Everything that the directive stream has committed, with its sequence.
pub const COMMITTED_ALL: &str = "marque.committed.>";
/// A committed heartbeat.
pub const COMMITTED_HEARTBEAT: &str = "marque.committed.heartbeat";
/// Every verifier's acknowledgements.
pub const ACKS_ALL: &str = "marque.ack.*";
/// What the audit stream captures.
pub const RECORDS_ALL: &str = "marque.record.>";
/// An agent's own signed statements, as the gatekeeper is asked to record them. In the agents' account the subject is
/// that of the record itself: see [`AGENT_RECORDS`].
pub const STATEMENTS_ALL: &str = "marque.statement.*.*";
/// Where agents publish their statements, in their own account: `marque.record.<kind>.<own key>`.
pub const AGENT_RECORDS: &str = "marque.record.*.*";
/// Who is connected.
pub const GATEKEEPER_CONNECTIONS: &str = "marque.gatekeeper.connections";
/// What the checkpoint stream captures.
pub const CHECKPOINTS_ALL: &str = "marque.checkpoint.*";
/// What sinks tell each other as witnesses.
pub const WITNESS_ALL: &str = "marque.witness.*";
/// What the proof stream captures.
pub const PROOFS_ALL: &str = "marque.proof.*";
/// The public keys that payloads are sealed for.
pub const SEALING_PUBLIC_ALL: &str = "marque.sealing.public.*";
/// Search the audit log.
pub const AUDIT_QUERY: &str = "marque.audit.query";
/// Explain one action.
pub const AUDIT_EXPLAIN: &str = "marque.audit.explain";
/// A record's inclusion proof.
pub const AUDIT_PROOF: &str = "marque.audit.proof";
/// The latest checkpoint.
pub const AUDIT_CHECKPOINT: &str = "marque.audit.checkpoint";
/// Which agents and credentials there are.
pub const AUDIT_AGENTS: &str = "marque.audit.agents";
/// What the broker saw against what agents signed.
pub const AUDIT_COMPLETENESS: &str = "marque.audit.completeness";
/// Tools whose host enforces in its own process: agents reach them directly.
pub const TOOLS_ENFORCED: &str = "tools.>";
/// Tools that know nothing of us: only the verifier's gate reaches them.
pub const TOOLS_GATED: &str = "gated.>";

/// The gate of a tool served at `tool_subject`.
pub fn gate(tool_subject: &str) -> String {
    format!("{GATE_PREFIX}{tool_subject}")
}

/// The tool's own subject behind a gate's, if it is one and not empty.
pub fn gated_tool(gate_subject: &str) -> Option<&str> {
    gate_subject.strip_prefix(GATE_PREFIX).filter(|tool| !tool.is_empty())
}

/// Where a directive of this target kind and id is published. Both must be one token: see [`is_token`].
pub fn directive(kind: &str, id: &str) -> String {
    format!("marque.directive.{kind}.{id}")
}

/// Where its raw copy is sent.
pub fn raw(kind: &str, id: &str) -> String {
    format!("marque.raw.{kind}.{id}")
}

/// Where the committed copy of what was published on `subject` appears, if the directive stream captures it.
pub fn committed(subject: &str) -> Option<String> {
    subject.strip_prefix("marque.directive.").map(|rest| format!("marque.committed.{rest}"))
}

/// Where a verifier sends its acknowledgements.
pub fn ack(verifier: &Did) -> String {
    format!("marque.ack.{}", verifier.multibase())
}

/// Where a record of this kind about this key is published; `none` where it is about nobody.
pub fn record(kind: &str, key: Option<&Did>) -> String {
    match key {
        Some(key) => format!("marque.record.{kind}.{}", key.multibase()),
        None => format!("marque.record.{kind}.none"),
    }
}

/// Every inbox of an agent begins so: no other agent may read there.
pub fn inbox_prefix(agent: &Did) -> String {
    format!("_INBOX.{}", agent.multibase())
}

/// Where a sink publishes its checkpoints.
pub fn checkpoint(sink: &Did) -> String {
    format!("marque.checkpoint.{}", sink.multibase())
}

/// Where a sink asks the others to cosign its checkpoint, and where it gives its own cosignature.
pub fn witness(sink: &Did) -> String {
    format!("marque.witness.{}", sink.multibase())
}

/// Where this very sink answers with a tile of its log.
pub fn audit_tile(sink: &Did) -> String {
    format!("marque.audit.tile.{}", sink.multibase())
}

/// The claim on a proof: whoever publishes first has it. `id` is a digest in hex.
pub fn proof_claim(id: &Digest) -> String {
    format!("marque.proof.{id}")
}

/// The public key that a data subject's payloads are sealed for.
pub fn sealing_public(subject: &Digest) -> String {
    format!("marque.sealing.public.{subject}")
}

/// One private key of a data subject, by its public half.
pub fn sealing_private(subject: &Digest, public: &str) -> String {
    format!("marque.sealing.private.{subject}.{public}")
}

/// Every private key of a data subject.
pub fn sealing_private_all(subject: &Digest) -> String {
    sealing_private(subject, "*")
}

/// The sealed payload of a record about a data subject.
pub fn sealed(subject: &Digest, record: &str) -> String {
    format!("marque.sealed.{subject}.{record}")
}

/// Every sealed payload about a data subject.
pub fn sealed_all(subject: &Digest) -> String {
    sealed(subject, "*")
}

/// The sealed payload of a record, whoever it is about.
pub fn sealed_of(record: &str) -> String {
    format!("marque.sealed.*.{record}")
}

/// The data subject of a sealed payload's subject.
pub fn sealed_subject(subject: &str) -> Option<Digest> {
    subject.strip_prefix("marque.sealed.")?.split('.').next()?.parse().ok()
}

/// Whether a text can stand as one token of a subject: not empty, no `.`, no wildcard, printable ASCII without space.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_graphic() && !matches!(c, b'.' | b'*' | b'>'))
}

/// Whether a text is a subject that can be published on: tokens joined by `.`, no wildcard.
pub fn is_publishable(text: &str) -> bool {
    text.split('.').all(is_token)
}

/// Whether a reply subject is one that we answer on: an inbox, or the server's rewritten reply of a service import.
///
/// SPEC: reply subjects are not checked against the requester's permissions by the server, so that a service which
/// answers anywhere could be made to write into a stream.
pub fn is_reply(reply: &str) -> bool {
    (reply.starts_with("_INBOX.") || reply.starts_with("_R_.")) && is_publishable(reply)
}

/// Whether `pattern` (with NATS wildcards) matches `subject`.
pub fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for want in pattern.split('.') {
        match (want, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (want, Some(token)) if want == token => {}
            (_, _) => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_of_patterns() {
        let of = |name: &str| SUBJECTS.iter().find(|s| s.name == name).unwrap().wildcard();
        assert_eq!(of("directive.raw"), DIRECTIVES_RAW);
        assert_eq!(of("verifier.gate"), GATE_ALL);
        assert_eq!(of("committed"), COMMITTED_ALL);
        assert_eq!(of("tool"), TOOLS_ENFORCED);
    }

    #[test]
    fn every_name_and_pattern_stands_once() {
        for (n, a) in SUBJECTS.iter().enumerate() {
            for b in &SUBJECTS[n + 1..] {
                assert!(a.name != b.name && a.pattern != b.pattern, "{} {}", a.name, b.name);
            }
        }
    }

    #[test]
    fn every_function_s_subject_is_in_the_table() {
        let did = Did::from_key_bytes([7; 32]);
        for subject in [
            directive("key", "0190"),
            raw("key", "0190"),
            ack(&did),
            record("issued", Some(&did)),
            record("decided", None),
            checkpoint(&did),
            witness(&did),
            audit_tile(&did),
            proof_claim(&Digest([1; 32])),
            sealing_public(&Digest([1; 32])),
            sealing_private(&Digest([1; 32]), "XA"),
            sealed(&Digest([1; 32]), "0190"),
            gate("tools.crm.query"),
            committed(HEARTBEAT).unwrap(),
        ] {
            assert!(is_publishable(&subject), "{subject}");
            assert!(SUBJECTS.iter().any(|row| matches(&row.wildcard(), &subject)), "{subject}");
        }
    }

    #[test]
    fn no_stream_captures_the_raw_copy() {
        assert!(matches(DIRECTIVES_RAW, &raw("token", "x")));
        assert!(!matches(DIRECTIVES_CAPTURED, &raw("token", "x")));
        assert!(matches(DIRECTIVES_CAPTURED, &directive("token", "x")));
        assert!(matches(DIRECTIVES_CAPTURED, HEARTBEAT));
    }

    #[test]
    fn replies_only_to_inboxes() {
        for good in ["_INBOX.abc", "_INBOX.abc.def", "_R_.x.y"] {
            assert!(is_reply(good), "{good}");
        }
        for bad in [
            "",
            "_INBOX",
            "_INBOX.",
            "_INBOX.>",
            "_INBOX.a.*",
            "_INBOXX.a",
            "marque.directive.key.x",
            "_R_",
            "_INBOX.a b",
        ] {
            assert!(!is_reply(bad), "{bad}");
        }
    }

    #[test]
    fn matching_is_by_token() {
        for (pattern, subject, want) in [
            ("a.>", "a", false),
            ("a.>", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.b", "a.b", true),
            ("a.b", "a", false),
            (">", "a", true),
        ] {
            assert_eq!(matches(pattern, subject), want, "{pattern} {subject}");
        }
    }
}
