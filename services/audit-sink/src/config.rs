//! What the sink is told beside what every service is.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use marque_identity::Did;
use marque_ledger::{KeyKind, LedgerError, Policy, VerifierKey, Witness};
use marque_runtime::{Common, ConfigError};
use marque_signing::{Role, TrustBundle};
use serde::{Deserialize, Serialize};

use crate::seal::cosigner;

/// Threads that judge, at the most: more than any machine of one sink has use for.
const JUDGING_THREADS_MAX: usize = 256;
const CHECKPOINT_INTERVAL_MS: u64 = 1000;
const CHECKPOINT_INTERVAL_MS_MIN: u64 = 50;
const CHECKPOINT_INTERVAL_MS_MAX: u64 = 60_000;

/// Between two statements of heads: a minute of a chain's end is open, and an active key costs a line a minute.
const HEADS_INTERVAL_MS: u64 = 60_000;
const HEADS_INTERVAL_MS_MIN: u64 = 100;
const HEADS_INTERVAL_MS_MAX: u64 = 3_600_000;

/// A share of the audit stream's limits: a fifth of the room is left to act in.
const STREAM_ALARM_PERCENT: u64 = 80;

/// The sink's configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Broker, bundle, key, health page, state directory, telemetry.
    #[serde(flatten)]
    pub common: Common,
    /// The sink's own.
    pub audit_sink: AuditSink,
}

/// The sink's own section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditSink {
    /// Between two checkpoints while the log grows, in milliseconds.
    pub checkpoint_interval_ms: u64,
    /// Threads that check signatures; 0 takes one per core.
    pub judging_threads: usize,
    /// Between two statements of the heads of chains that grew, in milliseconds.
    pub heads_interval_ms: u64,
    /// How many other sinks of the bundle must have cosigned a checkpoint before it is final, and shown; 0 asks none.
    pub cosignatures: usize,
    /// A policy (C2SP `tlog-policy`) that says when a checkpoint is final, instead of `cosignatures`: for witnesses
    /// outside, each with its key and URL. Its `log` lines must have this sink's own key.
    pub policy_file: Option<PathBuf>,
    /// A directory to archive the log in, as it grows; none for none. One sink per directory.
    pub archive_dir: Option<PathBuf>,
    /// At which share of its limits the audit stream raises an alarm, in percent.
    pub stream_alarm_percent: u64,
    /// Show the log under `/log/` of the health page's address. Records are not secret within a trust domain, but
    /// they are not for everybody: bind the page accordingly, or set this to false.
    pub serve_log: bool,
}

impl Default for AuditSink {
    fn default() -> Self {
        Self {
            checkpoint_interval_ms: CHECKPOINT_INTERVAL_MS,
            judging_threads: 0,
            heads_interval_ms: HEADS_INTERVAL_MS,
            cosignatures: 0,
            policy_file: None,
            archive_dir: None,
            stream_alarm_percent: STREAM_ALARM_PERCENT,
            serve_log: true,
        }
    }
}

impl AsRef<Common> for Config {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

impl AuditSink {
    /// How many threads judge.
    pub fn threads(&self) -> Result<usize, ConfigError> {
        match self.judging_threads {
            0 => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
            threads if threads <= JUDGING_THREADS_MAX => Ok(threads),
            threads => Err(ConfigError::Value(format!(
                "`audit_sink.judging_threads` is {threads}, at most {JUDGING_THREADS_MAX}"
            ))),
        }
    }

    /// Between two checkpoints.
    pub fn checkpoint_interval(&self) -> Result<Duration, ConfigError> {
        let allowed = CHECKPOINT_INTERVAL_MS_MIN..=CHECKPOINT_INTERVAL_MS_MAX;
        interval("audit_sink.checkpoint_interval_ms", self.checkpoint_interval_ms, allowed)
    }

