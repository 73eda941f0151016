//! `marque call`: one signed action through a commission.

use clap::Args;
use marque_agent::Why;
use marque_identity::TaskId;
use serde_json::{Value, json};

use crate::agent::HomeArgs;
use crate::agent_home::AgentHome;
use crate::cli::Common;
use crate::output::{Answer, Output};
use crate::{Failure, tools_arg};

/// Which action.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// The agent that acts.
    #[command(flatten)]
    home: HomeArgs,
    /// File with its chain, or `-` for stdin.
    #[arg(long, value_name = "FILE")]
    chain: String,
    /// The tool's bus subject, with or without `nats:` in front.
    tool: String,
    /// The arguments as a JSON object, or @FILE.
    #[arg(default_value = "{}")]
    args: String,
    /// Through the verifier's gate: for a tool that knows nothing of us.
    #[arg(long)]
    gate: bool,
    /// The agent's own reason; recorded as claimed.
    #[arg(long)]
    why: Option<String>,
    /// The task, where it is not the commission's own.
    #[arg(long)]
    task: Option<TaskId>,
    /// The action or message that led to this one.
    #[arg(long, value_name = "JTI")]
    cause: Option<String>,
    /// Say what would be called; call nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Calls it; the tool's own bytes go to stdout.
pub(crate) async fn run(args: &CallArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let subject = args.tool.strip_prefix("nats:").unwrap_or(&args.tool);
    let arguments = tools_arg::arguments(&args.args)?;
    let held = AgentHome::at(&args.home.home).key()?;
    let commission = tools_arg::commission(held.key(), &args.chain)?;
    if args.dry_run {
        let tool = format!("nats:{subject}");
        let text = format!("would call {tool} as {} (action {})", held.key().did(), held.key().history().signed + 1);
        return Ok(Answer::yes(json!({ "dry_run": true, "tool": tool, "agent": held.key().did() }), text));
    }
    let bus = common.connection.resolve_agent(held.key(), commission.chain())?.connect("marque agent").await?;
    let actor = commission.on(&bus).timeout(common.connection.timeout);
    let why = Why { why: args.why.clone(), task: args.task.clone(), cause: args.cause.clone(), ..Why::default() };
    let outcome = if args.gate {
        actor.call_bytes_via_gate(subject, arguments.into(), why).await
    } else {
        actor.call_bytes(subject, arguments.into(), why).await
    };
    // Whatever came of it, the key has signed: the next process must go on from here.
    held.keep_history()?;
    let answer = outcome?;
    if let Some(record) = &answer.record {
        out.talk(format!("permitted; `marque audit explain {record}` says why"));
    }
    let text = String::from_utf8_lossy(&answer.payload).into_owned();
    let reply = serde_json::from_slice(&answer.payload).unwrap_or_else(|_| Value::String(text.clone()));
    let done = match &answer.record {
        Some(record) => format!("the call was made: `marque audit explain {record}`"),
        None => format!("the call was made, as action `{}`", answer.action),
    };
    Ok(Answer::yes(json!({ "reply": reply, "record": answer.record, "action": answer.action }), text).changed(done))
}
