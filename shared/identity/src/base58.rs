//! base58btc of 34 bytes, read ten characters at a time and written five at a time: a record names two keys, and one digit
//! at a time each costs as much as parsing the rest.

use crate::digits::{NO_DIGIT, values};

/// A multicodec of two bytes and a key of 32.
const BYTES: usize = 34;
/// 58¹⁰ is the largest power that leaves room in 64 bits.
const DIGITS_READ: usize = 10;
/// 58⁵ is the largest power below 2³²: what remains of a division by it has room behind 32 bits more.
const DIGITS_WRITTEN: usize = 5;
const GROUP_VALUE: u64 = 58u64.pow(DIGITS_WRITTEN as u32);
/// 2²⁷² has 47 digits.
const GROUPS_MAX: usize = 10;
const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// The value of each character.
const DIGITS: [u8; 256] = values(ALPHABET);

/// Why a text is not the bytes that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A character outside the alphabet.
    Character,
    /// Not 34 bytes, or the first is zero.
    Length,
}

/// The 34 bytes of a text, the first not zero.
pub(crate) fn decode(text: &[u8]) -> Result<[u8; BYTES], Fault> {
    // The number, its lowest 64 bits first.
    let mut number = [0u64; 5];
    let (mut seen, mut beyond) = (0, false);
    for group in text.chunks(DIGITS_READ) {
        let (mut carry, mut scale) = (0u64, 1u64);
        for character in group {
            let digit = DIGITS[usize::from(*character)];
            seen |= digit;
            carry = carry * 58 + u64::from(digit & !NO_DIGIT);
            scale *= 58;
        }
        for limb in &mut number {
            let wide = u128::from(*limb) * u128::from(scale) + u128::from(carry);
            (*limb, carry) = (wide as u64, (wide >> 64) as u64);
        }
        beyond |= carry != 0;
    }
    if seen & NO_DIGIT != 0 {
        return Err(Fault::Character);
    }
    let mut bytes = [0; 40];
    for (eight, limb) in bytes.chunks_exact_mut(8).rev().zip(number) {
        eight.copy_from_slice(&limb.to_be_bytes());
    }
    // A leading `1` is a zero byte, which the number does not show: with it there would be two texts of one key.
    let padded = text.first() == Some(&b'1');
    match bytes.split_last_chunk() {
        Some((&[0, 0, 0, 0, 0, 0], wanted)) if !beyond && !padded && wanted[0] != 0 => Ok(*wanted),
        Some(_) | None => Err(Fault::Length),
    }
}

/// Appends the text of 34 bytes to `text`. The first is not zero, which would take a character of its own.
pub(crate) fn encode_onto(text: &mut String, bytes: &[u8; BYTES]) {
    debug_assert_ne!(bytes[0], 0, "a zero in front would be a `1`");
    // The number, its highest 32 bits first.
    let mut padded = [0; 36];
    padded[36 - BYTES..].copy_from_slice(bytes);
    let mut number = [0u32; 9];
    for (limb, four) in number.iter_mut().zip(padded.chunks_exact(4)) {
        *limb = four.iter().fold(0, |limb, byte| limb << 8 | u32::from(*byte));
    }
    // Its digits, the last first.
    let mut digits = [0u8; GROUPS_MAX * DIGITS_WRITTEN];
    for group in digits.chunks_exact_mut(DIGITS_WRITTEN) {
        let mut rest = 0u64;
        for limb in &mut number {
            let wide = rest << 32 | u64::from(*limb);
            (*limb, rest) = ((wide / GROUP_VALUE) as u32, wide % GROUP_VALUE);
        }
        for digit in group {
            (*digit, rest) = ((rest % 58) as u8, rest / 58);
        }
    }
    let written = digits.iter().rev().skip_while(|digit| **digit == 0);
    text.extend(written.map(|digit| char::from(ALPHABET[usize::from(*digit)])));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one_by_one(text: &str) -> Result<[u8; BYTES], Fault> {
        let bytes = bs58::decode(text).into_vec().map_err(|_| Fault::Character)?;
        bytes.try_into().ok().filter(|bytes: &[u8; BYTES]| bytes[0] != 0).ok_or(Fault::Length)
    }

    fn encoded(bytes: &[u8; BYTES]) -> String {
        let mut text = String::new();
        encode_onto(&mut text, bytes);
        text
    }

    #[test]
    fn knows_its_bounds() {
        let mut bytes = [0xff; BYTES];
        for first in [0, 1, 0xed, 0xff] {
            bytes[0] = first;
            let text = bs58::encode(bytes).into_string();
            assert_eq!(decode(text.as_bytes()), one_by_one(&text));
            assert_eq!(decode(text.as_bytes()).is_ok(), first != 0);
            if first != 0 {
                assert_eq!(encoded(&bytes), text);
            }
        }
        // The same key behind one zero byte more is another text, and no key's.
        let padded = format!("1{}", bs58::encode([0xed; BYTES]).into_string());
        assert_eq!(decode(padded.as_bytes()), Err(Fault::Length));
        assert_eq!(decode(padded.as_bytes()), one_by_one(&padded));
        let above = bs58::encode([&[1], &[0; BYTES][..]].concat()).into_string();
        for text in ["", "1", "z", &above, &"z".repeat(46), &"z".repeat(47), &"z".repeat(64), &"1".repeat(34)] {
            assert_eq!(decode(text.as_bytes()), one_by_one(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn writes_what_one_digit_at_a_time_gives(first in 1u8.., rest: [u8; BYTES - 1], zeros in 0..BYTES) {
            let mut bytes = [first; BYTES];
            bytes[1..].copy_from_slice(&rest);
            bytes[BYTES - zeros..].fill(0);
            bytes[0] = first;
            prop_assert_eq!(encoded(&bytes), bs58::encode(bytes).into_string());
        }

        #[test]
        fn agrees_with_one_digit_at_a_time(bytes in proptest::collection::vec(any::<u8>(), 30..38), text in "[1-9A-Za-z]{0,64}") {
            let encoded = bs58::encode(&bytes).into_string();
            prop_assert_eq!(decode(encoded.as_bytes()), one_by_one(&encoded));
            prop_assert_eq!(decode(text.as_bytes()), one_by_one(&text));
        }
    }
}
