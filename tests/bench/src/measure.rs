//! Timing that survives a noisy machine: what is compared is measured in turns, and the quiet rounds count.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds in which each contender has its turn.
const ROUNDS: usize = 600;
/// What one turn lasts, about.
const TURN: Duration = Duration::from_micros(400);
/// Frames of [`deeper`] below which a round's turns are taken: they span more than a page. Where the stack lies is a
/// process's luck, and a signature takes up to a third longer where its vectors fall on the same place of a page as the
/// constants that they are multiplied with: one place for all rounds would measure that.
const FRAMES: usize = 61;
/// From round to round the turns move by this many frames: all are visited, neighbours not one after the other.
const FRAMES_APART: usize = 7;

/// A thing to be timed: its name and one call of it.
pub struct Contender<'a> {
    name: &'static str,
    call: Box<dyn FnMut() + 'a>,
}

impl<'a> Contender<'a> {
    /// `call` is one operation; its result is kept from the optimizer.
    pub fn new<T>(name: &'static str, mut call: impl FnMut() -> T + 'a) -> Self {
        Self { name, call: Box::new(move || drop(black_box(call()))) }
    }
}

/// What a contender took.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Its name.
    pub name: &'static str,
    /// Microseconds a call, the lower quartile over the rounds.
    pub micros: f64,
    /// Microseconds a call in each round.
    rounds: Vec<f64>,
}

impl Timing {
    /// Microseconds a call by which this took longer than another: the median over the rounds of what each round's two
    /// turns, next to each other in time, differ by. Where a machine's speed drifts, the difference of two quartiles
    /// tells more of the drift.
    pub fn beyond(&self, other: &Self) -> f64 {
        let mut differences: Vec<f64> = self.rounds.iter().zip(&other.rounds).map(|(own, other)| own - other).collect();
        percentile(&mut differences, 0.5)
    }
}

/// Times the contenders in turns, round after round, and gives each its lower quartile.
pub fn in_turns<'a>(contenders: impl IntoIterator<Item = Contender<'a>>) -> Vec<Timing> {
    let mut contenders: Vec<_> =
        contenders.into_iter().map(|contender| (calls_a_turn(contender), Vec::new())).collect();
    let mut order: Vec<usize> = (0..contenders.len()).collect();
    let mut dice = Dice(1);
    for round in 0..ROUNDS {
        dice.shuffle(&mut order);
        for at in &order {
            let ((contender, calls), taken) = &mut contenders[*at];
            deeper(round * FRAMES_APART % FRAMES, &mut || {
                let start = Instant::now();
                for _ in 0..*calls {
                    (contender.call)();
                }
                taken.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(*calls));
            });
        }
    }
    let timing = |name, rounds: Vec<f64>| Timing { name, micros: percentile(&mut rounds.clone(), 0.25), rounds };
    contenders.into_iter().map(|((contender, _), rounds)| timing(contender.name, rounds)).collect()
}

/// Who comes when: what the one before leaves in the caches helps or hinders, so that it is always another.
struct Dice(u64);

impl Dice {
    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(last, (self.0 >> 33) as usize % (last + 1));
        }
    }
}

/// Does a thing with the stack this many frames further down.
#[inline(never)]
fn deeper(frames: usize, turn: &mut dyn FnMut()) {
    let frame = black_box([0_u8; 64]);
    match frames.checked_sub(1) {
        Some(frames) => deeper(frames, turn),
        None => turn(),
    }
    black_box(&frame);
}

/// Warms a contender up and learns how many calls fill a turn.
fn calls_a_turn(mut contender: Contender<'_>) -> (Contender<'_>, u32) {
    let mut calls = 1;
    loop {
        let start = Instant::now();
        for _ in 0..calls {
            (contender.call)();
        }
        if start.elapsed() >= TURN || calls > 1 << 20 {
            return (contender, calls);
        }
        calls *= 2;
    }
}

/// The value at a share of the sorted samples, such as 0.99.
pub fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    samples.get(((last as f64) * share).round() as usize).copied().unwrap_or(f64::NAN)
}
