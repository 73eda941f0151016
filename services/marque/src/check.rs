//! `marque check`: one look at one thing, in the form that a monitoring system reads.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::Common;
use crate::dev::http;
use crate::output::{Answer, Output};
use crate::probe::{self, Finding, Standing};
use crate::{Exit, Failure};

/// What to look at.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The thing.
    #[arg(value_enum)]
    what: What,
    /// Of a page: `host:port/path`, answered well with status 200.
    #[arg(required_if_eq("what", "page"))]
    page: Option<String>,
    /// The form of the answer. `nagios` also has that system's exit codes: 0 ok, 1 warning, 2 critical, 3 unknown.
    #[arg(long, value_enum)]
    format: Option<CheckFormat>,
}

/// Things to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// The broker answers, and is new enough.
    Broker,
    /// The streams are as asked for.
    Streams,
    /// Each service has an instance.
    Services,
    /// Verifiers apply the directives.
    Freshness,
    /// The audit log has a checkpoint.
    Audit,
    /// A health page answers well.
    Page,
}

/// Forms of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// One line, and Nagios's exit codes.
    Nagios,
    /// One JSON document.
    Json,
    /// Prometheus text exposition.
    Prometheus,
}

/// Looks.
pub(crate) async fn run(args: &CheckArgs, common: &Common, _out: &Output) -> Result<Answer, Failure> {
    let findings = look(args, common).await;
    let worst = findings.iter().map(|finding| finding.standing).max().unwrap_or(Standing::Unknown);
    let data = json!({ "standing": worst, "findings": findings });
    Ok(match args.format {
        Some(CheckFormat::Nagios) => Answer::yes(data, nagios(worst, &findings)).exit(nagios_exit(worst)),
        Some(CheckFormat::Prometheus) => Answer::yes(data, prometheus(&findings)).exit(exit(worst)),
        Some(CheckFormat::Json) => {
            let text = serde_json::to_string_pretty(&data).unwrap_or_default();
            Answer::yes(data, text).exit(exit(worst))
        }
        None => {
            let lines: Vec<String> =
                findings.iter().map(|f| format!("{}: {} ({})", f.name, word(f.standing), f.detail)).collect();
            Answer::yes(data, lines.join("\n")).exit(exit(worst))
        }
    })
}

async fn look(args: &CheckArgs, common: &Common) -> Vec<Finding> {
    if let (What::Page, Some(page)) = (args.what, &args.page) {
        return vec![look_at_page(page, common).await];
    }
    let (bus, broker) = probe::broker(common).await;
    let Some(bus) = bus else { return vec![broker] };
    match args.what {
        What::Broker | What::Page => vec![broker],
        What::Streams => probe::streams(&bus).await,
        What::Services => probe::services(&bus).await,
        What::Freshness => vec![probe::freshness(&bus, common).await],
        What::Audit => vec![probe::audit(&bus, common).await],
    }
}

async fn look_at_page(page: &str, common: &Common) -> Finding {
    let page = page.strip_prefix("http://").unwrap_or(page);
    let (address, path) = page.split_once('/').unwrap_or((page, ""));
    let found =
        |standing, detail: String| Finding { name: "page".into(), standing, detail, hint: String::new(), value: None };
    match http::get(address, &format!("/{path}"), common.connection.timeout).await {
        Ok((200, _)) => found(Standing::Good, "200".into()),
        Ok((status, body)) => found(Standing::Bad, format!("{status}: {}", body.trim())),
        Err(why) => found(Standing::Bad, why),
    }
}

fn exit(standing: Standing) -> Exit {
    match standing {
        Standing::Good | Standing::Doubtful => Exit::Yes,
        Standing::Unknown => Exit::Undecided,
        Standing::Bad => Exit::No,
    }
}

fn nagios_exit(standing: Standing) -> Exit {
    match standing {
        Standing::Good => Exit::Yes,
        Standing::Doubtful => Exit::NagiosWarning,
        Standing::Bad => Exit::NagiosCritical,
        Standing::Unknown => Exit::NagiosUnknown,
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Good => "OK",
        Standing::Doubtful => "WARNING",
        Standing::Bad => "CRITICAL",
        Standing::Unknown => "UNKNOWN",
    }
}

/// `MARQUE OK - …|name=value`: one line, whatever is said.
fn nagios(worst: Standing, findings: &[Finding]) -> String {
    let said: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.name, f.detail)).collect();
    let said = said.join("; ").replace(['|', '\n', '\r'], " ");
    let mut line = format!("MARQUE {} - {said}", word(worst));
    let measured: Vec<String> =
        findings.iter().filter_map(|f| f.value.map(|(value, unit)| format!("'{}'={value}{unit}", f.name))).collect();
    if !measured.is_empty() {
        let _ = write!(line, "|{}", measured.join(" "));
    }
    line
}

fn prometheus(findings: &[Finding]) -> String {
    let label = |name: &str| name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let mut text = String::from(
        "# HELP marque_check_good Whether what was looked at is as it must be.\n# TYPE marque_check_good gauge\n",
    );
    for finding in findings {
        let good = u8::from(matches!(finding.standing, Standing::Good | Standing::Doubtful));
        let _ = writeln!(text, "marque_check_good{{what=\"{}\"}} {good}", label(&finding.name));
    }
    text.push_str("# HELP marque_check_value What was measured on the way.\n# TYPE marque_check_value gauge\n");
    for finding in findings {
        if let Some((value, _)) = finding.value {
            let _ = writeln!(text, "marque_check_value{{what=\"{}\"}} {value}", label(&finding.name));
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(standing: Standing) -> Finding {
        Finding { name: "a".into(), standing, detail: "x|y\nz".into(), hint: String::new(), value: Some((0.5, "s")) }
    }

    #[test]
    fn nagios_gets_one_line_and_its_own_exit_codes() {
        let line = nagios(Standing::Bad, &[finding(Standing::Bad)]);
        assert_eq!(line, "MARQUE CRITICAL - a: x y z|'a'=0.5s");
        let codes =
            [Standing::Good, Standing::Doubtful, Standing::Bad, Standing::Unknown].map(|s| nagios_exit(s).code());
        assert_eq!(codes, [0, 1, 2, 3]);
    }

    #[test]
    fn prometheus_gets_gauges() {
        let text = prometheus(&[finding(Standing::Good), finding(Standing::Bad)]);
        assert!(text.contains("marque_check_good{what=\"a\"} 1") && text.contains("marque_check_good{what=\"a\"} 0"));
    }
}
