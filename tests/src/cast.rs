//! Who plays in the end-to-end tests: an orchestrator of a blueprint, its sub-agents, and two tools.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use marque_agent::enforce::{Enforcer, Invocation, Policy, ServedTool};
use marque_agent::{
    Agent, AgentError, AgentKey, Answer, CallError, Commission, CommissionRequest, Delegation, RuntimeClaim, Why,
};
use marque_bus::async_nats::HeaderMap;
use marque_bus::permissions::BusRole;
use marque_bus::{Bus, Presented, subjects};
use marque_credential::Tools;
use marque_identity::Code;
use marque_signing::SigningKey;
use serde_json::{Value, json};

use crate::system::{DEADLINE, TestSystem};

/// A tool whose host enforces.
pub const HOSTED: &str = "tools.ledger.read";
/// A tool that knows nothing of us, behind the verifier's gate.
pub const GATED: &str = "gated.archive.find";
const BLUEPRINT: &str = "tester";
const MODEL: &str = "test/model-1";
/// Longer than a test, and within the identity credential, which lives for an hour and began a moment earlier.
const CARRIER_LIFE_SECONDS: i64 = 3000;

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

/// Enrols a fresh agent of the cast's blueprint, on a connection of its own.
pub async fn enrol(system: &TestSystem) -> Agent {
    let join = system.join_token(BLUEPRINT).expect("an invitation");
    enrol_with(system, &join).await.expect("an invited agent is enrolled")
}

/// Enrols a fresh agent with this join token.
pub async fn enrol_with(system: &TestSystem, join: &str) -> Result<Agent, AgentError> {
    enrol_key(system, AgentKey::generate().expect("randomness"), join, MODEL).await
}

/// Enrols this key: it connects to enrol, and its connection presents its credential afterwards.
pub async fn enrol_key(system: &TestSystem, key: AgentKey, join: &str, model: &str) -> Result<Agent, AgentError> {
    let options = key.connect_options(system.url(), "test-agent", Presented::new(Presented::ENROL));
    let bus = Bus::connect_now(options, DEADLINE).await?;
    let runtime = RuntimeClaim { model_id: model.into(), manifest_hash: None };
    Agent::enrol(&bus, system.domain(), key, join, &runtime).await
}

/// An agent whose chain reaches every tool, and whose connection carries what others have signed: for tests of what
/// stands behind the broker, as a compromised agent might try it.
pub struct Carrier {
    /// Its connection.
    pub bus: Bus,
    /// Its commission.
    pub commission: Commission,
    /// Its key, for signing below the library.
    pub seed: SigningKey,
}

impl Carrier {
    /// Enrols one of this blueprint and model, commissioned with these tools.
    pub async fn enrol(system: &TestSystem, blueprint: &str, model: &str, tools: Tools) -> Self {
        let seed = SigningKey::generate().expect("randomness");
        let key = AgentKey::new(SigningKey::from_seed(&seed.seed()));
        let join = system.join_token(blueprint).expect("an invitation");
        let agent = enrol_key(system, key, &join, model).await.expect("an invited agent is enrolled");
        let task = "urn:task:carrier".parse().expect("a fixed, valid URN");
        let request = CommissionRequest::new(task, "to carry", tools).ttl_seconds(CARRIER_LIFE_SECONDS);
        let commission = agent.commission(&request).await.expect("within the ceiling");
        let bus = commission.connect(system.url(), "test-carrier", DEADLINE).await.expect("the gatekeeper lets it in");
        Self { bus, commission, seed }
    }

    /// One of the cast's blueprint.
    pub async fn of_cast(system: &TestSystem) -> Self {
        Self::enrol(system, BLUEPRINT, MODEL, both_tools()).await
    }
}

/// The connection of a [`Carrier`] of the cast's.
pub async fn carrier(system: &TestSystem) -> Bus {
    Carrier::of_cast(system).await.bus
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

/// The verifier's answer to an AuthZEN question about one call of an agent's.
pub async fn decide(bus: &Bus, commission: &Commission, tool: &str, args: &Value, proof: &str) -> Value {
    let question = json!({
        "subject": { "type": "agent", "id": commission.key().did() },
        "action": { "name": "call" },
        "resource": { "type": "tool", "id": tool },
        "context": { "chain": commission.chain(), "proof": proof, "args": args },
    });
    let asked = bus.request(subjects::VERIFIER_DECIDE, HeaderMap::new(), question.to_string(), DEADLINE).await;
    serde_json::from_slice(&asked.expect("the verifier answers").payload).expect("it answers in JSON")
}

/// The code of a denial; panics where the call was permitted or not decided.
pub fn denied(outcome: Result<Answer, CallError>) -> Code {
    match outcome {
        Err(CallError::Denied(denial)) => denial.code,
        Err(other) => panic!("not decided: {other}"),
        Ok(answer) => panic!("permitted: {answer:?}"),
    }
}
