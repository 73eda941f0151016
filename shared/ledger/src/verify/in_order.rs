//! Work over many cores whose results are taken one after the other, in order, with a bounded number of them waiting.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

/// Pieces that may be under way or waiting, for each thread: one that takes long holds no other up.
const AHEAD_PER_THREAD: u64 = 8;

/// Does `work` on each index in `threads` threads and hands the results to `take` in order, until it says that it wants
/// no more. `work` must not panic.
pub(super) fn in_order<P: Send>(
    range: Range<u64>,
    threads: usize,
    work: &(dyn Fn(u64) -> P + Sync),
    take: &mut dyn FnMut(P) -> bool,
) {
    let threads = threads.max(1);
    std::thread::scope(|scope| {
        // Whoever is idle takes the next index. The sender ends with this closure, and so do the threads.
        let (hand_out, indices) = mpsc::channel::<u64>();
        let indices = Arc::new(Mutex::new(indices));
        let (done, results) = mpsc::channel();
        for _ in 0..threads {
            let (indices, done) = (Arc::clone(&indices), done.clone());
            scope.spawn(move || {
                loop {
                    let next = indices.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(index) = next else { return };
                    if done.send((index, work(index))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let mut handed_out = range.start;
        let mut hand_out = |least: u64| {
            while handed_out < range.end.min(least) {
                // The threads hold the other end as long as this closure runs.
                let _ = hand_out.send(handed_out);
                handed_out += 1;
            }
        };
        let ahead = threads as u64 * AHEAD_PER_THREAD;
        let (mut due, mut waiting) = (range.start, BTreeMap::new());
        while due < range.end {
            hand_out(due.saturating_add(ahead));
            let Ok((index, result)) = results.recv() else { return };
            waiting.insert(index, result);
            while let Some(result) = waiting.remove(&due) {
                due += 1;
                if !take(result) {
                    return;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn results_come_in_order_from_any_number_of_threads() {
        for threads in [0, 1, 2, 7] {
            let mut taken = Vec::new();
            in_order(3..500, threads, &|index| index * 2, &mut |result| {
                taken.push(result);
                true
            });
            assert_eq!(taken, (3..500).map(|index| index * 2).collect::<Vec<_>>(), "{threads}");
        }
        in_order(5..5, 2, &|index| index, &mut |_| panic!("nothing was asked for"));
    }

    #[test]
    fn stops_where_no_more_is_wanted_and_does_no_work_far_ahead() {
        let worked = AtomicU64::new(0);
        let mut taken = 0;
        in_order(0..u64::MAX, 2, &|_| worked.fetch_add(1, Ordering::Relaxed), &mut |_| {
            taken += 1;
            taken < 10
        });
        assert_eq!(taken, 10);
        assert!(worked.load(Ordering::Relaxed) <= 10 + 2 * AHEAD_PER_THREAD);
    }
}
