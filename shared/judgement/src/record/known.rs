//! The verdict on many records under one trust bundle: [`judge`]'s, with the bundle's keys decoded once.
//!
//! Strict, each signature by itself, over as many threads as call it.

use std::collections::HashMap;

use marque_identity::Did;
use marque_json::Limits;
use marque_signing::{Compact, PublicKey, TrustBundle, base64url, verify_each};

use super::{RECORD_BYTES_MAX, RECORD_TYPE, Record, judge, may_sign};

/// Signatures verified in one go: beyond, the division that they share weighs nothing any more.
const TOGETHER: usize = 64;

/// A record whose verdict is not good: it is a leaf all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Its id, where it could be read and its signature holds.
    pub id: Option<String>,
    /// The code of what is wrong with it.
    pub verdict: String,
}

/// Knows the keys of the trust bundle, decoded once.
pub struct Judge {
    bundle: TrustBundle,
    /// By the protected header that our own signers write.
    by_header: HashMap<String, (Did, PublicKey)>,
}

impl Judge {
    /// Judges under this bundle.
    pub fn new(bundle: TrustBundle) -> Self {
        let services = bundle.services.iter().map(|service| service.did);
        let all = services.chain(bundle.issuers.iter().map(|anchor| anchor.did));
        let by_header = all.filter_map(|did| {
            let header = format!(r#"{{"alg":"Ed25519","kid":"{}","typ":"{RECORD_TYPE}"}}"#, did.url());
            Some((base64url(header.as_bytes()), (did, PublicKey::from_did(&did).ok()?)))
        });
        Self { by_header: by_header.collect(), bundle }
    }

    /// Judges a stored payload.
    pub fn judge(&self, payload: &[u8]) -> Result<Box<Record>, Bad> {
        // The short way takes the same steps with a key that is decoded already; whatever it does not find good goes
        // the long way, so that there is one place that says what is wrong.
        let short = self.known(payload).filter(|known| known.compact.check_signature(known.key).is_ok());
        self.verdict(payload, short.as_ref())
    }

    /// Judges stored payloads, each as [`judge`](Self::judge) does.
    pub fn judge_each(&self, payloads: &[&[u8]]) -> Vec<Result<Box<Record>, Bad>> {
        let mut judged = Vec::with_capacity(payloads.len());
        for payloads in payloads.chunks(TOGETHER) {
            let known: Vec<_> = payloads.iter().map(|payload| self.known(payload)).collect();
            let signed: Vec<_> = known.iter().flatten().map(|known| known.compact.signed(known.key)).collect();
            let mut verdicts = verify_each(&signed).into_iter();
            for (payload, known) in payloads.iter().zip(&known) {
                let short = known.as_ref().filter(|_| verdicts.next().is_some_and(|verdict| verdict.is_ok()));
                judged.push(self.verdict(payload, short));
            }
        }
        judged
    }

    /// By the short way, where the signature held on it, or else by the long one.
    fn verdict(&self, payload: &[u8], short: Option<&Known<'_>>) -> Result<Box<Record>, Bad> {
        if let Some(record) = short.and_then(|known| self.record(known)) {
            return Ok(Box::new(record));
        }
        let judged = judge(payload, &self.bundle);
        match judged.record {
            Some(record) => Ok(Box::new(record)),
            None => Err(Bad { id: judged.id, verdict: judged.verdict }),
        }
    }

    /// A record as our own signers write one, by a key of the bundle; its signature is still to be checked.
    fn known<'a>(&'a self, payload: &'a [u8]) -> Option<Known<'a>> {
        let text = std::str::from_utf8(payload).ok().filter(|text| text.len() <= RECORD_BYTES_MAX)?;
        let compact = Compact::split(text).ok()?;
        let (did, key) = self.by_header.get(compact.header_base64())?;
        Some(Known { compact, did, key })
    }

    /// TRUST: the signature holds.
    fn record(&self, known: &Known<'_>) -> Option<Record> {
        let bytes = known.compact.payload().ok()?;
        let json = marque_json::parse(&bytes, Limits::bytes(RECORD_BYTES_MAX)).ok()?;
        let record: Record = marque_json::from_tree(&json).ok()?;
        (record.by == *known.did && may_sign(&self.bundle, &record)).then_some(record)
    }
}

/// A payload on the short way.
struct Known<'a> {
    compact: Compact<'a>,
    did: &'a Did,
    key: &'a PublicKey,
}

#[cfg(test)]
mod tests {
    use marque_identity::{UnixMillis, UnixSeconds};
    use marque_signing::{Role, ServiceKey, SigningKey};

    use super::*;
    use crate::record::{Body, Completed, Outcome};

    #[test]
    fn each_has_the_verdict_that_it_has_alone() {
        let (host, stranger) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let bundle = TrustBundle {
            trust_domain: "acme.example".parse().unwrap(),
            version: 1,
            issued_at: UnixSeconds(1_700_000_000),
            issuers: Vec::new(),
            services: vec![ServiceKey { role: Role::Host, name: "host".into(), did: host.did() }],
            operators: Vec::new(),
        };
        let judge = Judge::new(bundle);
        let record = |key: &SigningKey, decided: usize| {
            let completed = Completed {
                decided: decided.to_string(),
                outcome: Outcome::Ok,
                status: None,
                reply_sha256: None,
                reply_bytes: None,
                duration_us: 1,
            };
            Record::new(UnixMillis(1_800_000_000_000), key.did(), Body::Completed(completed)).seal(key).unwrap()
        };
        // Good ones, and among them noise, a stranger's, and one whose signature is another's.
        let mut payloads: Vec<String> = (0..2 * TOGETHER + 9).map(|n| record(&host, n)).collect();
        payloads[1] = "noise".into();
        payloads[TOGETHER] = record(&stranger, 7);
        let (good, other) = (payloads[5].clone(), payloads[6].clone());
        payloads[70] = format!("{}.{}", good.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
        let payloads: Vec<&[u8]> = payloads.iter().map(String::as_bytes).collect();
        let each = judge.judge_each(&payloads);
        assert_eq!(each, payloads.iter().map(|payload| judge.judge(payload)).collect::<Vec<_>>());
        let bad: Vec<_> = (0..).zip(&each).filter(|(_, verdict)| verdict.is_err()).map(|(place, _)| place).collect();
        assert_eq!(bad, [1, TOGETHER, 70]);
    }
}
