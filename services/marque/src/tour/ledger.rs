//! The last chapter: asking the log, taking it home, and catching a cheat.

use std::path::{Path, PathBuf};
use std::time::Duration;

use marque_identity::{Code, TaskId};
use marque_ledger::layout;
use serde_json::Value;

use super::expect::otherwise;
use super::people::SubAgent;
use super::stage::{Place, Stage};
use super::teller::Teller;
use crate::audit::{self, Query, explanation};
use crate::{Failure, dev, log};

/// The sink reads, signs and indexes behind the stream; on an idle machine within a second.
const SINK_TIME: Duration = Duration::from_secs(20);
/// How often it is asked again.
const POLL_TIME: Duration = Duration::from_millis(50);

/// The *decided* records that the story comes back to.
pub(super) struct Records {
    /// The first permit.
    pub permit: String,
    /// The denial of a child whose parent was revoked.
    pub denial: String,
    /// The last call, which was permitted: once its outcome is logged, so is all that was done before.
    pub last: String,
}

/// Tells it.
pub(super) async fn tell(
    place: &Place,
    stage: &Stage,
    task: &TaskId,
    researcher: &SubAgent,
    records: &Records,
    teller: &mut Teller,
) -> Result<(), Failure> {
    let bus = &stage.operator_bus;
    teller
        .step("who did what", async {
            // The sink has everything once it has the last call's outcome.
            until_logged(stage, &records.last, |explained| outcome_leaf(explained).is_some()).await?;
            let agent = researcher.commission.key().did().to_string();
            let by_agent = Query { agent: Some(agent), kind: Some("decided".into()), ..Query::default() };
            let decided = audit::query(bus, &by_agent, audit::ASK_TIME).await?;
            let by_task = Query { task: Some(task.to_string()), ..Query::default() };
            let all = audit::query(bus, &by_task, audit::ASK_TIME).await?;
            let denied = decided.iter().filter(|record| decision(record) == Some("deny")).count();
            if decided.is_empty() || denied == 0 {
                return Err(otherwise("the log does not know the sub-agent's decisions"));
            }
            let told = format!(
                "{} records of the task; the sub-agent: {} decisions, {denied} of them denials",
                all.len(),
                decided.len()
            );
            Ok(((), told))
        })
        .await?;
    for (name, record) in [("why it was permitted", &records.permit), ("why its child was denied", &records.denial)] {
        teller
            .step(name, async {
                let explained = audit::explain(bus, record, audit::ASK_TIME).await?;
                Ok(((), explanation::in_short(&explained)))
            })
            .await?;
    }
    let home = dev::temporary_folder("marque-tour-log-")?;
    let copy = home.path().join("log");
    teller
        .step("the log is taken home", async {
            // The next checkpoint has it; the sink signs one each second. One that has the last decision may still lack
            // its outcome.
            until_logged(stage, &records.last, is_all_sealed).await?;
            let exported = log::export(&place.sink_page, &copy, &stage.bundle).await?;
            Ok((
                (),
                format!("{} leaves in {} files, C2SP tiles and a signed checkpoint", exported.leaves, exported.files),
            ))
        })
        .await?;
    teller
        .step("and verified there", async {
            let report = log::verify::report(&copy, &stage.bundle)?;
            if !report.is_ok() {
                let first = report.findings.first().map(|f| format!("{}: {}", f.file, f.what)).unwrap_or_default();
                return Err(otherwise(format!("the log does not hold: {first}")));
            }
            Ok((
                (),
                format!(
                    "holds: {} leaves, each record's signature, the root, without any network",
                    report.leaves_checked
                ),
            ))
        })
        .await?;
    teller
        .step("a tampered copy", async {
            let cheat = home.path().join("cheat");
            copy_folder(&copy, &cheat)?;
            let file = touch_one_record(&cheat)?;
            let report = log::verify::report(&cheat, &stage.bundle)?;
            let finding =
                report.findings.first().ok_or_else(|| otherwise(format!("nobody noticed that {file} was changed")))?;
            let leaf = finding.leaf.map(|leaf| format!(", leaf {leaf}")).unwrap_or_default();
            Ok(((), format!("CAUGHT in {}{leaf}: {}", finding.file, finding.what)))
        })
        .await
}

fn decision(record: &Value) -> Option<&str> {
    record.pointer("/record/decision").and_then(Value::as_str)
}

/// Where an explained action's outcome stands in the log, if it does.
fn outcome_leaf(explained: &Value) -> Option<u64> {
    explained.get("completed")?.as_array()?.iter().filter_map(|row| row.get("leaf")?.as_u64()).max()
}

/// Whether a checkpoint stands over an action and its outcome.
fn is_all_sealed(explained: &Value) -> bool {
    let sealed = explained.pointer("/inclusion/tree_size").and_then(Value::as_u64);
    outcome_leaf(explained).zip(sealed).is_some_and(|(outcome, sealed)| outcome < sealed)
}

/// Waits until the sink knows a record, and says of it what is waited for.
async fn until_logged(stage: &Stage, record: &str, so_far: impl Fn(&Value) -> bool) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + SINK_TIME;
    loop {
        let outcome = audit::explain(&stage.operator_bus, record, audit::ASK_TIME).await;
        match outcome {
            Ok(explained) if so_far(&explained) => return Ok(()),
            Ok(_) => {}
            Err(failure) if failure.code == Code::NotFound => {}
            Err(failure) => return Err(failure),
        }
        if tokio::time::Instant::now() > deadline {
            return Err(otherwise(format!("the sink has not logged record {record} within {SINK_TIME:?}")));
        }
        tokio::time::sleep(POLL_TIME).await;
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Failure> {
    let wrong = |path: &Path| {
        let path = path.to_path_buf();
        move |error: std::io::Error| Failure::file(&path, &error)
    };
    std::fs::create_dir_all(to).map_err(wrong(to))?;
    for entry in std::fs::read_dir(from).map_err(wrong(from))? {
        let entry = entry.map_err(wrong(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_folder(&source, &target)?;
        } else {
            std::fs::copy(&source, &target).map_err(wrong(&target))?;
        }
    }
    Ok(())
}

/// Changes one byte in the middle of the first file of entries.
fn touch_one_record(log: &Path) -> Result<String, Failure> {
    let size = log::stated(log)?.size;
    let entries: PathBuf = layout::files(size)
        .map(PathBuf::from)
        .find(|path| path.starts_with("tile/entries"))
        .ok_or_else(|| otherwise("the log has no entries"))?;
    let file = log.join(&entries);
    let mut bytes = std::fs::read(&file).map_err(|error| Failure::file(&file, &error))?;
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    std::fs::write(&file, &bytes).map_err(|error| Failure::file(&file, &error))?;
    Ok(entries.display().to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_action_is_taken_home_with_its_outcome() {
        let explained = |tree_size: u64, completed: Value| json!({ "inclusion": { "tree_size": tree_size }, "completed": completed });
        assert!(is_all_sealed(&explained(49, json!([{ "leaf": 48 }]))));
        assert!(!is_all_sealed(&explained(48, json!([{ "leaf": 48 }]))), "the decision alone is sealed");
        assert!(!is_all_sealed(&explained(49, json!([]))));
        assert!(!is_all_sealed(&json!({ "inclusion": null, "completed": [{ "leaf": 48 }] })));
    }
}
