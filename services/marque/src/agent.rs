//! `marque agent`: invite, ls, info and tree (an operator), enrol, renew and info (the agent's own machine).

mod known;
mod ls;
pub(crate) mod stock;
mod tree;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use marque_agent::{Agent, AgentKey, Evidence, RuntimeClaim};
use marque_bus::Presented;
use marque_credential::evidence::{MANIFEST_BYTES_MAX, Manifest};
use marque_identity::{BlueprintName, Code, Did, Digest, TokenId, TrustDomain, UnixSeconds};
use marque_runtime::Clock;
use marque_signing::{SigningKey, jws, nkey};
use serde::Serialize;
use serde_json::{Value, json};

use crate::agent_home::AgentHome;
use crate::cli::{Common, duration};
use crate::directory::{Directory, read_key};
use crate::inspect::read_bounded;
use crate::output::{Answer, Output, facts};
use crate::{Failure, blueprint, time};

/// A join token is a few hundred bytes.
const JOIN_BYTES_MAX: usize = 16 * 1024;
/// The issuer takes no larger piece of evidence.
const EVIDENCE_BYTES_MAX: usize = 16 * 1024;
/// `typ` of a join token.
pub(crate) const JOIN_TYP: &str = "marque-join+jwt";

/// What to do about agents.
#[derive(Debug, Subcommand)]
pub enum AgentVerb {
    /// Make a one-time join token with the operator's key.
    Invite(InviteArgs),
    /// Make a key without enrolling it: a sub-agent's, whom a parent delegates to.
    Key(KeyArgs),
    /// Make a key and enrol it with the evidence that its blueprint demands.
    Enrol(EnrolArgs),
    /// Ask for a fresh identity credential.
    Renew(RenewArgs),
    /// Run a command beside a sidecar that holds the key: the command acts, and sees no credential.
    Run(Box<crate::agent_run::RunArgs>),
    /// Who an agent is: by its folder, or as the log knows it.
    Info(InfoArgs),
    /// The agents that the log knows, one line each.
    Ls(ls::LsArgs),
    /// Who handed what to whom.
    Tree(tree::TreeArgs),
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
pub(crate) struct HomeArgs {
    /// The agent's folder: key, credential, action counter.
    #[arg(long, env = "MARQUE_AGENT_HOME", value_name = "DIR")]
    pub home: PathBuf,
}

/// Which agent, and who asks.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// An agent, as an operator asks the log for it: its DID, its key, or its NATS user (`U…`).
    #[arg(value_parser = stock::agent, required_unless_present = "home")]
    agent: Option<Did>,
    /// Or the agent's own folder: key, credential, action counter.
    #[arg(long, env = "MARQUE_AGENT_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
}

/// Whose key.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// The agent's folder; the key in it is shown where there is one.
    #[command(flatten)]
    home: HomeArgs,
    /// Say what would be done; make no key.
    #[arg(long)]
    dry_run: bool,
}

/// How to enrol.
#[derive(Debug, Args)]
pub struct EnrolArgs {
    /// The agent's folder; a key is made in it if there is none.
    #[command(flatten)]
    home: HomeArgs,
    /// The join token, or `-` for stdin. Needed where the blueprint demands one; it is what most demand.
    #[arg(long, value_name = "TOKEN", required_unless_present = "blueprint")]
    join: Option<String>,
    /// The kind of agent to enrol as; a join token says it too.
    #[arg(long, value_name = "NAME")]
    blueprint: Option<BlueprintName>,
    /// The trust domain, where neither a join token nor a bootstrap directory tells it.
    #[arg(long)]
    domain: Option<TrustDomain>,
    /// A token of an OpenID Connect issuer, or a JWT-SVID: a file, or `-` for stdin.
    #[arg(long, value_name = "FILE")]
    oidc_token: Option<String>,
    /// An attestor's statement on this process: a file, or `-` for stdin.
    #[arg(long, value_name = "FILE")]
    process_evidence: Option<String>,
    /// The socket of this machine's attestor, which is asked for a statement on this process.
    #[arg(long, value_name = "SOCKET", conflicts_with = "process_evidence")]
    attestor: Option<PathBuf>,
    /// The manifest of what is deployed, a JSON file, or `-` for stdin.
    #[arg(long, value_name = "FILE")]
    manifest: Option<String>,
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
    /// The socket of this machine's attestor, which is asked for a statement on this process: needed where the
    /// blueprint demands `process`.
    #[arg(long, value_name = "SOCKET")]
    attestor: Option<PathBuf>,
    /// An attestor's fresh statement on this process: a file, or `-` for stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "attestor")]
    process_evidence: Option<String>,
    /// The manifest of what is deployed now, a JSON file, or `-` for stdin.
    #[arg(long, value_name = "FILE")]
    manifest: Option<String>,
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
        AgentVerb::Invite(args) => invite(args, common, out).await,
        AgentVerb::Key(args) => key(args, out),
        AgentVerb::Enrol(args) => enrol(args, common, out).await,
        AgentVerb::Renew(args) => renew(args, common).await,
        AgentVerb::Run(args) => crate::agent_run::run(args, common, out).await,
        AgentVerb::Info(InfoArgs { agent: Some(agent), .. }) => known::run(*agent, common, out).await,
        AgentVerb::Info(InfoArgs { agent: None, home }) => info(home),
        AgentVerb::Ls(args) => ls::run(args, common, out).await,
        AgentVerb::Tree(args) => tree::run(args, common, out).await,
    }
}

