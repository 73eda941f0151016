//! From the stream into the log: fetch → append → judge → index → inventory, each stage at work while the next one is.
//!
//! ```text
//!  source ──► [is it exactly the next?] ──► append (one transaction) ──► judge (over the cores) ──► index ──► inventory
//! ```
//! The log comes first: what is in it is durable and can be cosigned. It does not wait for the verdicts, which are no part
//! of it; what comes faster than they are found is read back out of it.
//!
//! Killed anywhere: the log reaches as far as its last commit, index and inventory no further than the log. The next
//! start reads the stream behind its last leaf and judges what those two lack out of the log. Nothing is acknowledged to the
//! broker, so nothing can be lost between two truths.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use marque_bus::{BusError, Stored};
use marque_ledger::Entry;
use tokio::sync::{mpsc, watch};

use crate::index::{Index, Indexed};
use crate::inventory::Inventory;
use crate::judge::Judge;
use crate::metrics::Metrics;
use crate::step::Step;
use crate::store::{LogStore, frame};
use crate::{Hole, SinkError};

/// Messages in one batch, hence in one transaction: 1,000 is where a commit's cost per record levels off (LOG.md).
pub const BATCH_MESSAGES_MAX: usize = 2048;
/// Batches that wait between two stages: what bounds the memory of the pipeline. The log's stage waits for none behind it.
const BATCHES_WAITING_MAX: usize = 2;
/// How long the log's transaction waits for more: longer would show to whoever asks for what was just done. Most of what a
/// small batch costs is the same for one record as for fifty: without any wait, three hundred records a second took a
/// quarter of a core.
const APPEND_LINGER: Duration = Duration::from_millis(20);
/// Leaves in one transaction of the index: its pages are touched at random, so that it gains more from size.
const INDEX_LEAVES_MAX: usize = 8192;
/// So many leaves the index waits for no more of: one delivery, which has no more than two batches, would not find room.
const INDEX_LEAVES_ENOUGH: usize = INDEX_LEAVES_MAX - 2 * BATCH_MESSAGES_MAX + 1;
/// How long the index waits for more, in all; what it lacks meanwhile is read from the log.
const INDEX_LINGER: Duration = Duration::from_millis(100);
/// What one thread judges at least, where others could take a part: as many signatures as share one division at most
/// (`marque_judgement::record`).
const SHARE_MIN: usize = 64;
/// Leaves judged at once of those that are read out of the log.
const CATCH_UP_LEAVES: u64 = INDEX_LEAVES_MAX as u64;

/// Where messages come from, in stream order from where it was begun.
pub trait Source: Send {
    /// The next messages, at least one; waits for them.
    fn next(&mut self, messages_max: usize) -> impl Future<Output = Result<Vec<Stored>, BusError>> + Send;
}

impl Source for marque_bus::StreamReader {
    fn next(&mut self, messages_max: usize) -> impl Future<Output = Result<Vec<Stored>, BusError>> + Send {
        marque_bus::StreamReader::next(self, messages_max)
    }
}

/// The stages' tools. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    /// The log.
    pub store: Arc<LogStore>,
    /// The index.
    pub index: Arc<Index>,
    /// The inventory.
    pub inventory: Arc<Inventory>,
    /// Who may write.
    pub judge: Arc<Judge>,
    /// How many threads judge.
    pub threads: usize,
    /// What is counted.
    pub metrics: Metrics,
}

type Leaves = Vec<(u64, Stored)>;
/// Judged leaves, and which of them repeat an id.
type Told = (Vec<Indexed>, Vec<u64>);

