//! What stands on a command line as JSON, or `@FILE`: a grant of tools, a call's arguments. What can't be read there
//! is a usage failure (exit 2) under its own code, never a no.

use std::path::Path;

use marque_agent::{AgentError, AgentKey, Commission};
use marque_credential::Tools;
use marque_identity::Code;
use marque_json::Limits;

use crate::inspect::read_bounded;
use crate::{Exit, Failure};

/// 256 tools with 64 constraints each rarely come near a token's 64 KiB.
const BYTES_MAX: usize = 64 * 1024;

/// The text of a JSON argument: itself, or the content of the file behind `@`.
fn text(argument: &str) -> Result<Vec<u8>, Failure> {
    match argument.strip_prefix('@') {
        Some(file) => read_bounded(file, BYTES_MAX).map_err(|failure| match failure.code {
            Code::Oversize => unreadable(failure),
            _ => failure,
        }),
        None if argument.len() > BYTES_MAX => {
            let failure = Failure::new(Code::Oversize, format!("the argument has more than {BYTES_MAX} bytes"));
            Err(unreadable(failure))
        }
        None => Ok(argument.as_bytes().to_vec()),
    }
}

fn unreadable(failure: Failure) -> Failure {
    Failure { exit: Exit::Usage, ..failure }
}

/// A call's arguments: the bytes of a JSON object, as they were written.
pub(crate) fn arguments(argument: &str) -> Result<Vec<u8>, Failure> {
    const HINT: &str = "a call takes its arguments as one JSON object, or @FILE";
    let text = text(argument)?;
    let json = marque_json::parse(&text, Limits::bytes(BYTES_MAX));
    if json.map_err(|error| unreadable(Failure::from(error)).hint(HINT))?.as_object().is_none() {
        return Err(unreadable(Failure::new(Code::Malformed, "the arguments are not a JSON object")).hint(HINT));
    }
    Ok(text)
}

/// The tools: `{"nats:tools.crm.query": {"customer": {"constraint_type": "exact", "value": "ada"}}}`.
pub(crate) fn parse(argument: &str) -> Result<Tools, Failure> {
    let text = text(argument)?;
    let json = marque_json::parse(&text, Limits::bytes(BYTES_MAX))
        .map_err(|error| unreadable(Failure::from(error)).hint("--tools takes a JSON object of tools, or @FILE"))?;
    Tools::parse(&json).map_err(|error| {
        unreadable(Failure::new(error.code(), error.to_string()))
            .hint("--tools takes {\"tool\": {\"argument\": {\"constraint_type\": …}}}, or @FILE")
    })
}

/// The commission that a chain in a file, or on stdin, is for this key. What is no chain there is no no either.
pub(crate) fn commission(key: &AgentKey, file: &str) -> Result<Commission, Failure> {
    const HINT: &str = "--chain takes the file that `marque token issue` or `marque token delegate` wrote";
    let chain = chain(file).map_err(as_usage)?;
    Commission::adopt(key.clone(), chain).map_err(|error| match error {
        AgentError::ChainUnreadable(why) => {
            as_usage(Failure::new(Code::Malformed, format!("{file}: the chain can't be read: {why}"))).hint(HINT)
        }
        other => other.into(),
    })
}

/// A no about a file's bytes is about the command line, which named the file.
fn as_usage(failure: Failure) -> Failure {
    if failure.exit == Exit::No { unreadable(failure) } else { failure }
}

/// The chain in a file, or on stdin for `-`.
pub(crate) fn chain(file: &str) -> Result<String, Failure> {
    let bytes = read_bounded(file, 256 * 1024)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::new(Code::Malformed, format!("{} is not UTF-8", Path::new(file).display())))?;
    Ok(text.trim().to_owned())
}
