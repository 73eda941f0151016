//! The grant: which tools, with which arguments.

mod map;
mod widening;

use std::borrow::Cow;
use std::collections::BTreeMap;

use marque_identity::refusal::{Code, quoted};
use marque_json::{Json, Limits};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

pub use map::{ConstraintMap, Entry};
pub use widening::Widening;

use crate::constraint::ConstraintError;
use crate::limits::{ARGUMENTS_MAX, TOOL_NAME_BYTES_MAX, TOOLS_MAX};

/// The `tools` member of an `attenuating_agent_token` entry: tool names, exact strings, to constraint maps.
/// Source: AAT §3.3.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tools(BTreeMap<Box<str>, ConstraintMap>);

/// Why a `tools` member was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ToolsError {
    /// Not an object, or a value in it is not one (AAT §8 steps 3m, 4n).
    #[error("`tools` is not an object of constraint maps")]
    Shape,
    /// More tools, or a longer name, than allowed.
    #[error("{what} is larger than {max}")]
    Oversize {
        /// What.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A constraint is not well-formed (AAT §8 steps 3n, 4o).
    #[error("tool {tool}, argument {argument}: {source}")]
    Constraint {
        /// The tool, quoted.
        tool: String,
        /// The argument, quoted.
        argument: String,
        /// What is wrong.
        source: ConstraintError,
    },
}

impl ToolsError {
    /// The stable reason.
    pub fn code(&self) -> Code {
        match self {
            Self::Shape => Code::GrantMalformed,
            Self::Oversize { .. } => Code::Oversize,
            Self::Constraint { source, .. } => source.code(),
        }
    }

    /// Whether it is the constraints that are wrong (steps 3n, 4o), not their frame (3m, 4n).
    pub fn is_constraint(&self) -> bool {
        matches!(self, Self::Constraint { .. })
    }
}

/// Why a call lies outside a grant (AAT §8 step 6b).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallRefused {
    /// The tool is not granted.
    #[error("tool {tool} is not granted")]
    ToolNotGranted {
        /// The tool, quoted.
        tool: String,
    },
    /// The arguments are no object.
    #[error("the arguments are not a JSON object")]
    NotAnObject,
    /// A number does not survive its canonical form.
    #[error("argument {argument} holds a number that does not survive its canonical form")]
    Number {
        /// The argument, quoted.
        argument: String,
    },
    /// An argument that the map does not name.
    #[error("argument {argument} is not named by the grant")]
    Unnamed {
        /// The argument, quoted.
        argument: String,
    },
    /// An argument's constraint says no.
    #[error("argument {argument} is refused by its `{type_name}` constraint")]
    Refused {
        /// The argument, quoted.
        argument: String,
        /// The constraint's type.
        type_name: &'static str,
        /// The constraint as JSON text.
        constraint: String,
    },
    /// A required argument is absent.
    #[error("argument {argument} is required")]
    Missing {
        /// The argument, quoted.
        argument: String,
    },
}

impl CallRefused {
    /// The stable reason.
    pub fn code(&self) -> Code {
        match self {
            Self::ToolNotGranted { .. } => Code::ToolNotGranted,
            Self::NotAnObject => Code::Malformed,
            Self::Number { .. } => Code::NumberInadmissible,
            Self::Unnamed { .. } | Self::Refused { .. } => Code::ArgumentRefused,
            Self::Missing { .. } => Code::ArgumentMissing,
        }
    }

    /// The constraint that decided, as JSON text.
    pub fn constraint(&self) -> Option<&str> {
        if let Self::Refused { constraint, .. } = self { Some(constraint) } else { None }
    }
}

impl Tools {
    /// Reads a `tools` member. First its frame (AAT §8 steps 3m, 4n), then its constraints (3n, 4o).
    pub fn parse(json: &Json<'_>) -> Result<Self, ToolsError> {
        let object = json.as_object().ok_or(ToolsError::Shape)?;
        if object.iter().any(|(_, map)| map.as_object().is_none()) {
            return Err(ToolsError::Shape);
        }
        if object.len() > TOOLS_MAX {
            return Err(ToolsError::Oversize { what: "the number of tools", max: TOOLS_MAX });
        }
        if object.iter().any(|(name, _)| name.len() > TOOL_NAME_BYTES_MAX) {
            return Err(ToolsError::Oversize { what: "a tool's name", max: TOOL_NAME_BYTES_MAX });
        }
        let mut tools = BTreeMap::new();
        for (tool, map) in object.iter() {
            let map = map.as_object().ok_or(ToolsError::Shape)?;
            tools.insert(tool.into(), ConstraintMap::parse(tool, map)?);
        }
        Ok(Self(tools))
    }

