//! `marque log verify`: a copy of the log, held to everything that its files and the caller's trust allow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use marque_identity::refusal::quoted;
use marque_judgement::record::{Broken, Chains, Histories, Judge, Step, VALID};
use marque_ledger::verify::{KEPT_MAX, KEPT_NAMES_MAX, RecordCheck, Report, Verification, begins_at, goes_on};
use marque_ledger::{Checkpoint, Entry, Files as _, layout};
use marque_signing::bundle::TrustBundle;
use serde::Serialize;

use super::{CHECKPOINT_BYTES_MAX, FINDINGS_SHOWN};
use crate::cli::Common;
use crate::output::{Answer, counted, facts};
use crate::progress::Progress;
use crate::time::{measured, utc};
use crate::trust::{Trust, TrustFlags, read};
use crate::{Exit, Failure};

/// A trust bundle has some kilobytes.
pub(super) const BUNDLE_BYTES_MAX: u64 = 1024 * 1024;

/// Files that are none of a log's, and are named; the rest is counted.
const STRANGERS_NAMED: usize = 5;

/// Which copy, whom to trust, and what was verified before.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The copy.
    #[arg(value_name = "DIR")]
    log: PathBuf,
    /// Whom to trust; where nobody is named, the copy's own bundle.
    #[command(flatten)]
    trust: TrustFlags,
    /// A checkpoint of this log that was verified before: the copy must go on from it, and only what lies behind it is
    /// looked at.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// A copy of the epoch before: it must have ended as this one's first leaf says.
    #[arg(long, value_name = "DIR")]
    previous: Option<PathBuf>,
    /// A no also where a key's chain of actions is broken.
    #[arg(long)]
    strict: bool,
}

/// A copy, verified.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verified {
    /// The copy holds.
    pub valid: bool,
    /// What was checked of the log, and what was found.
    pub report: Report,
    /// What its records say of each key's chain of actions.
    pub chains: Chains,
    /// What could not be checked, one sentence each.
    pub not_checked: Vec<String>,
}

/// Does it.
pub(super) fn run(args: &VerifyArgs, common: &Common) -> Result<Answer, Failure> {
    // Without a statement there is nothing to verify: that is no finding about a log.
    super::folder_or_none(&args.log)?;
    let checkpoint = args.log.join(layout::CHECKPOINT);
    std::fs::metadata(&checkpoint).map_err(|error| {
        Failure::file(&checkpoint, &error).hint("name a directory that `marque log export` has filled")
    })?;
    let own = args.log.join(layout::BUNDLE);
    let trust = args.trust.read(common, Some(own.as_path()))?;
    let from = args.from.as_deref().map(|file| earlier(file, &trust)).transpose()?;
    let begun = Instant::now();
    let progress = Progress::of("leaves");
    let mut verified = verify(&args.log, &trust, from.as_ref(), &|done, of| progress.at(done, of));
    drop(progress);
    verified.not_checked.extend(strangers(&args.log));
    if let Some(previous) = &args.previous {
        follows(&mut verified, previous, &trust)?;
    }
    Ok(answer(&verified, args.strict, begun.elapsed()))
}

/// The checkpoint that was verified before, signed by a log that is trusted now.
fn earlier(file: &Path, trust: &Trust) -> Result<Checkpoint, Failure> {
    let note = read(file, CHECKPOINT_BYTES_MAX as usize)?;
    Checkpoint::open(&note, trust.policy.logs()).map_err(|error| {
        Failure::new(error.code(), format!("{}: {error}", file.display()))
            .hint("--from takes the signed `checkpoint` file of a copy that was verified before")
    })
}

/// Checks a copy from its files alone.
pub fn verify(copy: &Path, trust: &Trust, from: Option<&Checkpoint>, progress: &dyn Fn(u64, u64)) -> Verified {
    let files = marque_ledger::Directory::new(copy);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let verification = Verification { policy: &trust.policy, from, threads };
    let judge = trust.bundle.clone().map(Judge::new);
    let check = judge.as_ref().map(|judge| {
        |entry: &Entry<'_>| {
            let ms = entry.broker_ms();
            match judge.judge(entry.payload) {
                Ok(record) => {
                    let step = Step::of(&record);
                    (RecordCheck { record: Some(record.id), verdict: VALID.to_owned() }, Some((ms, step)))
                }
                Err(bad) => (RecordCheck { record: bad.id, verdict: bad.verdict }, Some((ms, None))),
            }
        }
    });
    let mut histories = Histories::default();
    let mut follow = |leaf, verdict: &str, (ms, step): (i64, Option<Step>)| {
        histories.follow(leaf, ms, step.filter(|_| verdict == VALID));
    };
    let mut report = match &check {
        Some(check) => verification.run(&files, Some(check), &mut follow, progress),
        None => verification.run(&files, None, &mut follow, progress),
    };
    let own = own_bundle(&files, &mut report);
    // What a key did before stands in the epoch before.
    let chains = histories.finish(report.from.max(u64::from(report.genesis.is_some())));
    let not_checked = not_checked(trust, &report, &chains, own.as_ref());
    Verified { valid: report.is_ok(), report, chains, not_checked }
}

