//! The table: every row a measured thing beside what it is held against.

use crate::measure::percentile;
use crate::{cosign, decision, door, fanout, log, memory, sink};

/// One measured thing.
pub struct Row {
    what: String,
    measured: String,
    against: String,
    ratio: String,
    aim: String,
}

impl Row {
    /// Microseconds against microseconds.
    pub fn ratio(what: impl Into<String>, micros: f64, against: impl Into<String>, bare: f64, aim: &str) -> Self {
        Self {
            what: what.into(),
            measured: format!("{micros:.1} µs"),
            against: format!("{}: {bare:.1} µs", against.into()),
            ratio: format!("{:.2}", micros / bare),
            aim: aim.into(),
        }
    }

    /// A rate against a rate, both a second.
    pub fn rate(what: impl Into<String>, rate: f64, against: impl Into<String>, bound: f64, aim: &str) -> Self {
        Self {
            what: what.into(),
            measured: format!("{rate:.0}/s"),
            against: format!("{}: {bound:.0}/s", against.into()),
            ratio: format!("{:.2}", rate / bound),
            aim: aim.into(),
        }
    }

    /// Rates against rates, of the same rounds: the medians, and the median of the rounds' ratios.
    pub fn rates(
        what: impl Into<String>,
        rates: &[f64],
        against: impl Into<String>,
        bounds: &[f64],
        aim: &str,
    ) -> Self {
        let median = |of: &[f64]| percentile(&mut of.to_vec(), 0.5);
        let ratios: Vec<f64> = rates.iter().zip(bounds).map(|(rate, bound)| rate / bound).collect();
        let ratio = format!("{:.2}", median(&ratios));
        Self { ratio, ..Self::rate(what, median(rates), against, median(bounds), aim) }
    }

    /// A number that stands alone.
    pub fn plain(what: impl Into<String>, measured: impl Into<String>, aim: &str) -> Self {
        let none = String::new();
        Self { what: what.into(), measured: measured.into(), against: none.clone(), ratio: none, aim: aim.into() }
    }
}

/// Measures what is asked for (`decision`, `memory`, `fanout`, `sink`, `log`, `door`; nothing: all) and prints one Markdown table.
pub async fn run(parts: &[String]) {
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    println!("Machine: {}\n", machine());
    println!("| what | measured | held against | ratio | aim |\n|---|---|---|---|---|");
    // What is timed in microseconds comes first, while nothing else runs.
    if wanted("decision") {
        print(decision::rows());
    }
    if wanted("memory") {
        print(memory::rows());
    }
    if wanted("fanout") {
        print(fanout::rows().await);
    }
    if wanted("sink") {
        let (rows, rate) = sink::rows().await;
        print(rows);
        print(cosign::rows(rate / 2.0).await);
    }
    if wanted("log") {
        print(log::rows());
    }
    if wanted("door") {
        print(door::rows().await);
    }
}

fn print(rows: Vec<Row>) {
    for Row { what, measured, against, ratio, aim } in rows {
        println!("| {what} | {measured} | {against} | {ratio} | {aim} |");
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(": "));
    format!("{cores} cores, {}", model.map_or("unknown processor", |(_, model)| model))
}
