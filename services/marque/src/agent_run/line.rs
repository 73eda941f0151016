//! A line of the socket: what the command asks, and what it is answered.

use marque_agent::{Answer, CallError, Delegation, Why};
use marque_credential::Tools;
use marque_identity::{Code, Did};
use marque_json::{Json, Limits, Member};
use marque_signing::PublicKey;
use serde_json::{Value, json};

use crate::Failure;

/// A line: the arguments of a call fit a message of the broker's (64 KiB), twice for their escapes.
pub(super) const LINE_BYTES_MAX: usize = 128 * 1024;

/// What the command asks.
#[derive(Debug)]
pub(super) enum Asked {
    /// One action.
    Call { subject: String, args: Vec<u8>, why: Why, gate: bool },
    /// A part of the commission for a sub-agent's key.
    Delegate { to: PublicKey, grant: Delegation },
    /// Who acts.
    Whoami,
}

/// Reads a line. Arguments are kept as they are written: their numbers are judged so.
pub(super) fn read(line: &[u8]) -> Result<Asked, Failure> {
    let members = marque_json::parse_members(line, Limits::bytes(LINE_BYTES_MAX))?;
    let has = |name: &str| members.iter().any(|member| member.name == name);
    match (has("call"), has("delegate"), has("whoami")) {
        (true, false, false) => call(&members),
        (false, true, false) => only(&members).and_then(delegation),
        (false, false, true) => only(&members).map(|_| Asked::Whoami),
        _ => Err(malformed("a line has one of `call`, `delegate` and `whoami`")),
    }
}

fn call(members: &[Member<'_>]) -> Result<Asked, Failure> {
    let (mut subject, mut args, mut why, mut gate) = (String::new(), b"{}".to_vec(), Why::default(), false);
    for member in members {
        match (member.name.as_ref(), &member.value) {
            ("call", Json::String(text)) => text.strip_prefix("nats:").unwrap_or(text).clone_into(&mut subject),
            ("args", Json::Object(_)) => args = member.raw.to_vec(),
            ("why", Json::String(text)) => why.why = Some(text.to_string()),
            ("cause", Json::String(text)) => why.cause = Some(text.to_string()),
            ("gate", Json::Bool(through)) => gate = *through,
            (name, _) => return Err(unknown(name)),
        }
    }
    if !marque_bus::subjects::is_publishable(&subject) {
        return Err(malformed("`call` names the bus subject of a tool, such as `tools.crm.query`"));
    }
    Ok(Asked::Call { subject, args, why, gate })
}

fn delegation(member: &Member<'_>) -> Result<Asked, Failure> {
    let members = marque_json::parse_members(member.raw, Limits::bytes(LINE_BYTES_MAX))?;
    let (mut to, mut tools, mut ttl_seconds, mut depth) = (None, None, None, 0);
    for member in &members {
        let number = || std::str::from_utf8(member.raw).ok().and_then(|text| text.parse::<u32>().ok());
        match member.name.as_ref() {
            "to" => to = member.value.as_str().and_then(|text| text.parse::<Did>().ok()),
            "tools" => tools = Some(Tools::parse(&member.value).map_err(|e| Failure::new(e.code(), e.to_string()))?),
            "ttl_seconds" => ttl_seconds = Some(number().ok_or_else(|| unknown("ttl_seconds"))?),
            "depth" => depth = number().ok_or_else(|| unknown("depth"))?,
            name => return Err(unknown(name)),
        }
    }
    let to = to.ok_or_else(|| malformed("`to` is the sub-agent's `did:key:…`"))?;
    let to = PublicKey::from_did(&to).map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let grant = Delegation::new(tools.ok_or_else(|| malformed("`tools` are missing"))?).further_depth(depth.into());
    let grant = match ttl_seconds {
        Some(seconds) => grant.ttl_seconds(seconds.into()),
        None => grant,
    };
    Ok(Asked::Delegate { to, grant })
}

/// The one member, where nothing stands beside it.
fn only<'a, 'b>(members: &'a [Member<'b>]) -> Result<&'a Member<'b>, Failure> {
    match members {
        [member] => Ok(member),
        _ => Err(malformed("nothing stands beside `delegate` or `whoami`")),
    }
}

fn malformed(message: &str) -> Failure {
    Failure::new(Code::Malformed, message).hint("send {\"call\": …}, {\"delegate\": …} or {\"whoami\": {}}")
}

fn unknown(name: &str) -> Failure {
    malformed(&format!("{} does not belong here, or has another kind", marque_identity::refusal::quoted(name)))
}

/// A tool's answer: its bytes as JSON where they are JSON, else as text.
pub(super) fn reply(outcome: Result<Answer, CallError>) -> Value {
    match outcome {
        Ok(answer) => {
            let text = || Value::from(String::from_utf8_lossy(&answer.payload));
            let reply = serde_json::from_slice(&answer.payload).unwrap_or_else(|_| text());
            json!({ "reply": reply, "record": answer.record, "action": answer.action })
        }
        Err(refused) => error(&refused.into()),
    }
}

/// A failure: what the command line would say.
pub(super) fn error(failure: &Failure) -> Value {
    json!({ "error": {
        "code": failure.code, "step": failure.step, "message": failure.message, "blame": failure.blame,
        "hint": failure.hint,
    } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_call_with_its_arguments_as_written() {
        let asked = read(br#"{"call":"nats:tools.a","args":{ "n": 1.00 },"why":"w","cause":"c","gate":true}"#).unwrap();
        let Asked::Call { subject, args, why, gate } = asked else { panic!("{asked:?}") };
        assert_eq!((subject.as_str(), args.as_slice(), gate), ("tools.a", &br#"{ "n": 1.00 }"#[..], true));
        assert_eq!((why.why.as_deref(), why.cause.as_deref()), (Some("w"), Some("c")));
        assert!(matches!(read(br#"{"whoami":{}}"#), Ok(Asked::Whoami)));
    }

    #[test]
    fn refuses_hostile_lines_by_rule() {
        let code = |line: &[u8]| read(line).unwrap_err().code;
        assert_eq!(code(b"\xff"), Code::Malformed);
        assert_eq!(code(br#"{"call":"a","call":"b"}"#), Code::DuplicateMember);
        assert_eq!(code(&[b"{\"call\":\"a\",\"args\":{\"a\":".to_vec(), vec![b'['; 200]].concat()), Code::TooDeep);
        assert_eq!(code(&vec![b' '; LINE_BYTES_MAX + 1]), Code::Oversize);
        for line in [
            &br#"{}"#[..],
            br#"[]"#,
            br#"{"call":1}"#,
            br#"{"call":"a b"}"#,
            br#"{"call":"tools.>"}"#,
            br#"{"call":"tools.a\r\nPUB x 0"}"#,
            br#"{"call":"a","args":[]}"#,
            br#"{"call":"a","whoami":{}}"#,
            br#"{"whoami":{},"more":1}"#,
            br#"{"delegate":{"to":"did:key:zzz","tools":{}}}"#,
            br#"{"delegate":{"ttl_seconds":-1}}"#,
        ] {
            assert_eq!(code(line), Code::Malformed, "{}", String::from_utf8_lossy(line));
        }
    }
}
