//! `marque revoke | suspend | narrow | lift | resume`: directives, and who has applied them.

mod aim;
pub(crate) mod ask;
pub(crate) mod status;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use marque_bus::Bus;
use marque_bus::permissions::BusRole;
use marque_identity::{Code, UnixSeconds};
use marque_revocation::{DirectiveId, Op, Target};
use marque_runtime::Clock;

use crate::cli::Common;
use crate::output::{Answer, Output};
use crate::{Failure, time, tools_arg};
use aim::Aim;
use ask::{Question, Who};

/// End something for good, or look at what is in force.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct RevokeArgs {
    #[command(subcommand)]
    view: Option<RevokeView>,
    #[command(flatten)]
    aim: Option<Aim>,
    #[command(flatten)]
    how: How,
}

/// What is in force.
#[derive(Debug, Subcommand)]
pub(crate) enum RevokeView {
    /// List the directives in force.
    Ls,
    /// The broadcaster's state: epoch, verifiers heard, requests pending.
    Status,
}

/// Stop something until it is resumed.
#[derive(Debug, Args)]
pub struct TightenArgs {
    #[command(flatten)]
    aim: Aim,
    /// When it ends by itself: RFC 3339, Unix seconds, or +15m from now.
    #[arg(long, value_parser = time::moment)]
    until: Option<UnixSeconds>,
    #[command(flatten)]
    how: How,
}

/// Allow less.
#[derive(Debug, Args)]
pub struct NarrowArgs {
    #[command(flatten)]
    aim: Aim,
    /// The constraints that hold on top, as JSON or @FILE: `{"<tool or *>": {"<argument>": {"constraint_type": …}}}`.
    #[arg(long)]
    tools: String,
    /// When it ends by itself: RFC 3339, Unix seconds, or +15m from now.
    #[arg(long, value_parser = time::moment)]
    until: Option<UnixSeconds>,
    #[command(flatten)]
    how: How,
}

/// End a directive.
#[derive(Debug, Args)]
pub struct LoosenArgs {
    /// The directive: `marque revoke ls` lists their ids.
    id: DirectiveId,
    #[command(flatten)]
    how: How,
}

/// How any of them is asked for.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// For the person who meets the refusal.
    #[arg(long, default_value = "")]
    reason: String,
    /// The key that asks; the default is the operator's of the bootstrap directory.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// File with the chain that shows an ancestor's right, or `-` for stdin.
    #[arg(long, value_name = "FILE")]
    chain: Option<String>,
    /// Answer as soon as it is durable, without waiting for the verifiers.
    #[arg(long)]
    no_wait: bool,
    /// Say what would stop working; ask for nothing.
    #[arg(long)]
    dry_run: bool,
    /// The key of an earlier try whose outcome is unknown: asking again with it changes nothing twice.
    #[arg(long, value_name = "KEY")]
    retry_key: Option<String>,
}

/// `marque revoke`.
pub(crate) async fn revoke(args: &RevokeArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    match (&args.view, &args.aim) {
        (Some(RevokeView::Ls), _) => status::ls(common).await,
        (Some(RevokeView::Status), _) => status::show(common).await,
        (None, Some(aim)) => tighten(Op::Revoke, aim, None, None, &args.how, common, out).await,
        (None, None) => Err(Failure::usage("what is to be revoked?").hint("marque revoke token DIGEST --reason TEXT")),
    }
}

/// `marque suspend`.
pub(crate) async fn suspend(args: &TightenArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    tighten(Op::Suspend, &args.aim, None, args.until, &args.how, common, out).await
}

/// `marque narrow`.
pub(crate) async fn narrow(args: &NarrowArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    // Read as a grant first: a constraint that nobody understands would deny everything.
    let narrow = serde_json::json!({ "tools": tools_arg::parse(&args.tools)?.to_json() });
    tighten(Op::Narrow, &args.aim, Some(narrow), args.until, &args.how, common, out).await
}

/// `marque lift`.
pub(crate) async fn lift(args: &LoosenArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    loosen(Op::Lift, args, common, out).await
}

/// `marque resume`.
pub(crate) async fn resume(args: &LoosenArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    loosen(Op::Resume, args, common, out).await
}

async fn tighten(
    op: Op,
    aim: &Aim,
    narrow: Option<serde_json::Value>,
    until: Option<UnixSeconds>,
    how: &How,
    common: &Common,
    out: &Output,
) -> Result<Answer, Failure> {
    // Under an earlier try's key it is that try's end, which may have passed since.
    if let Some(until) = until.filter(|until| *until <= Clock::new().unix() && how.retry_key.is_none()) {
        let passed = Failure::usage(format!("--until {} has passed", time::utc(until)));
        return Err(Failure { argument: Some("--until".into()), ..passed }.hint("name a later moment, or +15m"));
    }
    let target = aim.target(common)?;
    let consequence = consequence(op, &target, until);
    let question = Question { op, target: Some(target), until, narrow, lifts: None, ..how.question()? };
    how.put(question, &consequence, common, out).await
}

