//! Runs AgentDojo suite files against a live broker with the services; one JSON line a suite.
//!
//! `agentdojo [--check] FILE…`; with `--check` it ends with 1 where a suite falls short of what is expected.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use marque_tests::dojo::{Suite, run_suite};

#[derive(Parser)]
struct Args {
    /// End with 1 where a suite falls short.
    #[arg(long)]
    check: bool,
    /// Suite files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let mut short = false;
    for file in &args.files {
        let report = match Suite::read(file) {
            Ok(suite) => run_suite(&suite).await,
            Err(error) => Err(error),
        };
        match report {
            Ok(report) => {
                println!("{}", serde_json::to_string(&report).unwrap_or_default());
                for shortcoming in report.shortcomings() {
                    eprintln!("{shortcoming}");
                    short = args.check;
                }
            }
            Err(error) => {
                eprintln!("agentdojo: {error}");
                return ExitCode::from(3);
            }
        }
    }
    if short { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
