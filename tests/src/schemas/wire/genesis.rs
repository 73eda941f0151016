//! The first leaf of a later epoch of a log.

use marque_ledger::epoch::REASON_BYTES_MAX;
use schemars::JsonSchema;
use serde_json::{Value, json};

/// Canonical JSON writes no larger whole number as it is (RFC 8785).
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// `marque-epoch`: the payload of a later epoch's first leaf, whose bus subject is `epoch`. Not a message of the stream: it
/// is signed with the tree, by the epoch's checkpoints.
#[derive(JsonSchema)]
#[schemars(title = "Epoch", deny_unknown_fields)]
pub(in super::super) struct Genesis {
    /// Always `marque-epoch`.
    kind: String,
    /// The epoch's own name: `<trust domain>/audit/e<number>`, from 2.
    origin: String,
    /// The last checkpoint of the epoch before, as it was signed (C2SP signed-note).
    previous: String,
    /// Why there is another, in the operator's words.
    reason: String,
    /// When it was made, in milliseconds since 1970.
    at_ms: u64,
    /// The first message of the stream that is a leaf of this epoch: the second leaf.
    first_sequence: u64,
    /// Records that neither this epoch nor the one before has; ends right before `first_sequence`.
    lost: Option<Lost>,
}

/// Sequences of the stream, both ends among them.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Lost {
    /// The first.
    from: u64,
    /// The last; not before the first.
    to: u64,
}

impl Genesis {
    /// With what its types don't say.
    pub(in super::super) fn schema() -> Value {
        let mut schema = super::super::of::<Self>();
        schema["properties"]["kind"] = json!({ "const": "marque-epoch", "description": "The kind of leaf." });
        let member = &mut schema["properties"];
        member["origin"]["pattern"] = json!("/audit/e([2-9]|[1-5][0-9]|6[0-4])$");
        member["reason"]["minLength"] = json!(1);
        // Of bytes, which are no fewer than characters.
        member["reason"]["maxLength"] = json!(REASON_BYTES_MAX);
        member["at_ms"]["maximum"] = json!(NUMBER_MAX);
        member["first_sequence"]["minimum"] = json!(1);
        member["first_sequence"]["maximum"] = json!(NUMBER_MAX);
        schema
    }
}
