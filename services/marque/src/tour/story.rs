//! The story, step after step. What must happen stands beside what is done.

use std::time::{Duration, Instant};

use marque_agent::{AgentKey, CallError, Why};
use marque_bus::Bus;
use marque_credential::IdentityCredential;
use marque_identity::{Code, TaskId};
use marque_revocation::{Op, Target};
use marque_runtime::Clock;
use marque_signing::SigningKey;
use marque_signing::bundle::Role;
use serde_json::json;

use super::expect::{denied, otherwise, permitted, told};
use super::ledger::Records;
use super::people::{self, SubAgent};
use super::stage::{ARCHIVE, CRM, MAIL, Place, Stage};
use super::teller::Teller;
use super::{forge, ledger};
use crate::Failure;
use crate::directive::ask::{Question, Who, ask_on};
use crate::time::measured;
use marque_revocation::DirectiveReply;

/// Events can be lost: a connection is looked at again after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a directive's answer is waited for.
const ASK_TIME: Duration = Duration::from_secs(20);

/// Tells the story on a running system.
pub(super) async fn tell(place: &Place, teller: &mut Teller) -> Result<(), Failure> {
    teller.chapter("Who it is, and what it may do")?;
    let stage = teller
        .step("trust bundle, tool hosts", async {
            let stage = place.set().await?;
            let pin = place.directory.fingerprint()?;
            let told = format!(
                "{}, fingerprint {}; two tools enforce in their host",
                stage.domain,
                crate::directory::short(&pin)
            );
            Ok((stage, told))
        })
        .await?;
    let agent = teller
        .step("enrol", async {
            let agent = people::enrol(&stage).await?;
            let verified =
                IdentityCredential::verify(agent.credential(), &stage.bundle.keys(Role::Issuer), Clock::new().unix());
            let claims = verified.map_err(|error| otherwise(error.to_string()))?.claims().clone();
            let told = format!("one-time join token → credential for a {} of {}", claims.blueprint, claims.sponsor);
            Ok((agent, told))
        })
        .await?;
    let task = task()?;
    let root = teller
        .step("commission", async {
            let root = people::commission(&agent, &task).await?;
            Ok((root, format!("root token for {task}: 3 tools, 15 minutes, 3 links")))
        })
        .await?;
    let (researcher, reader, writer) = teller
        .step("delegate, offline", async {
            let begun = Instant::now();
            let researcher = people::researcher(&root)?;
            let reader = people::reader(&researcher.commission)?;
            let writer = people::writer(&root)?;
            let each = measured(begun.elapsed() / 3);
            let told = format!("researcher → reader, and writer: {each} each, no service was asked");
            Ok(((researcher, reader, writer), told))
        })
        .await?;

    teller.chapter("The broker lets it in by its chain, and holds it to that")?;
    let bus = is_let_in(&stage, &researcher, teller).await?;

    teller.chapter("It acts: each call is a signed action, decided and recorded before the tool runs")?;
    let first = acts(&bus, &researcher, teller).await?;
    is_held_to_its_grant(&stage, &bus, &root, &researcher, teller).await?;

    teller.chapter("It is narrowed, and ended, while it runs")?;
    is_narrowed(&stage, &bus, &researcher, teller).await?;
    let ended = is_revoked(&stage, &bus, &researcher, &reader, &writer, teller).await?;

    teller.chapter("What it did stands in the log")?;
    let records = Records { permit: first, denial: ended.denial, last: ended.last };
    ledger::tell(place, &stage, &task, &researcher, &records, teller).await
}

/// What came of the end of a sub-agent.
struct Ended {
    /// The *decided* record of its child's denial.
    denial: String,
    /// The *decided* record of its sibling's call, the story's last.
    last: String,
    /// The sibling's connection. It stands until the log was taken home: its end is a record, too.
    _connection: Bus,
}

