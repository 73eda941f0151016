//! base58btc of 34 bytes, read ten characters at a time: a record names two keys, and one digit at a time each costs as
//! much as parsing the rest.

use crate::digits::{NO_DIGIT, values};

/// A multicodec of two bytes and a key of 32.
const BYTES: usize = 34;
/// 58¹⁰ is the largest power that leaves room in 64 bits.
const GROUP_DIGITS: usize = 10;
/// The value of each character.
const DIGITS: [u8; 256] = values(b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz");

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
    for group in text.chunks(GROUP_DIGITS) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one_by_one(text: &str) -> Result<[u8; BYTES], Fault> {
        let bytes = bs58::decode(text).into_vec().map_err(|_| Fault::Character)?;
        bytes.try_into().ok().filter(|bytes: &[u8; BYTES]| bytes[0] != 0).ok_or(Fault::Length)
    }

    #[test]
    fn knows_its_bounds() {
        let mut bytes = [0xff; BYTES];
        for first in [0, 1, 0xed, 0xff] {
            bytes[0] = first;
            let text = bs58::encode(bytes).into_string();
            assert_eq!(decode(text.as_bytes()), one_by_one(&text));
            assert_eq!(decode(text.as_bytes()).is_ok(), first != 0);
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
        fn agrees_with_one_digit_at_a_time(bytes in proptest::collection::vec(any::<u8>(), 30..38), text in "[1-9A-Za-z]{0,64}") {
            let encoded = bs58::encode(&bytes).into_string();
            prop_assert_eq!(decode(encoded.as_bytes()), one_by_one(&encoded));
            prop_assert_eq!(decode(text.as_bytes()), one_by_one(&text));
        }
    }
}
