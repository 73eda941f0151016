//! `marque nats permissions`: what an agent gets at the broker by its chains, or a service by its role, and why.
//!
//! A chain, or an identity credential, is judged as the gatekeeper judges it: verified, held against the directives in
//! force, and drawn by the same code. An agent's chains come out of the log.

mod held;

use clap::Args;
use marque_agent::enforce::wire::{Grant, Line, Way};
use marque_bus::Feed;
use marque_bus::permissions::{BusRole, allowed};
use marque_credential::IdentityCredential;
use marque_identity::{Code, Refusal, TrustDomain};
use marque_judgement::{ChainLimits, ChainRefusal, VerifiedChain, check_credential, check_standing, verify_chain};
use marque_revocation::View;
use marque_runtime::Clock;
use marque_signing::bundle::Role;
use marque_signing::{Compact, TrustBundle};
use serde_json::{Value, json};

use crate::agent::stock;
use crate::cli::Common;
use crate::output::{Answer, Output, table};
use crate::token::anchors;
use crate::{Failure, tools_arg, view};

/// Whose permissions.
#[derive(Debug, Args)]
pub struct PermissionsArgs {
    /// An agent that the log knows: its DID, its key, or its NATS user (`U…`); a file with a chain or an identity
    /// credential, or `-` for stdin; or a role of the broker: issuer, broadcaster, verifier, sink, gatekeeper, host,
    /// operator, bootstrap, …
    #[arg(value_name = "AGENT|FILE|ROLE")]
    whose: String,
    /// Of a file alone: ask nobody which directives are in force. What they withhold is granted then.
    #[arg(long)]
    offline: bool,
}

/// Tells it.
pub(crate) async fn run(args: &PermissionsArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    if let Some(role) = BusRole::ALL.iter().find(|role| role.as_str() == args.whose) {
        return Ok(of_role(*role));
    }
    match stock::agent(&args.whose) {
        Ok(_) if args.offline => Err(Failure::usage("an agent's chains are in the log, and that is not offline")
            .hint("leave out --offline, or name a file with the chain")),
        Ok(agent) => held::run(agent, common, out).await,
        Err(_) => of_presented(&tools_arg::chain(&args.whose)?, args.offline, common, out).await,
    }
}

/// What a chain or a credential gives, if it holds under the directory's bundle.
async fn of_presented(text: &str, offline: bool, common: &Common, out: &Output) -> Result<Answer, Failure> {
    let bundle = common.connection.directory()?.bundle()?;
    let now = Clock::new().unix();
    let first = Compact::split(text.split('~').next().unwrap_or_default()).ok();
    let typ = first.and_then(|token| token.header_member("typ").ok().flatten());
    if typ.as_deref() == Some(marque_credential::identity_credential::CREDENTIAL_TYPE) {
        let verified = IdentityCredential::verify(text, &bundle.keys(Role::Issuer), now)
            .map_err(|error| Failure::new(Code::CredentialInvalid, error.to_string()))?;
        let agent = verified.claims().subject;
        if offline {
            out.talk(format!("{agent}, by its credential; a directive may have ended it"));
        } else {
            let feed = directives(common, &bundle).await?;
            let (view, now) = (feed.view(), feed.now());
            check_credential(&verified, &bundle.trust_domain, &view, view::STALENESS, now).map_err(ended)?;
            out.talk(format!("{agent}, by its credential, under the directives up to epoch {}", view.epoch()));
        }
        let grant = Grant::of_credential(&agent);
        return Ok(Answer::yes(document(&grant), in_words(&grant)));
    }
    let chain = verified(text, &bundle)?;
    let who = format!("{}, by a chain of {}", chain.leaf().holder(), chain.links().len());
    let grant = if offline {
        out.talk(format!("{who}; live narrowings and revocations may withhold more"));
        Grant::of_chain(&chain, &bundle.trust_domain, &View::new())
    } else {
        let feed = directives(common, &bundle).await?;
        let grant = drawn(&chain, &bundle.trust_domain, &feed)?;
        out.talk(format!("{who}, under the directives up to epoch {}", feed.view().epoch()));
        grant
    };
    Ok(Answer::yes(document(&grant), in_words(&grant)))
}

/// The directives in force.
async fn directives(common: &Common, bundle: &TrustBundle) -> Result<Feed, Failure> {
    let bus = common.connection.resolve(BusRole::Operator)?.connect("marque nats permissions").await?;
    view::fresh(&bus, bundle).await
}

/// A chain that holds now.
fn verified(text: &str, bundle: &TrustBundle) -> Result<VerifiedChain, Failure> {
    let tokens: Vec<&str> = text.split('~').collect();
    verify_chain(&tokens, &anchors(bundle), Clock::new().unix(), &ChainLimits::default())
        .map_err(|refusal| Refusal::from(refusal).into())
}

/// What the gatekeeper would give for a chain now; a failure where a directive has ended it.
fn drawn(chain: &VerifiedChain, domain: &TrustDomain, feed: &Feed) -> Result<Grant, Failure> {
    let (view, now) = (feed.view(), feed.now());
    check_standing(chain, domain, &view, view::STALENESS, now).map_err(ended)?;
    Ok(Grant::of_chain(chain, domain, &view))
}

/// What is said where a directive has ended what was shown, or nobody can tell whether one has.
fn ended((refusal, directive): (ChainRefusal, Option<String>)) -> Failure {
    let failure = Failure::from(Refusal::from(refusal));
    match directive {
        Some(id) => failure
            .hint(format!("directive {id} ended it: `marque revoke ls` shows it; `marque audit query --kind directive -j` tells who asked for it")),
        None => failure,
    }
}

/// For scripts: `{given, withheld, may_answer}`.
fn document(grant: &Grant) -> Value {
    json!({ "given": grant.given, "withheld": grant.withheld, "may_answer": grant.responses().is_some() })
}

/// For people.
fn in_words(grant: &Grant) -> String {
    let rows = |lines: &[Line], verdict: &str| -> Vec<Vec<String>> {
        let row = |line: &Line| {
            let way = match line.way {
                Way::Publish => "publish",
                Way::Subscribe => "subscribe",
            };
            vec![verdict.to_owned(), way.to_owned(), line.subject.clone(), line.why.clone()]
        };
        lines.iter().map(row).collect()
    };
    table(&["given", "way", "subject", "why"], &[rows(&grant.given, "yes"), rows(&grant.withheld, "NO")].concat())
}

fn of_role(role: BusRole) -> Answer {
    let allowed = allowed(role);
    let publish = allowed.publish.iter().map(|subject| ("publish", subject));
    let subscribe = allowed.subscribe.iter().map(|subject| ("subscribe", subject));
    let rows: Vec<Vec<String>> =
        publish.chain(subscribe).map(|(way, subject)| vec![way.to_owned(), subject.clone()]).collect();
    let data: Value = json!({
        "role": role.as_str(), "account": role.account().as_str(), "publish": allowed.publish,
        "subscribe": allowed.subscribe,
    });
    Answer::yes(data, table(&["way", "subject"], &rows))
}