/// A task of its own for each tour, so that its records can be told from others'.
fn task() -> Result<TaskId, Failure> {
    let id = uuid::Uuid::now_v7().simple().to_string();
    format!("urn:task:tour-{}", &id[id.len() - 12..]).parse().map_err(|error| otherwise(format!("{error}")))
}

/// The sub-agent connects with its chain; a thief with the same chain does not, and a subject that it does not grant is
/// out of reach. Answers its connection.
async fn is_let_in(stage: &Stage, researcher: &SubAgent, teller: &mut Teller) -> Result<Bus, Failure> {
    let bus = teller
        .step("it connects with its chain", async {
            let bus = stage.connect_by(&researcher.commission).await?;
            Ok((bus, "let in: two tools, its own inbox and statements, nothing else".to_owned()))
        })
        .await?;
    teller
        .step("a thief with the same chain", async {
            let thief = AgentKey::generate().map_err(|error| otherwise(error.to_string()))?;
            let outcome = stage.connect(&thief, researcher.commission.chain()).await;
            Ok(((), turned_away(outcome)?))
        })
        .await?;
    let actor = researcher.commission.on(&bus);
    teller
        .step("asks for another tool", async {
            let args = json!({ "to": "board@acme.example", "subject": "hi", "body": "…" });
            match actor.call(MAIL, &args, Why::default()).await {
                Err(CallError::Unanswered(refusal)) if refusal.code == Code::NotAuthorized => {
                    Ok(((), format!("REFUSED by the broker: its connection may not publish on {MAIL}")))
                }
                Err(error) => Err(otherwise(format!("the broker must refuse this, but: {error}"))),
                Ok(_) => Err(otherwise("the broker must refuse this, but it was permitted")),
            }
        })
        .await?;
    Ok(bus)
}

/// A connect that must be refused.
fn turned_away(outcome: Result<Bus, Failure>) -> Result<String, Failure> {
    match outcome {
        Ok(_) => Err(otherwise("the broker must turn this away, but let it in")),
        Err(failure) if failure.code == Code::NotAuthorized => {
            Ok("REFUSED at the door: the reason stands in the audit log, the caller hears none".to_owned())
        }
        Err(failure) => Err(failure),
    }
}

/// Permits: in the tool's own host, and at the gate. Answers the id of the first *decided* record.
async fn acts(bus: &Bus, researcher: &SubAgent, teller: &mut Teller) -> Result<String, Failure> {
    let actor = researcher.commission.on(bus);
    let first = teller
        .step("a call, in the tool's host", async {
            let why = Why::because("the report needs acme's open invoices");
            let answer = permitted(actor.call(CRM, &json!({ "customer": "acme" }), why).await)?;
            let record = answer.record.clone().ok_or_else(|| otherwise("the answer names no decided record"))?;
            let reply = String::from_utf8_lossy(&answer.payload).into_owned();
            Ok((record, format!("permitted: {reply}")))
        })
        .await?;
    teller
        .step("the same, chain known", async {
            let args = json!({ "customer": "globex", "limit": 5 });
            permitted(actor.call(CRM, &args, Why::default()).await)?;
            Ok(((), "permitted: the chain went as its digest, one signature was checked".to_owned()))
        })
        .await?;
    teller
        .step("a call through the gate", async {
            let answer = permitted(actor.call_via_gate(ARCHIVE, &json!({ "customer": "acme" }), Why::default()).await)?;
            let reply = String::from_utf8_lossy(&answer.payload).into_owned();
            Ok(((), format!("permitted: {reply}, by a tool that knows nothing of chains")))
        })
        .await?;
    Ok(first)
}

