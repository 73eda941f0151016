//! A leaf as an answer shows it: where it stands, its verdict, and what the record says, cut to a bounded size.

use marque_judgement::record::Record;
use marque_ledger::Entry;
use marque_ledger::layout::{VALID, VerdictLine};
use marque_signing::sha256;
use serde::Serialize;
use serde_json::{Value, json};

use crate::SinkError;

/// A longer text (a token, a proof) is shown by its digest; the leaf has it whole.
const TEXT_BYTES_MAX: usize = 1024;
/// A longer list is shown by its length.
const LIST_LENGTH_MAX: usize = 128;

/// One leaf in an answer.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its index.
    pub leaf: u64,
    /// Its sequence in the stream.
    pub stream_sequence: u64,
    /// When the broker stored it, in milliseconds.
    pub broker_ms: i64,
    /// The bus subject it was published on.
    pub subject: String,
    /// `valid`, `duplicate`, `conflict`, or the code of what is wrong with it.
    pub verdict: String,
    /// For a duplicate or a conflict: the first leaf with its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// What it says, where its verdict lets that be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Value>,
    /// SHA-256 of the stored bytes.
    pub sha256: String,
    /// How many they are.
    pub bytes: usize,
}

impl Row {
    /// The row of a leaf, from its entry, its line, and the record if there is one.
    pub fn new(entry: &Entry<'_>, line: VerdictLine, record: Option<&Record>) -> Result<Self, SinkError> {
        let shown = record.map(serde_json::to_value).transpose();
        let shown = shown.map_err(|error| SinkError::Asked(format!("leaf {} can't be shown: {error}", line.leaf)))?;
        Ok(Self {
            leaf: line.leaf,
            stream_sequence: entry.stream_seq,
            broker_ms: entry.broker_ms(),
            subject: entry.bus_subject.to_owned(),
            verdict: line.verdict,
            first: line.first,
            record: shown.map(cut),
            sha256: sha256(entry.payload).to_string(),
            bytes: entry.payload.len(),
        })
    }

    /// Its record is what it should be, and the first with its id.
    pub fn is_valid(&self) -> bool {
        self.verdict == VALID
    }
}

/// A value with long texts and lists replaced by what they are.
pub fn cut(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > TEXT_BYTES_MAX => {
            json!({ "elided_bytes": text.len(), "sha256": sha256(text.as_bytes()).to_string() })
        }
        Value::Array(elements) if elements.len() > LIST_LENGTH_MAX => json!({ "elided_elements": elements.len() }),
        Value::Array(elements) => Value::Array(elements.into_iter().map(cut).collect()),
        Value::Object(members) => Value::Object(members.into_iter().map(|(name, value)| (name, cut(value))).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
