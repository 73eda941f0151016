//! The verdict on many records under one trust bundle: [`judge`]'s, with the bundle's keys decoded once.
//!
//! Strict, one signature at a time, over as many threads as call it.

use std::collections::HashMap;

use marque_identity::Did;
use marque_json::Limits;
use marque_signing::{Compact, PublicKey, TrustBundle, base64url};

use super::{RECORD_BYTES_MAX, RECORD_TYPE, Record, judge, may_sign};

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
        if let Some(record) = self.known(payload) {
            return Ok(Box::new(record));
        }
        let judged = judge(payload, &self.bundle);
        match judged.record {
            Some(record) => Ok(Box::new(record)),
            None => Err(Bad { id: judged.id, verdict: judged.verdict }),
        }
    }

    fn known(&self, payload: &[u8]) -> Option<Record> {
        let text = std::str::from_utf8(payload).ok().filter(|text| text.len() <= RECORD_BYTES_MAX)?;
        let compact = Compact::split(text).ok()?;
        let (did, key) = self.by_header.get(compact.header_base64())?;
        compact.check_signature(key).ok()?;
        let bytes = compact.payload().ok()?;
        let json = marque_json::parse(&bytes, Limits::bytes(RECORD_BYTES_MAX)).ok()?;
        let record: Record = marque_json::from_tree(&json).ok()?;
        (record.by == *did && may_sign(&self.bundle, &record)).then_some(record)
    }
}
