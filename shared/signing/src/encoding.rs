//! base64url without padding, strictly (RFC 7515 §2).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The base64url text of bytes, without padding.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a base64url text. Padding, other alphabets, spaces and non-zero trailing bits are refused.
pub fn base64url_decode(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// The base64url text of 32 bytes, without allocation.
pub(crate) fn base64url_32(bytes: &[u8; 32]) -> [u8; 43] {
    let mut text = [0; 43];
    let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
    debug_assert_eq!(written, Ok(43), "32 bytes take 43 characters");
    text
}

/// The 32 or 64 bytes of a base64url text, without allocation.
pub(crate) fn decode_array<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    // `decode_slice` wants room for its estimate, which may exceed N by two.
    let mut buffer = [0u8; 72];
    if text.len() > 96 {
        return None;
    }
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut buffer).ok()?;
    buffer[..length].try_into().ok()
}
