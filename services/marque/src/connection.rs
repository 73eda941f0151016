//! From connection flags, a context of the `nats` tool or a bootstrap directory to a connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use marque_agent::AgentKey;
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, BusError, ConnectOptions, Presented};
use marque_identity::Code;
use serde::Deserialize;

use crate::cli::ConnectionFlags;
use crate::directory::{Directory, read_key, read_line, read_nkey, read_secret};
use crate::{Failure, bus_failure};

/// What the `nats` tool connects to when nobody says otherwise.
const URL_DEFAULT: &str = "nats://127.0.0.1:4222";
/// A context file holds a dozen short settings.
const CONTEXT_BYTES_MAX: usize = 64 * 1024;

/// Who speaks to the broker, and how.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Server URLs, comma-separated.
    pub url: String,
    /// Proof of who one is.
    pub identity: Identity,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

/// Proof of who one is towards the broker.
#[derive(Debug, Clone)]
pub enum Identity {
    /// None.
    Anonymous,
    /// A user and a password.
    Password(String, String),
    /// A credentials file.
    Credentials(PathBuf),
    /// A file with a user seed, `SU…`, or with a key as `marque` writes it.
    Nkey(PathBuf),
    /// As an agent: by its key and what it presents.
    Agent(AgentKey, Presented),
}

impl Identity {
    /// What to do where the broker does not let it in.
    fn hint(&self) -> &'static str {
        match self {
            Self::Anonymous => {
                "say who you are: --dir DIR of `marque nats bootstrap`, or --nkey FILE, --creds FILE, --context NAME"
            }
            Self::Password(..) | Self::Credentials(_) | Self::Nkey(_) => {
                "is it a user of this broker? `marque doctor --dir DIR` connects as the operator"
            }
            Self::Agent(..) => {
                "an operator reads the gatekeeper's reason: `marque audit query --kind refused`; if what was shown has \
                 expired, `marque agent renew` or `marque token issue` makes it anew"
            }
        }
    }
}

/// The members of a `nats` context that say how to connect. The tool has more; they don't matter here.
#[derive(Debug, Default, Deserialize)]
struct Context {
    #[serde(default)]
    url: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    creds: String,
    #[serde(default)]
    nkey: String,
}

impl ConnectionFlags {
    /// The bootstrap directory, which a command that needs one asks for by name.
    pub fn directory(&self) -> Result<Directory, Failure> {
        self.dir.as_ref().map(Directory::at).ok_or_else(|| {
            Failure::usage("this needs the directory that `marque nats bootstrap` made")
                .hint("name it with --dir DIR or in MARQUE_DIR; `marque dev` prints its own")
        })
    }

    /// How to connect: flags, then the context, then the directory's user of this role.
    pub fn resolve(&self, role: BusRole) -> Result<Connection, Failure> {
        self.resolve_with(Some(role))
    }

    fn resolve_with(&self, role: Option<BusRole>) -> Result<Connection, Failure> {
        let context = self.context()?;
        let directory = self.dir.as_ref().map(Directory::at);
        let in_directory = || directory.as_ref().and_then(|dir| dir.nats_url().ok());
        let given = self.server.clone().or_else(|| some(&context.url)).or_else(in_directory);
        Ok(Connection {
            url: given.unwrap_or_else(|| URL_DEFAULT.to_owned()),
            identity: self.identity(&context, directory.as_ref(), role)?,
            timeout: self.timeout,
        })
    }

    /// How an agent connects: by its own key and what it presents, unless the flags name another user.
    pub(crate) fn resolve_agent(&self, key: &AgentKey, presented: impl Into<Arc<str>>) -> Result<Connection, Failure> {
        // No user of the directory's is an agent: the gatekeeper lets agents in.
        let mut connection = ConnectionFlags { ..self.clone() }.resolve_with(None)?;
        if matches!(connection.identity, Identity::Anonymous) {
            connection.identity = Identity::Agent(key.clone(), Presented::new(presented));
        }
        Ok(connection)
    }

    fn identity(
        &self,
        context: &Context,
        directory: Option<&Directory>,
        role: Option<BusRole>,
    ) -> Result<Identity, Failure> {
        let password = match &self.password_file {
            Some(file) => Some(read_secret(file)?),
            None => self.password.clone(),
        };
        if let Some(user) = &self.user {
            return Ok(Identity::Password(user.clone(), password.unwrap_or_default()));
        }
        if let Some(file) = &self.creds {
            return Ok(Identity::Credentials(file.clone()));
        }
        if let Some(file) = &self.nkey {
            return Ok(Identity::Nkey(file.clone()));
        }
        if let Some(user) = some(&context.user) {
            return Ok(Identity::Password(user, context.password.clone()));
        }
        if let Some(file) = some(&context.creds) {
            return Ok(Identity::Credentials(file.into()));
        }
        if let Some(file) = some(&context.nkey) {
            return Ok(Identity::Nkey(file.into()));
        }
        match (directory, role) {
            (Some(directory), Some(role)) => Ok(Identity::Nkey(directory.key_file(role.as_str()))),
            (Some(_) | None, Some(_) | None) => Ok(Identity::Anonymous),
        }
    }

