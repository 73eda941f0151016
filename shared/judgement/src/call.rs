//! The call: AAT §8 steps 6b and 6c.

use marque_identity::UnixSeconds;
use marque_json::Json;

use crate::refusal::require;
use crate::{ChainRefusal, VerifiedChain};
use marque_identity::refusal::Code;

/// What is to be called, with what.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The tool's name, an exact string.
    pub tool: &'a str,
    /// Its arguments, an object; numbers as written.
    pub args: &'a Json<'a>,
}

/// Who this enforcement point is, and what it demands. Identifiers are compared as exact strings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audience {
    identifiers: Vec<String>,
    /// Refuse a chain none of whose tokens carries `aud` (step 6c).
    pub chain_required: bool,
    /// Refuse a proof without `aat_aud` (step 7d).
    pub proof_required: bool,
}

impl Audience {
    /// An enforcement point that goes by these identifiers and demands nothing.
    pub fn new(identifiers: impl IntoIterator<Item = String>) -> Self {
        Self { identifiers: identifiers.into_iter().collect(), ..Self::default() }
    }

    /// The same, demanding a proof made for it.
    pub fn demand_proof(self) -> Self {
        Self { proof_required: true, ..self }
    }

    /// The same, demanding a chain restricted to it.
    pub fn demand_chain(self) -> Self {
        Self { chain_required: true, ..self }
    }

    /// Whether this is one of its identifiers.
    pub fn is(&self, identifier: &str) -> bool {
        self.identifiers.iter().any(|own| own == identifier)
    }

    /// Its identifiers.
    pub fn identifiers(&self) -> &[String] {
        &self.identifiers
    }
}

/// Whether the leaf grants the call and the chain may be presented here: steps 6b and 6c, and time once more.
pub fn check_call(
    chain: &VerifiedChain,
    call: &Call<'_>,
    audience: &Audience,
    now: UnixSeconds,
) -> Result<(), ChainRefusal> {
    chain.check_time(now)?;
    grants(chain, call)?;
    presented_here(chain, audience)
}

/// 6b: the tool is granted, its arguments' numbers admissible, each allowed and each required one there.
pub(crate) fn grants(chain: &VerifiedChain, call: &Call<'_>) -> Result<(), ChainRefusal> {
    chain.tools().check_call(call.tool, call.args).map_err(|refused| ChainRefusal {
        constraint: refused.constraint().map(str::to_owned),
        ..ChainRefusal::at("6b", refused.code(), refused.to_string())
    })
}

/// 6c: every `aud` in the chain names us; some token has one if we demand it.
pub(crate) fn presented_here(chain: &VerifiedChain, audience: &Audience) -> Result<(), ChainRefusal> {
    let mut restricted = false;
    for aud in chain.links().iter().filter_map(|link| link.audience()) {
        restricted = true;
        let named = aud.iter().any(|identifier| audience.is(identifier));
        require(named, "6c", Code::AudienceMismatch, "a token of the chain is for another enforcement point")?;
    }
    let demanded = restricted || !audience.chain_required;
    require(demanded, "6c", Code::AudienceMismatch, "no token of the chain carries `aud`, which is demanded here")
}
