//! Requests and replies of the services as one sees them from outside: the types behind their schemas. The services
//! read and write them with types of their own.

#![expect(dead_code, reason = "only their schemas are used")]

mod audit;
mod genesis;

use std::collections::BTreeMap;

use marque_credential::Manifest;
use schemars::JsonSchema;
use serde_json::{Map, Value};

pub(super) use audit::{
    AgentsReply, AgentsRequest, CheckpointReply, CompletenessReply, CompletenessRequest, ExplainReply, ExplainRequest,
    ProofReply, ProofRequest, QueryReply, QueryRequest, TileReply, TileRequest,
};
pub(super) use genesis::Genesis;

/// `marque-join+jwt`, signed by an operator: lets one agent enrol.
#[derive(JsonSchema)]
#[schemars(title = "Join token")]
pub(super) struct JoinToken {
    /// Used once.
    jti: String,
    /// The trust domain.
    aud: String,
    /// The blueprint to enrol under.
    blueprint: String,
    /// When it was made, in seconds.
    iat: i64,
    /// When it expires, in seconds.
    exp: i64,
}

/// The one line that a process sends an attestor over its Unix socket.
#[derive(JsonSchema)]
#[schemars(title = "Attest line", deny_unknown_fields)]
pub(super) struct AttestLine {
    /// A `marque-attest+jwt`: see attest-request.
    request: String,
}

/// `marque-attest+jwt`, signed by the agent's key, which is whom the evidence will be about.
#[derive(JsonSchema)]
#[schemars(title = "Attest request", deny_unknown_fields)]
pub(super) struct AttestRequest {
    /// The trust domain that the evidence is for.
    aud: String,
    /// When it was signed, in seconds; within 30 s of the attestor's clock.
    iat: i64,
    /// UUIDv7.
    jti: String,
}

/// The one line that an attestor answers.
#[derive(JsonSchema)]
#[schemars(title = "Attest answer", untagged)]
pub(super) enum AttestAnswer {
    /// What it saw.
    Evidence {
        /// A `marque-process+jwt`: see process-evidence.
        evidence: String,
    },
    /// Why it states nothing.
    Refused {
        /// Stable reason: see refusal.
        code: String,
        /// One sentence.
        message: String,
        /// What to do about it.
        hint: String,
    },
}

/// A public Ed25519 key (RFC 8037).
#[derive(JsonSchema)]
struct Jwk {
    /// Always `OKP`.
    kty: String,
    /// Always `Ed25519`.
    crv: String,
    /// The 32 bytes in base64url.
    x: String,
}

/// What an agent says it runs as.
#[derive(JsonSchema)]
struct RuntimeClaim {
    /// The model.
    model_id: String,
    /// SHA-256 of the runtime's manifest, in hexadecimal; equal to the digest of `manifest` where that is sent.
    manifest_hash: Option<String>,
}

/// `marque-enrol+jwt`, signed by the key that enrols.
#[derive(JsonSchema)]
#[schemars(title = "Enrol request")]
pub(super) struct EnrolRequest {
    /// When it was signed; within 30 s of the issuer's clock.
    iat: i64,
    /// Key of idempotency.
    jti: String,
    /// The trust domain.
    aud: String,
    /// The kind of agent to enrol as; needed without a join token, and equal to the join token's with one.
    blueprint: Option<String>,
    /// An operator's one-time token.
    join_token: Option<String>,
    /// A token of an OpenID Connect issuer, or a JWT-SVID.
    oidc_token: Option<String>,
    /// An attestor's statement on the process, a `marque-process+jwt`.
    process_evidence: Option<String>,
    /// What is deployed; its digest becomes the credential's `manifest_hash`.
    manifest: Option<Manifest>,
    /// The key; it signs this request.
    jwk: Jwk,
    /// What the agent runs as.
    runtime: RuntimeClaim,
}

