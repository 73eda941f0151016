//! `marque token`: issue, delegate (offline), inspect, verify.

use std::time::Duration;

use clap::{Args, Subcommand};
use marque_agent::{Commission, CommissionRequest, Delegation};
use marque_credential::IdentityCredential;
use marque_identity::{Code, Did, TaskId, UnixSeconds};
use marque_judgement::{ChainLimits, TrustAnchor, verify_chain};
use marque_runtime::Clock;
use marque_signing::bundle::{Role, TrustBundle};
use marque_signing::{Compact, PublicKey};
use serde_json::json;

use crate::agent::{HomeArgs, resume};
use crate::agent_home::AgentHome;
use crate::cli::{Common, duration};
use crate::inspect::{InspectArgs, token_digest};
use crate::output::{Answer, Output, counted, facts};
use crate::{Failure, inspect, time, tools_arg};

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// Ask the issuer for a root token for one task.
    Issue(IssueArgs),
    /// Hand a part of a commission to a sub-agent. Needs no network.
    Delegate(DelegateArgs),
    /// Decode any of our tokens. Nothing is verified.
    Inspect(InspectArgs),
    /// Verify a chain, or an identity credential, against the trust bundle.
    Verify(VerifyTokenArgs),
}

/// What the root is for.
#[derive(Debug, Args)]
pub struct IssueArgs {
    /// The agent.
    #[command(flatten)]
    home: HomeArgs,
    /// The task, a URN.
    #[arg(long)]
    task: TaskId,
    /// Why, in words.
    #[arg(long)]
    purpose: String,
    /// The tools as JSON, or @FILE.
    #[arg(long)]
    tools: String,
    /// How long it lives; the issuer's default is 15 minutes, its ceiling an hour.
    #[arg(long, value_parser = duration)]
    ttl: Option<Duration>,
    /// How many links may be derived below it.
    #[arg(long, value_name = "LINKS")]
    depth: Option<u64>,
    /// Say what would be asked for; ask for nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What a sub-agent gets.
#[derive(Debug, Args)]
pub struct DelegateArgs {
    /// The agent that hands on.
    #[command(flatten)]
    home: HomeArgs,
    /// File with its chain, or `-` for stdin.
    #[arg(long, value_name = "FILE")]
    chain: String,
    /// The sub-agent's key.
    #[arg(long, value_name = "DID")]
    to: Did,
    /// The tools as JSON, or @FILE; at most what the holder has.
    #[arg(long)]
    tools: String,
    /// How long it lives; the default is as long as the holder's own.
    #[arg(long, value_parser = duration)]
    ttl: Option<Duration>,
    /// How many further links the sub-agent may add.
    #[arg(long, value_name = "LINKS", default_value_t = 0)]
    depth: u64,
    /// A place of use, `nats://<domain>/<subject>`; may be repeated.
    #[arg(long, value_name = "URI")]
    audience: Vec<String>,
}

/// What to verify.
#[derive(Debug, Args)]
pub struct VerifyTokenArgs {
    /// File with a chain or an identity credential, or `-` for stdin.
    #[arg(default_value = "-")]
    file: String,
    /// File with the trust bundle; the default is the bootstrap directory's.
    #[arg(long, value_name = "FILE")]
    bundle: Option<std::path::PathBuf>,
    /// The bundle's fingerprint, where --bundle names it.
    #[arg(long, value_name = "DIGEST", requires = "bundle")]
    pin: Option<marque_identity::Digest>,
    /// The moment to judge at: RFC 3339, Unix seconds, or +15m from now.
    #[arg(long, value_parser = time::moment)]
    at: Option<UnixSeconds>,
}

/// Does it.
pub(crate) async fn run(verb: &TokenVerb, common: &Common, out: &Output) -> Result<Answer, Failure> {
    match verb {
        TokenVerb::Issue(args) => issue(args, common).await,
        TokenVerb::Delegate(args) => delegate(args, out),
        TokenVerb::Inspect(args) => inspect::run(args, out),
        TokenVerb::Verify(args) => verify(args, common),
    }
}

async fn issue(args: &IssueArgs, common: &Common) -> Result<Answer, Failure> {
    let home = AgentHome::at(&args.home.home);
    let mut request = CommissionRequest::new(args.task.clone(), &args.purpose, tools_arg::parse(&args.tools)?);
    if let Some(ttl) = args.ttl {
        request = request.ttl_seconds(seconds(ttl));
    }
    if let Some(links) = args.depth {
        request = request.depth_max(links);
    }
    let held = home.key()?;
    if args.dry_run {
        let data =
            json!({ "dry_run": true, "agent": held.key().did(), "task": args.task, "tools": request.tools.to_json() });
        let tools = counted(request.tools.len() as u64, "tool");
        let text = format!("would ask for {tools} for {} as {}", args.task, held.key().did());
        return Ok(Answer::yes(data, text));
    }
    let bus = common.connection.resolve_agent(held.key(), home.credential()?)?.connect("marque agent").await?;
    let commission = resume(&bus, &home, held.key().clone())?.commission(&request).await?;
    let issued = format!("the issuer has issued a token ({}); ask for another", commission.leaf_digest());
    chain_answer(&commission).map(|answer| answer.changed(issued))
}

fn delegate(args: &DelegateArgs, out: &Output) -> Result<Answer, Failure> {
    let held = AgentHome::at(&args.home.home).key()?;
    let commission = tools_arg::commission(held.key(), &args.chain)?;
    let to = PublicKey::from_did(&args.to).map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let mut grant = Delegation::new(tools_arg::parse(&args.tools)?).further_depth(args.depth);
    if let Some(ttl) = args.ttl {
        grant = grant.ttl_seconds(seconds(ttl));
    }
    if !args.audience.is_empty() {
        grant = grant.audience(args.audience.iter().cloned());
    }
    let chain = commission.delegate(&to, grant)?;
    let ends = commission.expires_at();
    if args.ttl.is_some_and(|ttl| Clock::new().unix().plus(seconds(ttl)) > ends) {
        out.talk(format!("--ttl was cut: it ends with the holder's own chain, at {}", time::utc(ends)));
    }
    let data = json!({ "chain": chain, "token": token_digest(&chain)?, "holder": args.to });
    Ok(Answer::yes(data, chain))
}

fn seconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)
}

