//! Telling the story: one line for each step, with its time and what came of it.

use std::future::Future;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Failure;
use crate::output::{Output, Paint};
use crate::time::measured;

/// The widest of the steps' names.
const NAME_WIDTH: usize = 28;

/// A step that was told.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Told {
    /// Its number, from 1.
    pub number: usize,
    /// What was done.
    pub name: String,
    /// Whether it had the expected outcome.
    pub ok: bool,
    /// How long it took.
    pub micros: u64,
    /// What came of it.
    pub detail: String,
}

/// Tells step after step.
pub(super) struct Teller {
    out: Output,
    told: Vec<Told>,
}

impl Teller {
    /// Tells on these channels.
    pub(super) fn new(out: Output) -> Self {
        Self { out, told: Vec::new() }
    }

    /// What was told so far.
    pub(super) fn told(&self) -> &[Told] {
        &self.told
    }

    /// A heading between steps; for people alone.
    pub(super) fn chapter(&self, title: &str) -> Result<(), Failure> {
        self.out.line(format!("\n{}", self.out.paint(Paint::Bold, title)))
    }

    /// Does a step and tells it: `work` answers its value and what to say, or why it was not as expected.
    pub(super) async fn step<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<(T, String), Failure>>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let outcome = work.await;
        let took = begun.elapsed();
        match outcome {
            Ok((value, detail)) => {
                self.tell(name, true, took, detail)?;
                Ok(value)
            }
            Err(failure) => {
                self.tell(name, false, took, failure.message.clone())?;
                Err(failure)
            }
        }
    }

    fn tell(&mut self, name: &str, ok: bool, took: Duration, detail: String) -> Result<(), Failure> {
        let number = self.told.len() + 1;
        let mark = if ok { self.out.paint(Paint::Green, "✓") } else { self.out.paint(Paint::Red, "✗") };
        let time = self.out.paint(Paint::Dim, &format!("{:>8}", measured(took)));
        self.out.line(format!("{mark} {number:>2}  {name:<NAME_WIDTH$} {time}   {detail}"))?;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let told = Told { number, name: name.to_owned(), ok, micros, detail };
        self.out.item(&told)?;
        self.told.push(told);
        Ok(())
    }
}
