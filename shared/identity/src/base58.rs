//! base58btc of the 34 bytes of a `did:key`: five digits at a time, on limbs of 32 bits.

/// The multicodec prefix and the key.
pub(crate) const DECODED_BYTES: usize = 34;

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// What each ASCII character stands for; 58 where it stands for nothing.
const DIGITS: [u8; 128] = {
    let mut digits = [58; 128];
    let mut value = 0;
    while value < 58 {
        digits[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    digits
};
/// 58⁵ is the highest power below 2³².
const GROUP_DIGITS: usize = 5;
const GROUP: u64 = 58u64.pow(GROUP_DIGITS as u32);
/// 288 bits hold 34 bytes, and ten groups of digits (292 bits) hold them too.
const LIMBS: usize = 9;
const LIMB_MASK: u64 = 0xffff_ffff;

/// Why a text is not base58btc of 34 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A character that is no digit.
    Digit,
    /// Another number of bytes, or the first is 0.
    Length,
}

/// The text of 34 bytes, of which the first is not 0, behind `prefix`.
pub(crate) fn encode(prefix: &str, bytes: &[u8; DECODED_BYTES]) -> String {
    let mut padded = [0; 4 * LIMBS];
    padded[4 * LIMBS - DECODED_BYTES..].copy_from_slice(bytes);
    // Most significant first.
    let mut limbs = [0u64; LIMBS];
    for (limb, four) in limbs.iter_mut().zip(padded.chunks_exact(4)) {
        *limb = four.iter().fold(0, |limb, byte| limb << 8 | u64::from(*byte));
    }
    let mut text = [0u8; 10 * GROUP_DIGITS];
    for group in text.rchunks_exact_mut(GROUP_DIGITS) {
        let mut rest = 0;
        for limb in &mut limbs {
            let value = rest << 32 | *limb;
            (*limb, rest) = (value / GROUP, value % GROUP);
        }
        for character in group.iter_mut().rev() {
            *character = usize::try_from(rest % 58).map_or(b'1', |digit| ALPHABET[digit]);
            rest /= 58;
        }
    }
    let mut out = String::with_capacity(prefix.len() + text.len());
    out.push_str(prefix);
    out.extend(text.iter().skip_while(|c| **c == b'1').map(|c| char::from(*c)));
    out
}

/// The 34 bytes of a text.
pub(crate) fn decode(text: &str) -> Result<[u8; DECODED_BYTES], Fault> {
    // Least significant first.
    let mut limbs = [0u64; LIMBS];
    let mut fits = !text.starts_with('1');
    for group in text.as_bytes().chunks(GROUP_DIGITS) {
        let (mut factor, mut carry) = (1, 0);
        for character in group {
            let digit = DIGITS.get(usize::from(*character)).filter(|digit| **digit < 58).ok_or(Fault::Digit)?;
            factor *= 58;
            carry = carry * 58 + u64::from(*digit);
        }
        for limb in &mut limbs {
            carry += *limb * factor;
            *limb = carry & LIMB_MASK;
            carry >>= 32;
        }
        fits &= carry == 0;
    }
    let mut padded = [0; 4 * LIMBS];
    for (four, limb) in padded.chunks_exact_mut(4).zip(limbs.iter().rev()) {
        four.copy_from_slice(&limb.to_be_bytes()[4..]);
    }
    match padded {
        [0, 0, bytes @ ..] if fits && bytes[0] != 0 => Ok(bytes),
        _ => Err(Fault::Length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn theirs(text: &str) -> Result<[u8; DECODED_BYTES], Fault> {
        let bytes = bs58::decode(text).into_vec().map_err(|_| Fault::Digit)?;
        bytes.try_into().ok().filter(|bytes: &[u8; DECODED_BYTES]| bytes[0] != 0).ok_or(Fault::Length)
    }

    proptest! {
        #[test]
        fn writes_as_the_reference_does(tail: [u8; 32], first in 1u8.., second: u8) {
            let mut bytes = [0; DECODED_BYTES];
            (bytes[0], bytes[1]) = (first, second);
            bytes[2..].copy_from_slice(&tail);
            let text = encode("", &bytes);
            prop_assert_eq!(&text, &bs58::encode(bytes).into_string());
            prop_assert_eq!(decode(&text), Ok(bytes));
            prop_assert_eq!(decode(&format!("1{text}")), Err(Fault::Length));
        }

        #[test]
        fn reads_as_the_reference_does(text in "[1-9A-HJ-NP-Za-km-z]{0,64}|[1zZ]{44,50}|[ -~]{0,64}|\\PC{0,20}") {
            prop_assert_eq!(decode(&text), theirs(&text));
        }

        #[test]
        fn reads_what_is_nearly_right_as_the_reference_does(tail: [u8; 32], at in 0usize..47, to in "[1-9A-HJ-NP-Za-km-z0OIl]") {
            let mut bytes = [0xed; DECODED_BYTES];
            bytes[2..].copy_from_slice(&tail);
            let mut text = encode("", &bytes);
            text.replace_range(at % text.len()..=at % text.len(), &to);
            prop_assert_eq!(decode(&text), theirs(&text));
        }
    }
}
