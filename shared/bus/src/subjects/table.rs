//! The rows of the table.

use super::{Subject, SubjectKind};
use crate::permissions::BusRole::{self, Agent, Broadcaster, Gatekeeper, Host, Issuer, Operator, Sink, Verifier};
use crate::streams::{AUDIT, CHECKPOINTS, DIRECTIVES, PROOFS, SEALED, SEALING_KEYS};

/// Who may question the audit log: it tells of every agent.
const AUDITORS: &[BusRole] = &[Operator];
/// What no agent has to know, nor to ask in its own name.
const SERVICES_AND_OPERATORS: &[BusRole] = &[Host, Operator, Issuer, Verifier, Sink, Broadcaster, Gatekeeper];
/// Everyone who may ask a service for something.
const ASKERS: &[BusRole] = &[Agent, Host, Operator, Issuer, Verifier, Sink, Broadcaster];
/// Those who hold a view of the directives. The issuer refuses revoked agents; the broadcaster checks its own feed; an
/// operator asks what an agent gets under them.
const VIEWERS: &[BusRole] = &[Verifier, Host, Issuer, Sink, Broadcaster, Gatekeeper, Operator];

const fn service(
    name: &'static str,
    pattern: &'static str,
    publishers: &'static [BusRole],
    readers: &'static [BusRole],
    summary: &'static str,
) -> Subject {
    Subject { name, pattern, kind: SubjectKind::Service, publishers, readers, stream: None, summary }
}

const fn stream(
    name: &'static str,
    pattern: &'static str,
    stream: &'static str,
    publishers: &'static [BusRole],
    readers: &'static [BusRole],
    summary: &'static str,
) -> Subject {
    Subject { name, pattern, kind: SubjectKind::Stream, publishers, readers, stream: Some(stream), summary }
}

const fn record(
    name: &'static str,
    pattern: &'static str,
    publishers: &'static [BusRole],
    summary: &'static str,
) -> Subject {
    stream(name, pattern, AUDIT, publishers, &[Sink], summary)
}

