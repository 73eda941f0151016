//! Step 10: a live narrowing, `{"tools": {<tool>|"*": <constraint map>}}`.
//!
//! The entry of the called tool, or else the `*` entry, must allow the arguments as AAT §3.3 reads a constraint map
//! (closed, `optional`, `*`). A tool that it neither names nor covers by `*` is not touched. One that can't be read
//! denies everything.

use marque_credential::{ConstraintMap, Tools, ToolsError};
use marque_identity::refusal::Code;
use marque_json::{Json, Limits};
use marque_revocation::Narrow;
use serde_json::Value;

use crate::{Call, ChainRefusal};

/// Stands for every tool that a narrowing does not name.
const ANY_TOOL: &str = "*";

/// A narrowing, read once.
type Compiled = Option<Tools>;

pub(super) fn check(narrow: &Narrow, call: &Call<'_>) -> Result<(), ChainRefusal> {
    let refused = |message: String| ChainRefusal::at("10", Code::Narrowed, message);
    let map = map(narrow, call.tool).map_err(|Unreadable| {
        refused("a live narrowing can't be read, so that nothing is allowed under it".to_owned())
    })?;
    map.map_or(Ok(()), |map| check_map(map, call, "a live narrowing"))
}

/// The same by a narrowing that is in no directive.
pub(crate) fn check_tools(tools: &Tools, call: &Call<'_>) -> Result<(), ChainRefusal> {
    let map = tools.get(call.tool).or_else(|| tools.get(ANY_TOOL));
    map.map_or(Ok(()), |map| check_map(map, call, "the policy"))
}

fn check_map(map: &ConstraintMap, call: &Call<'_>, what: &str) -> Result<(), ChainRefusal> {
    let refused = |message: String| ChainRefusal::at("10", Code::Narrowed, message);
    let args = call.args.as_object().ok_or_else(|| refused("the arguments are not a JSON object".to_owned()))?;
    map.check(args).map_err(|why| ChainRefusal {
        constraint: why.constraint().map(str::to_owned),
        ..refused(format!("{what} refuses: {why}"))
    })
}

/// A narrowing that can't be read: nothing is allowed under it.
pub(super) struct Unreadable;

/// What a narrowing says of a tool's arguments; none if it does not touch the tool.
pub(super) fn map<'a>(narrow: &'a Narrow, tool: &str) -> Result<Option<&'a ConstraintMap>, Unreadable> {
    let tools = narrow.compiled::<Compiled>(|value| compile(value).ok()).and_then(Option::as_ref).ok_or(Unreadable)?;
    Ok(tools.get(tool).or_else(|| tools.get(ANY_TOOL)))
}

/// Whether a narrowing is well-formed, for whoever is asked to publish one.
pub fn validate(value: &Value) -> Result<(), ToolsError> {
    compile(value).map(|_| ())
}

pub(crate) fn compile(value: &Value) -> Result<Tools, ToolsError> {
    let text = serde_json::to_vec(value).map_err(|_| ToolsError::Shape)?;
    let json = marque_json::parse(&text, Limits::DEFAULT).map_err(|_| ToolsError::Shape)?;
    let object = json.as_object().filter(|object| object.len() == 1).ok_or(ToolsError::Shape)?;
    Tools::parse(object.get("tools").unwrap_or(&Json::Null))
}
