//! Lines that several of the formats have: a decimal number, a hash.

use crate::Hash;

/// A number in ASCII decimal without leading zeroes.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// One hash in standard base64 on each line, at most so many.
pub(crate) fn hashes<'t>(lines: impl Iterator<Item = &'t str>, hashes_max: usize) -> Option<Vec<Hash>> {
    let mut hashes = Vec::new();
    for line in lines {
        if hashes.len() == hashes_max {
            return None;
        }
        hashes.push(Hash::from_base64(line)?);
    }
    Some(hashes)
}