/// The identity credential.
#[derive(JsonSchema)]
#[schemars(title = "Enrol reply")]
pub(super) struct EnrolReply {
    /// `vc+jwt`, recorded before it left.
    credential: String,
    /// When it expires, in seconds.
    expires_at: i64,
}

/// `marque-renew+jwt`, signed by the agent. The reply is that of an enrolment.
#[derive(JsonSchema)]
#[schemars(title = "Renew request")]
pub(super) struct RenewRequest {
    /// When it was signed; within 30 s of the issuer's clock.
    iat: i64,
    /// Key of idempotency.
    jti: String,
    /// The trust domain.
    aud: String,
    /// The credential to renew.
    credential: String,
    /// An attestor's fresh statement on the process that renews; needed where the blueprint demands `process`.
    process_evidence: Option<String>,
    /// What is deployed now; one that has changed is refused unless the blueprint allows it.
    manifest: Option<Manifest>,
}

/// `marque-issue+jwt`, signed by the agent: a root token for a task.
#[derive(JsonSchema)]
#[schemars(title = "Issue request")]
pub(super) struct IssueRequest {
    /// When it was signed; within 30 s of the issuer's clock.
    iat: i64,
    /// Key of idempotency.
    jti: String,
    /// The trust domain.
    aud: String,
    /// The agent's identity credential.
    credential: String,
    /// The task, a URN.
    task: String,
    /// What for, in words.
    purpose: String,
    /// What shall be granted: tool names to constraint maps (constraint.schema.json); within the blueprint's ceiling.
    tools: BTreeMap<String, BTreeMap<String, Value>>,
    /// Life; 900 where it is left out.
    ttl_seconds: Option<i64>,
    /// How deep it may be delegated.
    del_max_depth: Option<u64>,
    /// Where it may be presented.
    token_aud: Option<Vec<String>>,
}

/// The root token.
#[derive(JsonSchema)]
#[schemars(title = "Issue reply")]
pub(super) struct IssueReply {
    /// `aat+jwt`, recorded before it left.
    token: String,
    /// When it expires, in seconds.
    expires_at: i64,
}

/// The body of a service error; its code stands in `Nats-Service-Error-Code` too.
#[derive(JsonSchema)]
pub(super) struct Refusal {
    /// Stable reason.
    code: String,
    /// The step of AAT §8, or of ours (9 to 14), that refused.
    step: Option<String>,
    /// One sentence; outside input in backticks, cut short.
    message: String,
    /// Who has to change something.
    blame: Blame,
    /// What to do about it.
    hint: Option<String>,
    /// The id of the *decided* record behind it.
    record: Option<String>,
}

/// Who has to change something.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum Blame {
    /// The one who asked.
    Caller,
    /// Something between or beyond.
    World,
    /// Marque itself.
    Us,
}

/// A typed name, as AuthZEN has it.
#[derive(JsonSchema)]
struct Entity {
    /// `agent` or `tool`.
    r#type: String,
    /// A DID, or a tool's exact name.
    id: String,
}

/// What is to be done.
#[derive(JsonSchema)]
struct Action {
    /// Always `call`.
    name: String,
}

/// A chain: tokens root first, or one text joined by `~`.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Chain {
    /// Tokens.
    Tokens(Vec<String>),
    /// Joined.
    Joined(String),
}

/// What the decision rests on.
#[derive(JsonSchema)]
struct DecideContext {
    /// The chain.
    chain: Chain,
    /// The proof.
    proof: String,
    /// The arguments; numbers are judged as written.
    args: Map<String, Value>,
    /// The asking host's own audience; left out: that of a `nats:` tool.
    audience: Option<String>,
    /// The nonce that the host demanded.
    nonce: Option<String>,
}

/// A question in the shape of AuthZEN's Access Evaluation API.
#[derive(JsonSchema)]
#[schemars(title = "Decide request")]
pub(super) struct DecideRequest {
    /// The agent; the leaf must be bound to it.
    subject: Entity,
    /// The call.
    action: Action,
    /// The tool.
    resource: Entity,
    /// What the decision rests on.
    context: DecideContext,
}

