//! The log and its index at one moment, as the answers read them.

use std::sync::Arc;

use marque_judgement::record::Record;
use marque_ledger::Entry;
use marque_ledger::layout::{VALID, VerdictLine};

use crate::SinkError;
use crate::index::{Index, IndexView};
use crate::judge::Judge;
use crate::postings::{Cursor, Direction, Field, ListKey};
use crate::row::Row;
use crate::store::{LogStore, LogView};

/// Opens readings.
#[derive(Clone)]
pub struct Library {
    /// The log.
    pub store: Arc<LogStore>,
    /// The index.
    pub index: Arc<Index>,
    /// Who may write: judges what the index does not reach yet.
    pub judge: Arc<Judge>,
}

impl Library {
    /// The log and the index now. The index never reaches beyond the log: it is looked at first.
    pub fn read(&self) -> Result<Reading, SinkError> {
        let index = self.index.view()?;
        Ok(Reading { log: self.store.view()?, index, judge: Arc::clone(&self.judge) })
    }
}

/// One moment.
pub struct Reading {
    /// The log.
    pub log: LogView,
    /// The index.
    pub index: IndexView,
    judge: Arc<Judge>,
}

impl Reading {
    /// A leaf's row and, where its signature and shape are good, its record.
    pub fn row(&self, leaf: u64) -> Result<(Row, Option<Box<Record>>), SinkError> {
        let frame = self.log.entry(leaf)?;
        let entry = Entry::decode(&frame)?;
        let judged = self.judge.judge(entry.payload);
        let line = match self.index.line(leaf)? {
            Some(line) => line,
            // Not indexed yet: by itself it is judged as it will be; whether it is a duplicate shows later.
            None => match &judged {
                Ok(record) => VerdictLine { leaf, record: Some(record.id.clone()), verdict: VALID.into(), first: None },
                Err(bad) => VerdictLine { leaf, record: bad.id.clone(), verdict: bad.verdict.clone(), first: None },
            },
        };
        let record = judged.ok();
        Ok((Row::new(&entry, line, record.as_deref())?, record))
    }

    /// The leaf of a record, or the leaf that is asked for itself.
    pub fn find(&self, id: Option<&str>, leaf: Option<u64>) -> Result<u64, SinkError> {
        match (id, leaf) {
            (None, Some(leaf)) if leaf < self.log.size() => Ok(leaf),
            (None, Some(leaf)) => Err(SinkError::NotFound(format!("there is no leaf {leaf}"))),
            (Some(id), None) => match self.index.leaf_of(id)? {
                Some(leaf) => Ok(leaf),
                None => self.find_in_tail(id),
            },
            (None, None) | (Some(_), Some(_)) => Err(SinkError::Asked("name a record's `id` or a `leaf`".into())),
        }
    }

    fn find_in_tail(&self, id: &str) -> Result<u64, SinkError> {
        let mut found = None;
        self.log.scan(self.index.upto(), self.log.size(), |leaf, frame| {
            let judged = self.judge.judge(Entry::decode(frame)?.payload);
            found = judged.is_ok_and(|record| record.id == id).then_some(leaf);
            Ok(found.is_none())
        })?;
        found.ok_or_else(|| {
            SinkError::NotFound(format!("no record {} is in the log", marque_identity::refusal::quoted(id)))
        })
    }

    /// The first leaf that the index has under a value.
    pub fn first(&self, field: Field, value: &[u8]) -> Result<Option<u64>, SinkError> {
        let postings = self.index.postings()?;
        Cursor::new(&postings, ListKey::new(field, value)).seek(0, Direction::Up)
    }

    /// The first leaves that the index has under a value, at most `count_max`.
    pub fn firsts(&self, field: Field, value: &[u8], count_max: usize) -> Result<Vec<u64>, SinkError> {
        let postings = self.index.postings()?;
        let mut cursor = Cursor::new(&postings, ListKey::new(field, value));
        let mut leaves = Vec::new();
        let mut next = Some(0);
        while let Some(at) = next
            && leaves.len() < count_max
        {
            let found = cursor.seek(at, Direction::Up)?;
            leaves.extend(found);
            next = found.map(|leaf| leaf + 1);
        }
        Ok(leaves)
    }
}
