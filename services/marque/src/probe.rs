//! Looks at one thing each; `doctor` takes all of them, `check` one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, streams, subjects};
use marque_identity::Code;
use marque_json::Limits;
use marque_revocation::StatusRequest;
use marque_signing::Role;
use serde::Serialize;
use serde_json::Value;

use crate::cli::Common;
use crate::directive::status;
use crate::directory::{Directory, KEY_NAMES};
use crate::failure::elsewhere;
use crate::output::counted;
use crate::service_config::Service;
use crate::time::measured;
use crate::{Exit, Failure};

/// Older servers have auth bypasses and lack the group commit.
const BROKER_VERSION_MIN: (u64, u64, u64) = (2, 15, 1);
/// How long answers to a question to all are gathered; micro services answer at once.
const GATHER_TIME: Duration = Duration::from_millis(400);
/// Instances that are listened to.
const ANSWERS_MAX: usize = 1_000;
/// Signed requests are accepted within ± 30 s, proofs too; half of it is a warning.
const CLOCK_SKEW_WARNED: Duration = Duration::from_secs(15);

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// As it must be.
    Good,
    /// Works, but look at it.
    Doubtful,
    /// Could not be looked at.
    Unknown,
    /// Not as it must be.
    Bad,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
    /// What was seen.
    pub detail: String,
    /// What to do about it; empty where it is good.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// A number that a monitoring system may keep, and its unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<(f64, &'static str)>,
}

impl Finding {
    fn new(name: &str, standing: Standing, detail: impl Into<String>, hint: &str) -> Self {
        Self { name: name.to_owned(), standing, detail: detail.into(), hint: hint.to_owned(), value: None }
    }

    fn good(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, Standing::Good, detail, "")
    }

    /// What was looked at is not as it must be, or could not be read.
    fn failed(name: &str, failure: &Failure) -> Self {
        let standing = if failure.exit == Exit::Undecided { Standing::Unknown } else { Standing::Bad };
        Self::because(name, standing, failure)
    }

    /// Whoever was asked has not answered: that is bad. Unknown is only how it stands where we could not ask, because we
    /// may not, or lack what it takes.
    fn unanswered(name: &str, failure: &Failure) -> Self {
        let standing = match failure.exit {
            Exit::Undecided | Exit::OutcomeUnknown => Standing::Bad,
            _ => Standing::Unknown,
        };
        Self::because(name, standing, failure)
    }

    /// The look itself could not be made.
    fn unmade(name: &str, failure: &Failure) -> Self {
        Self::because(name, Standing::Unknown, failure)
    }

    fn because(name: &str, standing: Standing, failure: &Failure) -> Self {
        // Whoever reads this has run it already.
        let hint = elsewhere(&failure.hint, "doctor");
        let hint = if hint.contains("--help") { "look at its telemetry, and at the broker's log" } else { &hint };
        Self::new(name, standing, format!("{}: {}", failure.code, failure.message), hint)
    }

    fn value(self, value: f64, unit: &'static str) -> Self {
        Self { value: Some((value, unit)), ..self }
    }
}

/// The bootstrap directory: bundle, fingerprint, modes of secrets.
pub(crate) fn directory(common: &Common) -> Vec<Finding> {
    let Some(dir) = &common.connection.dir else {
        return vec![Finding::new(
            "directory",
            Standing::Unknown,
            "none was named",
            "name it with --dir or MARQUE_DIR",
        )];
    };
    let directory = Directory::at(dir);
    let bundle = match directory.bundle() {
        Ok(bundle) => Finding::good(
            "bundle",
            format!(
                "{} version {}, {}, {}",
                bundle.trust_domain,
                bundle.version,
                counted(bundle.services.len() as u64, "service"),
                counted(bundle.operators.len() as u64, "operator")
            ),
        ),
        Err(failure) => Finding::failed("bundle", &failure),
    };
    let mut findings = vec![bundle];
    findings.push(keys(&directory));
    findings.extend(log_keys(&directory));
    findings
}

