//! What a directive is called by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A directive's id: a UUID (the broadcaster makes UUIDv7), 16 bytes here, its text of 36 characters on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectiveId([u8; 16]);

/// A text that is no directive's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a directive's id is a lower-case UUID")]
pub struct DirectiveIdError;

const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl DirectiveId {
    /// The id of a UUID's bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The UUID's bytes.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for DirectiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for DirectiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DirectiveId {
    type Err = DirectiveIdError;
    fn from_str(text: &str) -> Result<Self, DirectiveIdError> {
        if text.len() != 36 {
            return Err(DirectiveIdError);
        }
        let mut nibbles = [0u8; 32];
        let mut filled = 0;
        for (at, c) in text.bytes().enumerate() {
            if HYPHENS.contains(&at) {
                if c != b'-' {
                    return Err(DirectiveIdError);
                }
                continue;
            }
            nibbles[filled] = match c {
                b'0'..=b'9' => c - b'0',
                b'a'..=b'f' => c - b'a' + 10,
                _ => return Err(DirectiveIdError),
            };
            filled += 1;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(nibbles.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }
}

impl Serialize for DirectiveId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DirectiveId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(bytes: [u8; 16]) {
            let id = DirectiveId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<DirectiveId>().unwrap(), id);
        }

        #[test]
        fn refuses_noise_without_panic(text in "[0-9a-fA-F-]{30,40}|\\PC{0,40}") {
            if let Ok(id) = text.parse::<DirectiveId>() { prop_assert_eq!(id.to_string(), text); }
        }
    }
}
