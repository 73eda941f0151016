//! Looks for the bytes that mean something inside a string, eight at a time.

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// How many bytes stand before the first quote, backslash or control character.
pub(crate) fn plain_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    let mut words = bytes.chunks_exact(8);
    for word in words.by_ref() {
        let mut eight = [0; 8];
        eight.copy_from_slice(word);
        let special = special_bytes(u64::from_le_bytes(eight));
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let rest = words.remainder();
    length + rest.iter().position(|c| matches!(c, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len())
}

/// The high bit of each special byte. A borrow may set bits above the first one: only that is exact.
fn special_bytes(word: u64) -> u64 {
    let repeated = |byte: u8| ONES * u64::from(byte);
    let zero = |word: u64| word.wrapping_sub(ONES);
    // A byte of 0x80 or more is none of them, whatever the subtractions make of it.
    let ascii = !word & HIGH;
    (word.wrapping_sub(repeated(0x20)) | zero(word ^ repeated(b'"')) | zero(word ^ repeated(b'\\'))) & ascii
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one_by_one(bytes: &[u8]) -> usize {
        bytes.iter().position(|c| matches!(c, b'"' | b'\\' | 0..=0x1f)).unwrap_or(bytes.len())
    }

    #[test]
    fn finds_every_byte_at_every_place() {
        for byte in 0..=u8::MAX {
            for filler in [b'a', 0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xa0, 0xa2, 0xdc, 0xff] {
                for at in 0..20 {
                    let mut bytes = [filler; 20];
                    bytes[at] = byte;
                    assert_eq!(plain_length(&bytes), one_by_one(&bytes), "{byte:#x} among {filler:#x} at {at}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_looking_at_each(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(plain_length(&bytes), one_by_one(&bytes));
        }
    }
}