/// Denials: beyond the grant, a forged wider token, a replayed proof, an overheard chain.
async fn is_held_to_its_grant(
    stage: &Stage,
    bus: &Bus,
    root: &marque_agent::Commission,
    researcher: &SubAgent,
    teller: &mut Teller,
) -> Result<(), Failure> {
    let actor = researcher.commission.on(bus);
    teller
        .step("asks for another customer", async {
            let outcome = actor.call(CRM, &json!({ "customer": "initech" }), Why::default()).await;
            Ok(((), told(&denied(outcome, Code::ArgumentRefused)?)))
        })
        .await?;
    teller
        .step("forges itself a wider token", async {
            let accomplice = people::reader(&researcher.commission)?;
            let any = json!({ "customer": { "constraint_type": "wildcard" } });
            let chain = forge::widen(accomplice.commission.chain(), &researcher.by_hand, &format!("nats:{CRM}"), any)?;
            let commission = marque_agent::Commission::adopt(accomplice.commission.key().clone(), chain)?;
            let outcome = commission.on(bus).call(CRM, &json!({ "customer": "initech" }), Why::default()).await;
            Ok(((), told(&denied(outcome, Code::AuthorityWidened)?)))
        })
        .await?;
    teller
        .step("replays a proof", async {
            let args = json!({ "customer": "acme" });
            let (tool, audience) = (format!("nats:{CRM}"), stage.domain.audience(CRM));
            let text = args.to_string();
            let signed = actor
                .prove(&tool, text.as_bytes(), Some(audience), None, Why::default())
                .map_err(|error| otherwise(error.to_string()))?;
            let chain = researcher.commission.chain();
            if let Some((code, _, message)) = forge::send(bus, CRM, chain, &signed.proof, &args).await? {
                return Err(otherwise(format!("the first use must be permitted, not denied as {code}: {message}")));
            }
            let told = forge::send_denied(bus, CRM, chain, &signed.proof, &args, Code::ProofReplayed).await?;
            Ok(((), told))
        })
        .await?;
    teller
        .step("uses a chain it overheard", async {
            let thief = SigningKey::generate().map_err(|error| otherwise(error.to_string()))?;
            let (args, audience) = (json!({ "customer": "acme" }), stage.domain.audience(CRM));
            let chain = root.chain();
            let proof = forge::proof_without_the_key(chain, &thief, &format!("nats:{CRM}"), &args, audience)?;
            let told = forge::send_denied(bus, CRM, chain, &proof, &args, Code::SignatureInvalid).await?;
            Ok(((), told))
        })
        .await
}

async fn is_narrowed(stage: &Stage, bus: &Bus, researcher: &SubAgent, teller: &mut Teller) -> Result<(), Failure> {
    let actor = researcher.commission.on(bus);
    let globex = json!({ "customer": "globex" });
    let narrowed = teller
        .step("the operator narrows it", async {
            let only_acme = json!({ "tools": { format!("nats:{CRM}"): { "customer": { "constraint_type": "exact", "value": "acme" }, "*": { "constraint_type": "wildcard" } } } });
            let question = Question { narrow: Some(only_acme), ..aimed(Op::Narrow, researcher, "globex has objected") };
            reach(stage, question).await
        })
        .await?;
    teller
        .step("what it still signed for", async {
            let outcome = actor.call(CRM, &globex, Why::default()).await;
            Ok(((), told(&denied(outcome, Code::Narrowed)?)))
        })
        .await?;
    teller
        .step("what is left", async {
            permitted(actor.call(CRM, &json!({ "customer": "acme" }), Why::default()).await)?;
            Ok(((), "permitted: acme was not touched".to_owned()))
        })
        .await?;
    teller
        .step("the narrowing is lifted", async {
            let question = Question {
                target: None,
                lifts: Some(narrowed.id),
                ..aimed(Op::Lift, researcher, "globex agrees after all")
            };
            let (_, told) = reach(stage, question).await?;
            permitted(actor.call(CRM, &globex, Why::default()).await)?;
            Ok(((), format!("{told}; globex is permitted again, nothing beyond")))
        })
        .await
}

