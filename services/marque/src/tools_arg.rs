//! A grant of tools on a command line: JSON, or `@FILE`.

use std::path::Path;

use marque_credential::Tools;
use marque_identity::Code;
use marque_json::Limits;

use crate::Failure;
use crate::inspect::read_bounded;

/// 256 tools with 64 constraints each rarely come near a token's 64 KiB.
const BYTES_MAX: usize = 64 * 1024;

/// The text of a JSON argument: itself, or the content of the file behind `@`.
pub(crate) fn text(argument: &str) -> Result<Vec<u8>, Failure> {
    match argument.strip_prefix('@') {
        Some(file) => read_bounded(file, BYTES_MAX),
        None if argument.len() > BYTES_MAX => {
            Err(Failure::new(Code::Oversize, format!("the argument has more than {BYTES_MAX} bytes")))
        }
        None => Ok(argument.as_bytes().to_vec()),
    }
}

/// The tools: `{"nats:tools.crm.query": {"customer": {"constraint_type": "exact", "value": "ada"}}}`.
pub(crate) fn parse(argument: &str) -> Result<Tools, Failure> {
    let text = text(argument)?;
    let json = marque_json::parse(&text, Limits::bytes(BYTES_MAX))
        .map_err(|error| Failure::from(error).hint("--tools takes a JSON object of tools, or @FILE"))?;
    Tools::parse(&json).map_err(|error| {
        Failure::new(error.code(), error.to_string())
            .hint("--tools takes {\"tool\": {\"argument\": {\"constraint_type\": …}}}, or @FILE")
    })
}

/// The chain in a file, or on stdin for `-`.
pub(crate) fn chain(file: &str) -> Result<String, Failure> {
    let bytes = read_bounded(file, 256 * 1024)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::new(Code::Malformed, format!("{} is not UTF-8", Path::new(file).display())))?;
    Ok(text.trim().to_owned())
}