/// What `--key` of the offline checks takes; without a bundle nothing.
fn log_keys(directory: &Directory) -> Option<Finding> {
    let keys = crate::trust::log_keys(&directory.bundle().ok()?, 1).ok()?;
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    Some(Finding::good("log key", keys.join(" ")))
}

/// The keys that lie in the directory, whoever holds them.
fn keys(directory: &Directory) -> Finding {
    let (mut readable, mut unreadable) = (0_u64, Vec::new());
    for name in KEY_NAMES {
        match directory.key(name) {
            Ok(_) => readable += 1,
            Err(failure) if failure.code == Code::NotFound => {}
            Err(failure) => unreadable.push(failure.message),
        }
    }
    match (readable, unreadable.as_slice()) {
        (0, []) => {
            let folder = directory.key_file("operator");
            let folder = folder.parent().unwrap_or(directory.path()).display().to_string();
            let hint = "name the directory that `marque nats bootstrap` made, or bring the keys there";
            Finding::new("keys", Standing::Unknown, format!("none lies in {folder}"), hint)
        }
        (count, []) => Finding::good("keys", format!("{}, readable by their owner alone", counted(count, "key"))),
        (_, all) => Finding::new("keys", Standing::Bad, all.join("; "), "chmod 600 the key files"),
    }
}

/// The connection, and what the broker is.
pub(crate) async fn broker(common: &Common) -> (Option<Bus>, Finding) {
    let prepared = common.connection.resolve(BusRole::Operator);
    let prepared = prepared.and_then(|connection| Ok((connection.options("marque doctor")?, connection)));
    let (options, connection) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return (None, Finding::unmade("broker", &failure)),
    };
    let bus = match connection.open(options).await {
        Ok(bus) => bus,
        Err(failure) => return (None, Finding::unanswered("broker", &failure)),
    };
    let begun = Instant::now();
    if bus.client().flush().await.is_err() {
        return (None, Finding::new("broker", Standing::Bad, "the connection was lost", "look at the broker's log"));
    }
    let took = begun.elapsed();
    let info = bus.client().server_info();
    let finding = match version(&info.version) {
        Some(version) if version >= BROKER_VERSION_MIN => {
            let detail =
                format!("{} {} at {}, flushed in {}", info.server_name, info.version, connection.url, measured(took));
            Finding::good("broker", detail).value(took.as_secs_f64(), "s")
        }
        _ => Finding::new(
            "broker",
            Standing::Bad,
            format!("nats-server {} is older than 2.15.1", info.version),
            "upgrade it: older ones have auth bypasses and lack the group commit",
        ),
    };
    (Some(bus), finding)
}