async fn loosen(op: Op, args: &LoosenArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let consequence = format!("directive {} ends: what it took away works again, never more than was signed", args.id);
    let question = Question { op, lifts: Some(args.id), ..args.how.question()? };
    args.how.put(question, &consequence, common, out).await
}

/// Refuses to ask for the end of what can't be ended so. What the broadcaster does not show is its own to judge.
async fn may_end(op: Op, id: DirectiveId, bus: &Bus, timeout: Duration) -> Result<(), Failure> {
    let Ok(all) = status::in_force(bus, timeout).await else { return Ok(()) };
    match all.iter().find(|directive| directive.id == id).map(|directive| directive.op) {
        Some(ended) if !op.may_end(ended) => Err(unending(op, id, ended)),
        Some(_) | None => Ok(()),
    }
}

fn unending(op: Op, id: DirectiveId, ended: Op) -> Failure {
    match ended {
        Op::Revoke => {
            let hint = "a suspend or a narrow can be lifted: `marque revoke ls` lists them; what was revoked by mistake \
                        is issued or enrolled anew";
            Failure::new(Code::Conflict, format!("directive {id} is a revoke, and a revoke is final")).hint(hint)
        }
        Op::Suspend | Op::Narrow | Op::Resume | Op::Lift => {
            let why = format!("directive {id} is a {ended}, which a {op} does not end");
            Failure::new(Code::Conflict, why).hint(format!("`marque lift {id}` ends it"))
        }
    }
}

fn consequence(op: Op, target: &Target, until: Option<UnixSeconds>) -> String {
    let what = match target {
        Target::Token(digest) => format!("token {digest} and everything that was derived from it"),
        Target::Key(did) => format!("every token held by {did}, and everything derived from those"),
        Target::Blueprint(name) => format!("every agent of blueprint {name}"),
        Target::Task(task) => format!("everything done for {task}"),
        Target::Manifest(digest) => format!("every agent that runs manifest {digest}"),
        Target::Issuer(uri) => format!("everything that {uri} has issued"),
        Target::Domain(domain) => format!("EVERYTHING in {domain}"),
    };
    let how = match op {
        Op::Revoke => "stops working, for good",
        Op::Suspend => "stops working until it is resumed",
        Op::Narrow => "may do less, at once",
        Op::Resume | Op::Lift => "works again",
    };
    let until = until.map(|until| format!(", at the latest until {}", time::utc(until))).unwrap_or_default();
    format!("{what} {how}{until}")
}

impl How {
    fn question(&self) -> Result<Question, Failure> {
        let chain = self.chain.as_deref().map(tools_arg::chain).transpose()?;
        Ok(Question {
            op: Op::Revoke,
            target: None,
            until: None,
            narrow: None,
            lifts: None,
            reason: self.reason.clone(),
            chain: chain.map(|chain| chain.split('~').map(str::to_owned).collect()),
            wait: !self.no_wait,
            key: self.retry_key.clone(),
        })
    }

    /// Asks for it. What will come of it is said before it is done, and after everything that can be wrong here.
    async fn put(
        &self,
        question: Question,
        consequence: &str,
        common: &Common,
        out: &Output,
    ) -> Result<Answer, Failure> {
        if self.dry_run {
            out.talk(format!("would be asked for: {consequence}"));
            let Question { op, target, until, narrow, lifts, .. } = question;
            let data = serde_json::json!({
                "dry_run": true, "op": op, "target": target, "until": until, "narrow": narrow, "lifts": lifts,
            });
            return Ok(Answer::yes(data, "dry run: nothing was asked for"));
        }
        let who = Who::from_flags(self.key.as_deref(), common)?;
        let key = question.key.clone().unwrap_or_else(ask::fresh_key);
        let until = question.until;
        let bus = common.connection.resolve(BusRole::Operator)?.connect("marque directive").await?;
        let timeout = common.connection.timeout;
        if let Some(id) = question.lifts.filter(|_| self.retry_key.is_none()) {
            may_end(question.op, id, &bus, timeout).await?;
        }
        out.talk(format!("asking for this: {consequence}"));
        let reply = ask::ask_on(&bus, &who, Question { key: Some(key.clone()), ..question }, timeout).await?;
        Ok(ask::answer(&reply, &key, until, out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoke_is_final_and_it_is_said_what_is_not() {
        let id = DirectiveId::from_bytes([2; 16]);
        let final_one = unending(Op::Lift, id, Op::Revoke);
        assert!(final_one.message.ends_with("a revoke is final") && final_one.hint.contains("`marque revoke ls`"));
        let narrowed = unending(Op::Resume, id, Op::Narrow);
        assert!(!narrowed.message.contains("revoke"), "{narrowed:?}");
        assert_eq!(narrowed.hint, format!("`marque lift {id}` ends it"));
    }
}