/// Every subject of the project. A publish or subscribe that no row allows is refused by the server.
pub const SUBJECTS: &[Subject] = &[
    service(
        "issuer.enrol",
        "marque.issuer.enrol",
        ASKERS,
        &[Issuer],
        "Enrol an agent by the evidence that its blueprint demands.",
    ),
    service("issuer.issue", "marque.issuer.issue", ASKERS, &[Issuer], "Issue a root token for a task."),
    service("issuer.renew", "marque.issuer.renew", ASKERS, &[Issuer], "Renew an identity credential."),
    service("issuer.bundle", "marque.issuer.bundle", ASKERS, &[Issuer], "The trust bundle."),
    service("issuer.jwks", "marque.issuer.jwks", ASKERS, &[Issuer], "The issuer's keys as a JWK set."),
    service("issuer.did", "marque.issuer.did", ASKERS, &[Issuer], "The issuer's DID document."),
    service("issuer.blueprints", "marque.issuer.blueprints", ASKERS, &[Issuer], "The blueprints, or one by name."),
    service(
        "verifier.decide",
        "marque.verifier.decide",
        SERVICES_AND_OPERATORS,
        &[Verifier],
        "Decide one action (AuthZEN-shaped).",
    ),
    service(
        "verifier.gate",
        "marque.gate.{tool...}",
        ASKERS,
        &[Verifier],
        "Decide, record, forward to the tool, record the outcome, return the reply.",
    ),
    service(
        "revocation.request",
        "marque.revocation.request",
        ASKERS,
        &[Broadcaster],
        "A signed request for a directive.",
    ),
    service(
        "revocation.status",
        "marque.revocation.status",
        SERVICES_AND_OPERATORS,
        &[Broadcaster],
        "The broadcaster's state.",
    ),
    stream(
        "directive",
        "marque.directive.{kind}.{id}",
        DIRECTIVES,
        &[Broadcaster],
        VIEWERS,
        "A directive, to be stored.",
    ),
    stream(
        "directive.heartbeat",
        "marque.directive.heartbeat",
        DIRECTIVES,
        &[Broadcaster],
        VIEWERS,
        "The broadcaster's heartbeat, in one order with the directives; TTL 5 s.",
    ),
    Subject {
        name: "directive.raw",
        pattern: "marque.raw.{kind}.{id}",
        kind: SubjectKind::Core,
        publishers: &[Broadcaster],
        readers: VIEWERS,
        stream: None,
        summary: "The raw copy of a directive that tightens: before any disk, and in force on sight.",
    },
    Subject {
        name: "committed",
        pattern: "marque.committed.{rest...}",
        kind: SubjectKind::Republish,
        publishers: &[],
        readers: VIEWERS,
        stream: Some(DIRECTIVES),
        summary: "What the directive stream has committed, with its sequence.",
    },
    Subject {
        name: "ack",
        pattern: "marque.ack.{verifier}",
        kind: SubjectKind::Core,
        publishers: &[Verifier, Host, Gatekeeper],
        readers: &[Broadcaster],
        stream: None,
        summary: "A verifier's signed presence, or its word that a directive is applied.",
    },
    record("record.issued", "marque.record.issued.{key}", &[Issuer], "A credential or root token was issued."),
    record(
        "record.refused",
        "marque.record.refused.{key}",
        &[Issuer, Broadcaster, Verifier, Host, Gatekeeper],
        "A request was refused.",
    ),
    record(
        "record.delegated",
        "marque.record.delegated.{key}",
        &[Verifier, Host, Gatekeeper],
        "A derived link was made, or seen for the first time.",
    ),
    // INVARIANT: no agent writes into a stream; what it states goes through the gatekeeper (`statement`). A header or a subject that is no UTF-8 passes the broker, stays in the
    // stream, and breaks the connection of whoever reads it: one message would hold up the audit log for ever.
    record("record.requested", "marque.record.requested.{key}", &[Gatekeeper], "An agent's own word of what it asked."),
    record("record.decided", "marque.record.decided.{key}", &[Verifier, Host], "A permit or a denial."),
    record("record.completed", "marque.record.completed.{key}", &[Verifier, Host], "What came of a permitted action."),
    record("record.directive", "marque.record.directive.{key}", &[Broadcaster], "A directive became durable."),
    record("record.receipt", "marque.record.receipt.{key}", &[Broadcaster], "How far a directive reached."),
    record("record.connected", "marque.record.connected.{key}", &[Gatekeeper], "An agent was let in at the broker."),
    record("record.kicked", "marque.record.kicked.{key}", &[Gatekeeper], "An agent's connection was closed."),
    record(
        "record.disconnected",
        "marque.record.disconnected.{key}",
        &[Gatekeeper],
        "An agent's connection has ended.",
    ),
    record(
        "record.risk",
        "marque.record.risk.{key}",
        &[Sink, Gatekeeper, Issuer, Verifier, Host],
        "A sign of misuse, such as a cloned key.",
    ),
    record("record.heads", "marque.record.heads.{key}", &[Sink], "Where keys' chains of actions ended, by a sink."),
    service(
        "statement",
        "marque.statement.{kind}.{key}",
        &[Agent],
        &[Gatekeeper],
        "An agent's own signed record, to be stored; agents publish it on `marque.record.{kind}.{key}`.",
    ),
    service(
        "gatekeeper.connections",
        "marque.gatekeeper.connections",
        &[Operator],
        &[Gatekeeper],
        "Who is connected, by what, since when.",
    ),
    stream(
        "checkpoint",
        "marque.checkpoint.{sink}",
        CHECKPOINTS,
        &[Sink],
        &[Sink, Operator, Verifier, Host],
        "A sink's signed checkpoint of the audit log.",
    ),
    Subject {
        name: "witness",
        pattern: "marque.witness.{sink}",
        kind: SubjectKind::Core,
        publishers: &[Sink],
        readers: &[Sink],
        stream: None,
        summary: "A sink's checkpoint that waits for cosignatures, or its cosignature under another's.",
    },
    stream(
        "proof",
        "marque.proof.{digest}",
        PROOFS,
        &[Verifier, Host],
        &[Verifier, Host],
        "The claim on a proof, by which it is accepted once in the whole cluster.",
    ),
    record("record.erased", "marque.record.erased.{key}", &[Operator], "What is held about a data subject is erased."),
    stream(
        "sealing.public",
        "marque.sealing.public.{subject}",
        SEALING_KEYS,
        &[Verifier, Host],
        &[Verifier, Host, Operator],
        "The public key that a data subject's payloads are sealed for.",
    ),
    stream(
        "sealing.private",
        "marque.sealing.private.{subject}.{key}",
        SEALING_KEYS,
        &[Verifier, Host],
        &[Operator],
        "Its private half; whoever has it reads the payloads.",
    ),
    stream(
        "sealed",
        "marque.sealed.{subject}.{record}",
        SEALED,
        &[Verifier, Host],
        &[Operator],
        "What the record of an erasable action leaves out, sealed for its data subject.",
    ),
    service("audit.query", "marque.audit.query", AUDITORS, &[Sink], "Search the audit log."),
    service("audit.explain", "marque.audit.explain", AUDITORS, &[Sink], "Explain one action."),
    service("audit.proof", "marque.audit.proof", AUDITORS, &[Sink], "A record's inclusion proof."),
    service("audit.checkpoint", "marque.audit.checkpoint", AUDITORS, &[Sink], "The latest checkpoint."),
    service("audit.agents", "marque.audit.agents", AUDITORS, &[Sink], "Which agents and credentials there are."),
    service(
        "audit.completeness",
        "marque.audit.completeness",
        AUDITORS,
        &[Sink],
        "What the broker saw against what agents signed.",
    ),
    service(
        "audit.tile",
        "marque.audit.tile.{sink}",
        &[Sink],
        &[Sink],
        "A tile of this very sink's log, to find where two logs part, and what the stream lacks.",
    ),
    service("tool", "tools.{tool...}", &[Agent, Verifier], &[Host], "A tool whose host enforces in its own process."),
    service("tool.gated", "gated.{tool...}", &[Verifier], &[Host], "A tool that only the gate reaches."),
];
