//! The `[attest]` table.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{Fault, did_you_mean, dotted, required};
use crate::blueprint::attest::{
    Attestor, CLAIM_PATH_PARTS_MAX, ClaimDemand, ClaimValue, Demands, ManifestDemand, OidcDemand, ProcessDemand,
};

const KEYS: &[&str] = &["require", "oidc", "process", "manifest"];
const OIDC_KEYS: &[&str] = &["issuers", "audience", "claims"];
const PROCESS_KEYS: &[&str] = &["exe_sha256", "exe", "uid", "cgroup_prefix", "container_id", "hosts"];
const MANIFEST_KEYS: &[&str] = &["allowed", "model_digest", "prompt_sha256", "tools_sha256", "code_sha256"];

pub(super) fn demands(blueprint: &mut Table) -> Result<Demands, Fault> {
    let mut table = match blueprint.remove("attest") {
        None => return Ok(Demands::default()),
        Some(Value::Table(table)) => table,
        Some(_) => return Err(("attest".into(), "is not a table".into())),
    };
    known(&table, "attest", KEYS)?;
    let require = require(&mut table)?;
    let section = |table: &mut Table, attestor: Attestor, keys: &[&str]| {
        section(table, attestor, require.contains(&attestor), keys)
    };
    let oidc = section(&mut table, Attestor::Oidc, OIDC_KEYS)?.map(oidc).transpose()?;
    let process = section(&mut table, Attestor::Process, PROCESS_KEYS)?.map(process).transpose()?;
    let manifest = section(&mut table, Attestor::Manifest, MANIFEST_KEYS)?.map(manifest).transpose()?;
    Ok(Demands { require, oidc, process, manifest })
}

fn require(table: &mut Table) -> Result<Vec<Attestor>, Fault> {
    let at = "attest.require";
    let Some(value) = table.remove("require") else { return Ok(Demands::default().require) };
    let names: Vec<String> =
        value.try_into().map_err(|error: toml::de::Error| (at.to_owned(), error.message().to_owned()))?;
    let words: Vec<&str> = Attestor::ALL.iter().map(|attestor| attestor.kind().as_str()).collect();
    let read = |name: &String| {
        let attestor = Attestor::ALL.into_iter().find(|attestor| attestor.kind().as_str() == name);
        attestor.ok_or_else(|| (at.to_owned(), format!("`{name}` is no attestor{}", did_you_mean(name, &words))))
    };
    let mut require = names.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    require.sort_unstable();
    require.dedup();
    if require.iter().all(|attestor| *attestor == Attestor::Manifest) {
        // What an agent says of itself keeps nobody out.
        return Err((at.to_owned(), "names none of join_token, oidc, process: anybody could enrol".into()));
    }
    Ok(require)
}

/// A section: there if and only if its attestor is required, so that no demand is written that nobody makes.
fn section(
    table: &mut Table,
    attestor: Attestor,
    required: bool,
    keys: &[&str],
) -> Result<Option<(Table, String)>, Fault> {
    let name = attestor.kind().as_str();
    let at = dotted("attest", name);
    match (table.remove(name), required) {
        (None, false) => Ok(None),
        (None, true) => Err((at, format!("is not set, but `attest.require` names `{name}`"))),
        (Some(_), false) => Err((at, format!("is set, but `attest.require` does not name `{name}`"))),
        (Some(Value::Table(section)), true) => {
            known(&section, &at, keys)?;
            Ok(Some((section, at)))
        }
        (Some(_), true) => Err((at, "is not a table".into())),
    }
}

fn oidc((mut table, at): (Table, String)) -> Result<OidcDemand, Fault> {
    let text = |(key, reason): Fault| (dotted(&at, &key), reason);
    let issuers = list(&mut table, &at, "issuers")?.ok_or_else(|| (dotted(&at, "issuers"), "is not set".to_owned()))?;
    let audience: String = required(&mut table, "audience").map_err(text)?;
    if audience.is_empty() {
        return Err((dotted(&at, "audience"), "is empty".into()));
    }
    let at_claims = dotted(&at, "claims");
    let mut claims = Vec::new();
    match table.remove("claims") {
        Some(Value::Table(table)) => flatten(&table, "", &at_claims, &mut claims)?,
        Some(_) => return Err((at_claims, "is not a table of claims".into())),
        None => {}
    }
    if claims.is_empty() {
        let reason = "demands no claim: whoever gets a token of the issuer could enrol";
        return Err((at_claims, reason.into()));
    }
    Ok(OidcDemand { issuers, audience, claims })
}

