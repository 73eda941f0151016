//! The bus as AsyncAPI 3.0, drawn from the table of subjects.

use std::fmt::Write;

use marque_bus::subjects::{SUBJECTS, Subject, SubjectKind};

/// What travels on a subject: the schema of the message, and of the reply to it.
pub fn payloads(name: &str) -> (Option<&'static str>, Option<&'static str>) {
    match name {
        "issuer.enrol" => (Some("enrol-request"), Some("enrol-reply")),
        "issuer.issue" => (Some("issue-request"), Some("issue-reply")),
        "issuer.renew" => (Some("renew-request"), Some("enrol-reply")),
        "issuer.bundle" => (None, Some("trust-bundle")),
        "verifier.decide" => (Some("decide-request"), Some("decide-reply")),
        "revocation.request" => (Some("directive-request"), Some("directive-reply")),
        "revocation.status" => (Some("status-request"), Some("status-reply")),
        "directive" | "directive.raw" => (Some("directive"), None),
        "directive.heartbeat" => (Some("heartbeat"), None),
        "ack" => (Some("ack"), None),
        "audit.query" => (Some("audit-query-request"), Some("audit-query-reply")),
        "audit.explain" => (Some("audit-explain-request"), Some("audit-explain-reply")),
        "audit.proof" => (Some("audit-proof-request"), Some("audit-proof-reply")),
        "audit.agents" => (Some("audit-agents-request"), Some("audit-agents-reply")),
        "audit.completeness" => (Some("audit-completeness-request"), Some("audit-completeness-reply")),
        "audit.tile" => (Some("audit-tile-request"), Some("audit-tile-reply")),
        "audit.checkpoint" => (None, Some("audit-checkpoint-reply")),
        record if record.starts_with("record.") => (Some("record"), None),
        _ => (None, None),
    }
}

/// The parameters in a pattern: name, and whether it stands for one or more tokens.
fn parameters(pattern: &str) -> Vec<(&str, bool)> {
    pattern
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
        .map(|name| name.strip_suffix("...").map_or((name, false), |name| (name, true)))
        .collect()
}

/// The whole document.
pub(super) fn document() -> String {
    let mut out = String::from(
        "asyncapi: 3.0.0\n\
         info:\n\
         \x20 title: Marque\n\
         \x20 version: 0.1.0\n\
         \x20 description: >-\n\
         \x20   Every bus subject: who publishes, who reads. Generated from the table in shared/bus/src/subjects; a JWT's\n\
         \x20   schema is that of its payload.\n\
         defaultContentType: application/json\n\
         channels:\n",
    );
    for subject in SUBJECTS {
        channel(&mut out, subject);
    }
    out.push_str("operations:\n");
    for subject in SUBJECTS {
        operation(&mut out, subject);
    }
    out
}

fn channel(out: &mut String, subject: &Subject) {
    let roles = |roles: &[marque_bus::permissions::BusRole]| {
        roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (message, reply) = payloads(subject.name);
    let mut line = |text: String| {
        // Writing to a string has no way to fail.
        let _ = writeln!(out, "{text}");
    };
    line(format!("  {}:", subject.name));
    line(format!("    address: '{}'", subject.pattern.replace("...}", "}")));
    line(format!("    description: '{}'", subject.summary.replace('\'', "''")));
    let parameters = parameters(subject.pattern);
    if !parameters.is_empty() {
        line("    parameters:".to_owned());
    }
    for (name, tail) in parameters {
        let tokens = if tail { "One or more subject tokens." } else { "One subject token." };
        line(format!("      {name}:\n        description: {tokens}"));
    }
    line("    messages:".to_owned());
    line(format!("      message:\n        payload: {}", reference(message)));
    if subject.kind == SubjectKind::Service {
        line(format!("      reply:\n        payload: {}", reference(reply)));
        line("      refusal:\n        payload: { $ref: './refusal.schema.json' }".to_owned());
    }
    line(format!("    x-kind: {}", subject.kind.as_str()));
    line(format!("    x-wildcard: '{}'", subject.wildcard()));
    line(format!("    x-publishers: [{}]", roles(subject.publishers)));
    line(format!("    x-readers: [{}]", roles(subject.readers)));
    if let Some(stream) = subject.stream {
        line(format!("    x-stream: {stream}"));
    }
}

/// A schema, or anything where the payload is another's (a tool's arguments, a token, nothing).
fn reference(schema: Option<&str>) -> String {
    schema.map_or_else(|| "true".to_owned(), |name| format!("{{ $ref: './{name}.schema.json' }}"))
}

/// As the readers see it: they receive; a service replies.
fn operation(out: &mut String, subject: &Subject) {
    let channel = format!("'#/channels/{}'", subject.name);
    let _ = write!(
        out,
        "  {}:\n    action: receive\n    channel: {{ $ref: {channel} }}\n    messages: [{{ $ref: '#/channels/{}/messages/message' }}]\n",
        subject.name, subject.name,
    );
    if subject.kind == SubjectKind::Service {
        let _ = write!(
            out,
            "    reply:\n      address: {{ location: '$message.header#/reply' }}\n      channel: {{ $ref: {channel} }}\n      \
             messages: [{{ $ref: '#/channels/{name}/messages/reply' }}, {{ $ref: '#/channels/{name}/messages/refusal' }}]\n",
            name = subject.name,
        );
    }
}
