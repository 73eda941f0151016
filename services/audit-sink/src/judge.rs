//! The verdict on one record: who signed it, whether they may, and what it says for the index.
//!
//! Strict, one signature at a time, over as many threads as call it. A verdict never enters the tree.

use std::collections::HashMap;

use marque_identity::{Code, Did};
use marque_json::{Json, Limits};
use marque_signing::{Algorithms, Compact, PublicKey, Role, TrustBundle, base64url, jws};

/// `typ` of a record.
pub const RECORD_TYP: &str = "marque-record+jwt";
/// The most that a record may have: the stream's limit.
pub const RECORD_BYTES_MAX: usize = 60_000;

/// A record's id is a UUID; another's may be longer, within reason.
const ID_BYTES_MAX: usize = 128;

/// What the index needs of a record whose verdict is good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The record's id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// The agent it is about, as a DID.
    pub agent: Option<String>,
    /// The task.
    pub task: Option<String>,
    /// The tool.
    pub tool: Option<String>,
    /// Every link of the chain, by digest, the leaf among them.
    pub tokens: Vec<String>,
    /// `permit` or `deny`.
    pub decision: Option<String>,
    /// The link that it brings.
    pub brings: Option<String>,
    /// The *decided* record that it answers.
    pub answers: Option<String>,
    /// The directive that it carries.
    pub directive: Option<String>,
    /// The blueprint.
    pub blueprint: Option<String>,
    /// The claimed cause.
    pub cause: Option<String>,
}

/// A verdict: what a good record says, or the code of what is wrong.
pub type Verdict = Result<Facts, Code>;

struct Signer {
    did: Did,
    key: PublicKey,
    roles: Vec<Role>,
}

/// Knows the keys that may write in the log, decoded once.
pub struct Judge {
    /// By the protected header that our own signers write, so that it is not decoded for each record.
    by_header: HashMap<String, usize>,
    by_did: HashMap<Did, usize>,
    signers: Vec<Signer>,
}

impl Judge {
    /// The signers of a trust bundle: services by role, issuers by their anchors.
    pub fn new(bundle: &TrustBundle) -> Self {
        let mut judge = Self { by_header: HashMap::new(), by_did: HashMap::new(), signers: Vec::new() };
        let services = bundle.services.iter().map(|service| (service.did, service.role));
        for (did, role) in services.chain(bundle.issuers.iter().map(|anchor| (anchor.did, Role::Issuer))) {
            judge.add(did, role);
        }
        judge
    }