/// Holds a later epoch to a copy of the epoch before, which must reach as far as it says, give the same root, and end
/// where this one begins or with what it says is lost.
fn follows(verified: &mut Verified, previous: &Path, trust: &Trust) -> Result<(), Failure> {
    let Some(before) = before(&verified.report) else {
        return Err(Failure::usage("--previous is for a later epoch of a log: this copy is of its first"));
    };
    let note = read(&previous.join(layout::CHECKPOINT), CHECKPOINT_BYTES_MAX as usize)?;
    let files = marque_ledger::Directory::new(previous);
    let opened = Checkpoint::open(&note, trust.policy.logs()).map_err(|error| error.to_string());
    let ends = |now: Checkpoint| {
        goes_on(&files, &before, &now)?;
        let end = begins_at(&files, &now)?.saturating_add(before.size).saturating_sub(1);
        let accounts = verified.report.genesis.as_ref().map_or(Ok(()), |genesis| genesis.accounts_from(end));
        accounts.map_err(|error| error.to_string())
    };
    if let Err(why) = opened.and_then(ends) {
        let what = format!("the copy of the epoch before: {why}");
        verified.report.find(layout::CHECKPOINT, Some(0), what);
        verified.valid = false;
    }
    let now_checked = [unchecked_before(&before), unchecked_end(&before)];
    verified.not_checked.retain(|sentence| !now_checked.contains(sentence));
    Ok(())
}

/// The last checkpoint of the epoch before, as this one names it.
fn before(report: &Report) -> Option<Checkpoint> {
    report.genesis.as_ref()?.before().ok()
}

fn unchecked_before(before: &Checkpoint) -> String {
    let Checkpoint { origin, size, root } = before;
    format!("the epoch before, {origin}: that it ended with {size} leaves and root {root} (--previous DIR)")
}

fn unchecked_end(before: &Checkpoint) -> String {
    let origin = &before.origin;
    format!(
        "which records are lost between {origin} and this epoch: where that one ended in the stream (--previous DIR)"
    )
}

/// The bundle that lies in the copy, which must be one.
fn own_bundle(files: &marque_ledger::Directory, report: &mut Report) -> Option<TrustBundle> {
    let found = match files.read(layout::BUNDLE, BUNDLE_BYTES_MAX) {
        Ok(Some(bytes)) => match std::str::from_utf8(&bytes) {
            // One text for each bundle: `open` forgives white space around it.
            Ok(token) if token.trim() != token => Err("white space around the bundle".to_owned()),
            Ok(token) => TrustBundle::open(token, None).map_err(|error| error.to_string()),
            Err(_) => Err("not UTF-8".to_owned()),
        },
        Ok(None) => Err("the file is missing".to_owned()),
        Err(why) => Err(why),
    };
    found.map_err(|what| report.find(layout::BUNDLE, None, what)).ok()
}

