//! A leaf as an event of OCSF 1.9.0 (schema.ocsf.io), class API Activity (6003), with the profiles `ai_operation` (the
//! agent, the delegation it acted under) and `record_integrity` (the event's own fingerprint).
//!
//! What is mapped, honestly:
//! - `activity_id` is Other, named by the record's kind: whether a tool creates, reads or deletes is not known here.
//! - `actor.user` is who signed the record; `ai_agent` the agent it is about; `actor.authorizations` what was decided.
//! - `time` and `metadata.logged_time` are the broker's, `metadata.original_time` what the signer says.
//! - `attestation.fingerprint` is over this event (SHA-256 of its RFC 8785 text without the fingerprint), as the
//!   profile asks. It has no signatures: those that exist are over the record and over the log's checkpoint. They are
//!   under `unmapped.marque`, with the record, the text that was signed, the leaf's hash and the tree it is in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marque_identity::Digest;
use marque_judgement::record::{Body, Outcome, Record, Verb};
use marque_ledger::{Checkpoint, Hash};
use marque_signing::sha256;
use serde_json::{Value, json};

use super::{Last, canonical};
use crate::forensics::copy::StoredLeaf;
use crate::{Failure, time};

const OCSF_VERSION: &str = "1.9.0";
const API_ACTIVITY: u64 = 6003;
const OTHER: u64 = 99;

/// How an activity ended: OCSF's `status_id`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Unknown = 0,
    Success = 1,
    Failure = 2,
}

/// How much it matters: OCSF's `severity_id`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Severity {
    Informational = 1,
    Low = 2,
    Medium = 3,
    High = 4,
}

/// What is said of a leaf at its top.
struct Told {
    status: Status,
    severity: Severity,
    code: Option<String>,
    detail: Option<String>,
}

/// The event.
pub(super) fn event(stored: &StoredLeaf<'_>, of: &Checkpoint) -> Result<Value, Failure> {
    let stored_ms = stored.entry.broker_ms();
    let record = stored.judged.as_deref().ok();
    let told = record.map_or_else(|| not_valid(stored.verdict()), told);
    let kind = record.map_or("not_valid", |record| record.kind().as_str());
    let name = format!("{}/{}", of.origin, stored.leaf);
    let mut event = json!({
        "category_uid": 6, "category_name": "Application Activity",
        "class_uid": API_ACTIVITY, "class_name": "API Activity",
        "activity_id": OTHER, "activity_name": kind,
        "type_uid": API_ACTIVITY * 100 + OTHER, "type_name": "API Activity: Other",
        "time": stored_ms,
        "severity_id": told.severity as u64, "severity": severity_caption(told.severity),
        "status_id": told.status as u64, "status": status_caption(told.status),
        "metadata": {
            "version": OCSF_VERSION,
            "profiles": ["ai_operation", "record_integrity"],
            "product": { "name": "Marque", "vendor_name": "Marque", "version": env!("CARGO_PKG_VERSION") },
            "uid": name,
            "event_code": kind,
            "log_name": of.origin,
            "sequence": stored.leaf,
            "logged_time": stored_ms,
        },
        "actor": { "user": { "type_id": 0, "uid": "unknown" } },
        "api": { "operation": kind },
        "src_endpoint": { "uid": "unknown" },
        "attestation": { "uid": name, "chain_uid": of.origin },
        "unmapped": { "marque": {
            "leaf": stored.leaf,
            "leaf_hash": Hash::leaf(stored.frame).to_base64(),
            "tree_size": of.size,
            "root": of.root.to_base64(),
            "verdict": stored.verdict(),
            "stream_seq": stored.entry.stream_seq,
            "broker_ts_ns": stored.entry.broker_ts_ns.to_string(),
            "bus_subject": stored.entry.bus_subject,
        } },
    });
    set(&mut event, "status_code", told.code);
    set(&mut event, "status_detail", told.detail);
    match &stored.judged {
        Ok(record) => {
            add_record(&mut event, record);
            event["unmapped"]["marque"]["record"] = json!(record);
            event["unmapped"]["marque"]["signed"] = String::from_utf8_lossy(stored.entry.payload).into();
        }
        Err(bad) => {
            event["unmapped"]["marque"]["payload_base64"] = STANDARD.encode(stored.entry.payload).into();
            set(&mut event["metadata"], "original_event_uid", bad.id.clone());
        }
    }
    let fingerprint = sha256(&canonical(&event)?).to_string();
    event["attestation"]["fingerprint"] = json!({
        "algorithm_id": 3, "algorithm": "SHA-256", "value": fingerprint,
    });
    Ok(event)
}

