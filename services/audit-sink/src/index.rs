//! The index: which leaves have what, and the verdict on each. Derived from the log: delete it and it is rebuilt.
//!
//! Killed at any point: it reaches as far as `upto`, and the rest is judged again from the log.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use marque_judgement::record::{Body, Carried, Decided, RECORD_BYTES_MAX, Record, Verb, What};
use marque_ledger::layout::{CONFLICT, DUPLICATE, VALID, VerdictLine};
use marque_signing::jws;
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use crate::SinkError;
use crate::derived::{Derived, Plan};
use crate::judge::Verdict;
use crate::postings::{Field, ListKey, POSTINGS, append};

/// Record id → its first leaf.
const IDS: TableDefinition<'_, &str, u64> = TableDefinition::new("ids");
/// Leaf → its line of the verdict index.
const VERDICTS: TableDefinition<'_, u64, &str> = TableDefinition::new("verdicts");
/// Second of the broker's clock at its highest so far → the first leaf at which it stood there.
const TIMES: TableDefinition<'_, i64, u64> = TableDefinition::new("times");
/// Layout of the tables above: another one is rebuilt.
const VERSION: &str = "2";
const CACHE_BYTES: usize = 64 << 20;

/// What a batch adds to each list.
type Lists = HashMap<ListKey, Vec<u64>>;

/// A leaf to be indexed.
#[derive(Debug, Clone)]
pub struct Indexed {
    /// Its index.
    pub leaf: u64,
    /// The broker's time of it.
    pub broker_ts_ns: i64,
    /// What is to be said of it.
    pub verdict: Verdict,
}

/// The index's store.
pub struct Index(Derived);

impl Index {
    /// Opens the index of a log of `log_size` leaves, judged under the trust bundle with this fingerprint; one of
    /// another bundle, another layout or another log is dropped and begun anew.
    pub fn open(path: &Path, bundle: &str, log_size: u64) -> Result<Self, SinkError> {
        let basis = format!("{VERSION} {bundle}");
        let plan = Plan { name: "index", basis: &basis, cache_bytes: CACHE_BYTES, tables };
        Ok(Self(Derived::open(path, &plan, log_size)?))
    }

    /// Leaves below this are in the index.
    pub fn upto(&self) -> u64 {
        self.0.upto()
    }

    /// Indexes the next leaves, in order and without a gap. `same_payload` compares two leaves, and is asked when an id
    /// stands twice. Gives the leaves whose id stood before, in order.
    pub fn apply(
        &self,
        batch: &[Indexed],
        same_payload: impl Fn(u64, u64) -> Result<bool, SinkError>,
    ) -> Result<Vec<u64>, SinkError> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(Vec::new()) };
        self.0.extend(first.leaf, last.leaf + 1, |txn| {
            let (lists, repeated) = Self::lines(txn, batch, same_payload)?;
            let mut table = txn.open_table(POSTINGS)?;
            // In key order: neighbours in the tree are written together.
            for (list, leaves) in lists.into_iter().collect::<BTreeMap<_, _>>() {
                append(&mut table, list, &leaves)?;
            }
            let mut times = txn.open_table(TIMES)?;
            let mut highest = times.last()?.map(|(second, _)| second.value());
            for entry in batch {
                let second = entry.broker_ts_ns.div_euclid(1_000_000_000);
                if highest.is_none_or(|highest| second > highest) {
                    times.insert(second, entry.leaf)?;
                    highest = Some(second);
                }
            }
            Ok(repeated)
        })
    }

    /// Writes verdicts and ids; gives the lists that grow, and the leaves whose id stood before.
    fn lines(
        txn: &WriteTransaction,
        batch: &[Indexed],
        same_payload: impl Fn(u64, u64) -> Result<bool, SinkError>,
    ) -> Result<(Lists, Vec<u64>), SinkError> {
        let (mut ids, mut verdicts) = (txn.open_table(IDS)?, txn.open_table(VERDICTS)?);
        let mut repeated = Vec::new();
        let mut lists = Lists::new();
        for entry in batch {
            let mut line = VerdictLine { leaf: entry.leaf, record: None, verdict: VALID.to_owned(), first: None };
            let mut post = |field, value: &[u8]| lists.entry(ListKey::new(field, value)).or_default().push(entry.leaf);
            match &entry.verdict {
                Err(bad) => {
                    line.record.clone_from(&bad.id);
                    line.verdict.clone_from(&bad.verdict);
                    post(Field::Verdict, line.verdict.as_bytes());
                }
                Ok(record) => {
                    line.record = Some(record.id.clone());
                    let known = ids.get(record.id.as_str())?.map(|first| first.value());
                    match known.filter(|first| *first != entry.leaf) {
                        None => {
                            ids.insert(record.id.as_str(), entry.leaf)?;
                            fields(record, &mut post);
                        }
                        Some(first) => {
                            repeated.push(entry.leaf);
                            line.first = Some(first);
                            line.verdict = if same_payload(first, entry.leaf)? { DUPLICATE } else { CONFLICT }.into();
                            post(Field::Verdict, line.verdict.as_bytes());
                        }
                    }
                }
            }
            verdicts.insert(entry.leaf, line.text().as_str())?;
        }
        Ok((lists, repeated))
    }

    /// The index at this moment.
    pub fn view(&self) -> Result<IndexView, SinkError> {
        let (txn, upto) = self.0.view()?;
        Ok(IndexView { txn, upto })
    }
}

