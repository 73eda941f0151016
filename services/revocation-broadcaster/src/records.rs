//! What the broadcaster states in the audit log, and how it gets there.

use std::sync::Arc;
use std::time::Duration;

use marque_bus::Bus;
use marque_identity::{Did, Epoch, Refusal, UnixMillis};
use marque_judgement::record::{self, Body, DirectiveIssued, Record, Refused};
use marque_revocation::{Receipt, SignedDirective, Target};
use marque_signing::SigningKey;
use tokio::sync::Notify;

use crate::outbox::{Outbox, RecordRow};

/// What the broadcaster is called in its records.
const SERVICE: &str = "revocation-broadcaster";
/// Between two tries while the audit stream does not answer, and between two looks without a sign.
const RETRY: Duration = Duration::from_secs(1);

/// A directive was published.
pub fn directive(
    key: &SigningKey,
    signed: &SignedDirective,
    epoch: Epoch,
    now: UnixMillis,
) -> Result<RecordRow, Refusal> {
    let requested_by = signed.directive().requested_by;
    let body = Body::Directive(DirectiveIssued { directive: signed.compact().to_owned(), epoch, requested_by });
    row(key, about(Record::new(now, key.did(), body), &signed.directive().target))
}

/// A directive's reach.
pub fn receipt(
    key: &SigningKey,
    signed: &SignedDirective,
    receipt: &Receipt,
    now: UnixMillis,
) -> Result<RecordRow, Refusal> {
    let answered = |us: u64| (receipt.acked > 0).then_some(us);
    let body = Body::Receipt(record::Receipt {
        directive_id: receipt.id.to_string(),
        epoch: receipt.epoch,
        acked: receipt.acked,
        of: receipt.of,
        p50_us: answered(receipt.p50_us),
        p99_us: answered(receipt.p99_us),
        max_us: answered(receipt.max_us),
        silent: receipt.silent.clone(),
        closed: receipt.closed.clone(),
        partial: receipt.partial,
    });
    row(key, about(Record::new(now, key.did(), body), &signed.directive().target))
}

/// A request was refused; of it only digest and size. `agent` is who has proven a key, if anyone.
pub fn refused(
    key: &SigningKey,
    refusal: &Refusal,
    agent: Option<Did>,
    input: &[u8],
    now: UnixMillis,
) -> Result<RecordRow, Refusal> {
    let body = Body::Refused(Refused::of(refusal, SERVICE, Some(input)));
    row(key, Record { agent, ..Record::new(now, key.did(), body) })
}

/// So that a query by agent, token or task finds what was done to it.
fn about(record: Record, target: &Target) -> Record {
    match target {
        Target::Token(digest) => Record { token: Some(*digest), links: vec![*digest], ..record },
        Target::Key(did) => Record { agent: Some(*did), ..record },
        Target::Task(task) => Record { task: Some(task.clone()), ..record },
        Target::Blueprint(_) | Target::Manifest(_) | Target::Issuer(_) | Target::Domain(_) => record,
    }
}

fn row(key: &SigningKey, record: Record) -> Result<RecordRow, Refusal> {
    let compact = record.seal(key).map_err(|error| Refusal::new(error.code(), error.to_string()))?;
    Ok(RecordRow { kind: record.kind().as_str().to_owned(), key: record.agent.unwrap_or(record.by), compact })
}

/// Publishes the outbox's records, in order, for ever; an earlier run's first.
pub async fn publish(bus: Bus, outbox: Outbox, to_record: Arc<Notify>) {
    loop {
        match some(&bus, &outbox).await {
            Ok(()) => drop(tokio::time::timeout(RETRY, to_record.notified()).await),
            Err(refusal) => {
                tracing::warn!(%refusal, "records wait for the audit stream");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Publishes what there is.
async fn some(bus: &Bus, outbox: &Outbox) -> Result<(), Refusal> {
    while let Some((order, record)) = blocking(outbox, |outbox| outbox.unrecorded()).await? {
        bus.publish_record(&record.kind, Some(&record.key), &record.compact).await?;
        blocking(outbox, move |outbox| outbox.recorded(order)).await?;
    }
    Ok(())
}

/// Asks the outbox off the threads that wait for the network.
pub(crate) async fn blocking<T: Send + 'static>(
    outbox: &Outbox,
    ask: impl FnOnce(&Outbox) -> Result<T, crate::outbox::OutboxError> + Send + 'static,
) -> Result<T, Refusal> {
    let outbox = outbox.clone();
    let answer = tokio::task::spawn_blocking(move || ask(&outbox)).await;
    let broken = |error: tokio::task::JoinError| Refusal::new(marque_identity::Code::Internal, error.to_string());
    Ok(answer.map_err(broken)??)
}
