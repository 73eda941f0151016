//! `marque agent`: invite (an operator), enrol, renew and info (the agent's own machine).

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use marque_agent::{Agent, AgentKey, RuntimeClaim};
use marque_bus::Presented;
use marque_identity::{BlueprintName, Code, Digest, TokenId, TrustDomain, UnixSeconds};
use marque_runtime::Clock;
use marque_signing::{SigningKey, jws, nkey};
use serde::Serialize;
use serde_json::{Value, json};

use crate::agent_home::AgentHome;
use crate::cli::{Common, duration};
use crate::directory::read_key;
use crate::inspect::read_bounded;
use crate::output::{Answer, Output, facts};
use crate::{Failure, time};

/// A join token is a few hundred bytes.
const JOIN_BYTES_MAX: usize = 16 * 1024;
/// `typ` of a join token.
const JOIN_TYP: &str = "marque-join+jwt";

/// What to do about agents.
#[derive(Debug, Subcommand)]
pub enum AgentVerb {
    /// Make a one-time join token with the operator's key.
    Invite(InviteArgs),
    /// Make a key and enrol it with a join token.
    Enrol(EnrolArgs),
    /// Ask for a fresh identity credential.
    Renew(RenewArgs),
    /// Run a command beside a sidecar that holds the key: the command acts, and sees no credential.
    Run(Box<crate::agent_run::RunArgs>),
    /// Who an agent is, by its folder.
    Info(HomeArgs),
}

/// Which invitation.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// The kind of agent that may enrol with it.
    #[arg(long)]
    blueprint: BlueprintName,
    /// How long it may be used.
    #[arg(long, value_parser = duration, default_value = "1h")]
    ttl: Duration,
    /// The operator's key file; the default lies in the bootstrap directory.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The trust domain, where no bootstrap directory tells it.
    #[arg(long)]
    domain: Option<TrustDomain>,
}

/// Which agent.
#[derive(Debug, Clone, Args)]
pub struct HomeArgs {
    /// The agent's folder: key, credential, action counter.
    #[arg(long, env = "MARQUE_AGENT_HOME", value_name = "DIR")]
    pub home: PathBuf,
}

/// How to enrol.
#[derive(Debug, Args)]
pub struct EnrolArgs {
    /// The agent's folder; a key is made in it if there is none.
    #[command(flatten)]
    home: HomeArgs,
    /// The join token, or `-` for stdin.
    #[arg(long, value_name = "TOKEN")]
    join: String,
    /// The model that the agent runs, as the blueprint lists it.
    #[arg(long)]
    model: String,
    /// SHA-256 of what is deployed.
    #[arg(long, value_name = "DIGEST")]
    manifest_hash: Option<Digest>,
    /// Say what would be done; make no key, ask for nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Which agent renews.
#[derive(Debug, Args)]
pub struct RenewArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// Say what would be done; ask for nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Join<'a> {
    jti: TokenId,
    aud: &'a TrustDomain,
    blueprint: &'a BlueprintName,
    iat: UnixSeconds,
    exp: UnixSeconds,
}

/// Does it.
pub(crate) async fn run(verb: &AgentVerb, common: &Common, out: &Output) -> Result<Answer, Failure> {
    match verb {
        AgentVerb::Invite(args) => invite(args, common, out),
        AgentVerb::Enrol(args) => enrol(args, common, out).await,
        AgentVerb::Renew(args) => renew(args, common).await,
        AgentVerb::Run(args) => crate::agent_run::run(args, common, out).await,
        AgentVerb::Info(args) => info(args),
    }
}

fn invite(args: &InviteArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let key = match &args.key {
        Some(file) => read_key(file)?,
        None => common.connection.directory()?.key("operator")?,
    };
    let domain = match &args.domain {
        Some(domain) => domain.clone(),
        None => common.connection.directory()?.bundle()?.trust_domain,
    };
    let (token, exp) = join_token(&key, &domain, &args.blueprint, args.ttl)?;
    out.talk(format!("use it once, before {}:", time::utc(exp)));
    out.talk("  marque agent enrol --home ./agent --model MODEL --join TOKEN");
    Ok(Answer::yes(json!({ "join_token": token, "blueprint": args.blueprint, "expires_at": exp }), token.clone()))
}