fn version(text: &str) -> Option<(u64, u64, u64)> {
    let mut parts = text.split(['.', '-']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// The streams' settings against what is asked for.
pub(crate) async fn streams(bus: &Bus) -> Vec<Finding> {
    let mut findings = Vec::new();
    for stream in [streams::DIRECTIVES, streams::AUDIT, streams::CHECKPOINTS, streams::PROOFS] {
        findings.push(match bus.expect_stream(stream).await {
            Ok(()) => Finding::good(stream, "as asked for"),
            Err(error) => match error.code() {
                Code::StreamDiffers => Finding::new(
                    stream,
                    Standing::Bad,
                    error.to_string(),
                    "`marque nats streams` creates what is absent; what differs is changed by hand",
                ),
                _ => Finding::unanswered(
                    stream,
                    &crate::bus_failure(error).hint("look at the broker's log: JetStream may have no leader"),
                ),
            },
        });
    }
    findings
}

/// The services' instances, by NATS micro (ADR-32).
pub(crate) async fn services(bus: &Bus) -> Vec<Finding> {
    let answers = match gather(bus, "$SRV.STATS").await {
        Ok(answers) => answers,
        Err(failure) => return vec![Finding::unanswered("services", &failure)],
    };
    let mut by_name: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for answer in answers {
        let name = answer.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        by_name.entry(name).or_default().push(answer);
    }
    Service::ALL
        .iter()
        .map(|service| match by_name.get(service.binary()) {
            Some(instances) => Finding::good(service.name(), told(instances)).value(instances.len() as f64, ""),
            None => {
                let hint = "start it, or look at its telemetry; `nats micro ls` shows who answers";
                Finding::new(service.name(), Standing::Bad, "no instance answers", hint).value(0.0, "")
            }
        })
        .collect()
}

fn told(instances: &[Value]) -> String {
    let sum = |name: &str| -> u64 {
        let endpoints = instances.iter().filter_map(|instance| instance.get("endpoints")?.as_array()).flatten();
        endpoints.filter_map(|endpoint| endpoint.get(name)?.as_u64()).sum()
    };
    let version = instances.first().and_then(|instance| instance.get("version")?.as_str()).unwrap_or("?");
    format!(
        "{} of version {version}, {}, {}",
        counted(instances.len() as u64, "instance"),
        counted(sum("num_requests"), "request"),
        counted(sum("num_errors"), "error")
    )
}

/// Asks all and gathers what comes back in a moment.
async fn gather(bus: &Bus, subject: &str) -> Result<Vec<Value>, Failure> {
    let client = bus.client();
    let inbox = client.new_inbox();
    let lost = |error: String| Failure::new(Code::Unavailable, error);
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| lost(error.to_string()))?;
    client
        .publish_with_reply(subject.to_owned(), inbox, Default::default())
        .await
        .map_err(|error| lost(error.to_string()))?;
    let mut gathered = Vec::new();
    let until = tokio::time::Instant::now() + GATHER_TIME;
    while let Ok(Some(message)) = tokio::time::timeout_at(until, answers.next()).await {
        if let Ok(answer) = marque_json::from_slice(&message.payload, Limits::DEFAULT) {
            gathered.push(answer);
        }
        if gathered.len() >= ANSWERS_MAX {
            break;
        }
    }
    Ok(gathered)
}

/// The bundle that the issuer serves against the pinned one.
pub(crate) async fn served_bundle(bus: &Bus, common: &Common) -> Finding {
    let Some(pinned) = common.connection.dir.as_ref().and_then(|dir| Directory::at(dir).fingerprint().ok()) else {
        return Finding::new(
            "served bundle",
            Standing::Unknown,
            "nothing to compare with",
            "name the directory with --dir",
        );
    };
    let reply = bus.request(subjects::issuer::BUNDLE, Default::default(), Vec::new(), common.connection.timeout).await;
    match reply {
        Ok(reply) => {
            let served = bundle_text(&reply.payload).map(|text| marque_signing::bundle::fingerprint(&text));
            match served {
                Some(served) if served == pinned => {
                    Finding::good("served bundle", format!("is the pinned one, {pinned}"))
                }
                Some(served) => {
                    let detail = format!("the issuer serves {served}, pinned is {pinned}");
                    Finding::new(
                        "served bundle",
                        Standing::Bad,
                        detail,
                        "compare the fingerprint with whoever runs the issuer",
                    )
                }
                None => Finding::new(
                    "served bundle",
                    Standing::Bad,
                    "the issuer's answer is no bundle",
                    "look at the issuer's telemetry",
                ),
            }
        }
        Err(error) => Finding::unanswered("served bundle", &crate::question_failure(error)),
    }
}

/// The bundle's text, bare or as the member `bundle` of a JSON object.
fn bundle_text(payload: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(payload).ok()?.trim();
    if !text.starts_with('{') {
        return Some(text.to_owned());
    }
    let answer: Value = marque_json::from_slice(payload, Limits::DEFAULT).ok()?;
    answer.get("bundle")?.as_str().map(str::to_owned)
}

/// The directive feed: who applies it, and how far behind.
pub(crate) async fn freshness(bus: &Bus, common: &Common) -> Finding {
    let status = match status::status(bus, StatusRequest::default(), common.connection.timeout).await {
        Ok(status) => status,
        Err(failure) => return Finding::unanswered("directive feed", &failure),
    };
    let behind = status.verifiers.iter().map(|verifier| verifier.heard_ms_ago).max().unwrap_or(0);
    let detail = format!(
        "epoch {}, {} in force, {} heard within {}",
        status.epoch,
        counted(status.active, "directive"),
        counted(status.verifiers.len() as u64, "verifier"),
        measured(Duration::from_millis(behind))
    );
    // A gatekeeper lets agents in; it does not decide what they do.
    let finding = if status.verifiers.iter().all(|present| present.role == Role::Gatekeeper) {
        let hint = "start a verifier or a tool host; without one nothing is enforced";
        Finding::new("directive feed", Standing::Bad, "no verifier is heard", hint)
    } else if status.pending > 0 {
        let detail = format!("{detail}; {} requests are not yet in the stream", status.pending);
        Finding::new("directive feed", Standing::Doubtful, detail, "look at the broker: the stream may have no leader")
    } else {
        Finding::good("directive feed", detail)
    };
    finding.value(status.verifiers.len() as f64, "")
}

/// Our clock against the broker's, which stands in its answers about streams.
pub(crate) async fn clock(bus: &Bus) -> Finding {
    let subject = format!("$JS.API.STREAM.INFO.{}", streams::AUDIT);
    let answer = bus.client().request(subject, Default::default()).await;
    let info: Value = answer
        .ok()
        .and_then(|answer| marque_json::from_slice(&answer.payload, Limits::DEFAULT).ok())
        .unwrap_or_default();
    let theirs = info.get("ts").and_then(Value::as_str).and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let Some(theirs) = theirs else {
        let hint = "compare the machines' clocks by hand: they must agree within 30 s";
        return Finding::new("clock", Standing::Unknown, "the broker does not tell its time", hint);
    };
    let ours = marque_runtime::Clock::new().unix_millis().0;
    let skew = Duration::from_millis(ours.abs_diff(theirs.as_millisecond()));
    let detail = format!("{} from the broker's", measured(skew));
    if skew > CLOCK_SKEW_WARNED {
        return Finding::new("clock", Standing::Bad, detail, "set the clocks right: proofs are good for ± 30 s");
    }
    Finding::good("clock", detail).value(skew.as_secs_f64(), "s")
}

/// The newest checkpoint of the log.
pub(crate) async fn audit(bus: &Bus, common: &Common) -> Finding {
    match bus.request(subjects::AUDIT_CHECKPOINT, Default::default(), Vec::new(), common.connection.timeout).await {
        Ok(reply) => {
            let standing: Value = marque_json::from_slice(&reply.payload, Limits::DEFAULT).unwrap_or_default();
            let number = |name: &str| standing.get(name).and_then(Value::as_u64).unwrap_or_default();
            let (leaves, sealed) = (number("tree_size"), number("checkpoint_size"));
            match standing.get("halted").and_then(Value::as_str) {
                Some(why) => Finding::new("audit log", Standing::Bad, format!("halted: {why}"), Code::LogHalted.hint()),
                None => Finding::good("audit log", format!("{leaves} leaves, {sealed} under the newest checkpoint"))
                    .value(leaves as f64, ""),
            }
        }
        Err(error) => Finding::unanswered("audit log", &crate::question_failure(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_is_bad_and_unknown_is_what_we_could_not_ask() {
        for (code, standing) in [
            (Code::Unavailable, Standing::Bad),
            (Code::OutcomeUnknown, Standing::Bad),
            (Code::LogHalted, Standing::Bad),
            (Code::NotAuthorized, Standing::Unknown),
            (Code::NotFound, Standing::Unknown),
            (Code::FileUnusable, Standing::Unknown),
        ] {
            assert_eq!(Finding::unanswered("it", &Failure::new(code, "why")).standing, standing, "{code}");
        }
        assert_eq!(Finding::unmade("it", &Failure::new(Code::Unavailable, "why")).standing, Standing::Unknown);
    }
}
