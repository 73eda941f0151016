//! The streams, strictly configured: created once by the bootstrap, afterwards only compared.

use std::time::Duration;

use async_nats::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::consume::unix_nanoseconds;
use crate::publish::ApiError;
use crate::{Bus, BusError};

/// Directives and heartbeats.
pub const DIRECTIVES: &str = "MARQUE_DIRECTIVES";
/// Records.
pub const AUDIT: &str = "MARQUE_AUDIT";
/// Checkpoints of the audit log.
pub const CHECKPOINTS: &str = "MARQUE_CHECKPOINTS";
/// Claims on proofs.
pub const PROOFS: &str = "MARQUE_PROOFS";
/// What the records of erasable actions leave out, sealed.
pub const SEALED: &str = "MARQUE_SEALED";
/// The keys that it is sealed for.
pub const SEALING_KEYS: &str = "MARQUE_SEALING_KEYS";

/// The server counts headers as well: our limit on a directive, and room for them.
const DIRECTIVE_MESSAGE_BYTES_MAX: usize = marque_revocation::DIRECTIVE_BYTES_MAX + 1024;
/// C2SP tlog-tiles: an entry is at most 65,535 bytes, our framing included.
const RECORD_MESSAGE_BYTES_MAX: usize = 60_000;
const CHECKPOINT_BYTES_MAX: usize = 16 * 1024;
/// As much as the server lets pass (`max_payload` 64 KB): a proof and its arguments came in one such message.
const SEALED_BYTES_MAX: usize = 64 * 1024;
/// A public key is 56 characters, a private one 32 bytes; and headers.
const KEY_BYTES_MAX: usize = 512;
/// A claim is a nonce, and headers.
const CLAIM_BYTES_MAX: usize = 512;
/// Twice the widest window in which a proof is accepted (30 s to either side), and room.
pub const CLAIM_LIFE: Duration = Duration::from_secs(120);
/// A broadcaster that was down for an hour still finds its outbox's ids known.
const DIRECTIVE_DUPLICATE_WINDOW: Duration = Duration::from_secs(3600);
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Old checkpoints are implied by newer ones.
const CHECKPOINTS_PER_SINK: u64 = 1000;
const API_TIMEOUT: Duration = Duration::from_secs(5);

/// A stream as we ask for it. The settings' names are the JetStream API's.
#[derive(Debug, Clone)]
pub struct StreamSpec {
    /// Its name.
    pub name: &'static str,
    /// Its settings; what is not named must stand at the server's default.
    pub settings: Value,
}

/// How much the audit stream takes before its publishers are refused; nothing that it holds is ever dropped for it.
/// The operator's choice, which may be changed later. Without one the server's own limit is the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditLimits {
    /// `max_bytes`: its messages, as the server counts them.
    pub bytes: Option<u64>,
    /// `max_msgs`.
    pub messages: Option<u64>,
}

impl AuditLimits {
    fn settings(self) -> Value {
        let limits = LIMITS.into_iter().zip([self.bytes, self.messages]);
        limits.filter_map(|(name, limit)| Some((name.to_owned(), Value::from(limit?)))).collect::<Map<_, _>>().into()
    }
}

/// What pushes publishers back where a stream discards new messages, and drops old ones where it discards old.
const LIMITS: [&str; 2] = ["max_bytes", "max_msgs"];

/// Every stream as we ask for it, with this many replicas.
pub fn specs(replicas: usize) -> Vec<StreamSpec> {
    specs_limited(replicas, AuditLimits::default())
}