async fn invite(args: &InviteArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let key = match &args.key {
        Some(file) => read_key(file)?,
        None => common.connection.directory()?.key("operator")?,
    };
    let domain = match &args.domain {
        Some(domain) => domain.clone(),
        None => common.connection.directory()?.bundle()?.trust_domain,
    };
    blueprint::must_be_known(&args.blueprint, common, out).await?;
    let (token, exp) = join_token(&key, &domain, &args.blueprint, args.ttl)?;
    out.talk(format!("use it once, before {}:", time::utc(exp)));
    let model =
        common.connection.dir.as_ref().and_then(|dir| blueprint::model_in(&Directory::at(dir), &args.blueprint));
    let model = model.as_deref().unwrap_or("MODEL");
    out.talk(format!("  marque agent enrol --home ./agent --model {model} --join TOKEN"));
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

fn key(args: &KeyArgs, out: &Output) -> Result<Answer, Failure> {
    let home = AgentHome::at(&args.home.home);
    let made = !home.has_key();
    if args.dry_run {
        let folder = home.path().display();
        let text = match made {
            true => format!("would make a key in {folder}"),
            false => format!("would make none: {folder} has a key"),
        };
        return Ok(Answer::yes(json!({ "dry_run": true, "home": home.path(), "made": made }), text));
    }
    let held = home.key_or_new()?;
    let public = held.key().public();
    let folder = home.path().display();
    out.talk(match made {
        true => format!("made a key in {folder}; whoever has a chain hands on to it: marque token delegate --to DID …"),
        false => format!("{folder} had a key already, which is this one; none was made"),
    });
    let data = json!({ "agent": public.did(), "nkey": nkey::user_public(&public), "jwk": public.jwk(), "made": made });
    let answer = Answer::yes(data, public.did().to_string());
    Ok(if made { answer.changed(format!("the key is in {folder}; run it again to be shown it")) } else { answer })
}

async fn enrol(args: &EnrolArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let mut evidence = evidence(args)?;
    let (domain, invited) = match &evidence.join_token {
        Some(join) => invitation(join)?,
        None => (domain(args, common)?, None),
    };
    let home = AgentHome::at(&args.home.home);
    if args.dry_run {
        let blueprint = args.blueprint.as_ref().map(BlueprintName::as_str).or(invited.as_deref()).unwrap_or("?");
        let text =
            format!("would enrol a {blueprint} in {domain}, its key and credential in {}", home.path().display());
        return Ok(Answer::yes(json!({ "dry_run": true, "trust_domain": domain, "blueprint": blueprint }), text));
    }
    let held = home.key_or_new()?;
    if let Some(socket) = &args.attestor {
        evidence.process = Some(marque_agent::attest(socket, held.key(), &domain).await?);
    }
    let runtime = RuntimeClaim { model_id: args.model.clone(), manifest_hash: args.manifest_hash };
    let agent = enrol_key(&home, held.key(), &domain, evidence, &runtime, common).await?;
    out.talk(format!("the key stays in {}; next: marque token issue --home …", home.path().display()));
    enrolled(&agent, &home)
}

/// Enrols a home's key by this evidence, and keeps the credential in the home.
pub(crate) async fn enrol_key(
    home: &AgentHome,
    key: &AgentKey,
    domain: &TrustDomain,
    evidence: Evidence,
    runtime: &RuntimeClaim,
    common: &Common,
) -> Result<Agent, Failure> {
    let bus = common.connection.resolve_agent(key, Presented::ENROL)?.connect("marque agent").await?;
    let agent = Agent::enrol(&bus, domain, key.clone(), evidence, runtime).await?;
    home.keep_credential(agent.credential())?;
    home.keep_domain(domain)?;
    Ok(agent)
}

/// A join token on a command line: itself, or `-` for stdin.
pub(crate) fn join_argument(argument: &str) -> Result<String, Failure> {
    Ok(match argument {
        "-" => String::from_utf8_lossy(&read_bounded("-", JOIN_BYTES_MAX)?).trim().to_owned(),
        token => token.trim().to_owned(),
    })
}

/// What the flags name. Of several pieces one alone can come from stdin.
fn evidence(args: &EnrolArgs) -> Result<Evidence, Failure> {
    let from = [args.join.as_ref(), args.oidc_token.as_ref(), args.process_evidence.as_ref(), args.manifest.as_ref()];
    if from.into_iter().flatten().filter(|from| *from == "-").count() > 1 {
        return Err(Failure::usage("two pieces of evidence can't both come from stdin"));
    }
    let join_token = match args.join.as_deref() {
        Some("-") => Some(evidence_line("-")?),
        token => token.map(|token| token.trim().to_owned()),
    };
    Ok(Evidence {
        join_token,
        oidc: args.oidc_token.as_deref().map(evidence_line).transpose()?,
        process: args.process_evidence.as_deref().map(evidence_line).transpose()?,
        manifest: args.manifest.as_deref().map(manifest).transpose()?,
        blueprint: args.blueprint.clone(),
    })
}

/// A token in a file.
fn evidence_line(file: &str) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(&read_bounded(file, EVIDENCE_BYTES_MAX)?).trim().to_owned())
}

