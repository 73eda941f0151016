//! `marque doctor`: looks at everything that has to work, and says what to do about what does not.

use clap::Args;
use serde_json::json;

use crate::cli::Common;
use crate::output::{Answer, Output, Paint};
use crate::probe::{self, Finding, Standing};
use crate::{Exit, Failure};

/// Nothing to choose: it looks at everything that it can reach.
#[derive(Debug, Args)]
pub struct DoctorArgs {}

/// Exit code 0 where all is good, 1 where something is bad, 3 where something could not be looked at.
pub(crate) async fn run(_args: &DoctorArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let mut findings = probe::directory(common);
    let (bus, broker) = probe::broker(common).await;
    findings.push(broker);
    if let Some(bus) = bus {
        findings.extend(probe::streams(&bus).await);
        findings.extend(probe::services(&bus).await);
        findings.push(probe::served_bundle(&bus, common).await);
        findings.push(probe::freshness(&bus, common).await);
        findings.push(probe::clock(&bus).await);
        findings.push(probe::audit(&bus, common).await);
    }
    let worst = findings.iter().map(|finding| finding.standing).max().unwrap_or(Standing::Unknown);
    let exit = match worst {
        Standing::Good | Standing::Doubtful => Exit::Yes,
        Standing::Unknown => Exit::Undecided,
        Standing::Bad => Exit::No,
    };
    let width = findings.iter().map(|finding| finding.name.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> = findings.iter().map(|finding| line(finding, width, out)).collect();
    Ok(Answer::yes(json!({ "standing": worst, "findings": findings }), lines.join("\n")).exit(exit))
}

fn line(finding: &Finding, width: usize, out: &Output) -> String {
    let mark = match finding.standing {
        Standing::Good => out.paint(Paint::Green, "good    "),
        Standing::Doubtful => out.paint(Paint::Yellow, "doubtful"),
        Standing::Unknown => out.paint(Paint::Yellow, "unknown "),
        Standing::Bad => out.paint(Paint::Red, "bad     "),
    };
    let mut line = format!("{mark}  {:<width$}  {}", finding.name, finding.detail);
    if !finding.hint.is_empty() {
        line.push_str(&format!("\n{:>width$}  {} {}", "", out.paint(Paint::Cyan, "          hint:"), finding.hint));
    }
    line
}