/// The sub-agent is ended, its child with it, its sibling not.
async fn is_revoked(
    stage: &Stage,
    bus: &Bus,
    researcher: &SubAgent,
    reader: &SubAgent,
    writer: &SubAgent,
    teller: &mut Teller,
) -> Result<Ended, Failure> {
    teller
        .step("the operator revokes it", async {
            reach(stage, aimed(Op::Revoke, researcher, "its prompts were injected")).await
        })
        .await?;
    teller
        .step("its connection", async {
            until_closed(bus).await?;
            let told = turned_away(stage.connect_by(&researcher.commission).await)?;
            Ok(((), format!("closed by the broker; coming back is {told}")))
        })
        .await?;
    // What they have signed, over a connection that still stands: the tools' own enforcement.
    let others = stage.connect_by(&writer.commission).await?;
    teller
        .step("what it signs, by other ways", async {
            let actor = researcher.commission.on(&others);
            let outcome = actor.call(CRM, &json!({ "customer": "acme" }), Why::default()).await;
            Ok(((), told(&denied(outcome, Code::Revoked)?)))
        })
        .await?;
    let denial = teller
        .step("its child, never seen before", async {
            turned_away(stage.connect_by(&reader.commission).await)?;
            let actor = reader.commission.on(&others);
            let outcome = actor.call(CRM, &json!({ "customer": "acme" }), Why::because("go on reading")).await;
            let denial = denied(outcome, Code::Revoked)?;
            let record = denial.record.clone().ok_or_else(|| otherwise("the denial names no decided record"))?;
            Ok((record, format!("REFUSED at the door, and {}", told(&denial))))
        })
        .await?;
    let last = teller
        .step("its sibling", async {
            let actor = writer.commission.on(&others);
            let args = json!({ "to": "research@acme.example", "subject": "report", "body": "three invoices are open" });
            let answer = permitted(actor.call(MAIL, &args, Why::because("the report is due")).await)?;
            let record = answer.record.ok_or_else(|| otherwise("the answer names no decided record"))?;
            Ok((record, "permitted: the mail went out, once in the whole cluster".to_owned()))
        })
        .await?;
    Ok(Ended { denial, last, _connection: others })
}

/// Waits until the broker has closed a connection.
async fn until_closed(bus: &Bus) -> Result<(), Failure> {
    let closed = async {
        let mut disturbed = bus.disturbances();
        while bus.is_connected() {
            // Woken by an event or, should one be lost, by the clock.
            let _ = tokio::time::timeout(LOOK_AGAIN, disturbed.changed()).await;
        }
    };
    tokio::time::timeout(ASK_TIME, closed).await.map_err(|_| otherwise("the broker must close its connection"))
}

fn aimed(op: Op, at: &SubAgent, reason: &str) -> Question {
    Question {
        op,
        target: Some(Target::Token(at.commission.leaf_digest())),
        until: None,
        narrow: None,
        lifts: None,
        reason: reason.to_owned(),
        chain: None,
        wait: true,
        key: None,
    }
}

/// Asks as the operator, and tells how far it reached. Every verifier must have applied it.
async fn reach(stage: &Stage, question: Question) -> Result<(DirectiveReply, String), Failure> {
    let who = Who { key: SigningKey::from_seed(&stage.operator.seed()), domain: stage.domain.clone() };
    let reply = ask_on(&stage.operator_bus, &who, question, ASK_TIME).await?;
    let receipt = reply.receipt.as_ref().ok_or_else(|| otherwise("the broadcaster gave no receipt"))?;
    if receipt.acked < receipt.of || receipt.of == 0 {
        return Err(otherwise(format!(
            "it reached {} of {} verifiers; silent: {:?}",
            receipt.acked, receipt.of, receipt.silent
        )));
    }
    let slowest = measured(Duration::from_micros(receipt.max_us));
    let closed = match receipt.closed.count {
        0 => String::new(),
        1 => ", one connection closed".to_owned(),
        count => format!(", {count} connections closed"),
    };
    let told = format!("applied by {} of {}{closed}, the slowest after {slowest}", receipt.acked, receipt.of);
    Ok((reply, told))
}
