//! How a ruling travels back.

use bytes::Bytes;
use marque_bus::async_nats::HeaderMap;
use marque_bus::{Reply, WireRefusal, header};
use marque_identity::Refusal;

use crate::answer::DECIDED;

/// A tool's answer, with the id of the *decided* record behind it.
pub fn answer(payload: Bytes, record: &str) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(DECIDED, record);
    Reply { headers, payload }
}

/// A refusal in the form of a service error (ADR-32), with the id of the *decided* record where there is one.
///
/// It is an answer of a service that works, so that a service's error count stays what an operator looks at.
pub fn refusal(refusal: &Refusal, record: Option<&str>) -> Reply {
    let wire = WireRefusal { record: record.map(str::to_owned), ..WireRefusal::from(refusal) };
    let mut headers = HeaderMap::new();
    headers.insert(header::SERVICE_ERROR_CODE, refusal.code.as_str());
    headers.insert(header::SERVICE_ERROR, one_line(&refusal.message).as_str());
    if let Some(record) = record {
        headers.insert(DECIDED, record);
    }
    // The body is plain data of ours; without it the headers still tell the code.
    let payload = serde_json::to_vec(&wire).unwrap_or_default();
    Reply { headers, payload: payload.into() }
}

/// A header's value holds no line break.
fn one_line(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