/// The chain alone on stdout, so that it can be piped on; its facts in JSON mode.
fn chain_answer(commission: &Commission) -> Result<Answer, Failure> {
    let data = json!({
        "chain": commission.chain(), "token": commission.leaf_digest(), "holder": commission.key().did(),
        "task": commission.task(), "expires_at": commission.expires_at(),
    });
    Ok(Answer::yes(data, commission.chain()))
}

fn verify(args: &VerifyTokenArgs, common: &Common) -> Result<Answer, Failure> {
    let text = tools_arg::chain(&args.file)?;
    let bundle = match &args.bundle {
        Some(file) => {
            let token = crate::directory::read_line(file)?;
            TrustBundle::open(&token, args.pin).map_err(|error| Failure::new(error.code(), error.to_string()))?
        }
        None => common
            .connection
            .directory()
            .map_err(|failure| {
                failure.hint("name the trust bundle with --bundle FILE, or the directory with --dir DIR")
            })?
            .bundle()?,
    };
    let now = args.at.unwrap_or_else(|| Clock::new().unix());
    let typ = Compact::split(text.split('~').next().unwrap_or_default())
        .ok()
        .and_then(|t| t.header_member("typ").ok().flatten());
    if typ.as_deref() == Some("vc+jwt") {
        return verify_credential(&text, &bundle, now);
    }
    let tokens: Vec<&str> = if text.is_empty() { Vec::new() } else { text.split('~').collect() };
    let chain = verify_chain(&tokens, &anchors(&bundle), now, &ChainLimits::default())
        .map_err(|refusal| Failure::from(marque_identity::Refusal::from(refusal)))?;
    let links: Vec<_> = chain
        .links()
        .iter()
        .map(|link| json!({ "token": link.digest(), "holder": link.holder(), "expires_at": link.exp(), "depth": link.depth() }))
        .collect();
    let leaf = chain.leaf();
    let text = facts(&[
        ("valid", "yes: the chain holds; directives were not looked at".to_owned()),
        ("links", links.len().to_string()),
        ("holder", leaf.holder().to_string()),
        ("token", leaf.digest().to_string()),
        ("expires", time::utc(chain.expires_at())),
        ("task", chain.root_claims().map_or_else(|| "none named".to_owned(), |claims| claims.task.to_string())),
    ]);
    Ok(Answer::yes(json!({ "valid": true, "links": links, "expires_at": chain.expires_at() }), text))
}

fn verify_credential(text: &str, bundle: &TrustBundle, now: UnixSeconds) -> Result<Answer, Failure> {
    let verified = IdentityCredential::verify(text, &bundle.keys(Role::Issuer), now)
        .map_err(|error| Failure::new(Code::CredentialInvalid, error.to_string()))?;
    let text = facts(&[
        ("valid", "yes: the credential holds; directives were not looked at".to_owned()),
        ("agent", verified.claims().subject.to_string()),
        ("blueprint", verified.claims().blueprint.to_string()),
        ("sponsor", verified.claims().sponsor.to_string()),
        ("expires", time::utc(verified.claims().exp)),
    ]);
    let claims = verified.claims();
    let data = json!({
        "valid": true, "agent": claims.subject, "blueprint": claims.blueprint, "sponsor": claims.sponsor,
        "runtime": claims.runtime, "expires_at": claims.exp,
    });
    Ok(Answer::yes(data, text))
}

/// The bundle's root issuers as anchors.
pub(crate) fn anchors(bundle: &TrustBundle) -> Vec<TrustAnchor> {
    let anchor = |anchor: &marque_signing::Anchor| {
        PublicKey::from_did(&anchor.did).ok().map(|key| TrustAnchor { iss: anchor.iss.clone(), key })
    };
    bundle.issuers.iter().filter_map(anchor).collect()
}