/// Tables in tables are paths, as are names with dots in quotes.
fn flatten(table: &Table, path: &str, at: &str, claims: &mut Vec<ClaimDemand>) -> Result<(), Fault> {
    for (name, value) in table {
        let at = dotted(at, name);
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if path.split('.').count() > CLAIM_PATH_PARTS_MAX {
            return Err((at, format!("has more than {CLAIM_PATH_PARTS_MAX} parts")));
        }
        let value = match value {
            Value::Table(table) => {
                flatten(table, &path, &at, claims)?;
                continue;
            }
            Value::String(text) => claim_text(text).map_err(|reason| (at, reason))?,
            Value::Boolean(value) => ClaimValue::Bool(*value),
            Value::Integer(value) => ClaimValue::Integer(*value),
            Value::Float(_) | Value::Datetime(_) | Value::Array(_) => {
                return Err((at, "is not a text, an integer or a truth value".into()));
            }
        };
        claims.push(ClaimDemand { path, value });
    }
    Ok(())
}

fn claim_text(text: &str) -> Result<ClaimValue, String> {
    let (text, begins) = match text.strip_suffix('*') {
        Some(prefix) => (prefix, true),
        None => (text, false),
    };
    if text.contains('*') {
        return Err("has a `*` that is not its last character".into());
    }
    if text.is_empty() {
        return Err("matches everything, or only nothing".into());
    }
    Ok(if begins { ClaimValue::Beginning(text.to_owned()) } else { ClaimValue::Exactly(text.to_owned()) })
}

fn process((mut table, at): (Table, String)) -> Result<ProcessDemand, Fault> {
    not_empty(&table, &at, PROCESS_KEYS)?;
    let cgroup_prefix: Option<Vec<String>> = list(&mut table, &at, "cgroup_prefix")?;
    if cgroup_prefix.iter().flatten().any(|prefix| prefix.trim_end_matches('/').is_empty()) {
        return Err((dotted(&at, "cgroup_prefix"), "holds every control group".into()));
    }
    Ok(ProcessDemand {
        exe_sha256: list(&mut table, &at, "exe_sha256")?,
        exe: list(&mut table, &at, "exe")?,
        uid: list(&mut table, &at, "uid")?,
        cgroup_prefix,
        container_id: list(&mut table, &at, "container_id")?,
        hosts: list(&mut table, &at, "hosts")?,
    })
}

fn manifest((mut table, at): (Table, String)) -> Result<ManifestDemand, Fault> {
    not_empty(&table, &at, MANIFEST_KEYS)?;
    Ok(ManifestDemand {
        allowed: list(&mut table, &at, "allowed")?,
        model_digest: list(&mut table, &at, "model_digest")?,
        prompt_sha256: list(&mut table, &at, "prompt_sha256")?,
        tools_sha256: list(&mut table, &at, "tools_sha256")?,
        code_sha256: list(&mut table, &at, "code_sha256")?,
    })
}

fn not_empty(table: &Table, at: &str, keys: &[&str]) -> Result<(), Fault> {
    if table.is_empty() {
        Err((at.to_owned(), format!("demands nothing; it may list {}", keys.join(", "))))
    } else {
        Ok(())
    }
}

fn known(table: &Table, at: &str, keys: &[&str]) -> Result<(), Fault> {
    match table.keys().find(|key| !keys.contains(&key.as_str())) {
        None => Ok(()),
        Some(unknown) => Err((dotted(at, unknown), format!("unknown key{}", did_you_mean(unknown, keys)))),
    }
}

fn list<T: DeserializeOwned>(table: &mut Table, at: &str, key: &str) -> Result<Option<Vec<T>>, Fault> {
    if !table.contains_key(key) {
        return Ok(None);
    }
    let list: Vec<T> = required(table, key).map_err(|(key, reason)| (dotted(at, &key), reason))?;
    if list.is_empty() { Err((dotted(at, key), "is empty: nothing could match it".into())) } else { Ok(Some(list)) }
}
