//! `marque blueprint`: the kinds of agents that may be enrolled.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use marque_bus::permissions::BusRole;
use marque_bus::subjects;
use marque_credential::Tools;
use marque_identity::{BlueprintName, Code, Sponsor};
use marque_json::{Json, Limits};
use serde_json::{Value, json};

use crate::cli::Common;
use crate::directory::Directory;
use crate::output::{Answer, Output, facts, table};
use crate::{Failure, inspect, question_failure};

/// The issuer reads no larger file either.
const FILE_BYTES_MAX: usize = 256 * 1024;

/// What to do with blueprints.
#[derive(Debug, Subcommand)]
pub enum BlueprintVerb {
    /// List the issuer's blueprints.
    Ls,
    /// Show one of them.
    Info {
        /// Its name.
        name: BlueprintName,
    },
    /// Check a blueprint's file before it is installed.
    Check {
        /// The file, `<name>.toml`.
        file: PathBuf,
    },
}

/// Does it.
pub(crate) async fn run(verb: &BlueprintVerb, common: &Common, _out: &Output) -> Result<Answer, Failure> {
    match verb {
        BlueprintVerb::Ls => {
            let reply = ask(common, None).await?;
            let list = reply.get("blueprints").cloned().unwrap_or(reply);
            Ok(Answer::yes(&list, listed(&list)))
        }
        BlueprintVerb::Info { name } => {
            let reply = ask(common, Some(json!({ "name": name }))).await?;
            let text = serde_json::to_string_pretty(&told_once(reply.clone())).unwrap_or_default();
            Ok(Answer::yes(reply, text))
        }
        BlueprintVerb::Check { file } => check(file),
    }
}

/// Refuses the name of a kind of agent that can't be enrolled; where nobody can tell, says so.
///
/// The directory's own files are looked at first, then the issuer is asked, whose word on what it knows is the last.
pub(crate) async fn must_be_known(name: &BlueprintName, common: &Common, out: &Output) -> Result<(), Failure> {
    let connection = &common.connection;
    let mut known = connection.dir.as_ref().map(|dir| names_in(&Directory::at(dir).blueprints())).unwrap_or_default();
    if known.contains(name.as_str()) {
        return Ok(());
    }
    // Where no broker is named, none is asked: an invitation needs no network.
    let named = connection.dir.is_some() || connection.server.is_some() || connection.context.is_some();
    if named && let Ok(reply) = ask(common, None).await {
        known = names_of(&reply);
    }
    if known.contains(name.as_str()) {
        return Ok(());
    }
    if known.is_empty() {
        out.talk(format!(
            "whether the issuer has a blueprint `{name}` could not be learned: `marque blueprint ls` asks it"
        ));
        return Ok(());
    }
    let list = known.into_iter().collect::<Vec<_>>().join(", ");
    Err(Failure::new(Code::BlueprintUnknown, format!("no blueprint is called `{name}`"))
        .hint(format!("these are known: {list}; `marque blueprint ls` lists the issuer's")))
}

/// The blueprints whose files lie in a folder.
fn names_in(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect()
}

/// The first model that a blueprint of this directory allows, where its file lies there and names one.
pub(crate) fn model_in(directory: &Directory, name: &BlueprintName) -> Option<String> {
    let file = directory.blueprints().join(format!("{name}.toml"));
    let text = inspect::read_bounded(&file.display().to_string(), FILE_BYTES_MAX).ok()?;
    let document: toml::Table = String::from_utf8(text).ok()?.parse().ok()?;
    document.get("models")?.as_array()?.first()?.as_str().map(str::to_owned)
}

/// The blueprints of the issuer's list.
fn names_of(reply: &Value) -> BTreeSet<String> {
    let list = reply.get("blueprints").unwrap_or(reply).as_array();
    list.into_iter().flatten().filter_map(|item| Some(item.get("name")?.as_str()?.to_owned())).collect()
}

