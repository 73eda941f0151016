//! Deriving a token: by its parent's holder alone, offline. Source: AAT §6.2.

use marque_identity::{TokenId, UnixSeconds};
use marque_signing::{Compact, PublicKey, SigningKey, base64url};

use super::wire::{Confirmation, Details, Payload};
use super::{Claims, sign};
use crate::CredentialError;
use crate::limits::{DELEGATION_DEPTH_MAX, TOKEN_BYTES_MAX};
use crate::tools::Tools;

/// What a derived token shall say.
#[derive(Debug, Clone, PartialEq)]
pub struct DerivedRequest {
    /// Whose it is.
    pub holder: PublicKey,
    /// What it grants: no more than its parent.
    pub tools: Tools,
    /// When it expires: no later than its parent.
    pub exp: UnixSeconds,
    /// How deep it may be delegated further, counted from the root.
    pub del_max_depth: u64,
    /// Where it may be presented; none: wherever its parent may.
    pub aud: Option<Vec<String>>,
    /// Now. A clock behind the parent's issuer is set to the parent's `iat`.
    pub iat: UnixSeconds,
    /// Its identifier.
    pub jti: TokenId,
}

/// Mints a child of `parent`, signed by the parent's holder; refuses to mint what would not verify.
///
/// TRUST: the parent's own signature is not checked here; a holder knows where its token came from.
pub fn derive(holder: &SigningKey, parent: &str, request: &DerivedRequest) -> Result<String, CredentialError> {
    if parent.len() > TOKEN_BYTES_MAX {
        return Err(CredentialError::Oversize { bytes: parent.len(), bytes_max: TOKEN_BYTES_MAX });
    }
    let compact = Compact::split(parent)?;
    let payload = compact.payload()?;
    let claims = Claims::parse(&payload).map_err(CredentialError::Json)?;
    let missing = |name| CredentialError::Claim { name };
    if claims.holder().map_err(|_| missing("cnf"))? != holder.public() {
        return Err(CredentialError::NotHolder);
    }

    // Steps 1 and 2 of §6.2: identifier and times.
    let parent_iat = claims.numeric_date("iat").ok_or(missing("iat"))?;
    let parent_exp = claims.numeric_date("exp").ok_or(missing("exp"))?;
    let iat = request.iat.max(parent_iat);
    if claims.text("jti") == Some(&request.jti.0) || request.jti.0.is_empty() {
        return Err(missing("jti"));
    }
    if request.exp > parent_exp {
        return Err(CredentialError::Life { reason: "a child may not outlive its parent" });
    }
    if request.exp <= iat {
        return Err(CredentialError::Life { reason: "a token must expire after it is issued" });
    }

    // Steps 3 and 4: tools and their constraints.
    let parent_tools = match claims.tools().map_err(|_| missing("authorization_details"))? {
        Some(tools) => Tools::parse(tools)?,
        None => Tools::default(),
    };
    parent_tools.subsumes(&request.tools)?;

    // Steps 5 and 6: depths.
    let parent_max = claims.natural("del_max_depth").ok_or(missing("del_max_depth"))?;
    let depth = claims.natural("del_depth").and_then(|depth| depth.checked_add(1)).ok_or(missing("del_depth"))?;
    if depth > parent_max || depth > DELEGATION_DEPTH_MAX {
        return Err(CredentialError::Depth { reason: "the parent may not be delegated further" });
    }
    if request.del_max_depth < depth || request.del_max_depth > parent_max {
        return Err(CredentialError::Depth {
            reason: "`del_max_depth` is below the child's depth or above the parent's",
        });
    }

    // Steps 7 to 10: link, holder, audience, signature.
    sign(
        holder,
        &Payload {
            jti: request.jti.clone(),
            iss: holder.public().thumbprint_uri(),
            iat,
            exp: request.exp,
            cnf: Confirmation { jwk: request.holder.jwk() },
            aud: request.aud.clone(),
            del_depth: depth,
            del_max_depth: request.del_max_depth,
            par_hash: Some(base64url(&compact.signing_digest().0)),
            authorization_details: vec![Details::of(request.tools.clone())],
            task: None,
            purpose: None,
            agent: None,
        },
    )
}
