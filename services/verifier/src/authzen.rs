//! The decision service's request and answer, in the shape of AuthZEN's Access Evaluation API 1.0.
//!
//! ```json
//! {"subject":{"type":"agent","id":"did:key:z6Mk…"},"action":{"name":"call"},
//!  "resource":{"type":"tool","id":"nats:tools.crm.query"},
//!  "context":{"chain":["…","…"],"proof":"…","args":{},"audience":"nats://acme.example/tools.crm.query","nonce":"…"}}
//! ```
//! `chain` is an array of tokens, root first, or one text joined by `~`. `audience` is the asking host's own; left out
//! it is the one of a `nats:` tool. `nonce` is what the host demanded of this proof. Members not named here are
//! ignored, as AuthZEN asks.

use marque_identity::{Code, Refusal};
use marque_json::{Json, Limits, Object};
use marque_signing::jws::json_code;
use serde::Serialize;

/// The only kind of subject, of action, and of resource that is decided on.
const SUBJECT_TYPE: &str = "agent";
const ACTION_NAME: &str = "call";
const RESOURCE_TYPE: &str = "tool";

/// A question: may this agent call this tool with these arguments?
#[derive(Debug, PartialEq)]
pub struct Evaluation<'a> {
    /// The agent's DID, as the host believes it; the leaf must be bound to it.
    pub agent: String,
    /// The tool's exact name.
    pub tool: String,
    /// The chain, root first, joined by `~`.
    pub chain: String,
    /// The proof.
    pub proof: String,
    /// The arguments, numbers as written.
    pub args: Json<'a>,
    /// The asking host's own audience.
    pub audience: Option<String>,
    /// The nonce that the host demanded.
    pub nonce: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Evaluated {
    /// Whether the call may run.
    pub decision: bool,
    /// Why, and what it was decided on.
    pub context: Reasons,
}

/// The reasons of an answer.
#[derive(Debug, Serialize)]
pub struct Reasons {
    /// Of a denial: the stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Of a denial: the step that denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<&'static str>,
    /// Of a denial: one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Of a denial: who has to change something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blame: Option<marque_identity::Blame>,
    /// Of a denial: what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
    /// The id of the *decided* record; none only where it could not be stored, and then the answer is no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// How far the view of the directives reached.
    pub epoch: u64,
    /// How old it was; none before the first heartbeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view_age_ms: Option<u64>,
}

/// Reads a question. Refuses other JSON with a sentence that names the member.
pub fn read(body: &[u8]) -> Result<Evaluation<'_>, Refusal> {
    let document = marque_json::parse(body, Limits::DEFAULT)
        .map_err(|error| Refusal::new(json_code(&error), error.to_string()))?;
    let Json::Object(document) = document else { return Err(malformed("the request is not an object")) };
    let subject = object(&document, "subject")?;
    let action = object(&document, "action")?;
    let resource = object(&document, "resource")?;
    let context = object(&document, "context")?;
    expect(text(subject, "subject.type", "type")?, SUBJECT_TYPE, "subject.type")?;
    expect(text(action, "action.name", "name")?, ACTION_NAME, "action.name")?;
    expect(text(resource, "resource.type", "type")?, RESOURCE_TYPE, "resource.type")?;
    Ok(Evaluation {
        agent: text(subject, "subject.id", "id")?.to_owned(),
        tool: text(resource, "resource.id", "id")?.to_owned(),
        chain: chain(context)?,
        proof: text(context, "context.proof", "proof")?.to_owned(),
        args: context.get("args").cloned().ok_or_else(|| malformed("`context.args` is absent"))?,
        audience: optional_text(context, "context.audience", "audience")?,
        nonce: optional_text(context, "context.nonce", "nonce")?,
    })
}

