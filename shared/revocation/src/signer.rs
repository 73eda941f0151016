//! Whose signature counts, and how the header above it is written.

use marque_signing::{PublicKey, base64url, jws};

use crate::DIRECTIVE_TYP;
use crate::error::RevocationError;
use crate::heartbeat::HEARTBEAT_TYP;

/// The key among `trusted` that the token's `kid` names.
pub(crate) fn signer_of(token: &str, trusted: &[PublicKey]) -> Result<PublicKey, RevocationError> {
    let claimed = jws::claimed_signer(token)?;
    trusted.iter().find(|key| **key == claimed).copied().ok_or(RevocationError::SignerUnknown)
}

/// A broadcaster's key, and the headers that it writes: one of them, byte for byte, has been judged already and
/// needs no reading, which spares the decoding of the key that its `kid` names.
#[derive(Debug)]
pub(crate) struct KnownSigner {
    pub(crate) key: PublicKey,
    /// Its DID's text.
    pub(crate) did: String,
    pub(crate) directive_header: String,
    pub(crate) heartbeat_header: String,
}

impl KnownSigner {
    pub(crate) fn new(key: PublicKey) -> Self {
        let url = key.did().url();
        // As `jws::sign` writes it (a test compares); a DID URL needs no escapes.
        let header = |typ| base64url(format!(r#"{{"alg":"Ed25519","kid":"{url}","typ":"{typ}"}}"#).as_bytes());
        Self {
            key,
            did: key.did().to_string(),
            directive_header: header(DIRECTIVE_TYP),
            heartbeat_header: header(HEARTBEAT_TYP),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use marque_signing::{Compact, SigningKey};

    #[test]
    fn knows_the_headers_that_are_written() {
        let key = SigningKey::from_seed(&[3; 32]);
        let known = KnownSigner::new(key.public());
        for (typ, header) in [(DIRECTIVE_TYP, &known.directive_header), (HEARTBEAT_TYP, &known.heartbeat_header)] {
            let token = jws::sign(&key, typ, Some(&key.did().url()), b"{}");
            assert_eq!(Compact::split(&token).unwrap().header_base64(), header);
        }
    }
}
