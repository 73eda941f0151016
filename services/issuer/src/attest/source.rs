//! Where other issuers' keys come from: a file that is read again when it changes, or a URL that is fetched and kept.
//!
//! Fails closed: without a set that is young enough no token of the issuer is evidence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use marque_identity::refusal::quoted;
use marque_identity::{Code, Refusal};

use super::config::{OIDC_ISSUERS_MAX, OidcConfig, OidcConfigError, Place};
use super::key_set::{Alg, KeySet, SET_BYTES_MAX, VerifyingKey};

/// How long one fetch may take: below the 10 s that an agent waits for its answer.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a set is fetched.
const PACE: Pace =
    Pace { fresh: Duration::from_secs(10 * 60), usable: Duration::from_secs(60 * 60), retry: Duration::from_secs(30) };
/// A bundle of certificates, in bytes: that of the public web has 250 KiB.
const CA_BYTES_MAX: u64 = 1024 * 1024;

/// How often a set is fetched.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// After this it is fetched again before it is used: a key that the issuer withdrew is believed no longer.
    fresh: Duration,
    /// After this it is not used any more, though it can't be fetched.
    usable: Duration,
    /// Between two tries, so that tokens with invented key names make nobody busy.
    retry: Duration,
}

/// The issuers whose tokens are evidence, by their names in blueprints.
#[derive(Debug, Default)]
pub struct Issuers(BTreeMap<String, Issuer>);

/// One of them.
#[derive(Debug)]
pub(super) struct Issuer {
    name: String,
    iss: String,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    File(Arc<KeyFile>),
    Url(Box<KeyUrl>),
}

impl Issuers {
    /// The issuers of a configuration. Each file must be there and hold keys; URLs are asked when they are needed, for
    /// this service starts without them.
    pub fn new(sections: &[OidcConfig]) -> Result<Self, OidcConfigError> {
        if sections.len() > OIDC_ISSUERS_MAX {
            return Err(OidcConfigError::Count(sections.len()));
        }
        let mut issuers: BTreeMap<String, Issuer> = BTreeMap::new();
        for section in sections {
            let wrong = |reason: String| OidcConfigError::Section { name: section.name.clone(), reason };
            // Whose token it is must be told by its `iss` alone.
            if issuers.values().any(|issuer| issuer.name == section.name || issuer.iss == section.iss) {
                return Err(wrong("its `name` or `iss` stands there twice".into()));
            }
            let keys = match section.place()? {
                Place::File(path) => {
                    let file = KeyFile { path, held: RwLock::default() };
                    file.current().map_err(wrong)?;
                    Keys::File(Arc::new(file))
                }
                Place::Url { url, https, ca_file } => {
                    Keys::Url(Box::new(KeyUrl::new(url, https, ca_file.as_deref(), PACE).map_err(wrong)?))
                }
            };
            let issuer = Issuer { name: section.name.clone(), iss: section.iss.clone(), keys };
            issuers.insert(section.name.clone(), issuer);
        }
        Ok(Self(issuers))
    }

    /// Whether a blueprint may name it.
    pub fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// That of these names whose tokens have this `iss`.
    pub(super) fn by_iss<'a>(&'a self, names: &'a [String], iss: &str) -> Option<&'a Issuer> {
        names.iter().filter_map(|name| self.0.get(name)).find(|issuer| issuer.iss == iss)
    }
}

impl Issuer {
    /// The key that a token calls so.
    pub(super) async fn key(&self, kid: &str, alg: Alg) -> Result<VerifyingKey, Refusal> {
        let set = match &self.keys {
            Keys::File(file) => {
                let file = file.clone();
                let read = tokio::task::spawn_blocking(move || file.current()).await;
                read.unwrap_or_else(|error| Err(error.to_string()))
            }
            Keys::Url(url) => url.current(|set| set.get(kid, alg).is_some()).await,
        };
        let set = set.map_err(|reason| {
            tracing::warn!(issuer = self.name, reason, "an issuer's keys can't be had");
            Refusal::new(Code::Unavailable, format!("the keys of OpenID Connect issuer `{}` can't be had", self.name))
        })?;
        set.get(kid, alg).cloned().ok_or_else(|| {
            let message = format!("issuer `{}` has no such key {}", self.name, quoted(kid));
            Refusal::new(Code::EvidenceInvalid, message)
        })
    }
}

/// What tells that a file has changed.
type Stamp = (SystemTime, u64);

