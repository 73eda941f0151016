//! `marque nats permissions`: what an agent gets at the broker by its chain, or a service by its role, and why.

use clap::Args;
use marque_agent::enforce::wire::{Grant, Line, Way};
use marque_bus::Presented;
use marque_bus::permissions::{BusRole, allowed};
use marque_credential::IdentityCredential;
use marque_identity::{Code, Did, Refusal};
use marque_judgement::{ChainLimits, verify_chain};
use marque_revocation::View;
use marque_runtime::Clock;
use marque_signing::Compact;
use marque_signing::bundle::Role;
use serde_json::{Value, json};

use crate::cli::Common;
use crate::output::{Answer, Output, table};
use crate::token::anchors;
use crate::{Failure, tools_arg};

/// Whose permissions.
#[derive(Debug, Args)]
pub struct PermissionsArgs {
    /// A file with an agent's chain or identity credential, or `-` for stdin; its DID for what it may do to enrol; or a
    /// role of the broker: issuer, broadcaster, verifier, sink, gatekeeper, host, operator, bootstrap, …
    #[arg(value_name = "AGENT|ROLE")]
    whose: String,
}

/// Tells it. Directives are not looked at: what a live narrowing withholds is granted here.
pub(crate) fn run(args: &PermissionsArgs, common: &Common, out: &Output) -> Result<Answer, Failure> {
    if let Some(role) = BusRole::ALL.iter().find(|role| role.as_str() == args.whose) {
        return Ok(of_role(*role));
    }
    let (who, grant) = match args.whose.parse::<Did>() {
        Ok(agent) => (format!("{agent}, to {}", Presented::ENROL), Grant::to_enrol(&agent)),
        Err(_) => of_presented(&tools_arg::chain(&args.whose)?, common)?,
    };
    out.talk(format!("{who}; live narrowings may withhold more"));
    let rows = |lines: &[Line], given: bool| -> Vec<Vec<String>> {
        let row = |line: &Line| {
            let way = match line.way {
                Way::Publish => "publish",
                Way::Subscribe => "subscribe",
            };
            let verdict = if given { "yes" } else { "NO" };
            vec![verdict.to_owned(), way.to_owned(), line.subject.clone(), line.why.clone()]
        };
        lines.iter().map(row).collect()
    };
    let all = [rows(&grant.given, true), rows(&grant.withheld, false)].concat();
    let text = table(&["given", "way", "subject", "why"], &all);
    let data = json!({
        "given": grant.given, "withheld": grant.withheld, "may_answer": grant.responses().is_some(),
    });
    Ok(Answer::yes(data, text))
}

/// What a chain or a credential gives, if it holds under the directory's bundle.
fn of_presented(text: &str, common: &Common) -> Result<(String, Grant), Failure> {
    let bundle = common.connection.directory()?.bundle()?;
    let now = Clock::new().unix();
    let first = Compact::split(text.split('~').next().unwrap_or_default()).ok();
    let typ = first.and_then(|token| token.header_member("typ").ok().flatten());
    if typ.as_deref() == Some(marque_credential::identity_credential::CREDENTIAL_TYPE) {
        let verified = IdentityCredential::verify(text, &bundle.keys(Role::Issuer), now)
            .map_err(|error| Failure::new(Code::CredentialInvalid, error.to_string()))?;
        let agent = verified.claims().subject;
        return Ok((format!("{agent}, by its credential"), Grant::of_credential(&agent)));
    }
    let tokens: Vec<&str> = text.split('~').collect();
    let chain = verify_chain(&tokens, &anchors(&bundle), now, &ChainLimits::default())
        .map_err(|refusal| Failure::from(Refusal::from(refusal)))?;
    let who = format!("{}, by a chain of {}", chain.leaf().holder(), chain.links().len());
    Ok((who, Grant::of_chain(&chain, &bundle.trust_domain, &View::new())))
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