/// What this check can't say, in the words of whoever relies on it.
fn not_checked(trust: &Trust, report: &Report, chains: &Chains, own: Option<&TrustBundle>) -> Vec<String> {
    let mut said = Vec::new();
    let mut say = |sentence: String| said.push(sentence);
    if report.is_full() {
        say(format!("what lies behind the first {} findings", report.findings.len()));
    }
    match (&trust.bundle, trust.compared) {
        (None, _) => say("the records' signatures, their verdicts in the index, and the chains of actions: \
                          there is no trust bundle (--bundle)"
            .to_owned()),
        (Some(_), false) => {
            say("whether the trust bundle is the right one: it is the copy's own, and was not compared \
                                 with anything (--pin, --bundle or --dir)"
                .to_owned())
        }
        (Some(_), true) => {}
    }
    if let (Some(bundle), Some(own)) = (&trust.bundle, own)
        && bundle != own
    {
        say("the copy's own trust bundle: records were judged under another, the one that was named".to_owned());
    }
    if report.witnesses.is_empty() {
        say("whether others were shown another log: no known witness has seen this checkpoint (--policy)".to_owned());
    }
    say("whether the log has grown since: a copy may be old".to_owned());
    not_checked_of_kept(report, &mut say);
    if let Some(before) = before(report) {
        say(unchecked_before(&before));
        if report.genesis.as_ref().is_some_and(|genesis| !genesis.is_second()) {
            say(unchecked_end(&before));
        }
    }
    if report.from > 0 {
        say(format!("leaves 0 to {}: they were verified before, as --from says", report.from - 1));
    }
    if report.repeats_unchecked > 0 {
        let count = report.repeats_unchecked;
        say(format!("{count} records that the index calls repetitions of one before leaf {}", report.from));
    }
    if trust.bundle.is_none() {
        return said;
    }
    let bad: u64 = report.verdicts.iter().filter(|(verdict, _)| *verdict != VALID).map(|(_, count)| count).sum();
    if bad > 0 {
        let bad = counted(bad, "record");
        say(format!("what {bad} state, not being valid or repeating another: they are leaves, and no more"));
    }
    if chains.actions > 0 {
        say("the signatures of the proofs that records carry: who decided has checked them, and signs for it"
            .to_owned());
    }
    if chains.by_digest_only > 0 {
        let count = chains.by_digest_only;
        say(format!(
            "{count} proofs that are carried by their digest only: number and predecessor are the record's word"
        ));
    }
    if chains.begun_before > 0 {
        say(format!("the beginning of {} chains, before leaf {}", chains.begun_before, report.from.max(1)));
    }
    if chains.unsettled > 0 {
        say(format!("{} gaps in chains that are younger than 30 s: their records may be under way", chains.unsettled));
    }
    if chains.findings_untold > 0 {
        say(format!("{} more places where chains are broken: they are not listed", chains.findings_untold));
    }
    said
}

/// The same of the checkpoints that the copy had before.
fn not_checked_of_kept(report: &Report, say: &mut dyn FnMut(String)) {
    let (kept, folder) = (&report.kept, layout::KEPT_CHECKPOINTS);
    if kept.checked > 0 {
        say(format!(
            "whether the copy had more checkpoints than those in {folder}: one that was dropped leaves no trace"
        ));
    }
    if kept.unwitnessed > 0 {
        let count = counted(kept.unwitnessed, "kept checkpoint");
        say(format!("whether the policy's witnesses have seen {count}: the log's signature is enough for them"));
    }
    if kept.unchecked > 0 {
        let count = counted(kept.unchecked, "kept checkpoint");
        say(format!("{count} in {folder}: at most {KEPT_MAX} are looked at, and none behind the last finding"));
    }
    if kept.strange > 0 {
        say(format!("{} in {folder}: not named as a checkpoint is there", counted(kept.strange, "file")));
    }
    if kept.unlisted {
        say(format!("what lies in {folder} beyond its first {KEPT_NAMES_MAX} names"));
    }
}

/// Files beside the log's own: nothing says what they are, or that they belong there. Kept checkpoints' folder is told
/// of with those.
fn strangers(copy: &Path) -> Option<String> {
    let (mut open, mut strange, mut seen) = (vec![copy.to_owned()], BTreeSet::new(), 0);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > KEPT_NAMES_MAX {
                return Some(format!("what lies in the copy's folder beyond its first {KEPT_NAMES_MAX} names"));
            }
            let path = entry.path();
            let name = path.strip_prefix(copy).unwrap_or(&path).to_string_lossy().into_owned();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && name == layout::KEPT_CHECKPOINTS => {}
                Ok(kind) if kind.is_dir() => open.push(path),
                Ok(_) | Err(_) if layout::served(&name).is_some() => {}
                Ok(_) | Err(_) => drop(strange.insert(name)),
            }
        }
    }
    let named: Vec<String> = strange.iter().take(STRANGERS_NAMED).map(|name| quoted(name)).collect();
    let more = if strange.len() > named.len() { ", …" } else { "" };
    let count = counted(strange.len() as u64, "file");
    (!strange.is_empty()).then(|| format!("{count} that no log has: {}{more}", named.join(", ")))
}