fn manifest(file: &str) -> Result<Manifest, Failure> {
    Manifest::parse(&read_bounded(file, MANIFEST_BYTES_MAX)?)
        .map_err(|error| Failure::new(Code::ConfigInvalid, format!("the manifest {file} can't be read: {error}")))
}

/// Who invites also says to where, and as what; the issuer checks the signature.
pub(crate) fn invitation(join: &str) -> Result<(TrustDomain, Option<String>), Failure> {
    let claims: Value = jws::unverified_payload(join, JOIN_BYTES_MAX)
        .map_err(|error| Failure::new(Code::JoinTokenInvalid, format!("the join token can't be read: {error}")))?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let domain = text("aud").and_then(|name| name.parse::<TrustDomain>().ok());
    let domain = domain.ok_or_else(|| Failure::new(Code::JoinTokenInvalid, "the join token names no trust domain"))?;
    Ok((domain, text("blueprint").map(str::to_owned)))
}

fn domain(args: &EnrolArgs, common: &Common) -> Result<TrustDomain, Failure> {
    match &args.domain {
        Some(domain) => Ok(domain.clone()),
        None => Ok(common.connection.directory()?.bundle()?.trust_domain),
    }
}

fn enrolled(agent: &Agent, home: &AgentHome) -> Result<Answer, Failure> {
    let text = facts(&[("agent", agent.did().to_string()), ("credential until", time::utc(agent.expires_at()))]);
    let data = json!({ "agent": agent.did(), "credential": agent.credential(), "expires_at": agent.expires_at() });
    let home = home.path().display();
    Ok(Answer::yes(data, text)
        .changed(format!("the credential is in {home}: `marque agent info --home {home}` shows it")))
}

async fn renew(args: &RenewArgs, common: &Common) -> Result<Answer, Failure> {
    let home = AgentHome::at(&args.home.home);
    let held = home.key()?;
    if args.dry_run {
        let text = format!("would renew the credential of {}", held.key().did());
        return Ok(Answer::yes(json!({ "dry_run": true, "agent": held.key().did() }), text));
    }
    if [&args.process_evidence, &args.manifest].into_iter().flatten().filter(|from| *from == "-").count() > 1 {
        return Err(Failure::usage("two pieces of evidence can't both come from stdin"));
    }
    let bus = common.connection.resolve_agent(held.key(), home.credential()?)?.connect("marque agent").await?;
    let mut agent = resume(&bus, &home, held.key().clone())?;
    if let Some(manifest) = args.manifest.as_deref().map(manifest).transpose()? {
        agent = agent.with_manifest(manifest);
    }
    if let Some(socket) = &args.attestor {
        agent = agent.with_attestor(socket);
    }
    match args.process_evidence.as_deref().map(evidence_line).transpose()? {
        Some(statement) => agent.renew_with(&statement).await?,
        None => agent.renew().await?,
    }
    home.keep_credential(agent.credential())?;
    enrolled(&agent, &home)
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

/// A DID, short.
fn short(did: &str) -> String {
    crate::audit::explanation::short_did(did)
}

fn info(home: &Option<PathBuf>) -> Result<Answer, Failure> {
    let home = home.as_ref().ok_or_else(|| Failure::usage("name an agent, or its folder with --home"))?;
    let home = AgentHome::at(home);
    let held = home.key()?;
    let key = held.key();
    if !home.credential_file().exists() {
        return Ok(not_enrolled(key));
    }
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

/// A key without a credential: a sub-agent's, which acts under chains that others hand to it.
fn not_enrolled(key: &AgentKey) -> Answer {
    let nkey = nkey::user_public(&key.public());
    let text = facts(&[
        ("agent", key.did().to_string()),
        ("nkey", nkey.clone()),
        ("credential", "none: it acts under chains that others hand to it (marque token delegate --to DID)".to_owned()),
        ("actions signed", key.history().signed.to_string()),
    ]);
    let data = json!({
        "agent": key.did(), "nkey": nkey, "jwk": key.public().jwk(), "subject": null, "expires_at": null,
        "actions_signed": key.history().signed, "last_action": key.history().last,
    });
    Answer::yes(data, text)
}
