//! What an agent has that nobody needs, or nobody should: findings about what it holds.

use marque_identity::{Did, Digest};

use super::credential::Looking;
use crate::SinkError;
use crate::finding::{Finding, FindingKind, leaves};
use crate::inventory::{Connection, Credential, CredentialKind, Mark};

/// So many keys with one grant of one kind of agent, alive at once, are many. A person who runs a handful of the same
/// agent beside each other is not sprawl; a fleet is worth knowing of.
pub const ALIKE_HOLDERS_MIN: usize = 10;
/// Unused tools that a sentence names.
const NAMED_MAX: usize = 5;
/// A connection is closed within moments of a directive; after this it should have been.
const KICK_DUE_MS: i64 = 10_000;

/// What is found about an agent's newest credentials and connections.
pub(super) fn findings(
    looking: &Looking<'_>,
    agent: &Did,
    held: &[(Digest, Credential)],
    connections: &[(String, Connection)],
) -> Result<Vec<Finding>, SinkError> {
    let mut found = Vec::new();
    let mut scopes = Vec::new();
    for (digest, kept) in held {
        if kept.published.is_none() {
            found.push(unpublished(digest, kept));
        }
        found.extend(never_used(looking, agent, digest, kept));
        found.extend(wider(looking, agent, digest, kept)?);
        if let Some(scope) = kept.scope.filter(|scope| kept.is_live(looking.now_ms) && !scopes.contains(scope)) {
            scopes.push(scope);
            found.extend(alike(looking, agent, digest, kept, &scope)?);
        }
    }
    found.extend(still_connected(looking, agent, connections)?);
    Ok(found)
}

/// A token that verified chains named, and that no record brought: who derived what for whom can't be told.
pub fn unpublished(digest: &Digest, kept: &Credential) -> Finding {
    let uses = kept.permits.saturating_add(kept.connects);
    let (kind, message) = match kept.kind {
        CredentialKind::Root | CredentialKind::Identity => (
            FindingKind::RootUnissued,
            format!("root token {digest} was shown, used {uses} times, and no issuer's record of it is in the log"),
        ),
        CredentialKind::Derived => (
            FindingKind::DelegationUnpublished,
            format!("derived token {digest} was shown, used {uses} times, and no record brought it"),
        ),
    };
    let finding = Finding::new(kind, kept.holder, &leaves(&[kept.seen, kept.last_used]), message);
    Finding { task: kept.task.clone(), token: Some(*digest), ..finding }.count("uses", uses)
}

/// Past half of its life, or expired. None where its life is not known.
fn is_aged(kept: &Credential, now_ms: i64) -> bool {
    let (Some(since), Some(expires_at)) = (kept.published, kept.expires_at) else { return false };
    let half = since.ms.saturating_add(expires_at.saturating_mul(1000).saturating_sub(since.ms) / 2);
    now_ms >= half
}

fn never_used(looking: &Looking<'_>, agent: &Did, digest: &Digest, kept: &Credential) -> Option<Finding> {
    let unused = kept.last_used.is_none() && kept.denials == 0;
    if !unused || kept.published.is_none() || !is_aged(kept, looking.now_ms) {
        return None;
    }
    let (what, age) = match kept.kind {
        CredentialKind::Identity => ("identity credential", age(kept, looking.now_ms)),
        CredentialKind::Root => ("root token", age(kept, looking.now_ms)),
        CredentialKind::Derived => ("derived token", age(kept, looking.now_ms)),
    };
    let message = format!("{what} {digest} {age} and was never used");
    let finding = Finding::new(FindingKind::NeverUsed, Some(*agent), &leaves(&[kept.published]), message);
    Some(Finding { task: kept.task.clone(), token: Some(*digest), ..finding })
}

fn age(kept: &Credential, now_ms: i64) -> &'static str {
    if kept.is_live(now_ms) { "is past half of its life" } else { "has expired" }
}