    /// When a checkpoint of this key under this origin is final; none where it is when it is signed.
    pub fn policy(&self, origin: &str, own: &Did, bundle: &TrustBundle) -> Result<Option<Policy>, ConfigError> {
        if let Some(path) = &self.policy_file {
            let policy = policy_in(path)?;
            let named = policy.logs().iter().any(|log| log.name() == origin && log.key().did() == *own);
            return if named {
                Ok(Some(policy))
            } else {
                Err(wrong(&format!("{} names no log `{origin}` with this sink's key", path.display())))
            };
        }
        if self.cosignatures == 0 {
            return Ok(None);
        }
        let (logs, witnesses) = sinks(origin, bundle).map_err(|error| wrong(&error))?;
        // Nobody cosigns its own.
        let witnesses: Vec<Witness> = witnesses.into_iter().filter(|sink| sink.key.key().did() != *own).collect();
        let others = witnesses.len();
        let policy = Policy::at_least(logs, self.cosignatures, witnesses);
        let policy = policy.map_err(|_| {
            wrong(&format!(
                "`audit_sink.cosignatures` is {}, the trust bundle names {others} other sinks",
                self.cosignatures
            ))
        })?;
        Ok(Some(policy))
    }

    /// When a checkpoint of any sink of this bundle is to be believed, by someone who has no log yet: one of these must
    /// hold for it. The policy's file where there is one; else so many other sinks must have cosigned it.
    pub fn trusted(&self, origin: &str, bundle: &TrustBundle) -> Result<Vec<Policy>, ConfigError> {
        if let Some(path) = &self.policy_file {
            return Ok(vec![policy_in(path)?]);
        }
        let (logs, witnesses) = sinks(origin, bundle).map_err(|error| wrong(&error))?;
        if self.cosignatures == 0 {
            return Ok(vec![Policy::of_logs(logs)]);
        }
        let by_others = |log: VerifierKey| {
            let others = witnesses.iter().filter(|witness| witness.key.key() != log.key()).cloned().collect();
            Policy::at_least(vec![log], self.cosignatures, others)
        };
        logs.into_iter().map(by_others).collect::<Result<_, _>>().map_err(|error| wrong(&error))
    }

    /// The share of the audit stream's limits that raises the alarm: before it is full, and not when it is empty.
    pub fn alarm_percent(&self) -> Result<u64, ConfigError> {
        match self.stream_alarm_percent {
            percent @ 1..=99 => Ok(percent),
            percent => {
                Err(ConfigError::Value(format!("`audit_sink.stream_alarm_percent` is {percent}, must be 1 to 99")))
            }
        }
    }

    /// Between two statements of heads.
    pub fn heads_interval(&self) -> Result<Duration, ConfigError> {
        let allowed = HEADS_INTERVAL_MS_MIN..=HEADS_INTERVAL_MS_MAX;
        interval("audit_sink.heads_interval_ms", self.heads_interval_ms, allowed)
    }
}

fn wrong(error: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::Value(error.to_string())
}

fn policy_in(path: &Path) -> Result<Policy, ConfigError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    Policy::parse(&text).map_err(|error| wrong(&format!("{}: {error}", path.display())))
}

/// A bundle's sinks, as logs of this origin and as witnesses of each other.
fn sinks(origin: &str, bundle: &TrustBundle) -> Result<(Vec<VerifierKey>, Vec<Witness>), LedgerError> {
    let (mut logs, mut witnesses) = (Vec::new(), Vec::new());
    for key in bundle.keys(Role::Sink) {
        let cosigner = cosigner(origin, &key.did())?;
        logs.push(VerifierKey::new(origin, KeyKind::Ed25519, key)?);
        witnesses.push(Witness { name: cosigner.name().to_owned(), key: cosigner, url: None });
    }
    Ok((logs, witnesses))
}

fn interval(key: &str, ms: u64, allowed: RangeInclusive<u64>) -> Result<Duration, ConfigError> {
    if !allowed.contains(&ms) {
        let (least, most) = (allowed.start(), allowed.end());
        return Err(ConfigError::Value(format!("`{key}` is {ms}, must be {least} to {most}")));
    }
    Ok(Duration::from_millis(ms))
}