fn tables(txn: &WriteTransaction) -> Result<(), SinkError> {
    drop((txn.open_table(IDS)?, txn.open_table(VERDICTS)?, txn.open_table(TIMES)?, txn.open_table(POSTINGS)?));
    Ok(())
}

/// The index at one moment.
pub struct IndexView {
    txn: ReadTransaction,
    upto: u64,
}

impl IndexView {
    /// Leaves below this are in it.
    pub fn upto(&self) -> u64 {
        self.upto
    }

    /// The posting lists.
    pub fn postings(&self) -> Result<redb::ReadOnlyTable<&'static [u8], &'static [u8]>, SinkError> {
        Ok(self.txn.open_table(POSTINGS)?)
    }

    /// The first leaf of a record.
    pub fn leaf_of(&self, record: &str) -> Result<Option<u64>, SinkError> {
        Ok(self.txn.open_table(IDS)?.get(record)?.map(|leaf| leaf.value()))
    }

    /// The line of a leaf, if the index reaches it.
    pub fn line(&self, leaf: u64) -> Result<Option<VerdictLine>, SinkError> {
        let damaged = |error| SinkError::ForeignStore(format!("the line of leaf {leaf} is damaged: {error}"));
        let table = self.txn.open_table(VERDICTS)?;
        let line = table.get(leaf)?.map(|line| serde_json::from_str(line.value()).map_err(damaged));
        line.transpose()
    }

    /// The lines on `from..until`, as far as the index reaches and `bytes_max` allows: at least one, each whole. Gives
    /// how many.
    pub fn page(&self, from: u64, until: u64, bytes_max: usize) -> Result<(u64, String), SinkError> {
        let (mut lines, mut text) = (0, String::new());
        for row in self.txn.open_table(VERDICTS)?.range(from..until)? {
            let (_, line) = row?;
            if lines > 0 && text.len() + line.value().len() > bytes_max {
                break;
            }
            text.push_str(line.value());
            lines += 1;
        }
        Ok((lines, text))
    }

    /// Below this leaf the broker's clock had not yet reached `second`; none if it never has.
    pub fn since(&self, second: i64) -> Result<Option<u64>, SinkError> {
        match self.txn.open_table(TIMES)?.range(second..)?.next() {
            Some(row) => Ok(Some(row?.1.value())),
            None => Ok(None),
        }
    }
}

/// What a record is found by.
pub(crate) fn fields(record: &Record, post: &mut impl FnMut(Field, &[u8])) {
    post(Field::Kind, record.kind().as_str().as_bytes());
    if let Some(agent) = &record.agent {
        post(Field::Agent, agent.key_bytes());
    }
    if let Some(task) = &record.task {
        post(Field::Task, task.as_str().as_bytes());
    }
    if let Some(tool) = &record.tool {
        post(Field::Tool, tool.as_bytes());
    }
    record.links.iter().for_each(|link| post(Field::Token, &link.0));
    if let Some(token) = record.token.filter(|token| !record.links.contains(token)) {
        post(Field::Token, &token.0);
    }
    match &record.body {
        Body::Issued(issued) => {
            post(Field::Blueprint, issued.blueprint.as_str().as_bytes());
            if let (What::Root, Some(token)) = (issued.what, record.token) {
                post(Field::Brings, &token.0);
            }
        }
        Body::Delegated(_) => {
            if let Some(token) = record.token {
                post(Field::Brings, &token.0);
            }
        }
        Body::Decided(decided) => {
            post(Field::Decision, decided.decision.as_str().as_bytes());
            if let Some(cause) = &decided.cause {
                post(Field::Cause, cause.as_bytes());
            }
            if let Some(id) = action_id(decided) {
                post(Field::Action, id.as_bytes());
            }
        }
        Body::Completed(completed) => post(Field::Answers, completed.decided.as_bytes()),
        Body::Directive(issued) => {
            if let Some(id) = jti(&issued.directive) {
                post(Field::Directive, id.as_bytes());
            }
        }
        Body::Receipt(receipt) => post(Field::Directive, receipt.directive_id.as_bytes()),
        Body::Kicked(kicked) => {
            if let Some(id) = &kicked.directive {
                post(Field::Directive, id.as_bytes());
            }
        }
        Body::Refused(_)
        | Body::Requested(_)
        | Body::Connected(_)
        | Body::Disconnected(_)
        | Body::Risk(_)
        | Body::Heads(_)
        | Body::Erased(_) => {}
    }
}

/// The `jti` of a decision's proof: what a later action names as its cause. None where the signature did not hold, as
/// what is claimed under it is anybody's word.
pub(crate) fn action_id(decided: &Decided) -> Option<String> {
    if let Some(sealed) = &decided.sealed {
        return sealed.action.clone();
    }
    let signed = decided.decision == Verb::Permit || decided.seq.is_some();
    let proof = decided.proof.as_ref().and_then(Carried::compact).filter(|_| signed)?;
    jti(proof)
}

/// A token's own id. Of a directive it is the directive's: the record around it is signed by the broadcaster.
fn jti(compact: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Claims {
        jti: String,
    }
    jws::unverified_payload::<Claims>(compact, RECORD_BYTES_MAX).ok().map(|claims| claims.jti)
}
