//! What the gatekeeper reads beside the broker's questions: what the server tells of connections, what operators ask,
//! and where agents address their statements.

use marque_gatekeeper::doors::{self, ConnectionName};
use marque_identity::Did;
use marque_judgement::record::RecordKind;
use serde_json::json;

use super::text;
use crate::vectors::token::Who;

/// The server's event of a connection: a name of ours is written as it is read.
pub fn server_event(data: &[u8]) {
    if let Some(told) = doors::told(data) {
        name(&told.name);
    }
    let _ = doors::overlong(data);
}

/// A page of the server's connections.
pub fn server_page(data: &[u8]) {
    for listed in doors::listed(data).into_iter().flatten() {
        name(&listed.name);
    }
}

/// The server's answer to a kick.
pub fn server_kick(data: &[u8]) {
    let _ = doors::kicked(data);
}

/// An operator asks who is connected.
pub fn connections_question(data: &[u8]) {
    if let Ok(Some(agent)) = doors::asked(data) {
        assert!(text(data).contains(&agent.to_string()) || data.contains(&b'\\'));
    }
}

/// Where an agent sends its statement: there is one subject for each kind and key.
pub fn statement_subject(data: &[u8]) {
    let subject = text(data);
    if let Some((kind, key)) = doors::addressed(&subject) {
        assert!(matches!(kind, RecordKind::Delegated | RecordKind::Requested));
        assert_eq!(subject, format!("marque.statement.{kind}.{}", key.multibase()));
    }
    name(&subject);
}

/// A connection's name, from the server: there is one text for each.
fn name(text: &str) {
    if let Ok(name) = text.parse::<ConnectionName>() {
        assert_eq!(name.to_string(), text);
    }
}

/// A valid sample for each target of this module.
pub(super) fn sample(target: &str) -> Option<Vec<u8>> {
    let agent: Did = Who::Orchestrator.key().did();
    let ours = ConnectionName { agent, sequence: 42 }.to_string();
    let sample = match target {
        "server_event" => json!({
            "type": "io.nats.server.advisory.v1.client_disconnect", "server": {"name": "n", "id": "NSERVER"},
            "client": {"id": 10, "acc": "AGENTS", "user": ours}, "sent": {"msgs": 2, "bytes": 2},
            "received": {"msgs": 1, "bytes": 64}, "reason": "Kicked",
        }),
        "server_page" => json!({
            "server": {"id": "NSERVER"},
            "data": {"total": 1, "connections": [{"cid": 10, "account": "AGENTS", "authorized_user": ours}]},
        }),
        "server_kick" => json!({"server": {"id": "NSERVER"}, "error": {"code": 500, "description": "no such client"}}),
        "connections_question" => json!({ "agent": agent }),
        "statement_subject" => {
            return Some(format!("marque.statement.requested.{}", agent.multibase()).into_bytes());
        }
        _ => return None,
    };
    Some(sample.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use marque_gatekeeper::doors::KickOutcome;

    use super::*;

    /// A sample that is refused at the door would leave what lies behind it untried.
    #[test]
    fn samples_come_through_their_doors() {
        let sample = |target| sample(target).unwrap();
        let told = doors::told(&sample("server_event")).unwrap();
        assert!(told.end.is_some() && told.name.parse::<ConnectionName>().is_ok());
        let listed = doors::listed(&sample("server_page")).unwrap();
        assert_eq!((listed.len(), &listed[0].name), (1, &told.name));
        assert_eq!(doors::kicked(&sample("server_kick")).unwrap(), KickOutcome::Gone);
        assert_eq!(doors::kicked(b"{}").unwrap(), KickOutcome::Closed);
        assert!(doors::asked(&sample("connections_question")).unwrap().is_some());
        assert_eq!(doors::asked(b"").unwrap(), None);
        assert!(doors::addressed(&text(&sample("statement_subject"))).is_some());
    }
}
