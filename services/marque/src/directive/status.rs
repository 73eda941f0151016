//! What is in force, and who applies it.

use marque_bus::permissions::BusRole;
use marque_bus::{Bus, subjects};
use marque_json::Limits;
use marque_revocation::{DirectiveStatus, StatusReply, StatusRequest, VerifierStatus};
use marque_signing::Role;

use crate::cli::Common;
use crate::output::{Answer, facts, table};
use crate::{Failure, question_failure, time};

/// Pages that are followed; a page is as many directives as fit a message. More is no list for a person.
const PAGES_MAX: usize = 1_000;

/// `marque revoke ls`.
pub(crate) async fn ls(common: &Common) -> Result<Answer, Failure> {
    let bus = common.connection.resolve(BusRole::Operator)?.connect("marque revoke").await?;
    let all = in_force(&bus, common.connection.timeout).await?;
    let row = |directive: &DirectiveStatus| {
        let until = directive.until.map(time::utc).unwrap_or_else(|| "-".to_owned());
        vec![
            directive.id.to_string(),
            directive.epoch.to_string(),
            directive.op.to_string(),
            until,
            directive.target.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    Ok(Answer::yes(&all, table(&["id", "epoch", "op", "until", "target"], &rows)))
}

/// The directives in force, page after page.
pub(super) async fn in_force(bus: &Bus, timeout: std::time::Duration) -> Result<Vec<DirectiveStatus>, Failure> {
    let mut all: Vec<DirectiveStatus> = Vec::new();
    for _ in 0..PAGES_MAX {
        let after = all.last().map(|last| last.epoch);
        let page = status(bus, StatusRequest { after }, timeout).await?;
        let last = page.directives.is_empty() || !page.more;
        all.extend(page.directives);
        if last {
            break;
        }
    }
    Ok(all)
}

/// `marque revoke status`.
pub(crate) async fn show(common: &Common) -> Result<Answer, Failure> {
    let bus = common.connection.resolve(BusRole::Operator)?.connect("marque revoke").await?;
    let status = status(&bus, StatusRequest::default(), common.connection.timeout).await?;
    let mut text = facts(&[
        ("epoch", status.epoch.to_string()),
        ("directives in force", status.active.to_string()),
        ("requests pending", status.pending.to_string()),
        ("present", status.verifiers.len().to_string()),
    ]);
    for VerifierStatus { verifier, role, epoch, heard_ms_ago } in &status.verifiers {
        let role = kind(*role);
        text.push_str(&format!("\n  {role:<10}  {verifier} at epoch {epoch}, heard {heard_ms_ago} ms ago"));
    }
    Ok(Answer::yes(status, text))
}

/// What one on the roster is. The broadcaster takes acks from no other role.
fn kind(role: Role) -> &'static str {
    match role {
        Role::Verifier => "verifier",
        Role::Host => "tool host",
        Role::Gatekeeper => "gatekeeper",
        Role::Issuer | Role::Broadcaster | Role::Sink | Role::Risk | Role::Attestor => "other",
    }
}

/// Asks the broadcaster for its state.
pub(crate) async fn status(
    bus: &Bus,
    request: StatusRequest,
    timeout: std::time::Duration,
) -> Result<StatusReply, Failure> {
    let payload = serde_json::to_vec(&request).unwrap_or_default();
    let reply = bus
        .request(subjects::REVOCATION_STATUS, Default::default(), payload, timeout)
        .await
        .map_err(question_failure)?;
    Ok(marque_json::from_slice(&reply.payload, Limits::DEFAULT)?)
}
