//! JSON Schema of what has no derived one.

use std::borrow::Cow;

use schemars::JsonSchema;

use crate::Constraint;

/// Stands for a constraint in schemas: its frame. The members of each type stand in `schemas/constraints/`.
pub(crate) struct ConstraintSchema;

impl JsonSchema for ConstraintSchema {
    fn schema_name() -> Cow<'static, str> {
        "Constraint".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "required": ["constraint_type"],
            "properties": {
                "constraint_type": { "enum": Constraint::TYPE_NAMES },
                "optional": { "type": "boolean" }
            }
        })
    }
}
