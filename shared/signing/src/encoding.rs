//! base64url without padding, strictly (RFC 7515 §2).

use base64_simd::{AsOut, URL_SAFE_NO_PAD};

/// The base64url text of bytes, without padding.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

/// The bytes of a base64url text. Padding, other alphabets, spaces and non-zero trailing bits are refused.
pub fn base64url_decode(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode_to_vec(text).ok()
}

/// The base64url text of 32 bytes, without allocation.
pub(crate) fn base64url_32(bytes: &[u8; 32]) -> [u8; 43] {
    let mut text = [0; 43];
    let written = URL_SAFE_NO_PAD.encode(bytes, text.as_mut_slice().as_out());
    debug_assert_eq!(written.len(), 43, "32 bytes take 43 characters");
    text
}

/// The `N` bytes of a base64url text, without allocation.
pub(crate) fn decode_array<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != URL_SAFE_NO_PAD.encoded_length(N) {
        return None;
    }
    let mut bytes = [0; N];
    URL_SAFE_NO_PAD.decode(text, bytes.as_mut_slice().as_out()).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as SCALAR;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_is_not_strict() {
        assert_eq!(base64url_decode("_-8"), Some(vec![0xff, 0xef]));
        for text in ["_-8=", "/+8", "_-9", "_", "_- 8", "_-8\n", "_-é"] {
            assert_eq!(base64url_decode(text), None, "{text}");
        }
    }

    #[test]
    fn decodes_an_array_of_its_length_alone() {
        let text = base64url(&[7; 64]);
        assert_eq!(decode_array(text.as_bytes()), Some([7; 64]));
        assert_eq!(decode_array::<32>(text.as_bytes()), None);
        assert_eq!(decode_array::<64>(&text.as_bytes()[1..]), None);
        assert_eq!(decode_array(&base64url_32(&[9; 32])), Some([9; 32]));
    }

    proptest! {
        /// Wide registers and their remainder decide as the plain reading does, at every length and alignment.
        #[test]
        fn agrees_with_a_scalar_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let text = base64url(&bytes);
            prop_assert_eq!(&text, &SCALAR.encode(&bytes));
            prop_assert_eq!(base64url_decode(&text), Some(bytes));
            let mut changed = text.into_bytes();
            if !changed.is_empty() {
                let at = at.index(changed.len());
                changed[at] = to;
                prop_assert_eq!(base64url_decode(&changed), SCALAR.decode(&changed).ok());
                changed.truncate(at);
                prop_assert_eq!(base64url_decode(&changed), SCALAR.decode(&changed).ok());
            }
        }
    }
}