/// Why.
#[derive(JsonSchema)]
struct Reasons {
    /// Of a denial: the stable code.
    code: Option<String>,
    /// Of a denial: the step.
    step: Option<String>,
    /// Of a denial: one sentence.
    message: Option<String>,
    /// Of a denial: who has to change something.
    blame: Option<Blame>,
    /// Of a denial: what to do.
    hint: Option<String>,
    /// The id of the *decided* record.
    record: Option<String>,
    /// How far the view of the directives reached.
    epoch: u64,
    /// How old it was.
    view_age_ms: Option<u64>,
}

/// The answer.
#[derive(JsonSchema)]
#[schemars(title = "Decide reply")]
pub(super) struct DecideReply {
    /// Whether the call may run.
    decision: bool,
    /// Why, and what it was decided on.
    context: Reasons,
}

/// `marque-bundle+jwt`: who is who in a trust domain.
#[derive(JsonSchema)]
#[schemars(title = "Trust bundle")]
pub(super) struct TrustBundle {
    /// The domain's name.
    trust_domain: String,
    /// Higher replaces lower.
    version: u64,
    /// In seconds.
    issued_at: i64,
    /// Who signs roots.
    issuers: Vec<Anchor>,
    /// Who runs what.
    services: Vec<ServiceKey>,
    /// Who may revoke anything.
    operators: Vec<Operator>,
}

/// A root issuer.
#[derive(JsonSchema)]
struct Anchor {
    /// `iss` of its roots.
    iss: String,
    /// Its key.
    did: String,
}

/// A service's key.
#[derive(JsonSchema)]
struct ServiceKey {
    /// What it does.
    role: Role,
    /// Its name.
    name: String,
    /// Its key.
    did: String,
}

/// What a key may do.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum Role {
    /// Issues.
    Issuer,
    /// Publishes directives.
    Broadcaster,
    /// Decides, as a service.
    Verifier,
    /// Keeps the audit log.
    Sink,
    /// Decides in a tool host's own process.
    Host,
    /// Raises risk signals.
    Risk,
    /// Says what became of agents' connections to the broker.
    Gatekeeper,
    /// Says which process runs on its machine.
    Attestor,
}

/// An operator.
#[derive(JsonSchema)]
struct Operator {
    /// A name.
    name: String,
    /// Their key.
    did: String,
}

/// One line of `marque verify --stdin`.
#[derive(JsonSchema)]
#[schemars(title = "Verify question", deny_unknown_fields)]
pub(super) struct VerifyQuestion {
    /// Tokens, root first.
    chain: Vec<String>,
    /// Whose roots are trusted.
    trust_anchors: Vec<VerifyAnchor>,
    /// The tool.
    tool: String,
    /// The arguments; numbers are judged as written.
    args: Map<String, Value>,
    /// The proof.
    pop: String,
    /// The time, in seconds.
    now: i64,
    /// Who is asked: by one name, or by any of several.
    audience: Option<VerifyAudience>,
    /// Refuse a proof without `aat_aud`.
    require_pop_audience: Option<bool>,
    /// Refuse a chain without `aud`.
    require_chain_audience: Option<bool>,
    /// The nonce that is demanded.
    nonce: Option<String>,
}

/// The names of an enforcement point.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum VerifyAudience {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// A trust anchor.
#[derive(JsonSchema)]
struct VerifyAnchor {
    /// The issuer's URI.
    iss: String,
    /// Its key.
    jwk: Jwk,
}

/// One line of its answer.
#[derive(JsonSchema)]
#[schemars(title = "Verify answer")]
pub(super) struct VerifyAnswer {
    /// `permit` or `deny`.
    decision: String,
    /// Of a denial: the stable code.
    code: Option<String>,
    /// Of a denial: the step, or null where the line was no question.
    step: Option<String>,
    /// Of a denial: one sentence.
    message: Option<String>,
    /// Of a denial: who has to change something.
    blame: Option<Blame>,
}
