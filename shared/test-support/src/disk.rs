//! A disk in memory under a redb store: it fails where a test says, and loses with the power what a disk may lose.
//!
//! In scope: what a store may find when it is opened again. Out of scope: what has to stand in it then (the store's own
//! tests), and bytes that rot after they were synced.

mod trial;

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

pub use trial::{Ending, Trial};

/// How one write, sync or change of length fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of it is done, and an error says so.
    Lost,
    /// It is done, and an error says that it is not.
    DoneButReportedLost,
    /// A write is done up to half of it; anything else as [`Lost`](Self::Lost).
    Torn,
    /// This and everything after it finds the disk full, until there is [room](TestDisk::make_room).
    Full,
}

impl Fault {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Lost, Self::DoneButReportedLost, Self::Torn, Self::Full];
}

/// What becomes of an unsynced step when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// All of it.
    Whole,
    /// A write's first bytes; of a change of length nothing.
    Bytes(usize),
    /// Nothing.
    Nothing,
}

#[derive(Debug, Clone)]
enum Step {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Step {
    /// What is done of it.
    fn part(self, kept: Kept) -> Option<Self> {
        match (self, kept) {
            (step, Kept::Whole) => Some(step),
            (Self::Write { at, mut bytes }, Kept::Bytes(count)) => {
                bytes.truncate(count);
                Some(Self::Write { at, bytes })
            }
            (Self::Length(_), Kept::Bytes(_)) | (_, Kept::Nothing) => None,
        }
    }

    fn apply(&self, to: &mut Vec<u8>, kept: Kept) {
        match (self, kept) {
            (_, Kept::Nothing) | (Self::Length(_), Kept::Bytes(_)) => {}
            (Self::Write { at, bytes }, Kept::Whole) => write(to, *at, bytes),
            (Self::Write { at, bytes }, Kept::Bytes(count)) => write(to, *at, &bytes[..count.min(bytes.len())]),
            (Self::Length(length), Kept::Whole) => to.resize(*length, 0),
        }
    }
}

fn write(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    // A file grows under a write whose change of length was lost.
    if to.len() < at + bytes.len() {
        to.resize(at + bytes.len(), 0);
    }
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

/// What a step has overwritten: how long the disk was, and what stood there.
struct Before {
    length: usize,
    at: usize,
    bytes: Vec<u8>,
}

impl Before {
    fn of(disk: &[u8], step: &Step) -> Self {
        let (at, end) = match step {
            Step::Write { at, bytes } => (*at, at + bytes.len()),
            Step::Length(length) => (*length, disk.len()),
        };
        let bytes = disk.get(at..end.min(disk.len())).unwrap_or_default().to_vec();
        Self { length: disk.len(), at, bytes }
    }

    fn restore(&self, to: &mut Vec<u8>) {
        to.resize(self.length, 0);
        if !self.bytes.is_empty() {
            write(to, self.at, &self.bytes);
        }
    }
}

#[derive(Default)]
struct State {
    /// As the process sees it.
    seen: Vec<u8>,
    /// What was done since the last sync.
    unsynced: Vec<(Step, Before)>,
    /// Writes, syncs and changes of length that were asked for since the disk was made.
    steps: usize,
    fault: Option<(usize, Fault)>,
    failed: bool,
}

/// The disk; its clones are the same disk. Hand one to redb and keep another.
#[derive(Clone, Default)]
pub struct TestDisk(Arc<Mutex<State>>);

impl std::fmt::Debug for TestDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        write!(f, "a disk of {} bytes after {} steps", state.seen.len(), state.steps)
    }
}

