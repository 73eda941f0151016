//! Who plays in the end-to-end tests: an orchestrator of a blueprint, its sub-agents, and two tools.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use marque_agent::enforce::{Enforcer, Invocation, Policy, ServedTool};
use marque_agent::{Agent, AgentKey, Answer, CallError, Commission, CommissionRequest, Delegation, RuntimeClaim, Why};
use marque_bus::Bus;
use marque_bus::permissions::BusRole;
use marque_credential::Tools;
use marque_identity::Code;
use serde_json::{Value, json};

use crate::system::TestSystem;

/// A tool whose host enforces.
pub const HOSTED: &str = "tools.ledger.read";
/// A tool that knows nothing of us, behind the verifier's gate.
pub const GATED: &str = "gated.archive.find";
const BLUEPRINT: &str = "tester";
const MODEL: &str = "test/model-1";

/// The blueprint of the cast, for [`TestSystem::start`].
pub fn blueprint() -> (String, String) {
    let text = format!(
        "name = \"{BLUEPRINT}\"\ndescription = \"end-to-end tests\"\nsponsor = \"tests\"\nmodels = [\"{MODEL}\"]\n\
         max_life_seconds = 3600\nmax_depth = 4\n[tools.\"nats:{HOSTED}\"]\n[tools.\"nats:{GATED}\"]\n"
    );
    (BLUEPRINT.to_owned(), text)
}

/// A tools map from JSON that the test wrote.
pub fn tools(json: Value) -> Tools {
    serde_json::from_value(json).expect("the test's own tools map")
}

/// Both tools, any account.
pub fn both_tools() -> Tools {
    tools(json!({ format!("nats:{HOSTED}"): {}, format!("nats:{GATED}"): {} }))
}

/// Enrols a fresh agent of the cast's blueprint.
pub async fn enrol(system: &TestSystem, bus: &Bus) -> Agent {
    let join = system.join_token(BLUEPRINT).expect("an invitation");
    enrol_with(system, bus, &join).await.expect("an invited agent is enrolled")
}

/// Enrols a fresh agent with this join token.
pub async fn enrol_with(system: &TestSystem, bus: &Bus, join: &str) -> Result<Agent, marque_agent::AgentError> {
    let key = AgentKey::generate().expect("randomness");
    let runtime = RuntimeClaim { model_id: MODEL.into(), manifest_hash: None };
    Agent::enrol(bus, system.domain(), key, join, &runtime).await
}

/// A root commission for both tools, to be delegated three times.
pub async fn commission(agent: &Agent) -> Commission {
    let task = "urn:task:end-to-end".parse().expect("a fixed, valid URN");
    let request = CommissionRequest::new(task, "to be tested", both_tools()).depth_max(3);
    agent.commission(&request).await.expect("within the ceiling")
}

/// A sub-agent with these tools, minted offline; it may hand on `further` times.
pub fn delegate(parent: &Commission, grant: Tools, further: u64) -> Commission {
    let key = AgentKey::generate().expect("randomness");
    let chain = parent
        .delegate(&key.public(), Delegation::new(grant).further_depth(further))
        .expect("narrower than its parent");
    Commission::adopt(key, chain).expect("a chain for this key")
}

/// The hosted tool: answers with its arguments and counts how often it ran.
pub struct Hosted {
    /// Keeps it served.
    pub served: ServedTool,
    /// How often the tool itself ran.
    pub runs: Arc<AtomicU64>,
}

/// Serves [`HOSTED`] under in-process enforcement.
pub async fn host(system: &TestSystem, policy: Policy) -> Hosted {
    let enforcer: Enforcer = system.enforcer(policy).await.expect("a fresh enforcement point");
    let runs = Arc::new(AtomicU64::new(0));
    let counter = runs.clone();
    let answer = move |invocation: Invocation| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move { Ok(invocation.args) }
    };
    Hosted { served: enforcer.serve_tool(HOSTED, answer).await.expect("a free subject"), runs }
}

/// Serves [`GATED`] as a plain NATS responder that has never heard of us; counts how often it ran.
pub async fn plain_tool(system: &TestSystem) -> Arc<AtomicU64> {
    let bus = system.bus(BusRole::Host).await.expect("the host's connection");
    let mut requests = bus.client().subscribe(GATED).await.expect("a subscription");
    bus.client().flush().await.expect("the subscription is known to the broker");
    let runs = Arc::new(AtomicU64::new(0));
    let counter = runs.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            counter.fetch_add(1, Ordering::SeqCst);
            if let Some(reply) = request.reply {
                let _ = bus.client().publish(reply, request.payload).await;
            }
        }
    });
    runs
}

/// A call of the hosted tool.
pub async fn call(commission: &Commission, bus: &Bus, n: u64) -> Result<Answer, CallError> {
    commission.on(bus).call(HOSTED, &json!({ "account": n }), Why::because("the test says so")).await
}

/// A call of the gated tool.
pub async fn call_gated(commission: &Commission, bus: &Bus, n: u64) -> Result<Answer, CallError> {
    commission.on(bus).call_via_gate(GATED, &json!({ "account": n }), Why::because("the test says so")).await
}

/// The code of a denial; panics where the call was permitted or not decided.
pub fn denied(outcome: Result<Answer, CallError>) -> Code {
    match outcome {
        Err(CallError::Denied(denial)) => denial.code,
        Err(other) => panic!("not decided: {other}"),
        Ok(answer) => panic!("permitted: {answer:?}"),
    }
}