fn chain(context: &Object<'_>) -> Result<String, Refusal> {
    match context.get("chain") {
        Some(Json::String(joined)) => Ok(joined.to_string()),
        Some(Json::Array(tokens)) => {
            let texts: Option<Vec<&str>> = tokens.iter().map(Json::as_str).collect();
            Ok(texts.ok_or_else(|| malformed("`context.chain` holds something else than texts"))?.join("~"))
        }
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_)) | None => {
            Err(malformed("`context.chain` is neither an array of tokens nor one text"))
        }
    }
}

fn object<'d, 'a>(document: &'d Object<'a>, name: &str) -> Result<&'d Object<'a>, Refusal> {
    let member = document.get(name).and_then(Json::as_object);
    member.ok_or_else(|| malformed(&format!("`{name}` is not an object")))
}

fn text<'d>(object: &'d Object<'_>, path: &str, name: &str) -> Result<&'d str, Refusal> {
    object.get(name).and_then(Json::as_str).ok_or_else(|| malformed(&format!("`{path}` is not a text")))
}

fn optional_text(object: &Object<'_>, path: &str, name: &str) -> Result<Option<String>, Refusal> {
    if object.get(name).is_none() { Ok(None) } else { text(object, path, name).map(|text| Some(text.to_owned())) }
}

fn expect(found: &str, expected: &str, path: &str) -> Result<(), Refusal> {
    if found == expected { Ok(()) } else { Err(malformed(&format!("`{path}` is not `{expected}`"))) }
}

fn malformed(message: &str) -> Refusal {
    Refusal::new(Code::Malformed, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn question() -> Value {
        json!({
            "subject": {"type": "agent", "id": "did:key:z6Mk"}, "action": {"name": "call"},
            "resource": {"type": "tool", "id": "nats:tools.a"},
            "context": {"chain": ["a", "b"], "proof": "p", "args": {"n": 1}, "other": true}
        })
    }

    #[test]
    fn reads_a_question_in_both_forms_of_chain() {
        let mut asked = question();
        let body = asked.to_string();
        let read_back = read(body.as_bytes()).unwrap();
        assert_eq!((read_back.chain.as_str(), read_back.tool.as_str()), ("a~b", "nats:tools.a"));
        assert_eq!((read_back.audience, read_back.nonce), (None, None));
        asked["context"]["chain"] = json!("a~b");
        assert_eq!(read(asked.to_string().as_bytes()).unwrap().chain, "a~b");
    }

    #[test]
    fn keeps_numbers_as_written() {
        let body = question().to_string().replace(r#"{"n":1}"#, r#"{"n":1.00000000000000001}"#);
        assert!(!read(body.as_bytes()).unwrap().args.is_admissible());
    }

    #[test]
    fn refuses_what_is_no_question_and_names_the_member() {
        for (pointer, value, message) in [
            ("/subject", json!(1), "`subject` is not an object"),
            ("/subject/type", json!("user"), "`subject.type` is not `agent`"),
            ("/action/name", json!("read"), "`action.name` is not `call`"),
            ("/resource/id", json!(["x"]), "`resource.id` is not a text"),
            ("/context/chain", json!(7), "`context.chain` is neither an array of tokens nor one text"),
            ("/context/chain", json!(["a", 7]), "`context.chain` holds something else than texts"),
            ("/context/proof", json!(null), "`context.proof` is not a text"),
        ] {
            let mut asked = question();
            *asked.pointer_mut(pointer).unwrap() = value;
            let refusal = read(asked.to_string().as_bytes()).unwrap_err();
            assert_eq!((refusal.code, refusal.message.as_str()), (Code::Malformed, message));
        }
    }

    #[test]
    fn refuses_hostile_bytes_by_their_own_code() {
        for (body, code) in [
            (&b""[..], Code::Malformed),
            (b"\xff\xfe", Code::Malformed),
            (b"[]", Code::Malformed),
            (br#"{"subject":{},"subject":{}}"#, Code::DuplicateMember),
        ] {
            assert_eq!(read(body).unwrap_err().code, code);
        }
        let deep = "[".repeat(100_000);
        assert_eq!(read(deep.as_bytes()).unwrap_err().code, Code::TooDeep);
    }
}
