//! What the record of an erasable action leaves out: fetched, opened with the data subject's key, and held to what the
//! record commits to.

use marque_bus::{Bus, BusError, subjects};
use marque_judgement::record::{Body, Record};
use marque_judgement::sealed::Payload;
use marque_signing::xkey::SealingKey;
use marque_signing::{Compact, sha256};
use serde_json::{Value, json};

/// What became of it.
enum Found {
    /// Held, and the very payload that the record commits to.
    Revealed(Payload),
    /// The payload or its key is there no more.
    Erased,
    /// Something is held, but not that.
    Differs(String),
}

/// What an explained record leaves out; none of one that leaves nothing out. Where it can't be learned, that is said:
/// the rest of the explanation stands.
pub(super) async fn of(bus: &Bus, explained: &Value) -> Option<Value> {
    let record: Record = serde_json::from_value(explained.pointer("/record/record")?.clone()).ok()?;
    let Body::Decided(decided) = &record.body else { return None };
    if decided.sealed.as_ref()?.commitment.is_none() {
        return Some(json!({ "state": "not_kept" }));
    }
    Some(match find(bus, &record).await {
        Ok(Found::Revealed(payload)) => shown(&payload, &record),
        Ok(Found::Erased) => json!({ "state": "erased" }),
        Ok(Found::Differs(why)) => json!({ "state": "differs", "why": why }),
        Err(error) => json!({ "state": "unknown", "why": error.to_string() }),
    })
}

async fn find(bus: &Bus, record: &Record) -> Result<Found, BusError> {
    let Some(sealed) = bus.find_sealed(&record.id).await? else { return Ok(Found::Erased) };
    let differs = |why: &dyn std::fmt::Display| Ok(Found::Differs(why.to_string()));
    let named = subjects::sealed_subject(&sealed.subject).zip(Payload::reader(&sealed.payload));
    let Some((subject, reader)) = named else { return differs(&"what is held is no sealed payload") };
    let Some(private) = bus.sealing_private(&subject, reader).await? else { return Ok(Found::Erased) };
    let Ok(seed) = <&[u8; 32]>::try_from(&*private.payload) else {
        return differs(&"the data subject's key is none");
    };
    let opened = Payload::open(&sealed.payload, &SealingKey::from_seed(seed));
    let checked = opened.and_then(|payload| payload.of(record).map(drop).map(|()| payload));
    match checked {
        Ok(payload) => Ok(Found::Revealed(payload)),
        Err(error) => differs(&error),
    }
}

fn shown(payload: &Payload, record: &Record) -> Value {
    let Ok(opened) = payload.of(record) else { return json!({ "state": "differs" }) };
    let claims = Compact::split(opened.proof).ok().and_then(|proof| proof.payload().ok());
    let claims: Value = claims
        .and_then(|claims| marque_json::from_slice(&claims, marque_json::Limits::DEFAULT).ok())
        .unwrap_or_default();
    let claim = |name: &str| claims.get(name).cloned();
    let message = (!opened.message.is_empty()).then_some(opened.message);
    json!({
        "state": "revealed",
        "arguments": claim("hta"),
        "why": claim("why"),
        "cause": claim("cause"),
        "message": message,
        "proof": opened.proof,
        "input": { "sha256": sha256(opened.input), "bytes": opened.input.len() },
    })
}

/// The same for a person, one line each.
pub(super) fn lines(revealed: &Value) -> Vec<String> {
    let text = |name: &str| revealed.get(name).and_then(Value::as_str);
    match text("state") {
        Some("revealed") => {
            let mut lines =
                vec!["sealed     opened with the data subject's key, and as the record commits to".to_owned()];
            lines.extend(revealed.get("arguments").map(|arguments| format!("arguments  {arguments}")));
            lines.extend(text("why").map(|why| format!("claimed    \u{201c}{why}\u{201d}")));
            lines.extend(text("message").map(|message| format!("said       {message}")));
            lines
        }
        Some("erased") => vec!["sealed     erased: the key or the payload is there no more".to_owned()],
        Some("not_kept") => vec![
            "sealed     not kept: no signature vouched for what was presented, or it could not be stored".to_owned(),
        ],
        Some(state) => vec![format!("sealed     {state}: {}", text("why").unwrap_or_default())],
        None => Vec::new(),
    }
}