/// A join token, signed by an operator, and when it ends.
pub(crate) fn join_token(
    operator: &SigningKey,
    domain: &TrustDomain,
    blueprint: &BlueprintName,
    ttl: Duration,
) -> Result<(String, UnixSeconds), Failure> {
    let iat = Clock::new().unix();
    let exp = iat.plus(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
    let join = Join { jti: TokenId::generate(), aud: domain, blueprint, iat, exp };
    let token = jws::sign_as_did(operator, JOIN_TYP, &join);
    Ok((token.map_err(|error| Failure::new(error.code(), error.to_string()))?, exp))
}

async fn enrol(args: &EnrolArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let join = join_argument(&args.join)?;
    let (claims, domain) = join_claims(&join)?;
    let home = AgentHome::at(&args.home.home);
    if args.dry_run {
        let blueprint = claims.get("blueprint").and_then(Value::as_str).unwrap_or("?");
        let text =
            format!("would enrol a {blueprint} in {domain}, its key and credential in {}", home.path().display());
        return Ok(Answer::yes(json!({ "dry_run": true, "trust_domain": domain, "blueprint": blueprint }), text));
    }
    let held = home.key_or_new()?;
    let runtime = RuntimeClaim { model_id: args.model.clone(), manifest_hash: args.manifest_hash };
    let agent = enrol_key(&home, held.key(), &join, &runtime, common).await?;
    out.talk(format!("the key stays in {}; next: marque token issue --home …", home.path().display()));
    enrolled(&agent)
}

/// Enrols a home's key, and keeps the credential in the home.
pub(crate) async fn enrol_key(
    home: &AgentHome,
    key: &AgentKey,
    join: &str,
    runtime: &RuntimeClaim,
    common: &Common,
) -> Result<Agent, Failure> {
    let (_, domain) = join_claims(join)?;
    let bus = common.connection.resolve_agent(key, Presented::ENROL)?.connect("marque agent").await?;
    let agent = Agent::enrol(&bus, &domain, key.clone(), join, runtime).await?;
    home.keep_credential(agent.credential())?;
    home.keep_domain(&domain)?;
    Ok(agent)
}

/// A join token on a command line: itself, or `-` for stdin.
pub(crate) fn join_argument(argument: &str) -> Result<String, Failure> {
    Ok(match argument {
        "-" => String::from_utf8_lossy(&read_bounded("-", JOIN_BYTES_MAX)?).trim().to_owned(),
        token => token.trim().to_owned(),
    })
}

/// A join token's claims and its trust domain: who invites also says to where. The issuer checks the signature.
fn join_claims(join: &str) -> Result<(Value, TrustDomain), Failure> {
    let claims: Value = jws::unverified_payload(join, JOIN_BYTES_MAX)
        .map_err(|error| Failure::new(Code::JoinTokenInvalid, format!("the join token can't be read: {error}")))?;
    let domain = claims.get("aud").and_then(Value::as_str).and_then(|name| name.parse().ok());
    let domain = domain.ok_or_else(|| Failure::new(Code::JoinTokenInvalid, "the join token names no trust domain"))?;
    Ok((claims, domain))
}

fn enrolled(agent: &Agent) -> Result<Answer, Failure> {
    let text = facts(&[("agent", agent.did().to_string()), ("credential until", time::utc(agent.expires_at()))]);
    Ok(Answer::yes(
        json!({ "agent": agent.did(), "credential": agent.credential(), "expires_at": agent.expires_at() }),
        text,
    ))
}

async fn renew(args: &RenewArgs, common: &Common) -> Result<Answer, Failure> {
    let home = AgentHome::at(&args.home.home);
    let held = home.key()?;
    if args.dry_run {
        let text = format!("would renew the credential of {}", held.key().did());
        return Ok(Answer::yes(json!({ "dry_run": true, "agent": held.key().did() }), text));
    }
    let bus = common.connection.resolve_agent(held.key(), home.credential()?)?.connect("marque agent").await?;
    let mut agent = resume(&bus, &home, held.key().clone())?;
    agent.renew().await?;
    home.keep_credential(agent.credential())?;
    enrolled(&agent)
}

/// The agent of a home, which enrolled before.
pub(crate) fn resume(bus: &marque_bus::Bus, home: &AgentHome, key: AgentKey) -> Result<Agent, Failure> {
    let credential = home.credential()?;
    let claims = credential_claims(&credential)?;
    let domain = home.domain()?;
    Ok(Agent::resume(bus, &domain, key, credential, expires_at(&claims)))
}

fn credential_claims(credential: &str) -> Result<Value, Failure> {
    jws::unverified_payload(credential, marque_json::Limits::DEFAULT.bytes_max)
        .map_err(|error| Failure::new(Code::CredentialInvalid, format!("the credential can't be read: {error}")))
}

fn expires_at(claims: &Value) -> UnixSeconds {
    UnixSeconds(claims.get("exp").and_then(Value::as_i64).unwrap_or_default())
}

fn info(args: &HomeArgs) -> Result<Answer, Failure> {
    let home = AgentHome::at(&args.home);
    let held = home.key()?;
    let key = held.key();
    let claims = credential_claims(&home.credential()?)?;
    let subject = claims.get("credentialSubject").cloned().unwrap_or(Value::Null);
    let word = |name: &str| subject.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let text = facts(&[
        ("agent", key.did().to_string()),
        ("nkey", nkey::user_public(&key.public())),
        ("blueprint", word("blueprint")),
        ("sponsor", word("sponsor")),
        ("credential until", time::utc(expires_at(&claims))),
        ("actions signed", key.history().signed.to_string()),
    ]);
    let data = json!({
        "agent": key.did(), "nkey": nkey::user_public(&key.public()), "jwk": key.public().jwk(), "subject": subject,
        "expires_at": expires_at(&claims), "actions_signed": key.history().signed, "last_action": key.history().last,
    });
    Ok(Answer::yes(data, text))
}
