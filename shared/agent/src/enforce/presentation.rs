//! What a caller presents for one action, read from where it rides: a bus message's headers and payload.

use std::borrow::Cow;

use marque_bus::header;
use marque_bus::service::Request;
use marque_identity::{Code, Did, Digest, Refusal};
use marque_json::{Json, Limits};
use marque_signing::jws::json_code;

/// The scheme of `Marque-Chain-Ref`.
const REF_SCHEME: &str = "sha-256:";

/// How the chain is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain<'a> {
    /// All of it: tokens, root first, joined by `~`.
    Whole(&'a str),
    /// Its name, SHA-256 of the whole: enough where it has been verified before.
    Digest(Digest),
}

/// An action as it is presented. Nothing in it is verified.
#[derive(Debug)]
pub struct Presentation<'a> {
    /// The chain.
    pub chain: Chain<'a>,
    /// The proof.
    pub proof: &'a str,
    /// The arguments, numbers as written.
    pub args: Json<'a>,
    /// Who acts, where the one who asks believes to know it: the leaf must be bound to that key.
    pub agent: Option<Did>,
    /// The audience that the enforcement point goes by; none: it has no name.
    pub audience: Option<String>,
    /// The nonce that was demanded.
    pub nonce: Option<&'a str>,
}

/// What came in, as bytes: for the record of an input that can't be read.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The chain's header, if there is one.
    pub chain: &'a str,
    /// The proof's header, if there is one.
    pub proof: &'a str,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Received<'a> {
    /// A payload alone.
    pub fn payload(payload: &'a [u8]) -> Self {
        Self { chain: "", proof: "", payload }
    }

    /// What a request carries.
    pub fn of(request: &'a Request) -> Self {
        Self {
            chain: request.header(header::CHAIN).unwrap_or_default(),
            proof: request.header(header::PROOF).unwrap_or_default(),
            payload: &request.payload,
        }
    }

    /// All of it: chain, line feed, proof, line feed, payload; of a payload alone, the payload.
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        if self.chain.is_empty() && self.proof.is_empty() {
            return Cow::Borrowed(self.payload);
        }
        Cow::Owned([self.chain.as_bytes(), b"\n", self.proof.as_bytes(), b"\n", self.payload].concat())
    }
}

impl<'a> Presentation<'a> {
    /// Reads a request that carries an action in our binding (PROTOCOL §4), for the place of use `audience`.
    pub fn read(request: &'a Request, audience: String) -> Result<Self, Refusal> {
        let chain = match (only(request, header::CHAIN)?, only(request, header::CHAIN_REF)?) {
            (Some(whole), None) => Chain::Whole(whole),
            (None, Some(name)) => Chain::Digest(chain_ref(name)?),
            (None, None) => return Err(Refusal::at("1", Code::ChainEmpty, "no chain was presented")),
            (Some(_), Some(_)) => return Err(Refusal::new(Code::Malformed, "the chain is presented twice")),
        };
        let proof = only(request, header::PROOF)?;
        let proof = proof.ok_or_else(|| Refusal::at("7a", Code::ProofMalformed, "no proof was presented"))?;
        let args = marque_json::parse(&request.payload, Limits::DEFAULT);
        let args = args.map_err(|error| Refusal::new(json_code(&error), format!("the arguments: {error}")))?;
        Ok(Self { chain, proof, args, agent: None, audience: Some(audience), nonce: None })
    }
}

/// A header that may stand once.
fn only<'a>(request: &'a Request, name: &'static str) -> Result<Option<&'a str>, Refusal> {
    let mut values = request.headers.get_all(name);
    match (values.next(), values.next()) {
        (first, None) => Ok(first.map(|value| value.as_str())),
        (_, Some(_)) => Err(Refusal::new(Code::Malformed, format!("the header `{name}` stands twice"))),
    }
}

fn chain_ref(name: &str) -> Result<Digest, Refusal> {
    let digest = name.strip_prefix(REF_SCHEME).and_then(|hex| hex.parse().ok());
    digest
        .ok_or_else(|| Refusal::new(Code::Malformed, "`Marque-Chain-Ref` is not `sha-256:` and 64 hexadecimal digits"))
}