/// The same, with limits of the audit stream.
pub fn specs_limited(replicas: usize, audit: AuditLimits) -> Vec<StreamSpec> {
    let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let strict = |name: &'static str, subject: &str, bytes_max: usize, own: Value| {
        let mut settings = json!({
            "name": name,
            "subjects": [subject],
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "num_replicas": replicas,
            "max_msg_size": bytes_max,
            "duplicate_window": nanoseconds(DUPLICATE_WINDOW),
            "deny_delete": true,
            "deny_purge": true,
            "allow_direct": true,
        });
        if let (Value::Object(settings), Value::Object(own)) = (&mut settings, own) {
            settings.extend(own);
        }
        StreamSpec { name, settings }
    };
    vec![
        strict(
            DIRECTIVES,
            "marque.directive.>",
            DIRECTIVE_MESSAGE_BYTES_MAX,
            json!({
                "allow_msg_ttl": true,
                "republish": { "src": "marque.directive.>", "dest": "marque.committed.>" },
                "duplicate_window": nanoseconds(DIRECTIVE_DUPLICATE_WINDOW),
            }),
        ),
        strict(AUDIT, "marque.record.>", RECORD_MESSAGE_BYTES_MAX, audit.settings()),
        strict(
            CHECKPOINTS,
            "marque.checkpoint.*",
            CHECKPOINT_BYTES_MAX,
            json!({ "discard": "old", "max_msgs_per_subject": CHECKPOINTS_PER_SINK }),
        ),
        // One message per subject, and a second is refused whoever publishes it. The age limit is the stream's:
        // a TTL of the publisher's choice would let it free a claim early.
        strict(
            PROOFS,
            "marque.proof.*",
            CLAIM_BYTES_MAX,
            json!({
                "max_age": nanoseconds(CLAIM_LIFE),
                "max_msgs_per_subject": 1,
                "discard_new_per_subject": true,
            }),
        ),
        // What may have to be erased: payloads by purging a data subject's, keys one by one, so that the server
        // overwrites their bytes. No message takes another's place.
        strict(
            SEALED,
            "marque.sealed.*.*",
            SEALED_BYTES_MAX,
            json!({ "deny_purge": false, "max_msgs_per_subject": 1, "discard_new_per_subject": true }),
        ),
        strict(
            SEALING_KEYS,
            "marque.sealing.>",
            KEY_BYTES_MAX,
            json!({ "deny_delete": false, "max_msgs_per_subject": 1, "discard_new_per_subject": true }),
        ),
    ]
}

/// What a stream says of itself.
#[derive(Debug, Clone)]
pub struct StreamState {
    /// Sequence of the first message still held; 0 if there never was one.
    pub first_sequence: u64,
    /// Sequence of the last message stored.
    pub last_sequence: u64,
    /// How many are held.
    pub messages: u64,
    /// Their bytes, as the server counts them against `max_bytes`.
    pub bytes: u64,
    /// When the stream was created, nanoseconds since 1970: its identity together with the name.
    pub created_ns: i64,
    /// Its settings, by the JetStream API's names.
    pub settings: Value,
}

impl StreamState {
    /// Its limits, where it has any.
    pub fn limits(&self) -> AuditLimits {
        let limit = |name: &str| self.settings.get(name).and_then(Value::as_u64).filter(|limit| *limit > 0);
        AuditLimits { bytes: limit(LIMITS[0]), messages: limit(LIMITS[1]) }
    }
}

#[derive(Deserialize)]
struct InfoReply {
    #[serde(default)]
    error: Option<ApiError>,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    created: String,
    #[serde(default)]
    state: StateReply,
}

#[derive(Default, Deserialize)]
struct StateReply {
    #[serde(default)]
    messages: u64,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    first_seq: u64,
    #[serde(default)]
    last_seq: u64,
}

impl Bus {
    /// Creates what is absent and compares what is there. Only the bootstrap role may; nothing is updated or deleted.
    pub async fn bootstrap_streams(&self, replicas: usize) -> Result<(), BusError> {
        self.bootstrap_streams_limited(replicas, AuditLimits::default()).await
    }

    /// The same, with limits of the audit stream; where it is there already, those that are named must be its own.
    pub async fn bootstrap_streams_limited(&self, replicas: usize, audit: AuditLimits) -> Result<(), BusError> {
        for spec in specs_limited(replicas, audit) {
            if self.find_stream(spec.name).await?.is_none() {
                let reply =
                    self.api(&format!("$JS.API.STREAM.CREATE.{}", spec.name), spec.settings.to_string()).await?;
                if let Some(error) = reply.error {
                    return Err(BusError::Refused(format!("{}: {}", spec.name, error.description)));
                }
            }
            self.compare(&spec).await?;
        }
        Ok(())
    }