    /// The context that `--context` names; where neither a server nor a directory is named, the selected one.
    fn context(&self) -> Result<Context, Failure> {
        let selected = || match (&self.server, &self.dir) {
            (None, None) => {
                read_line(&contexts_folder().ok()?.with_extension("txt")).ok().filter(|name| !name.is_empty())
            }
            (Some(_), _) | (_, Some(_)) => None,
        };
        let Some(name) = &self.context.clone().or_else(selected) else { return Ok(Context::default()) };
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(Failure::usage(format!(
                "a context is a plain name, not {}",
                marque_identity::refusal::quoted(name)
            )));
        }
        let file = contexts_folder()?.join(format!("{name}.json"));
        read_context(&file).map_err(|failure| failure.hint("`nats context ls` lists the contexts"))
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// `$XDG_CONFIG_HOME/nats/context`, or `~/.config/nats/context`.
fn contexts_folder() -> Result<PathBuf, Failure> {
    let named = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = named("XDG_CONFIG_HOME").or_else(|| named("HOME").map(|home| home.join(".config")));
    config
        .map(|config| config.join("nats").join("context"))
        .ok_or_else(|| Failure::usage("neither XDG_CONFIG_HOME nor HOME says where contexts lie"))
}

fn read_context(file: &Path) -> Result<Context, Failure> {
    let bytes = std::fs::read(file).map_err(|error| Failure::file(file, &error))?;
    marque_json::from_slice(&bytes, marque_json::Limits::bytes(CONTEXT_BYTES_MAX))
        .map_err(|error| Failure::new(Code::ConfigInvalid, format!("{}: {error}", file.display())))
}

/// A credentials file: a user's JWT, and its seed.
fn read_credentials(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::file(file, &error))?;
    if ["BEGIN NATS USER JWT", "BEGIN USER NKEY SEED"].iter().all(|mark| text.contains(mark)) {
        return Ok(text);
    }
    let why = format!("{} is no credentials file: it lacks a user's JWT, or the seed to it", file.display());
    Err(Failure::new(Code::FileUnusable, why).hint("`nsc generate creds` makes one; a bare seed is named with --nkey"))
}

impl Connection {
    /// Connects, or says within the timeout why not.
    pub async fn connect(&self, name: &str) -> Result<Bus, Failure> {
        self.open(self.options(name)?).await
    }

    /// Reads what it connects by.
    pub(crate) fn options(&self, name: &str) -> Result<ConnectOptions, Failure> {
        let mut options = ConnectOptions::new(&self.url, name).request_timeout(self.timeout);
        match &self.identity {
            Identity::Anonymous => {}
            Identity::Password(user, password) => options = options.credentials(user, password),
            Identity::Credentials(file) => {
                let text = read_credentials(file)?;
                options = options.credentials_text(text);
            }
            Identity::Nkey(file) => {
                let line = read_nkey(file)?;
                options = match line.starts_with("SU") {
                    true => options.nkey_seed(line),
                    false => options.signing_key(Arc::new(read_key(file)?)),
                };
            }
            Identity::Agent(key, presented) => {
                options = key.connect_options(&self.url, name, presented.clone()).request_timeout(self.timeout);
            }
        }
        Ok(options)
    }

    /// Connects by these.
    pub(crate) async fn open(&self, options: ConnectOptions) -> Result<Bus, Failure> {
        Bus::connect_now(options, self.timeout).await.map_err(|error| {
            let undecided = matches!(error, BusError::NotAdmitted(_));
            match bus_failure(error) {
                refused if refused.code == Code::NotAuthorized => refused.hint(self.identity.hint()),
                failure if undecided => failure.hint(
                    "the gatekeeper, whom the broker asks, may be away: an operator looks with `marque doctor`, and \
                     starts it; then ask again",
                ),
                failure => {
                    let hint = format!("is a broker at {}? -s URL or --dir DIR names another", self.url);
                    failure.hint(format!("{hint}; `marque doctor` looks; `marque dev` runs one"))
                }
            }
        })
    }
}