impl Intake {
    /// Takes in what the source gives until `stop`, then finishes what it has begun. An error is final: the log
    /// stands where it stood, and nothing may be appended before the reason is understood or the process restarted.
    pub async fn run(&self, source: impl Source, stop: watch::Receiver<bool>) -> Result<(), SinkError> {
        let (appended_to, appended) = mpsc::channel::<Leaves>(BATCHES_WAITING_MAX);
        let (fetched_to, fetched) = mpsc::channel::<Leaves>(BATCHES_WAITING_MAX);
        let (judged_to, judged) = mpsc::channel::<Vec<Indexed>>(BATCHES_WAITING_MAX);
        // Each stage ends when the one before it has; an error anywhere ends those before it, too.
        let (indexed_to, indexed) = mpsc::channel::<Told>(BATCHES_WAITING_MAX);
        let fetching = self.fetch(source, fetched_to, stop);
        // Leaves that a run before this one left behind unjudged are judged beside what comes.
        let begun = self.index.upto();
        let pressed = AtomicBool::new(false);
        let appending = async {
            let appended = self.append(fetched, appended_to, &pressed).await;
            pressed.store(false, Ordering::Relaxed);
            appended
        };
        let (fetched, appended, judged, indexed, folded) = tokio::join!(
            fetching,
            appending,
            self.judge(appended, judged_to, begun, &pressed),
            self.index(judged, indexed_to),
            self.take_stock(indexed),
        );
        let behind = appended.and(judged).and(indexed).and(folded);
        // A hole may be mended, which nothing else that went wrong may be behind.
        if matches!(fetched, Err(SinkError::Hole(_))) { behind.and(fetched) } else { fetched.and(behind) }
    }

    /// Judges and indexes what the log has and the index or the inventory lacks.
    pub async fn catch_up(&self) -> Result<(), SinkError> {
        self.level().await?;
        while self.index.upto() < self.store.head().size {
            let batch = self.judged_from(self.index.upto()).await?;
            let told = self.index_batch(batch).await?;
            self.take_stock_of(told).await?;
        }
        Ok(())
    }

    /// Folds into the inventory what the index has and it lacks: where it was deleted, or was killed before its turn.
    pub async fn level(&self) -> Result<(), SinkError> {
        while self.inventory.upto() < self.index.upto() {
            let mut batch = self.judged_from(self.inventory.upto()).await?;
            // The index has these already, and knows which repeat an id.
            let (index, upto) = (Arc::clone(&self.index), self.index.upto());
            batch.retain(|entry| entry.leaf < upto);
            let told = blocking(move || {
                let view = index.view()?;
                let mut repeated = Vec::new();
                for entry in &batch {
                    repeated.extend(view.line(entry.leaf)?.filter(|line| line.first.is_some()).map(|line| line.leaf));
                }
                Ok((batch, repeated))
            });
            self.take_stock_of(told.await?).await?;
        }
        Ok(())
    }

    /// The next leaves from here on, out of the log, judged.
    async fn judged_from(&self, from: u64) -> Result<Vec<Indexed>, SinkError> {
        let store = Arc::clone(&self.store);
        let leaves = blocking(move || lacking(&store, from, from + CATCH_UP_LEAVES)).await?;
        self.spread(leaves, self.threads).await
    }

