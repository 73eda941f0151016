//! Blueprints: the kinds of agents that may be enrolled, each with the ceiling of what its instances may do.
//!
//! One TOML file each, `<name>.toml`, read at start; an operator reviews and versions them like code.

pub mod attest;
mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use marque_credential::Tools;
use marque_identity::refusal::quoted;
use marque_identity::{BlueprintName, Code, Refusal, Sponsor};
use serde::Serialize;

use self::attest::{Attestor, Demands};

/// A directory of kinds, not a data base.
pub const BLUEPRINTS_MAX: usize = 1_024;
/// A file that an operator reads.
pub const FILE_BYTES_MAX: u64 = 256 * 1024;
/// "The instance's life, hours at most" (PROTOCOL §2).
pub const LIFE_SECONDS_MAX: i64 = 24 * 3600;
/// Ceiling of a root token's life: 1 hour (PROTOCOL §2).
pub const TOKEN_LIFE_SECONDS_MAX: i64 = 3600;
/// Default life of a root token: 15 minutes (PROTOCOL §2).
pub const TOKEN_LIFE_SECONDS_DEFAULT: i64 = 900;
/// Models that one blueprint lists.
pub const MODELS_MAX: usize = 64;
/// A model's name; the longest in use are below 100 bytes.
pub const MODEL_BYTES_MAX: usize = 256;

/// A kind of agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Blueprint {
    /// Its name, that of its file.
    pub name: BlueprintName,
    /// What its instances are for, one sentence.
    pub description: String,
    /// Who answers for its instances.
    pub sponsor: Sponsor,
    /// The models that its instances may run. Not empty.
    pub models: Vec<String>,
    /// Life of an identity credential, in seconds.
    pub max_life_seconds: i64,
    /// Life of a root token where the request names none, in seconds.
    pub token_life_seconds: i64,
    /// The longest life that a request may name, in seconds.
    pub token_life_max_seconds: i64,
    /// How many links may be derived below a root, at most.
    pub max_depth: u64,
    /// The evidence that an instance must show.
    pub attest: Demands,
    /// The capability ceiling: every root's tools attenuate it.
    pub tools: Tools,
}

/// A blueprint as the issuer shows it. The list leaves tools and demands out: a reply has 64 KiB.
#[derive(Debug, Serialize)]
pub struct BlueprintInfo<'a> {
    name: &'a BlueprintName,
    description: &'a str,
    sponsor: &'a Sponsor,
    models: &'a [String],
    max_life_seconds: i64,
    token_life_seconds: i64,
    token_life_max_seconds: i64,
    max_depth: u64,
    require: &'a [Attestor],
    #[serde(skip_serializing_if = "Option::is_none")]
    attest: Option<&'a Demands>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<&'a Tools>,
}

impl Blueprint {
    /// Reads a file's text; `path` names it in errors, and its stem is the blueprint's name.
    pub fn parse(path: &Path, text: &str) -> Result<Self, BlueprintError> {
        file::parse(text)
            .map_err(|(key, reason)| BlueprintError::Content { path: path.to_owned(), key, reason })
            .and_then(|blueprint| match path.file_stem().and_then(|stem| stem.to_str()) {
                Some(stem) if stem == blueprint.name.as_str() => Ok(blueprint),
                Some(_) | None => Err(BlueprintError::Content {
                    path: path.to_owned(),
                    key: "name".into(),
                    reason: format!("`{}` is not the file's name: a blueprint stands in `<name>.toml`", blueprint.name),
                }),
            })
    }

    /// Refuses a model that is not on the list.
    pub fn allow_model(&self, model_id: &str) -> Result<(), Refusal> {
        if self.models.iter().any(|allowed| allowed == model_id) {
            return Ok(());
        }
        let message = format!("blueprint `{}` does not allow model {}", self.name, quoted(model_id));
        Err(Refusal::new(Code::ModelNotAllowed, message))
    }

