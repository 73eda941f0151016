//! One story on a disk, told once for each step that it takes, with that step failing; and what is found afterwards.

use super::{Fault, Kept, TestDisk};

/// Subsets of the unsynced steps that are drawn for each failure, beside the ones that are tried always.
const DRAWN: u64 = 4;
/// A write is torn after its first byte, before its last, and after so many bytes and their multiples: a page, and a
/// header, which says which pages count. Of the header no alignment is left out.
const TEAR_PAGE_EVERY: usize = 1536;
const TEAR_HEADER_EVERY: usize = 5;
/// A header is shorter than a page.
const HEADER_BYTES_MAX: usize = 512;
/// More steps than any story here takes: beyond, a story that never ends is at fault.
const STEPS_MAX: usize = 5_000;

/// How the process ended that lived the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself or by a kill: the machine went on.
    Killed,
    /// With the machine's power.
    PowerLost,
}

/// A story and the bytes that it begins on.
pub struct Trial {
    /// What the disk holds before.
    pub before: Vec<u8>,
}

impl Trial {
    /// Tells `story` on a fresh disk for each step and each fault, until it needs no step more; hands to `check` what
    /// it gave and what the next process may find: after a kill, and after losses of power. Gives how many disks were
    /// checked.
    ///
    /// `story` opens its store on the disk, drops it, and gives what was acknowledged to it.
    pub fn run<A>(&self, story: impl Fn(TestDisk) -> A, check: impl Fn(&A, TestDisk, Ending)) -> usize {
        Fault::ALL.iter().map(|fault| self.run_one(*fault, &story, &check)).sum()
    }

    fn run_one<A>(&self, fault: Fault, story: impl Fn(TestDisk) -> A, check: impl Fn(&A, TestDisk, Ending)) -> usize {
        let mut checked = 0;
        for step in 0..STEPS_MAX {
            let disk = TestDisk::holding(self.before.clone());
            disk.fail_at(step, fault);
            let told = Told(step, fault);
            let acknowledged = story(disk.clone());
            check(&acknowledged, disk.after_kill(), Ending::Killed);
            checked += 1;
            // The other two leave nothing unsynced that these don't.
            if matches!(fault, Fault::Lost | Fault::DoneButReportedLost) {
                for kept in losses(&disk.unsynced(), step as u64) {
                    let found = disk.after_power_loss(|at| kept[at]);
                    check(&acknowledged, found, Ending::PowerLost);
                    checked += 1;
                }
            }
            drop(told);
            if !disk.has_failed() {
                return checked;
            }
        }
        panic!("the story takes more than {STEPS_MAX} steps");
    }
}

/// Says on a panic where the story failed.
struct Told(usize, Fault);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with step {} failing as {:?}", self.0, self.1);
        }
    }
}

/// What may be kept of steps that write so many bytes: every beginning, each one missing, each one alone, each one
/// torn, and some subsets.
fn losses(steps: &[usize], seed: u64) -> Vec<Vec<Kept>> {
    let count = steps.len();
    let each = |kept: &dyn Fn(usize) -> Kept| (0..count).map(kept).collect::<Vec<_>>();
    let whole_if = |kept: bool| if kept { Kept::Whole } else { Kept::Nothing };
    let mut losses: Vec<Vec<Kept>> = (0..=count).map(|end| each(&|at| whole_if(at < end))).collect();
    for one in 0..count {
        losses.push(each(&|at| whole_if(at != one)));
        losses.push(each(&|at| whole_if(at == one)));
    }
    for (torn, bytes) in steps.iter().enumerate() {
        let every = if *bytes <= HEADER_BYTES_MAX { TEAR_HEADER_EVERY } else { TEAR_PAGE_EVERY };
        for end in (1..*bytes).filter(|end| end.is_multiple_of(every) || *end == 1 || *end == bytes - 1) {
            // The others whole: a torn page that nothing leads to proves little.
            losses.push(each(&|at| if at == torn { Kept::Bytes(end) } else { Kept::Whole }));
        }
    }
    let mut draw = seed;
    losses.extend((0..DRAWN).map(|_| each(&|_| Kept::Nothing)).map(|mut kept| {
        kept.iter_mut().for_each(|kept| {
            // A linear congruence (Knuth's constants) is random enough for subsets.
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *kept = whole_if(draw >> 63 == 1);
        });
        kept
    }));
    losses
}