/// A set in a file. An operator who puts something else there means it: what was read before does not outlive it.
#[derive(Debug)]
struct KeyFile {
    path: PathBuf,
    held: RwLock<Option<(Stamp, Arc<KeySet>)>>,
}

impl KeyFile {
    /// What the file holds now. Blocks on the disk.
    fn current(&self) -> Result<Arc<KeySet>, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", self.path.display());
        let stamp = stamp(&self.path).map_err(|error| told(&error))?;
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, set)) = held.filter(|(at, _)| *at == stamp) {
            return Ok(set);
        }
        let bytes = read_bounded(&self.path, SET_BYTES_MAX as u64 + 1).map_err(|error| told(&error))?;
        let set = Arc::new(KeySet::parse(&bytes).map_err(|error| told(&error))?);
        // The stamp is that of before: changed meanwhile, it is read once more.
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some((stamp, set.clone()));
        Ok(set)
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

fn read_bounded(path: &Path, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A set at a URL.
#[derive(Debug)]
struct KeyUrl {
    url: String,
    agent: ureq::Agent,
    pace: Pace,
    held: RwLock<Option<(Instant, Arc<KeySet>)>>,
    /// When it was last tried; held while it is.
    tried: tokio::sync::Mutex<Option<Instant>>,
}

impl KeyUrl {
    fn new(url: String, https: bool, ca_file: Option<&Path>, pace: Pace) -> Result<Self, String> {
        let mut tls = ureq::tls::TlsConfig::builder();
        if let Some(path) = ca_file {
            let told = |error: &dyn std::fmt::Display| format!("`ca_file` {}: {error}", path.display());
            let pem = read_bounded(path, CA_BYTES_MAX).map_err(|error| told(&error))?;
            let mut certificates = Vec::new();
            for item in ureq::tls::parse_pem(&pem) {
                if let ureq::tls::PemItem::Certificate(certificate) = item.map_err(|error| told(&error))? {
                    certificates.push(certificate);
                }
            }
            if certificates.is_empty() {
                return Err(told(&"holds no certificate"));
            }
            tls = tls.root_certs(certificates.into());
        }
        let config = ureq::Agent::config_builder().tls_config(tls.build()).https_only(https).max_redirects(0);
        let config = config.timeout_global(Some(FETCH_TIMEOUT)).max_idle_connections(0);
        // What is on this machine is asked directly, whatever proxy the environment names.
        let config = if https { config } else { config.proxy(None) };
        let (held, tried) = (RwLock::default(), tokio::sync::Mutex::default());
        Ok(Self { url, agent: config.build().new_agent(), pace, held, tried })
    }

    /// A set that is young enough, fetched now if the one at hand is old or does not do.
    async fn current(&self, does: impl Fn(&KeySet) -> bool) -> Result<Arc<KeySet>, String> {
        let does = |set: &Arc<KeySet>| does(set);
        if let Some(set) = self.younger_than(self.pace.fresh).filter(does) {
            return Ok(set);
        }
        let mut tried = self.tried.lock().await;
        // Somebody else may have fetched it while we waited.
        if let Some(set) = self.younger_than(self.pace.fresh).filter(does) {
            return Ok(set);
        }
        let mut reason = "it was tried a moment ago in vain".to_owned();
        if tried.is_none_or(|at| at.elapsed() >= self.pace.retry) {
            *tried = Some(Instant::now());
            match self.fetch().await {
                Ok(set) => {
                    let fetched = Some((Instant::now(), Arc::new(set)));
                    *self.held.write().unwrap_or_else(PoisonError::into_inner) = fetched;
                }
                Err(error) => reason = error,
            }
        }
        drop(tried);
        self.younger_than(self.pace.usable).ok_or(reason)
    }

    fn younger_than(&self, age: Duration) -> Option<Arc<KeySet>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|(at, _)| at.elapsed() < age).map(|(_, set)| set.clone())
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let (agent, url) = (self.agent.clone(), self.url.clone());
        let fetch = move || -> Result<Vec<u8>, ureq::Error> {
            let mut response = agent.get(&url).call()?;
            if response.status() != 200 {
                return Err(ureq::Error::StatusCode(response.status().as_u16()));
            }
            response.body_mut().with_config().limit(SET_BYTES_MAX as u64).read_to_vec()
        };
        let fetched = tokio::task::spawn_blocking(fetch).await.map_err(|error| error.to_string())?;
        let bytes = fetched.map_err(|error| format!("{}: {error}", self.url))?;
        KeySet::parse(&bytes).map_err(|error| format!("{}: {error}", self.url))
    }
}

#[cfg(test)]
mod tests;