/// Who, about whom, under what, and what was decided.
fn add_record(event: &mut Value, record: &Record) {
    let by = record.by.to_string();
    let agent = record.agent.map(|agent| agent.to_string());
    event["metadata"]["original_event_uid"] = record.id.clone().into();
    event["metadata"]["original_time"] = time::utc_millis(record.iat_ms).into();
    // The agent itself where it speaks, else one of our services.
    let kind = if record.agent == Some(record.by) { "AI Agent" } else { "Service" };
    event["actor"]["user"] = json!({ "type_id": OTHER, "type": kind, "uid": by });
    event["src_endpoint"]["uid"] = agent.clone().unwrap_or_else(|| by.clone()).into();
    event["dst_endpoint"] = json!({ "uid": by });
    if let Some(tool) = &record.tool {
        event["api"]["operation"] = tool.clone().into();
    }
    event["api"]["request"] = json!({ "uid": record.id });
    if let Some(task) = &record.task {
        event["metadata"]["correlation_uid"] = task.to_string().into();
    }
    if let Some(agent) = agent {
        event["ai_agent"] = json!({ "uid": agent });
    }
    if let Some(uid) = record.token.as_ref().map(Digest::to_string) {
        let parent = record.links.iter().rev().nth(1).map(Digest::to_string);
        event["delegation"] = json!({ "uid": uid });
        set(&mut event["delegation"], "parent_uid", parent);
    }
    match &record.body {
        Body::Issued(issued) => {
            set(&mut event["ai_agent"], "name", Some(issued.blueprint.as_str().to_owned()));
            event["actor"]["authorizations"] = json!([{ "decision": "issued" }]);
        }
        Body::Decided(decided) => {
            // What decided, where one thing did: a directive, else a constraint.
            let policy = decided.directive.as_ref().map(|id| json!({ "uid": id, "desc": "directive" }));
            let policy = policy
                .or_else(|| decided.constraint.as_ref().map(|text| json!({ "name": "constraint", "desc": text })));
            let mut authorization = json!({ "decision": decided.decision.as_str() });
            set(&mut authorization, "policy", policy);
            event["actor"]["authorizations"] = json!([authorization]);
            if let Some(audience) = &decided.audience {
                event["api"]["service"] = json!({ "name": audience });
            }
            if let Some(manifest) = &decided.manifest_hash {
                // Claimed by the agent: the document that it says it runs by.
                let hash = json!({ "algorithm_id": 3, "algorithm": "SHA-256", "value": manifest.to_string() });
                event["ai_agent"]["charter"] = json!({ "name": "manifest", "type_id": 1, "hashes": [hash] });
            }
        }
        Body::Completed(completed) => {
            event["api"]["request"]["uid"] = completed.decided.clone().into();
            event["duration"] = (completed.duration_us / 1000).into();
        }
        Body::Connected(connected) => {
            set(&mut event["ai_agent"], "name", connected.blueprint.as_ref().map(|name| name.as_str().to_owned()));
            event["actor"]["authorizations"] = json!([{ "decision": "let in" }]);
        }
        Body::Refused(refused) => event["api"]["service"] = json!({ "name": refused.service }),
        Body::Delegated(_)
        | Body::Requested(_)
        | Body::Directive(_)
        | Body::Receipt(_)
        | Body::Kicked(_)
        | Body::Disconnected(_)
        | Body::Risk(_)
        | Body::Heads(_)
        | Body::Erased(_) => {}
    }
}

/// What a record says of how it went.
fn told(record: &Record) -> Told {
    let plain = |status, severity| Told { status, severity, code: None, detail: None };
    match &record.body {
        Body::Decided(decided) => match decided.decision {
            Verb::Permit => plain(Status::Success, Severity::Informational),
            Verb::Deny => Told {
                code: decided.code.map(|code| code.to_string()),
                detail: decided.message.clone(),
                ..plain(Status::Failure, Severity::Low)
            },
        },
        Body::Refused(refused) => Told {
            code: Some(refused.code.to_string()),
            detail: Some(refused.message.clone()),
            ..plain(Status::Failure, Severity::Low)
        },
        Body::Completed(completed) => match completed.outcome {
            Outcome::Ok => plain(Status::Success, Severity::Informational),
            Outcome::Error => Told { code: completed.status.clone(), ..plain(Status::Failure, Severity::Low) },
        },
        Body::Kicked(kicked) => {
            Told { code: Some(kicked.code.to_string()), ..plain(Status::Success, Severity::Medium) }
        }
        Body::Risk(risk) => Told { code: Some(risk.signal.clone()), ..plain(Status::Unknown, Severity::High) },
        // It stands outside whether it will be permitted.
        Body::Requested(_) => plain(Status::Unknown, Severity::Informational),
        Body::Directive(_) | Body::Erased(_) => plain(Status::Success, Severity::Low),
        Body::Issued(_)
        | Body::Delegated(_)
        | Body::Receipt(_)
        | Body::Connected(_)
        | Body::Disconnected(_)
        | Body::Heads(_) => plain(Status::Success, Severity::Informational),
    }
}

/// A leaf without a valid record: somebody stored it, and it says nothing that could be relied on.
fn not_valid(verdict: &str) -> Told {
    let detail = Some("the leaf holds no valid record".to_owned());
    Told { status: Status::Unknown, severity: Severity::Medium, code: Some(verdict.to_owned()), detail }
}

fn severity_caption(severity: Severity) -> &'static str {
    match severity {
        Severity::Informational => "Informational",
        Severity::Low => "Low",
        Severity::Medium => "Medium",
        Severity::High => "High",
    }
}

fn status_caption(status: Status) -> &'static str {
    match status {
        Status::Unknown => "Unknown",
        Status::Success => "Success",
        Status::Failure => "Failure",
    }
}

/// What is none is left out.
fn set(of: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        of[name] = value.into();
    }
}

/// Which leaf a line is of.
pub(super) fn last(line: &Value) -> Option<Last> {
    (line.get("class_uid")?.as_u64()? == API_ACTIVITY).then_some(())?;
    let ours = line.get("unmapped")?.get("marque")?;
    let leaf_hash = ours.get("leaf_hash")?.as_str()?.to_owned();
    Some(Last { leaf: ours.get("leaf")?.as_u64()?, leaf_hash })
}