    /// Compares a stream with what we ask for; a service refuses to start when it differs or is absent. The number
    /// of replicas is the operator's.
    pub async fn expect_stream(&self, stream: &str) -> Result<(), BusError> {
        let spec = specs(1).into_iter().find(|spec| spec.name == stream);
        let spec = spec.ok_or_else(|| BusError::SubjectInvalid(stream.to_owned()))?;
        self.compare(&spec).await
    }

    /// What the stream says of itself (its leader's word).
    pub async fn stream_state(&self, stream: &str) -> Result<StreamState, BusError> {
        self.find_stream(stream).await?.ok_or_else(|| BusError::StreamDiffers {
            stream: stream.to_owned(),
            differences: vec!["it does not exist: `marque nats streams` creates it".into()],
        })
    }

    async fn compare(&self, spec: &StreamSpec) -> Result<(), BusError> {
        let state = self.stream_state(spec.name).await?;
        let mut differences = differences(&spec.settings, &state.settings);
        for name in LIMITS {
            // The operator's own, unless it is asked for by name.
            let (want, have) = (spec.settings.get(name), state.settings.get(name));
            if spec.name == AUDIT && want.is_some() && want != have {
                differences.push(differs(name, want, have));
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(BusError::StreamDiffers { stream: spec.name.to_owned(), differences })
    }

    async fn find_stream(&self, stream: &str) -> Result<Option<StreamState>, BusError> {
        const STREAM_NOT_FOUND: u32 = 10_059;
        let info = self.api(&format!("$JS.API.STREAM.INFO.{stream}"), String::new()).await?;
        match info.error {
            Some(error) if error.err_code == STREAM_NOT_FOUND => Ok(None),
            Some(error) => Err(BusError::Refused(format!("{stream}: {}", error.description))),
            None => Ok(Some(StreamState {
                first_sequence: info.state.first_seq,
                last_sequence: info.state.last_seq,
                messages: info.state.messages,
                bytes: info.state.bytes,
                created_ns: unix_nanoseconds(&info.created)
                    .ok_or_else(|| BusError::Malformed("a stream without its time of creation".into()))?,
                settings: info.config,
            })),
        }
    }

    async fn api(&self, subject: &str, request: String) -> Result<InfoReply, BusError> {
        let message = self.ask(subject, HeaderMap::new(), request.into(), API_TIMEOUT).await?;
        serde_json::from_slice(&message.payload).map_err(|error| BusError::Malformed(format!("{subject}: {error}")))
    }
}

/// One sentence for each setting that differs. Replicas are not compared: a cluster of three asks for three. Nor are
/// the audit stream's limits where they push publishers back: an operator sets and raises them.
pub fn differences(asked: &Value, found: &Value) -> Vec<String> {
    let empty = Map::new();
    let asked = asked.as_object().unwrap_or(&empty);
    let found = found.as_object().unwrap_or(&empty);
    let is = |settings: &Map<String, Value>, name: &str, value: &str| {
        settings.get(name).and_then(Value::as_str).is_some_and(|text| text == value)
    };
    let pushes_back = is(found, "name", AUDIT) && is(asked, "discard", "new") && is(found, "discard", "new");
    let mut names: Vec<&String> = asked.keys().chain(found.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| !matches!(name.as_str(), "num_replicas" | "placement" | "description" | "metadata"))
        .filter(|name| !(pushes_back && LIMITS.contains(&name.as_str())))
        .filter_map(|name| {
            let (want, have) = (asked.get(name), found.get(name));
            (set(want) != set(have)).then(|| differs(name, want, have))
        })
        .collect()
}

fn differs(name: &str, want: Option<&Value>, have: Option<&Value>) -> String {
    let shown = |value: Option<&Value>| set(value).map_or_else(|| "not set".to_owned(), Value::to_string);
    format!("{name} is {}, must be {}", shown(have), shown(want))
}

/// A setting at the server's default is as good as absent.
fn set(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => !matches!(number.as_i64(), Some(0 | -1)),
        Value::String(text) => !matches!(text.as_str(), "" | "none" | "default"),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(members) => !members.is_empty(),
    })
}