/// Tools that were granted and that no permit has used. Whether their arguments were used to the full is not looked at.
fn wider(looking: &Looking<'_>, agent: &Did, digest: &Digest, kept: &Credential) -> Result<Option<Finding>, SinkError> {
    // What was not used at all is another finding; and what an agent may do on the wire no record tells.
    let Some(last_used) = kept.last_used.filter(|_| kept.permits > 0) else { return Ok(None) };
    if !is_aged(kept, looking.now_ms) {
        return Ok(None);
    }
    let granted = looking.inventory.grant(digest)?.unwrap_or_default();
    let unused = looking.inventory.unused(digest, &granted)?;
    let unused: Vec<&str> =
        unused.iter().map(String::as_str).filter(|name| !crate::inventory::WIRE_TOOLS.contains(name)).collect();
    if unused.is_empty() {
        return Ok(None);
    }
    let named = unused.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = if unused.len() > NAMED_MAX { ", …" } else { "" };
    let message = format!(
        "token {digest} {} and {} of its {} tools were never used: {named}{more}",
        age(kept, looking.now_ms),
        unused.len(),
        granted.len()
    );
    let shown = leaves(&[kept.published, Some(last_used)]);
    let finding = Finding::new(FindingKind::WiderThanUsed, Some(*agent), &shown, message);
    let finding = Finding { task: kept.task.clone(), token: Some(*digest), ..finding };
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Ok(Some(finding.count("unused", number(unused.len())).count("granted", number(granted.len()))))
}

fn alike(
    looking: &Looking<'_>,
    agent: &Did,
    digest: &Digest,
    kept: &Credential,
    scope: &Digest,
) -> Result<Option<Finding>, SinkError> {
    let holders = looking.inventory.holders_alike(scope, looking.now_ms)?;
    if holders < ALIKE_HOLDERS_MIN {
        return Ok(None);
    }
    let counted = holders == crate::inventory::ALIKE_COUNTED_MAX;
    let message = format!(
        "{}{holders} keys of blueprint {} hold this very grant at once",
        if counted { "at least " } else { "" },
        kept.blueprint.as_deref().unwrap_or("unknown")
    );
    let finding = Finding::new(FindingKind::AlikeInManyHands, Some(*agent), &leaves(&[kept.published]), message);
    let finding = Finding { task: kept.task.clone(), token: Some(*digest), ..finding };
    Ok(Some(finding.count("holders", u64::try_from(holders).unwrap_or(u64::MAX))))
}

/// Connections that stand although a directive has ended what they were let in by.
fn still_connected(
    looking: &Looking<'_>,
    agent: &Did,
    connections: &[(String, Connection)],
) -> Result<Vec<Finding>, SinkError> {
    let mut found = Vec::new();
    for (name, connection) in connections.iter().filter(|(_, connection)| connection.is_open(looking.now_ms)) {
        let credential = connection.credential.map(|digest| (digest, looking.inventory.credential(&digest)));
        let standing = match credential {
            Some((digest, kept)) => kept?.map(|kept| looking.standing(&digest, &kept)).transpose()?.flatten(),
            None => None,
        };
        let standing = match standing {
            Some(standing) => Some(standing),
            None => looking.standing_of_agent(agent, None)?,
        };
        let Some(standing) = standing.filter(|standing| standing.gravity() > 1) else { continue };
        let Mark { leaf, ms } = standing.by;
        if looking.now_ms.saturating_sub(ms.max(connection.since.ms)) < KICK_DUE_MS {
            continue;
        }
        let message = format!("connection {name} stands although a {} is in force since leaf {leaf}", standing.op);
        let shown = leaves(&[Some(connection.since), Some(standing.by)]);
        let finding = Finding::new(FindingKind::RevokedButConnected, Some(*agent), &shown, message);
        found.push(Finding { token: connection.credential, ..finding });
    }
    Ok(found)
}