    /// As it is shown, with its tools and demands or without.
    pub fn info(&self, with_tools: bool) -> BlueprintInfo<'_> {
        BlueprintInfo {
            name: &self.name,
            description: &self.description,
            sponsor: &self.sponsor,
            models: &self.models,
            max_life_seconds: self.max_life_seconds,
            token_life_seconds: self.token_life_seconds,
            token_life_max_seconds: self.token_life_max_seconds,
            max_depth: self.max_depth,
            require: &self.attest.require,
            attest: with_tools.then_some(&self.attest),
            tools: with_tools.then_some(&self.tools),
        }
    }
}

/// Every blueprint of a directory.
#[derive(Debug, Clone, Default)]
pub struct Blueprints(BTreeMap<BlueprintName, Arc<Blueprint>>);

impl Blueprints {
    /// Reads every `*.toml` of a directory; one bad file refuses them all.
    pub fn load(directory: &Path) -> Result<Self, BlueprintError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| BlueprintError::Unreadable { path, source }
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(unreadable(directory))? {
            let path = entry.map_err(unreadable(directory))?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                paths.push(path);
            }
        }
        if paths.is_empty() || paths.len() > BLUEPRINTS_MAX {
            return Err(BlueprintError::Count { directory: directory.to_owned(), count: paths.len() });
        }
        paths.sort();
        let mut blueprints = Vec::with_capacity(paths.len());
        for path in paths {
            let bytes = std::fs::metadata(&path).map_err(unreadable(&path))?.len();
            if bytes > FILE_BYTES_MAX {
                return Err(BlueprintError::Oversize { path, bytes });
            }
            let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
            blueprints.push(Blueprint::parse(&path, &text)?);
        }
        Ok(Self::of(blueprints))
    }

    /// These blueprints; of two with one name the last counts.
    pub fn of(blueprints: impl IntoIterator<Item = Blueprint>) -> Self {
        Self(blueprints.into_iter().map(|blueprint| (blueprint.name.clone(), Arc::new(blueprint))).collect())
    }

    /// The blueprint of this name.
    pub fn get(&self, name: &BlueprintName) -> Result<&Arc<Blueprint>, Refusal> {
        let unknown = || Refusal::new(Code::BlueprintUnknown, format!("no blueprint {}", quoted(name.as_str())));
        self.0.get(name).ok_or_else(unknown)
    }

    /// Refuses a blueprint that goes by an OpenID Connect issuer which is not configured.
    pub fn check_issuers(&self, is_configured: impl Fn(&str) -> bool) -> Result<(), BlueprintError> {
        for blueprint in self.0.values() {
            let named = blueprint.attest.oidc.iter().flat_map(|demand| &demand.issuers);
            if let Some(unknown) = named.into_iter().find(|name| !is_configured(name)) {
                return Err(BlueprintError::IssuerUnknown { blueprint: blueprint.name.clone(), name: unknown.clone() });
            }
        }
        Ok(())
    }

    /// All, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Blueprint> {
        self.0.values().map(|blueprint| &**blueprint)
    }
}

/// Why the blueprints can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BlueprintError {
    /// The directory or a file can't be read.
    #[error("blueprint {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No blueprint at all, or too many.
    #[error("{} holds {count} blueprints (`*.toml`), 1 to {BLUEPRINTS_MAX} are allowed", directory.display())]
    Count {
        /// Where.
        directory: PathBuf,
        /// How many.
        count: usize,
    },
    /// A file is too large.
    #[error("blueprint {} has {bytes} bytes, {FILE_BYTES_MAX} are allowed", path.display())]
    Oversize {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// An OpenID Connect issuer has no section in the configuration.
    #[error("blueprint `{blueprint}`: `attest.oidc.issuers` names `{name}`, which no `[[issuer.oidc]]` is called")]
    IssuerUnknown {
        /// Whose.
        blueprint: BlueprintName,
        /// Which.
        name: String,
    },
    /// A key is unknown, absent, or its value is not allowed.
    #[error("blueprint {}: `{key}`: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The dotted key, or the line of a syntax error.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
