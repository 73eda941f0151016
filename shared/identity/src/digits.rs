//! Digits by their characters, looked up without a branch.

/// Set in no digit's value.
pub(crate) const NO_DIGIT: u8 = 0x80;

/// The value of each character: its place in the alphabet, or [`NO_DIGIT`].
pub(crate) const fn values(alphabet: &[u8]) -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < alphabet.len() {
        values[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    values
}