    fn add(&mut self, did: Did, role: Role) {
        if let Some(known) = self.by_did.get(&did) {
            self.signers[*known].roles.push(role);
            return;
        }
        let Ok(key) = PublicKey::from_did(&did) else { return };
        let header = format!(r#"{{"alg":"Ed25519","kid":"{}","typ":"{RECORD_TYP}"}}"#, did.url());
        self.by_header.insert(base64url(header.as_bytes()), self.signers.len());
        self.by_did.insert(did, self.signers.len());
        self.signers.push(Signer { did, key, roles: vec![role] });
    }

    /// Judges the message that stands on a bus subject.
    pub fn judge(&self, bus_subject: &str, payload: &[u8]) -> Verdict {
        // 1. A compact JWS of a record's size.
        if payload.len() > RECORD_BYTES_MAX {
            return Err(Code::Oversize);
        }
        let text = std::str::from_utf8(payload).map_err(|_| Code::Malformed)?;
        let compact = Compact::split(text).map_err(|error| error.code())?;
        // 2. Its signer, and the strict signature on the received bytes.
        let (did, roles) = match self.by_header.get(compact.header_base64()) {
            Some(known) => {
                let signer = &self.signers[*known];
                compact.check_signature(&signer.key).map_err(|error| error.code())?;
                (signer.did, signer.roles.as_slice())
            }
            None => self.stranger(&compact)?,
        };
        // 3. The payload, read only now.
        let bytes = compact.payload().map_err(|error| error.code())?;
        let json =
            marque_json::parse(&bytes, Limits::bytes(RECORD_BYTES_MAX)).map_err(|error| jws::json_code(&error))?;
        let record = json.as_object().ok_or(Code::ClaimsMalformed)?;
        let facts = Facts::read(&json).ok_or(Code::ClaimsMalformed)?;
        // 4. What it says of itself is what it is: signed by the one it names, who may sign this kind, at its place.
        let by = record.get("by").and_then(Json::as_str);
        if by.and_then(|by| by.parse::<Did>().ok()) != Some(did) {
            return Err(Code::ClaimsMalformed);
        }
        if !may_sign(roles, &facts.kind) {
            return Err(Code::NotAuthorized);
        }
        if !stands_at(bus_subject, &facts, &did) {
            return Err(Code::TargetInvalid);
        }
        Ok(facts)
    }

    /// A signer by another spelling of the header, or an agent: known by the key that it names.
    fn stranger(&self, compact: &Compact<'_>) -> Result<(Did, &[Role]), Code> {
        compact.check_header(RECORD_TYP, Algorithms::Ed25519).map_err(|error| error.code())?;
        let key = jws::claimed_signer(compact.text()).map_err(|error| error.code())?;
        compact.check_signature(&key).map_err(|error| error.code())?;
        let did = key.did();
        Ok((did, self.by_did.get(&did).map_or(&[], |known| self.signers[*known].roles.as_slice())))
    }
}

fn may_sign(roles: &[Role], kind: &str) -> bool {
    let has = |role| roles.contains(&role);
    match kind {
        "issued" => has(Role::Issuer),
        "refused" => has(Role::Issuer) || has(Role::Broadcaster) || has(Role::Verifier) || has(Role::Host),
        "decided" | "completed" => has(Role::Verifier) || has(Role::Host),
        "directive" | "receipt" => has(Role::Broadcaster),
        // An agent writes these of itself; its key is in no bundle.
        "delegated" | "requested" => true,
        "risk" => has(Role::Sink) || has(Role::Risk),
        _ => false,
    }
}

fn stands_at(bus_subject: &str, facts: &Facts, signer: &Did) -> bool {
    let Some((kind, key)) = bus_subject.strip_prefix("marque.record.").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let agent = facts.agent.as_deref().and_then(|agent| agent.strip_prefix("did:key:"));
    kind == facts.kind && (Some(key) == agent || key == signer.multibase() || (key == "none" && agent.is_none()))
}

impl Facts {
    /// What a record says; none if it lacks what every record has. TRUST: the caller has checked the signature.
    pub fn read(record: &Json<'_>) -> Option<Self> {
        let object = record.as_object()?;
        let text = |name: &str| object.get(name).and_then(Json::as_str).map(str::to_owned);
        let kind = text("kind")?;
        let mut tokens: Vec<String> = Vec::new();
        let links = object.get("links").and_then(Json::as_array).into_iter().flatten();
        tokens.extend(links.filter_map(Json::as_str).map(str::to_owned));
        tokens.extend(text("token").filter(|token| !tokens.contains(token)));
        let brings = match kind.as_str() {
            "issued" | "delegated" => tokens.last().cloned(),
            _ => None,
        };
        Some(Self {
            id: text("id").filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX)?,
            agent: text("agent"),
            task: text("task"),
            tool: text("tool"),
            decision: text("decision"),
            answers: text("decided").filter(|_| kind == "completed"),
            directive: match kind.as_str() {
                "directive" => object.get("directive").and_then(Json::as_str).and_then(directive_id),
                "receipt" => text("directive_id"),
                _ => None,
            },
            blueprint: text("blueprint"),
            cause: text("cause"),
            tokens,
            brings,
            kind,
        })
    }
}

/// A directive's own id, its `jti`. The record around it is signed by the broadcaster, so is the directive.
fn directive_id(compact: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Claims {
        jti: String,
    }
    jws::unverified_payload::<Claims>(compact, RECORD_BYTES_MAX).ok().map(|claims| claims.jti)
}