impl TestDisk {
    /// A disk on which this is synced.
    pub fn holding(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { seen: bytes, ..State::default() })))
    }

    /// Its bytes, as the process sees them.
    pub fn bytes(&self) -> Vec<u8> {
        self.state().seen.clone()
    }

    /// Lets step `step` fail, counted from the disk's making.
    pub fn fail_at(&self, step: usize, fault: Fault) {
        self.state().fault = Some((step, fault));
    }

    /// How many steps were asked for since the disk was made.
    pub fn steps(&self) -> usize {
        self.state().steps
    }

    /// Whether a step has failed.
    pub fn has_failed(&self) -> bool {
        self.state().failed
    }

    /// From here on the disk is full.
    pub fn fill(&self) {
        let mut state = self.state();
        state.fault = Some((state.steps, Fault::Full));
    }

    /// Ends a full disk's trouble.
    pub fn make_room(&self) {
        self.state().fault = None;
    }

    /// How many bytes each unsynced step writes; a change of length writes none.
    pub fn unsynced(&self) -> Vec<usize> {
        let bytes = |(step, _): &(Step, Before)| match step {
            Step::Write { bytes, .. } => bytes.len(),
            Step::Length(_) => 0,
        };
        self.state().unsynced.iter().map(bytes).collect()
    }

    /// What the next process finds, the machine having gone on: every byte as this one saw it.
    pub fn after_kill(&self) -> Self {
        Self::holding(self.bytes())
    }

    /// What the next process finds after the power went: what was synced, and of each unsynced step what `kept` says.
    pub fn after_power_loss(&self, kept: impl Fn(usize) -> Kept) -> Self {
        let state = self.state();
        let mut bytes = state.seen.clone();
        state.unsynced.iter().rev().for_each(|(_, before)| before.restore(&mut bytes));
        for (at, (step, _)) in state.unsynced.iter().enumerate() {
            step.apply(&mut bytes, kept(at));
        }
        drop(state);
        Self::holding(bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, step: Option<Step>) -> Result<()> {
        let mut state = self.state();
        let number = state.steps;
        state.steps += 1;
        let fault = state.fault.filter(|(at, fault)| *at == number || (*at < number && *fault == Fault::Full));
        state.failed |= fault.is_some();
        let kept = match (fault.map(|(_, fault)| fault), &step) {
            (None | Some(Fault::DoneButReportedLost), _) => Kept::Whole,
            (Some(Fault::Torn), Some(Step::Write { bytes, .. })) => Kept::Bytes(bytes.len() / 2),
            (Some(Fault::Lost | Fault::Torn | Fault::Full), _) => Kept::Nothing,
        };
        let state = &mut *state;
        match step {
            Some(step) => {
                if let Some(done) = step.part(kept) {
                    let before = Before::of(&state.seen, &done);
                    done.apply(&mut state.seen, Kept::Whole);
                    state.unsynced.push((done, before));
                }
            }
            None if kept == Kept::Whole => state.unsynced.clear(),
            None => {}
        }
        match fault {
            None => Ok(()),
            Some((_, Fault::Full)) => Err(Error::from(ErrorKind::StorageFull)),
            Some((_, Fault::Lost | Fault::DoneButReportedLost | Fault::Torn)) => Err(Error::other("the disk failed")),
        }
    }
}

impl StorageBackend for TestDisk {
    fn len(&self) -> Result<u64> {
        Ok(self.state().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let state = self.state();
        let at = usize::try_from(offset).map_err(Error::other)?;
        let bytes = state.seen.get(at..at + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.step(Some(Step::Length(usize::try_from(length).map_err(Error::other)?)))
    }

    fn sync_data(&self) -> Result<()> {
        self.step(None)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let at = usize::try_from(offset).map_err(Error::other)?;
        self.step(Some(Step::Write { at, bytes: bytes.to_vec() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> TestDisk {
        let disk = TestDisk::holding(b"......".to_vec());
        disk.write(0, b"ab").unwrap();
        disk.sync_data().unwrap();
        disk.write(2, b"cd").unwrap();
        disk.write(4, b"ef").unwrap();
        disk
    }

    #[test]
    fn what_was_synced_stays_and_the_rest_may_go() {
        let disk = written();
        assert_eq!(disk.unsynced(), [2, 2]);
        assert_eq!(disk.after_kill().bytes(), b"abcdef");
        assert_eq!(disk.after_power_loss(|_| Kept::Nothing).bytes(), b"ab....");
        let second = |step| if step == 1 { Kept::Bytes(1) } else { Kept::Nothing };
        assert_eq!(disk.after_power_loss(second).bytes(), b"ab..e.");
    }

    #[test]
    fn a_length_that_is_lost_is_the_one_before() {
        let disk = TestDisk::holding(b"abcdef".to_vec());
        disk.set_len(2).unwrap();
        disk.set_len(4).unwrap();
        disk.write(3, b"xy").unwrap();
        assert_eq!(disk.bytes(), b"ab\0xy");
        assert_eq!(disk.after_power_loss(|_| Kept::Nothing).bytes(), b"abcdef");
        let first = |step| if step == 0 { Kept::Whole } else { Kept::Nothing };
        assert_eq!(disk.after_power_loss(first).bytes(), b"ab");
    }

    #[test]
    fn a_fault_does_what_its_name_says() {
        for (fault, left) in [
            (Fault::Lost, &b"......"[..]),
            (Fault::DoneButReportedLost, b"abcd.."),
            (Fault::Torn, b"ab...."),
            (Fault::Full, b"......"),
        ] {
            let disk = TestDisk::holding(b"......".to_vec());
            disk.fail_at(0, fault);
            let error = disk.write(0, b"abcd").unwrap_err();
            assert_eq!(error.kind() == ErrorKind::StorageFull, fault == Fault::Full);
            assert_eq!(disk.bytes(), left, "{fault:?}");
            assert_eq!(disk.write(0, b"abcd").is_err(), fault == Fault::Full, "{fault:?}");
        }
    }

    #[test]
    fn a_sync_that_is_lost_syncs_nothing() {
        for (fault, left) in [(Fault::Lost, &b"......"[..]), (Fault::DoneButReportedLost, b"abcd..")] {
            let disk = TestDisk::holding(b"......".to_vec());
            disk.write(0, b"abcd").unwrap();
            disk.fail_at(1, fault);
            disk.sync_data().unwrap_err();
            assert_eq!(disk.after_power_loss(|_| Kept::Nothing).bytes(), left);
        }
    }
}
