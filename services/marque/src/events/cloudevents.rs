//! A leaf as a CloudEvents 1.0 event in the JSON format. `source` and `id` name it once and for all: the log's origin
//! and the leaf's index.
//!
//! The record that was signed is in `data`, with the very text that was signed beside it; what holds no valid record
//! goes as it is, in `data_base64`. Extensions, all strings because the specification's integers have 32 bits:
//! `sequence` (the specification's documented one, sortable as text), `treesize`, `leafhash`, `verdict`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marque_identity::UnixMillis;
use marque_ledger::{Checkpoint, Hash};
use serde_json::{Value, json};

use super::Last;
use crate::forensics::copy::StoredLeaf;
use crate::time;

/// `type` of a leaf that holds no valid record. The others are `marque.record.<kind>`, as their bus subjects begin.
const NOT_VALID: &str = "marque.record.not_valid";

/// The event.
pub(super) fn event(stored: &StoredLeaf<'_>, of: &Checkpoint) -> Value {
    let stored_ms = stored.entry.broker_ms();
    let mut event = json!({
        "specversion": "1.0",
        "id": stored.leaf.to_string(),
        "source": of.origin,
        "type": NOT_VALID,
        "time": time::utc_millis(UnixMillis(stored_ms)),
        "sequence": format!("{:020}", stored.leaf),
        "treesize": of.size.to_string(),
        "leafhash": Hash::leaf(stored.frame).to_base64(),
        "verdict": stored.verdict(),
    });
    match &stored.judged {
        Ok(record) => {
            event["type"] = format!("marque.record.{}", record.kind()).into();
            event["subject"] = record.agent.unwrap_or(record.by).to_string().into();
            event["datacontenttype"] = "application/json".into();
            let signed = String::from_utf8_lossy(stored.entry.payload);
            event["data"] = json!({ "record": record, "signed": signed });
        }
        Err(_) => {
            event["datacontenttype"] = "application/octet-stream".into();
            event["data_base64"] = STANDARD.encode(stored.entry.payload).into();
        }
    }
    event
}

/// Which leaf a line is of.
pub(super) fn last(line: &Value) -> Option<Last> {
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    (text("specversion") == Some("1.0")).then_some(())?;
    Some(Last { leaf: text("id")?.parse().ok()?, leaf_hash: text("leafhash")?.to_owned() })
}