    /// 1. Each message must be exactly the next sequence. One that is behind is passed over (it is in the log); one
    ///    ahead is a hole: nothing behind it is taken in.
    async fn fetch(
        &self,
        mut source: impl Source,
        to: mpsc::Sender<Leaves>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), SinkError> {
        let (mut next_leaf, first) = (self.store.head().size, self.store.first_sequence());
        loop {
            let messages = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                () = to.closed() => return Ok(()),
                messages = source.next(BATCH_MESSAGES_MAX) => messages?,
            };
            let mut leaves = Leaves::with_capacity(messages.len());
            for message in messages {
                let due = next_leaf + first;
                if message.sequence < due {
                    continue;
                }
                if message.sequence > due {
                    // What came before the hole is sound and is kept.
                    let _ = to.send(leaves).await;
                    return Err(SinkError::Hole(Hole::before(due, message.sequence)));
                }
                leaves.push((next_leaf, message));
                next_leaf += 1;
            }
            Step::Fetched.taken();
            if !leaves.is_empty() && to.send(leaves).await.is_err() {
                return Ok(());
            }
        }
    }

    /// 2. The log's transaction. `pressed`: whether the last one was full, and more has come since.
    async fn append(
        &self,
        mut from: mpsc::Receiver<Leaves>,
        to: mpsc::Sender<Leaves>,
        pressed: &AtomicBool,
    ) -> Result<(), SinkError> {
        loop {
            let next = match tokio::time::timeout(APPEND_LINGER, from.recv()).await {
                Ok(next) => next,
                Err(_) => {
                    pressed.store(false, Ordering::Relaxed);
                    from.recv().await
                }
            };
            let Some(mut leaves) = next else { return Ok(()) };
            gather(&mut leaves, &mut from, BATCH_MESSAGES_MAX, APPEND_LINGER).await;
            let Some(first) = leaves.first().map(|(leaf, _)| *leaf) else { continue };
            pressed.store(leaves.len() >= BATCH_MESSAGES_MAX, Ordering::Relaxed);
            let store = Arc::clone(&self.store);
            let (head, leaves) = blocking(move || {
                let frames = leaves.iter().map(|(_, message)| frame(message)).collect::<Result<Vec<_>, _>>()?;
                Ok((store.append(first, &frames)?, leaves))
            })
            .await?;
            Step::Appended.taken();
            self.metrics.appended(leaves.len(), head.size);
            // One for which there is no room is judged out of the log.
            if matches!(to.try_send(leaves), Err(mpsc::error::TrySendError::Closed(_))) {
                return Ok(());
            }
        }
    }

    /// 3. Signatures, over the cores, from leaf `next` on. Ends with the stage before it: what was not handed over by then
    ///    the next run finds in the log.
    async fn judge(
        &self,
        mut from: mpsc::Receiver<Leaves>,
        to: mpsc::Sender<Vec<Indexed>>,
        mut next: u64,
        pressed: &AtomicBool,
    ) -> Result<(), SinkError> {
        use mpsc::error::TryRecvError::{Disconnected, Empty};
        let mut waiting: Option<Leaves> = None;
        loop {
            if waiting.is_none() {
                // The log's end is looked at after the hand-over: of what was appended by then nothing is overlooked.
                waiting = match from.try_recv() {
                    Ok(leaves) => Some(leaves),
                    Err(Disconnected) => return Ok(()),
                    Err(Empty) if next == self.store.head().size => from.recv().await,
                    Err(Empty) => None,
                };
            }
            let handed = waiting.as_ref().and_then(|leaves| leaves.first());
            let first = handed.map_or_else(|| self.store.head().size, |(leaf, _)| *leaf);
            let leaves = if first > next {
                if from.is_closed() {
                    return Ok(());
                }
                let store = Arc::clone(&self.store);
                blocking(move || lacking(&store, next, first.min(next + BATCH_MESSAGES_MAX as u64))).await?
            } else {
                let mut leaves = waiting.take().unwrap_or_default();
                leaves.retain(|(leaf, _)| *leaf >= next);
                leaves
            };
            if leaves.is_empty() {
                continue;
            }
            next += leaves.len() as u64;
            // One batch at a time: the cores are the log's first.
            let threads = judging(self.threads, leaves.len(), pressed.load(Ordering::Relaxed));
            if to.send(self.spread(leaves, threads).await?).await.is_err() {
                return Ok(());
            }
        }
    }

    /// 4. The index's transaction.
    async fn index(&self, mut from: mpsc::Receiver<Vec<Indexed>>, to: mpsc::Sender<Told>) -> Result<(), SinkError> {
        while let Some(mut batch) = from.recv().await {
            Step::Judged.taken();
            gather(&mut batch, &mut from, INDEX_LEAVES_ENOUGH, INDEX_LINGER).await;
            if to.send(self.index_batch(batch).await?).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn index_batch(&self, batch: Vec<Indexed>) -> Result<Told, SinkError> {
        let (this, bad) = (self.clone(), batch.iter().filter(|entry| entry.verdict.is_err()).count());
        let told = blocking(move || {
            let repeated = this.index.apply(&batch, |first, second| same_payload(&this.store, first, second))?;
            Ok((batch, repeated))
        });
        let told = told.await?;
        Step::Indexed.taken();
        self.metrics.indexed(bad, self.index.upto());
        Ok(told)
    }

    /// 5. The inventory's transaction.
    async fn take_stock(&self, mut from: mpsc::Receiver<Told>) -> Result<(), SinkError> {
        while let Some(told) = from.recv().await {
            self.take_stock_of(told).await?;
        }
        Ok(())
    }

    async fn take_stock_of(&self, told: Told) -> Result<(), SinkError> {
        let inventory = Arc::clone(&self.inventory);
        blocking(move || {
            let (batch, repeated) = told;
            // What was folded in before the index was lost is passed over.
            let upto = inventory.upto();
            let known = batch.partition_point(|entry| entry.leaf < upto);
            inventory.apply(batch.get(known..).unwrap_or_default(), &repeated)?;
            Step::TakenStock.taken();
            Ok(())
        })
        .await
    }

    /// The verdicts of a batch, over so many threads.
    async fn spread(&self, leaves: Leaves, threads: usize) -> Result<Vec<Indexed>, SinkError> {
        let share = leaves.len().div_ceil(threads.max(1)).max(1);
        let mut parts = Vec::new();
        let mut rest = leaves;
        while !rest.is_empty() {
            let behind = rest.split_off(share.min(rest.len()));
            let (part, judge) = (std::mem::replace(&mut rest, behind), Arc::clone(&self.judge));
            parts.push(tokio::task::spawn_blocking(move || judged(&judge, &part)));
        }
        let mut batch = Vec::new();
        for part in parts {
            batch.extend(part.await.map_err(|_| SinkError::BrokenOff)?);
        }
        Ok(batch)
    }
}

/// Adds to a batch what comes within `linger`, until it has `enough`.
async fn gather<T>(batch: &mut Vec<T>, from: &mut mpsc::Receiver<Vec<T>>, enough: usize, linger: Duration) {
    let until = tokio::time::Instant::now() + linger;
    while batch.len() < enough
        && let Ok(Some(more)) = tokio::time::timeout_at(until, from.recv()).await
    {
        batch.extend(more);
    }
}

/// How many of these threads judge so many leaves: as many as have a share, and while the log is pressed half of them. Never
/// none.
fn judging(threads: usize, leaves: usize, pressed: bool) -> usize {
    let threads = if pressed { threads / 2 } else { threads };
    threads.min(leaves / SHARE_MIN).max(1)
}

/// The index's part of [`Intake::catch_up`] on this thread alone, for a store that nobody serves.
pub fn catch_up_here(store: &LogStore, index: &Index, judge: &Judge) -> Result<(), SinkError> {
    while index.upto() < store.head().size {
        let batch = judged(judge, &lacking(store, index.upto(), index.upto() + CATCH_UP_LEAVES)?);
        index.apply(&batch, |first, second| same_payload(store, first, second))?;
    }
    Ok(())
}

/// The leaves `from..until` out of the log, as far as it reaches.
fn lacking(store: &LogStore, from: u64, until: u64) -> Result<Leaves, SinkError> {
    let until = until.min(store.head().size);
    let mut leaves = Leaves::new();
    store.view()?.scan(from, until, |leaf, frame| {
        let entry = Entry::decode(frame)?;
        let stored = Stored {
            sequence: entry.stream_seq,
            time_ns: entry.broker_ts_ns,
            subject: entry.bus_subject.to_owned(),
            payload: entry.payload.to_vec().into(),
        };
        leaves.push((leaf, stored));
        Ok(true)
    })?;
    Ok(leaves)
}

fn judged(judge: &Judge, leaves: &[(u64, Stored)]) -> Vec<Indexed> {
    let payloads: Vec<&[u8]> = leaves.iter().map(|(_, message)| &message.payload[..]).collect();
    let verdicts = judge.judge_each(&payloads).into_iter();
    let indexed = |((leaf, message), verdict): (&(u64, Stored), _)| Indexed {
        leaf: *leaf,
        broker_ts_ns: message.time_ns,
        verdict,
    };
    leaves.iter().zip(verdicts).map(indexed).collect()
}

/// Whether two leaves hold the same bytes: a duplicate, not another record under the same id.
fn same_payload(store: &LogStore, first: u64, second: u64) -> Result<bool, SinkError> {
    let view = store.view()?;
    let (first, second) = (view.entry(first)?, view.entry(second)?);
    Ok(Entry::decode(&first)?.payload == Entry::decode(&second)?.payload)
}

/// Runs what waits for the disk or burns a core where it blocks nobody.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
) -> Result<T, SinkError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SinkError::BrokenOff)?
}

#[cfg(test)]
mod tests;