async fn ask(common: &Common, question: Option<Value>) -> Result<Value, Failure> {
    let bus = common.connection.resolve(BusRole::Operator)?.connect("marque blueprint").await?;
    let payload = question.map(|question| question.to_string()).unwrap_or_default().into_bytes();
    let reply = bus.request(subjects::issuer::BLUEPRINTS, Default::default(), payload, common.connection.timeout).await;
    Ok(marque_json::from_slice(&reply.map_err(question_failure)?.payload, Limits::DEFAULT)?)
}

/// What is required stands in `attest` too, with what each piece must show: people read it there.
fn told_once(mut reply: Value) -> Value {
    if let Some(members) = reply.as_object_mut()
        && members.get("attest").and_then(|attest| attest.get("require")) == members.get("require")
    {
        members.remove("require");
    }
    reply
}

fn listed(list: &Value) -> String {
    let cell = |item: &Value, name: &str| match item.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let row = |item: &Value| {
        ["name", "sponsor", "max_life_seconds", "max_depth", "description"].map(|name| cell(item, name)).to_vec()
    };
    let rows: Vec<Vec<String>> = list.as_array().map(|items| items.iter().map(row).collect()).unwrap_or_default();
    table(&["name", "sponsor", "life s", "depth", "description"], &rows)
}

/// Checks what can be checked without the issuer, which reads the file again when it starts.
fn check(file: &Path) -> Result<Answer, Failure> {
    let bytes = inspect::read_bounded(&file.display().to_string(), FILE_BYTES_MAX)?;
    let wrong = |key: &str, why: String| {
        Failure::new(Code::ConfigInvalid, format!("{}: `{key}`: {why}", file.display()))
            .hint("deploy/blueprints holds examples")
    };
    let text = String::from_utf8(bytes).map_err(|_| wrong("file", "is not UTF-8".into()))?;
    let document: toml::Table =
        text.parse().map_err(|error: toml::de::Error| wrong("syntax", error.message().to_owned()))?;
    let word =
        |key: &str| document.get(key).and_then(toml::Value::as_str).ok_or_else(|| wrong(key, "is no text".into()));
    let name: BlueprintName = word("name")?.parse().map_err(|error| wrong("name", format!("{error}")))?;
    if file.file_stem().and_then(|stem| stem.to_str()) != Some(name.as_str()) {
        return Err(wrong("name", format!("a blueprint stands in `<name>.toml`, this one in {}.toml", name)));
    }
    let sponsor: Sponsor = word("sponsor")?.parse().map_err(|error| wrong("sponsor", format!("{error}")))?;
    let models = document.get("models").and_then(toml::Value::as_array).map_or(0, Vec::len);
    if models == 0 {
        return Err(wrong("models", "lists no model".into()));
    }
    let life = document.get("max_life_seconds").and_then(toml::Value::as_integer).filter(|life| *life > 0);
    let life = life.ok_or_else(|| wrong("max_life_seconds", "is no positive number".into()))?;
    let tools = document.get("tools").ok_or_else(|| wrong("tools", "is absent".into()))?;
    let tools = Json::from_serde(tools).map_err(|error| wrong("tools", error.to_string()))?;
    let tools = Tools::parse(&tools).map_err(|error| wrong("tools", error.to_string()))?;
    let text = facts(&[
        ("blueprint", name.to_string()),
        ("sponsor", sponsor.to_string()),
        ("models", models.to_string()),
        ("life", format!("{life} s")),
        ("tools", tools.iter().map(|(tool, _)| tool.to_owned()).collect::<Vec<_>>().join(", ")),
    ]);
    Ok(Answer::yes(json!({ "valid": true, "name": name, "sponsor": sponsor, "tools": tools }), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_required_is_told_once() {
        let told = told_once(json!({ "name": "a", "require": ["oidc"], "attest": { "require": ["oidc"] } }));
        assert_eq!(told, json!({ "name": "a", "attest": { "require": ["oidc"] } }));
        let without = json!({ "name": "a", "require": ["oidc"] });
        assert_eq!(told_once(without.clone()), without);
    }
}
