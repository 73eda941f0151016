//! A record of every kind, each with a whole body: every member that may stand there does.

use marque_credential::{EvidenceDigest, EvidenceKind};
use marque_identity::{Blame, Code, Did, Digest, Epoch, UnixMillis, UnixSeconds};
use marque_judgement::record::{
    Body, Carried, Completed, Connected, Connection, Decided, Delegated, DirectiveIssued, Disconnected, Erased, Heads,
    InputDigest, Issued, KeyHead, Kicked, Outcome, Receipt, Record, RecordKind, Refused, Requested, Risk, Sealed,
    Shown, Verb, What,
};
use marque_revocation::{Closed, ClosedConnection};
use marque_tests::vectors::token::{ISSUER, NOW, Who};
use serde_json::Value;

const SHA256: Digest = Digest([7; 32]);
const LATER: UnixSeconds = UnixSeconds(NOW + 900);

/// One of each kind.
pub(crate) fn records() -> Vec<Value> {
    let bodies = bodies();
    let kinds: Vec<RecordKind> = bodies.iter().map(Body::kind).collect();
    assert!(RecordKind::ALL.iter().all(|kind| kinds.contains(kind)), "a kind is missing: {kinds:?}");
    bodies.into_iter().map(|body| serde_json::to_value(whole(body)).unwrap()).collect()
}

/// Without any one of its members it is a record for the schema if it is one for the library.
pub(crate) fn reads(record: &Value) -> bool {
    serde_json::from_value::<Record>(record.clone()).is_ok()
}

fn did() -> Did {
    Who::Worker.key().did()
}

fn whole(body: Body) -> Record {
    Record {
        agent: Some(did()),
        task: Some("urn:task:q3".parse().unwrap()),
        tool: Some("nats:tools.crm.query".into()),
        token: Some(SHA256),
        links: vec![SHA256, SHA256],
        ..Record::new(UnixMillis(NOW * 1000), Who::ControlPlane.key().did(), body)
    }
}

fn input() -> InputDigest {
    InputDigest { sha256: SHA256, bytes: 2 }
}

fn compact() -> Carried {
    Carried::Compact("a.b.c".into())
}

fn elided() -> Carried {
    Carried::Elided(input())
}

fn connection() -> Connection {
    Connection { server: "NSERVER".into(), cid: 7 }
}

fn bodies() -> Vec<Body> {
    let mut bodies = granted();
    bodies.extend(acted());
    bodies.extend(connected());
    bodies.extend(directed());
    bodies
}

fn granted() -> Vec<Body> {
    vec![
        Body::Issued(Issued {
            what: What::Credential,
            credential: Some(compact()),
            root: Some(elided()),
            blueprint: "mailer".parse().unwrap(),
            sponsor: "team@acme.example".parse().unwrap(),
            expires_at: LATER,
            evidence: vec![EvidenceDigest::new(EvidenceKind::JoinToken, SHA256)],
        }),
        Body::Refused(Refused {
            code: Code::ArgumentRefused,
            step: Some("6b".into()),
            message: "no".into(),
            blame: Blame::Caller,
            service: "issuer".into(),
            input: Some(input()),
        }),
        Body::Delegated(Delegated { link: compact(), parent: SHA256, depth: 1 }),
    ]
}

fn acted() -> Vec<Body> {
    vec![
        Body::Requested(Requested { proof: compact() }),
        Body::Decided(Box::new(Decided {
            decision: Verb::Deny,
            code: Some(Code::Narrowed),
            step: Some("10".into()),
            message: Some("a live narrowing refuses".into()),
            blame: Some(Blame::Caller),
            proof: Some(elided()),
            audience: Some("nats://acme.example/tools.crm.query".into()),
            why: Some("the report".into()),
            cause: Some("mail-1".into()),
            manifest_hash: Some(SHA256),
            seq: Some(3),
            prev: Some(SHA256),
            epoch: Epoch(5),
            view_age_ms: Some(120),
            staleness_bound_ms: 2000,
            directive: Some("01a20ed6-6cbf-7113-995f-5ccec16b0412".into()),
            constraint: Some(r#"{"constraint_type":"exact","value":5}"#.into()),
            side_effecting: true,
            input: Some(input()),
            sealed: Some(Sealed {
                commitment: Some(SHA256),
                action: Some("01a20ed6-7ebd-74c4-ba7b-6d3d3727502e".into()),
            }),
        })),
        Body::Completed(Completed {
            decided: "01a20ed6-7ebd-74c4-ba7b-6d3d3727502e".into(),
            outcome: Outcome::Error,
            status: Some("418".into()),
            reply_sha256: Some(SHA256),
            reply_bytes: Some(2),
            duration_us: 900,
        }),
        Body::Risk(Risk { signal: "key_cloned".into(), message: "two proofs with one number".into() }),
        Body::Heads(Heads { tree_size: 7, heads: vec![KeyHead { agent: did(), seq: 3, proof: SHA256, leaf: 6 }] }),
        Body::Erased(Erased { commitment: SHA256, reason: "asked for".into() }),
    ]
}

fn connected() -> Vec<Body> {
    vec![
        Body::Connected(Box::new(Connected {
            connection: connection(),
            shown: Shown::Chain,
            holders: vec![did()],
            issuer: Some(ISSUER.into()),
            blueprint: Some("mailer".parse().unwrap()),
            manifest_hash: Some(SHA256),
            expires_at: Some(LATER),
            publish: vec!["tools.crm.query".into()],
            subscribe: vec!["_INBOX.>".into()],
            epoch: Epoch(5),
            narrowed_by: vec!["01a20ed6-7ebd-74c4-ba7b-6d3d3727502e".into()],
            host: Some("127.0.0.1".into()),
            client: Some("rust 0.51".into()),
        })),
        Body::Kicked(Kicked { connection: connection(), code: Code::Revoked, directive: Some("x".into()) }),
        Body::Disconnected(Disconnected {
            connection: connection(),
            messages_sent: 3,
            messages_received: 2,
            reason: "Client Closed".into(),
        }),
    ]
}

fn directed() -> Vec<Body> {
    vec![
        Body::Directive(DirectiveIssued { directive: "a.b.c".into(), epoch: Epoch(6), requested_by: did() }),
        Body::Receipt(Receipt {
            directive_id: "01a20ed6-6cbf-7113-995f-5ccec16b0412".into(),
            epoch: Epoch(6),
            acked: 2,
            of: 3,
            p50_us: Some(10),
            p99_us: Some(20),
            max_us: Some(20),
            silent: vec![did()],
            closed: Closed::of(vec![ClosedConnection { agent: did(), server: "NSERVER".into(), cid: 7 }]),
            partial: true,
        }),
    ]
}