    /// A grant of these tools.
    ///
    /// Refuses more tools or a longer name than a token may carry.
    pub fn of(tools: impl IntoIterator<Item = (String, ConstraintMap)>) -> Result<Self, ToolsError> {
        let tools = Self(tools.into_iter().map(|(name, map)| (name.into(), map)).collect());
        if tools.0.len() > TOOLS_MAX {
            return Err(ToolsError::Oversize { what: "the number of tools", max: TOOLS_MAX });
        }
        if tools.0.keys().any(|name| name.len() > TOOL_NAME_BYTES_MAX) {
            return Err(ToolsError::Oversize { what: "a tool's name", max: TOOL_NAME_BYTES_MAX });
        }
        Ok(tools)
    }

    /// A tool's map.
    pub fn get(&self, tool: &str) -> Option<&ConstraintMap> {
        self.0.get(tool)
    }

    /// Tools in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &ConstraintMap)> {
        self.0.iter().map(|(name, map)| (name.as_ref(), map))
    }

    /// How many tools.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no tool is granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `child` attenuates this grant (AAT §4.5, §8 steps 4p1 to 4p4, each over all tools before the next).
    pub fn subsumes(&self, child: &Self) -> Result<(), Widening> {
        // p1: no tool that the parent has not.
        for tool in child.0.keys() {
            if !self.0.contains_key(tool) {
                return Err(Widening::at("4p1", tool, None, "the parent does not grant the tool"));
            }
        }
        let pairs = || child.0.iter().filter_map(|(tool, map)| self.0.get(tool).map(|parent| (tool, parent, map)));
        for (tool, parent, map) in pairs() {
            parent.covers_keys_of(map, tool)?; // p2
        }
        for (tool, parent, map) in pairs() {
            parent.keeps_required_in(map, tool)?; // p3
        }
        for (tool, parent, map) in pairs() {
            parent.subsumes_values_of(map, tool)?; // p4
        }
        Ok(())
    }

    /// Whether the grant allows the call (AAT §8 step 6b).
    pub fn check_call(&self, tool: &str, args: &Json<'_>) -> Result<(), CallRefused> {
        let map = self.0.get(tool).ok_or_else(|| CallRefused::ToolNotGranted { tool: quoted(tool) })?;
        map.check(args.as_object().ok_or(CallRefused::NotAnObject)?)
    }

    /// The wire form.
    pub fn to_json(&self) -> Value {
        Value::Object(self.0.iter().map(|(name, map)| (name.to_string(), map.to_json())).collect())
    }
}

impl Serialize for Tools {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// Numbers go through serde's model first: one that is not admissible by its digits after a point alone is then
/// read as its double. Where the text decides (tokens), [`Tools::parse`] is used.
impl<'de> Deserialize<'de> for Tools {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let value = Value::deserialize(deserializer)?;
        let text = serde_json::to_vec(&value).map_err(D::Error::custom)?;
        let json = marque_json::parse(&text, Limits::DEFAULT).map_err(D::Error::custom)?;
        Self::parse(&json).map_err(D::Error::custom)
    }
}

impl JsonSchema for Tools {
    fn schema_name() -> Cow<'static, str> {
        "Tools".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let constraint = generator.subschema_for::<crate::schema::ConstraintSchema>();
        schemars::json_schema!({
            "type": "object",
            "description": "Tool names, exact strings, to constraint maps (AAT §3.3).",
            "maxProperties": TOOLS_MAX,
            "propertyNames": { "maxLength": TOOL_NAME_BYTES_MAX },
            "additionalProperties": {
                "type": "object",
                "description": "Argument names to constraints; `*` admits unnamed arguments; empty means `*`.",
                "maxProperties": ARGUMENTS_MAX + 1,
                "additionalProperties": constraint
            }
        })
    }
}
