//! Attenuating Authorization Tokens, draft -02 §3 and §6: their claims read, root and derived tokens minted.

mod claims;
mod derived;
mod marque;
mod root;
pub mod wire;

pub use claims::{Claims, GrantFault, HolderFault};
pub use derived::{DerivedRequest, derive};
pub use marque::{AgentClaim, MarqueClaims, MarqueReading};
pub use root::{RootRequest, mint_root};

use marque_signing::{SigningKey, jws};

use crate::CredentialError;
use crate::limits::TOKEN_BYTES_MAX;

/// `typ` of a token (AAT §3.5).
pub const TOKEN_TYPE: &str = "aat+jwt";
/// `type` of the entry that holds the tools (AAT §3.3).
pub const DETAILS_TYPE: &str = "attenuating_agent_token";
/// `type` of the entry that limits sequences of calls. Not enforced yet, hence refused wherever it stands.
pub const LIMITS_TYPE: &str = "urn:marque:limits";

/// Signs claims as a token, if it is not too large to be accepted.
fn sign(key: &SigningKey, claims: &wire::Payload) -> Result<String, CredentialError> {
    let token = jws::sign_json(key, TOKEN_TYPE, None, claims)?;
    if token.len() > TOKEN_BYTES_MAX {
        return Err(CredentialError::Oversize { bytes: token.len(), bytes_max: TOKEN_BYTES_MAX });
    }
    Ok(token)
}

/// Whether a text is a URI by its scheme (RFC 3986 §3.1) and has nothing that stands in none.
pub fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    scheme.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'))
        && !rest.is_empty()
        && rest.bytes().all(|c| {
            c.is_ascii_graphic() && !matches!(c, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
        })
}
