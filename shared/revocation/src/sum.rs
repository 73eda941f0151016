//! The digest of a set of directives: order does not matter, and one comes or goes in a few additions.

use std::fmt;
use std::str::FromStr;

use marque_identity::{Digest, DigestError};
use serde::{Deserialize, Serialize};

/// The sum modulo 2²⁵⁶ of the SHA-256 of each directive's compact form, big-endian. Of the empty set: zero.
///
/// TRUST: it backs up sequence accounting and does not replace it: sums can be made to collide by one who may
/// sign directives.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SetDigest([u8; 32]);

impl SetDigest {
    /// A member comes in.
    pub fn insert(&mut self, member: &Digest) {
        let mut carry = 0u16;
        for (sum, byte) in self.0.iter_mut().zip(member.0).rev() {
            carry += u16::from(*sum) + u16::from(byte);
            *sum = carry as u8;
            carry >>= 8;
        }
    }

    /// A member goes out.
    pub fn remove(&mut self, member: &Digest) {
        let mut borrow = 0i16;
        for (sum, byte) in self.0.iter_mut().zip(member.0).rev() {
            borrow += i16::from(*sum) - i16::from(byte);
            *sum = borrow as u8;
            borrow >>= 8;
        }
    }
}

impl fmt::Display for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Digest(self.0).fmt(f)
    }
}

impl fmt::Debug for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SetDigest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse::<Digest>().map(|digest| Self(digest.0))
    }
}

impl Serialize for SetDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SetDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Digest::deserialize(deserializer).map(|digest| Self(digest.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_does_not_matter_and_what_goes_leaves_no_trace(
            members in proptest::collection::vec(any::<[u8; 32]>(), 0..8),
            others in proptest::collection::vec(any::<[u8; 32]>(), 0..8),
        ) {
            let mut one = SetDigest::default();
            members.iter().for_each(|m| one.insert(&Digest(*m)));
            let mut other = SetDigest::default();
            others.iter().for_each(|m| other.insert(&Digest(*m)));
            members.iter().rev().for_each(|m| other.insert(&Digest(*m)));
            others.iter().for_each(|m| other.remove(&Digest(*m)));
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn carries_and_borrows() {
        let mut sum = SetDigest::default();
        let ones = Digest([0xff; 32]);
        let mut one = [0; 32];
        one[31] = 1;
        sum.insert(&ones);
        sum.insert(&Digest(one));
        assert_eq!(sum, SetDigest::default());
        sum.remove(&Digest(one));
        assert_eq!(sum.to_string(), "ff".repeat(32));
    }
}
