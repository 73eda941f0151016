//! A chain of a given depth with one call and its proof: what every decision benchmark judges.

use marque_credential::aat::{DerivedRequest, RootRequest, derive, mint_root};
use marque_credential::proof::{ProofRequest, make_proof};
use marque_credential::{AgentClaim, MarqueClaims, Tools};
use marque_identity::{Digest, TokenId, TrustDomain, UnixSeconds};
use marque_json::{Json, Limits};
use marque_judgement::TrustAnchor;
use marque_signing::SigningKey;

/// The instant at which everything happens.
pub const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
/// The tool that is called.
pub const TOOL: &str = "nats:tools.crm.query";
/// Its bus subject.
pub const SUBJECT: &str = "tools.crm.query";
/// The arguments as sent.
pub const ARGS: &[u8] = br#"{"customer":"acme","limit":20}"#;

/// A chain with one signed call.
pub struct Fixture {
    /// Root first.
    pub tokens: Vec<String>,
    /// The root's anchor.
    pub anchor: TrustAnchor,
    /// The proof of one call of [`TOOL`] with [`ARGS`].
    pub proof: String,
    /// Where it is called.
    pub audience: String,
    /// The holders' keys, the root's first; the last holds the leaf.
    pub holders: Vec<SigningKey>,
    /// The trust domain.
    pub domain: TrustDomain,
}

impl Fixture {
    /// `depth` tokens under distinct keys.
    pub fn new(depth: usize) -> Self {
        Self::held_by((1..=depth).map(seeded).collect())
    }

    /// The `nth` of many chains that share no key but the issuer's.
    pub fn of_strangers(depth: usize, nth: usize) -> Self {
        Self::held_by((1..=depth).map(|holder| seeded(1000 + nth * depth + holder)).collect())
    }

    /// A token for each holder, the root's first.
    fn held_by(holders: Vec<SigningKey>) -> Self {
        let depth = holders.len();
        let domain: TrustDomain = "acme.example".parse().expect("a fixed, valid name");
        let issuer = seeded(0);
        let request = RootRequest {
            iss: domain.issuer_uri(),
            jti: TokenId::generate(),
            iat: UnixSeconds(NOW.0 - 60),
            exp: UnixSeconds(NOW.0 + 840),
            del_max_depth: depth as u64,
            holder: holders[0].public(),
            aud: None,
            tools: tools(),
            marque: MarqueClaims {
                task: "urn:task:bench".parse().expect("a fixed, valid URN"),
                purpose: "measure".into(),
                agent: AgentClaim {
                    did: holders[0].did(),
                    blueprint: "bench".parse().expect("a fixed, valid name"),
                    sponsor: "bench".parse().expect("a fixed, valid name"),
                    manifest_hash: None,
                    vc_hash: Digest([7; 32]),
                },
            },
        };
        let mut tokens = vec![mint_root(&issuer, &request).expect("a root")];
        for pair in holders.windows(2) {
            let parent = tokens.last().expect("the root is there");
            let request = DerivedRequest {
                holder: pair[1].public(),
                tools: tools(),
                exp: UnixSeconds(NOW.0 + 600),
                del_max_depth: depth as u64,
                aud: None,
                iat: UnixSeconds(NOW.0 - 30),
                jti: TokenId::generate(),
            };
            tokens.push(derive(&pair[0], parent, &request).expect("a child"));
        }
        let audience = domain.audience(SUBJECT);
        let args = marque_json::parse(ARGS, Limits::DEFAULT).expect("fixed, valid JSON");
        let leaf = tokens.last().expect("the root is there");
        let proof = prove(&holders[depth - 1], leaf, &args, &audience, 1);
        let anchor = TrustAnchor { iss: domain.issuer_uri(), key: issuer.public() };
        Self { tokens, anchor, proof, audience, holders, domain }
    }

    /// The tokens as `verify_chain` takes them.
    pub fn borrowed(&self) -> Vec<&str> {
        self.tokens.iter().map(String::as_str).collect()
    }
}

/// A proof of one call by a leaf's holder.
pub fn prove(holder: &SigningKey, leaf: &str, args: &Json<'_>, audience: &str, seq: u64) -> String {
    let request = ProofRequest {
        jti: TokenId::generate(),
        iat: NOW,
        tool: TOOL,
        args,
        aud: Some(audience.to_owned()),
        nonce: None,
        seq,
        prev: Some(Digest([9; 32])),
        task: Some("urn:task:bench".parse().expect("a fixed, valid URN")),
        why: Some("look the customer up".into()),
        cause: None,
        traceparent: None,
        manifest_hash: None,
    };
    make_proof(holder, leaf, &request).expect("a proof")
}

/// A key of a fixed seed.
pub fn seeded(n: usize) -> SigningKey {
    let mut seed = [0x42; 32];
    seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
    SigningKey::from_seed(&seed)
}

fn tools() -> Tools {
    let json = serde_json::json!({
        TOOL: {
            "customer": { "constraint_type": "one_of", "values": ["acme", "globex"] },
            "limit": { "constraint_type": "range", "min": 1, "max": 100 },
        }
    });
    serde_json::from_value(json).expect("a fixed, valid tools map")
}