fn answer(verified: &Verified, strict: bool, took: Duration) -> Answer {
    let Verified { report, chains, .. } = verified;
    let verdicts: Vec<String> = report.verdicts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    let holds = match report.findings.len() {
        0 => "holds".to_owned(),
        count => format!("DOES NOT HOLD: {}", counted(count as u64, "finding")),
    };
    let seen: Vec<String> = report
        .witnesses
        .iter()
        .map(|seen| format!("{} at {}", seen.witness, utc(marque_identity::UnixSeconds(seen.at))))
        .collect();
    let from = if report.from > 0 { format!(", from leaf {} on", report.from) } else { String::new() };
    let end_is_unchecked = before(report).is_some_and(|before| verified.not_checked.contains(&unchecked_end(&before)));
    let epoch = match &report.genesis {
        None => "the first".to_owned(),
        Some(genesis) => {
            let lost = match genesis.lost {
                Some(lost) => format!("records {} to {} are lost", lost.from, lost.to),
                None if verified.valid && !end_is_unchecked => "no record is lost".to_owned(),
                None => "it calls no record lost".to_owned(),
            };
            format!("a later one, its operator says: {}; {lost}", quoted(&genesis.reason))
        }
    };
    let broken = chains.findings.len() as u64 + chains.findings_untold;
    let actions = format!("{} of {}", counted(chains.actions, "action"), counted(chains.keys, "key"));
    let mut text = facts(&[
        ("log", report.origin.clone()),
        ("verdict", holds),
        ("epoch", epoch),
        ("leaves", format!("{} of {}{from}", report.leaves_checked, report.tree_size)),
        ("root", report.root.clone()),
        ("checkpoints", checkpoints(report)),
        ("witnesses", if seen.is_empty() { "none".to_owned() } else { seen.join(", ") }),
        ("records", if verdicts.is_empty() { "not judged".to_owned() } else { verdicts.join(", ") }),
        ("chains", if broken == 0 { actions } else { format!("{actions}; BROKEN in {}", counted(broken, "place")) }),
        ("took", measured(took)),
    ]);
    for finding in report.findings.iter().take(FINDINGS_SHOWN) {
        let leaf = finding.leaf.map(|leaf| format!(", leaf {leaf}")).unwrap_or_default();
        text.push_str(&format!("\n  {}{leaf}: {}", finding.file, finding.what));
    }
    if broken > 0 {
        text.push_str("\nchains of actions");
        chains.findings.iter().take(FINDINGS_SHOWN).for_each(|broken| text.push_str(&in_words(broken)));
        text.push_str(&untold(broken, &chains.findings));
    }
    text.push_str("\nnot checked");
    verified.not_checked.iter().for_each(|sentence| text.push_str(&format!("\n  {sentence}")));
    let no = !verified.valid || (strict && broken > 0);
    let mut data = crate::output::to_value(verified);
    data["took_us"] = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).into();
    Answer::yes(data, text).exit(if no { Exit::No } else { Exit::Yes })
}

/// The newest one, and those before it.
fn checkpoints(report: &Report) -> String {
    let wrong = report.findings.iter().any(|finding| finding.file.starts_with(layout::KEPT_CHECKPOINTS));
    match (report.kept.checked, wrong) {
        (0, false) => "the newest; none before it is kept".to_owned(),
        (count, false) => format!("the newest, and {count} before it, each of which it goes on from"),
        (count, true) => format!("the newest, and {count} before it, NOT EACH of which it goes on from"),
    }
}

fn in_words(broken: &Broken) -> String {
    let key = crate::audit::explanation::short_did(&broken.agent.to_string());
    format!("\n  leaf {}, {key}: {}", broken.leaf, broken.what)
}

/// What stands behind those that are shown, by rule.
fn untold(all: u64, findings: &[Broken]) -> String {
    let Some(more) = all.checked_sub(FINDINGS_SHOWN as u64).filter(|more| *more > 0) else { return String::new() };
    let mut rules: BTreeMap<String, u64> = BTreeMap::new();
    for broken in findings {
        *rules.entry(crate::output::to_value(&broken.rule).as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let rules: Vec<String> = rules.iter().map(|(rule, count)| format!("{count} {rule}")).collect();
    format!("\n  and {more} more; -j lists them ({})", rules.join(", "))
}

/// The report of the copy under a bundle that is known to be right.
pub(crate) fn report(copy: &Path, bundle: &TrustBundle) -> Result<Report, Failure> {
    Ok(verify(copy, &Trust::of_bundle(bundle.clone())?, None, &|_, _| {}).report)
}
