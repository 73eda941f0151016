//! The one line that a process sends, judged.

use marque_credential::evidence::{ATTEST_LINE_BYTES_MAX, AttestRequest};
use marque_identity::{TrustDomain, UnixSeconds};
use marque_json::Limits;
use marque_signing::PublicKey;
use serde::Deserialize;

use crate::AttestError;

/// Agent and attestor share a clock; so long may a loaded machine take between signing and reading.
const REQUEST_AGE_SECONDS_MAX: i64 = 30;
/// An object with one text in it.
const DEPTH_MAX: usize = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    request: String,
}

/// Whose key the line's sender has proven to hold.
///
/// 1. The line is JSON of the one shape, within its size.
/// 2. The request is signed by the key that it names.
/// 3. It is of now.
/// 4. It is for this trust domain.
///
/// No memory of `jti`s: a request that is sent again, by whomever, gives evidence about the sender's process, for a key
/// that only the signer holds.
pub fn read_request(line: &[u8], domain: &TrustDomain, now: UnixSeconds) -> Result<PublicKey, AttestError> {
    // 1.
    let limits = Limits { bytes_max: ATTEST_LINE_BYTES_MAX, depth_max: DEPTH_MAX };
    let Line { request } = marque_json::from_slice(line, limits).map_err(AttestError::Line)?;
    // 2.
    let (request, agent) = AttestRequest::open(&request).map_err(AttestError::Possession)?;
    // 3.
    let seconds = request.iat.0.saturating_sub(now.0);
    if seconds.unsigned_abs() > REQUEST_AGE_SECONDS_MAX.unsigned_abs() {
        return Err(AttestError::Stale { seconds, seconds_max: REQUEST_AGE_SECONDS_MAX });
    }
    // 4.
    if request.aud != *domain {
        return Err(AttestError::OtherDomain { own: domain.clone() });
    }
    Ok(agent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use marque_credential::evidence::ATTEST_REQUEST_TYPE;
    use marque_identity::{Code, TokenId};
    use marque_signing::{SigningKey, jws};
    use proptest::prelude::*;

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

    fn domain() -> TrustDomain {
        "acme.example".parse().unwrap()
    }

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32])
    }

    fn request(iat: i64, aud: &str) -> AttestRequest {
        AttestRequest { aud: aud.parse().unwrap(), iat: UnixSeconds(iat), jti: TokenId("r1".into()) }
    }

    fn line(request: &str) -> Vec<u8> {
        format!(r#"{{"request":"{request}"}}"#).into_bytes()
    }

    fn code(line: &[u8]) -> Code {
        read_request(line, &domain(), NOW).unwrap_err().code()
    }

    #[test]
    fn gives_the_key_that_signed() {
        let signed = request(NOW.0, "acme.example").sign(&key()).unwrap();
        assert_eq!(read_request(&line(&signed), &domain(), NOW).unwrap(), key().public());
    }

    #[test]
    fn refuses_a_key_without_its_proof() {
        let claims = request(NOW.0, "acme.example");
        let another = SigningKey::from_seed(&[8; 32]);
        let kid = key().did().url();
        let posing = jws::sign_json(&another, ATTEST_REQUEST_TYPE, Some(&kid), &claims).unwrap();
        assert_eq!(code(&line(&posing)), Code::PossessionUnproven);
        let nameless = jws::sign_json(&key(), ATTEST_REQUEST_TYPE, None, &claims).unwrap();
        assert_eq!(code(&line(&nameless)), Code::PossessionUnproven);
        let other_kind = jws::sign_as_did(&key(), "marque-enrol+jwt", &claims).unwrap();
        assert_eq!(code(&line(&other_kind)), Code::TypeMismatch);
    }

    #[test]
    fn refuses_another_time_or_domain() {
        for (iat, good) in [(-30, true), (30, true), (-31, false), (31, false)] {
            let signed = request(NOW.0 + iat, "acme.example").sign(&key()).unwrap();
            assert_eq!(read_request(&line(&signed), &domain(), NOW).is_ok(), good, "{iat}");
        }
        let signed = request(i64::MIN, "acme.example").sign(&key()).unwrap_or_default();
        assert!(read_request(&line(&signed), &domain(), NOW).is_err());
        let signed = request(NOW.0, "other.example").sign(&key()).unwrap();
        assert_eq!(code(&line(&signed)), Code::NotAuthorized);
    }

    #[test]
    fn refuses_hostile_lines_by_rule() {
        let signed = request(NOW.0, "acme.example").sign(&key()).unwrap();
        assert_eq!(code(format!(r#"{{"request":"{signed}","request":"{signed}"}}"#).as_bytes()), Code::DuplicateMember);
        assert_eq!(code(format!(r#"{{"request":"{signed}","more":1}}"#).as_bytes()), Code::ClaimsMalformed);
        assert_eq!(code(br#"{"request":{"a":1}}"#), Code::TooDeep);
        assert_eq!(code(b"{\"request\":\"\xff\"}"), Code::Malformed);
        assert_eq!(code(br#"{}"#), Code::ClaimsMalformed);
        assert_eq!(code(b""), Code::Malformed);
        let padded = |to: usize| {
            let mut padded = line(&signed);
            padded.resize(to, b' ');
            padded
        };
        assert!(read_request(&padded(ATTEST_LINE_BYTES_MAX), &domain(), NOW).is_ok());
        assert_eq!(code(&padded(ATTEST_LINE_BYTES_MAX + 1)), Code::Oversize);
    }

    proptest! {
        #[test]
        fn noise_gives_an_error_and_no_panic(noise in proptest::collection::vec(any::<u8>(), 0..600), text in "[ -~]{0,300}") {
            prop_assert!(read_request(&noise, &domain(), NOW).is_err());
            prop_assert!(read_request(&line(&text.replace(['"', '\\'], "")), &domain(), NOW).is_err());
        }
    }
}
