//! Whose log is believed, and under which bundle its records are judged: flags that the offline checks share.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use marque_identity::{Code, Digest};
use marque_ledger::epoch::{EPOCHS_MAX, epoch_origin};
use marque_ledger::{KeyKind, LedgerError, POLICY_BYTES_MAX, Policy, VerifierKey};
use marque_signing::bundle::{Role, TrustBundle};

use crate::Failure;
use crate::cli::Common;
use crate::directory::{Directory, read_line};

/// Who is trusted.
#[derive(Debug, Args)]
pub(crate) struct TrustFlags {
    /// A key that the log signs with, as a C2SP `vkey`; may stand several times.
    #[arg(long, value_name = "VKEY", conflicts_with = "policy")]
    key: Vec<VerifierKey>,
    /// File with a C2SP tlog-policy: logs, witnesses, and how many of these must have seen the checkpoint.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// File with the trust bundle; the default is the bootstrap directory's.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// The bundle's fingerprint.
    #[arg(long, value_name = "DIGEST")]
    pin: Option<Digest>,
}

/// Who is trusted, read.
#[derive(Debug)]
pub struct Trust {
    /// Whose checkpoints are believed.
    pub policy: Policy,
    /// Under which records are judged; without one they are not.
    pub bundle: Option<TrustBundle>,
    /// Somebody said that this bundle is the right one: not it itself.
    pub compared: bool,
}

impl Trust {
    /// The sinks that a bundle names, and records under it.
    pub fn of_bundle(bundle: TrustBundle) -> Result<Self, Failure> {
        Ok(Self { policy: Policy::of_logs(sink_keys(&bundle)?), bundle: Some(bundle), compared: true })
    }
}

impl TrustFlags {
    /// Reads what the flags name; `own` is where a bundle lies with what is to be checked, and is the last resort.
    pub(crate) fn read(&self, common: &Common, own: Option<&Path>) -> Result<Trust, Failure> {
        let (looked_for, own) = (own, own.filter(|own| own.exists()));
        let policy = match (&self.policy, self.key.as_slice()) {
            (Some(file), _) => Some(policy(file)?),
            (None, []) => None,
            (None, keys) => Some(Policy::of_logs(keys.to_vec())),
        };
        let (bundle, compared) = match (&self.bundle, &common.connection.dir, own) {
            (Some(file), _, _) => (Some(open(file, self.pin)?), true),
            (None, Some(dir), _) if self.pin.is_none() => (Some(Directory::at(dir).bundle()?), true),
            // What lies with a log that is believed by its key is no reason to refuse that log.
            (None, _, Some(own)) if policy.is_some() => {
                let bundle = open(own, self.pin).ok();
                (bundle, self.pin.is_some())
            }
            (None, _, Some(own)) => (Some(open(own, self.pin)?), self.pin.is_some()),
            (None, Some(dir), None) => (Some(open(&Directory::at(dir).bundle_file(), self.pin)?), true),
            (None, None, None) if self.pin.is_some() => {
                return Err(
                    Failure::usage("--pin is the fingerprint of a bundle, and none is named").hint("--bundle FILE")
                );
            }
            (None, None, None) => (None, false),
        };
        let policy = match (policy, &bundle) {
            (Some(policy), _) => policy,
            (None, Some(bundle)) => Policy::of_logs(sink_keys(bundle)?),
            (None, None) => {
                let beside = looked_for.map(|own| format!(", and there is no {}", own.display())).unwrap_or_default();
                return Err(Failure::usage(format!("nobody says whose log to believe{beside}"))
                    .hint("name its key (--key; `marque log key` prints it), a policy (--policy), a trust bundle (--bundle), or --dir"));
            }
        };
        Ok(Trust { policy, bundle, compared })
    }
}

/// The keys that may sign a checkpoint: the sinks', under the log's name, in any of its epochs.
fn sink_keys(bundle: &TrustBundle) -> Result<Vec<VerifierKey>, Failure> {
    (1..=EPOCHS_MAX).map(|epoch| log_keys(bundle, epoch)).collect::<Result<Vec<_>, _>>().map(|keys| keys.concat())
}

/// The keys that may sign a checkpoint of this epoch, one for each sink.
pub(crate) fn log_keys(bundle: &TrustBundle, epoch: u64) -> Result<Vec<VerifierKey>, Failure> {
    let name = epoch_origin(&marque_ledger::origin(&bundle.trust_domain), epoch);
    let keys = bundle.keys(Role::Sink).into_iter().map(|key| VerifierKey::new(&name, KeyKind::Ed25519, key));
    keys.collect::<Result<_, _>>().map_err(|error| ledger_failure(&error))
}

/// The bundle in a file, compared with its fingerprint if there is one.
pub(crate) fn open(file: &Path, pin: Option<Digest>) -> Result<TrustBundle, Failure> {
    let token = read_line(file)?;
    TrustBundle::open(&token, pin).map_err(|error| Failure::new(error.code(), format!("{}: {error}", file.display())))
}

/// A policy that can't be read is the caller's mistake, not the log's.
fn policy(file: &Path) -> Result<Policy, Failure> {
    let wrong = |why: String| {
        Failure::new(Code::ConfigInvalid, format!("{}: {why}", file.display()))
            .hint("a policy has lines `log VKEY`, `witness NAME VKEY`, `group …`, and one `quorum NAME|none`")
    };
    let bytes = read(file, POLICY_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("not UTF-8".to_owned()))?;
    Policy::parse(&text).map_err(|error| wrong(error.to_string()))
}

/// A file of at most so many bytes; `-` is stdin.
pub(crate) fn read(file: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let wrong = |error: std::io::Error| Failure::file(file, &error);
    let source: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).map_err(wrong)?)
    };
    let mut bytes = Vec::new();
    source.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() > bytes_max {
        return Err(Failure::new(Code::Oversize, format!("{} has more than {bytes_max} bytes", file.display())));
    }
    Ok(bytes)
}

/// What the ledger refuses, as a failure.
pub(crate) fn ledger_failure(error: &LedgerError) -> Failure {
    Failure::new(error.code(), error.to_string())
}
