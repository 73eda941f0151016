//! Many signatures, each verified by itself: strictly, and with the outcome that it has alone.
//!
//! This is no batch verification, whose one equation over a random sum accepts what no single one does: each R is computed
//! and compared by itself. Shared is only the division that gives points their encoding, a fifth of the work of each.

use curve25519_dalek::{EdwardsPoint, Scalar};
use sha2::{Digest as _, Sha512};

use crate::key::has_small_order;
use crate::{PublicKey, SignatureError};

/// A signature to be verified.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// The key that is to have made it.
    pub key: &'a PublicKey,
    /// What it is over.
    pub message: &'a [u8],
    /// R ‖ S.
    pub signature: &'a [u8; 64],
}

/// Verifies each, strictly: to each the answer that [`PublicKey::verify`] has for it.
pub fn verify_each(signed: &[Signed<'_>]) -> Vec<Result<(), SignatureError>> {
    let (places, points): (Vec<usize>, Vec<EdwardsPoint>) =
        signed.iter().enumerate().filter_map(|(place, signed)| Some((place, commitment(signed)?))).unzip();
    let mut verdicts = vec![Err(SignatureError); signed.len()];
    // 4. R as it is encoded: another encoding of the same point is none.
    for (place, encoded) in places.into_iter().zip(EdwardsPoint::compress_batch_alloc(&points)) {
        if let (Some(signed), Some(verdict)) = (signed.get(place), verdicts.get_mut(place))
            && signed.signature.starts_with(encoded.as_bytes())
        {
            *verdict = Ok(());
        }
    }
    verdicts
}

/// Steps 1 to 3 of RFC 8032 §5.1.7: the point whose encoding R must be. None where S or R is refused.
fn commitment(signed: &Signed<'_>) -> Option<EdwardsPoint> {
    let (r, s) = signed.signature.split_first_chunk::<32>()?;
    // 1. S below the group's order; R not of small order, which strict verification adds. A of small order is no key.
    let s: Scalar = Option::from(Scalar::from_canonical_bytes(s.try_into().ok()?))?;
    if has_small_order(r) {
        return None;
    }
    // 2. k = SHA-512(R ‖ A ‖ M).
    let k = Sha512::new().chain_update(r).chain_update(signed.key.bytes()).chain_update(signed.message).finalize();
    let k = Scalar::from_bytes_mod_order_wide(&k.into());
    // 3. [S]B − [k]A. Nothing is secret.
    Some(EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-signed.key.point(), &s))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SigningKey;

    #[test]
    fn none_at_all_is_none() {
        assert!(verify_each(&[]).is_empty());
    }

    proptest! {
        /// Good ones, flipped ones, foreign ones and ones of small order, side by side: each as it is alone.
        #[test]
        fn each_has_the_outcome_that_it_has_alone(
            cases in proptest::collection::vec((0_u8..4, 0_u8..4, proptest::collection::vec(any::<u8>(), 0..40), 0_usize..1024, 0_u8..16), 0..12)
        ) {
            let keys: Vec<_> = (0..4_u8).map(|seed| SigningKey::from_seed(&[seed; 32])).collect();
            let publics: Vec<_> = keys.iter().map(SigningKey::public).collect();
            let made: Vec<_> = cases.iter().map(|(by, under, message, flip, small)| {
                let mut signature = keys[usize::from(*by)].sign(message);
                if *flip < 512 { signature[flip / 8] ^= 1 << (flip % 8); }
                match small {
                    // The neutral element, and the point of order two.
                    0 => { signature[..32].fill(0); signature[0] = 1; }
                    1 => { signature[..32].fill(0xff); signature[0] = 0xec; signature[31] = 0x7f; }
                    // S beyond the order.
                    2 => signature[32..].fill(0xff),
                    _ => {}
                }
                (&publics[usize::from(*under)], message, signature)
            }).collect();
            let signed: Vec<_> = made.iter().map(|(key, message, signature)| Signed { key, message, signature }).collect();
            let alone: Vec<_> = signed.iter().map(|signed| signed.key.verify(signed.message, signed.signature)).collect();
            prop_assert_eq!(verify_each(&signed), alone);
        }
    }
}
