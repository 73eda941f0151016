//! Opens what arrives on the feed, each distinct directive once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use marque_identity::Digest;
use marque_signing::{Compact, JwsError, PublicKey, sha256};

use crate::error::RevocationError;
use crate::heartbeat::HEARTBEAT_TYP;
use crate::security_event::DIRECTIVE_BYTES_MAX;
use crate::signer::KnownSigner;
use crate::{Heartbeat, Item, SignedDirective};

/// How many opened directives are remembered: the committed copy follows the raw one within milliseconds, and
/// within seconds when a leader falls.
pub const OPENED_MAX: usize = 1024;

/// Verifies directives and heartbeats under the broadcasters' keys. The raw and the committed copy of a
/// directive are the same bytes: the second one is recognised by its digest and costs no signature.
#[derive(Debug)]
pub struct Opener {
    signers: Vec<KnownSigner>,
    opened: HashMap<Digest, Arc<SignedDirective>>,
    order: VecDeque<Digest>,
}

impl Opener {
    /// An opener for these broadcasters. TRUST: a broadcaster's key serves one trust domain, so that `aud` is not
    /// looked at again.
    pub fn new(broadcasters: Vec<PublicKey>) -> Self {
        let signers = broadcasters.into_iter().map(KnownSigner::new).collect();
        Self { signers, opened: HashMap::new(), order: VecDeque::new() }
    }

    /// Opens a directive.
    pub fn directive(&mut self, bytes: &[u8]) -> Result<Arc<SignedDirective>, RevocationError> {
        if bytes.len() > DIRECTIVE_BYTES_MAX {
            return Err(JwsError::Oversize { bytes: bytes.len(), bytes_max: DIRECTIVE_BYTES_MAX }.into());
        }
        let digest = sha256(bytes);
        if let Some(known) = self.opened.get(&digest) {
            return Ok(known.clone());
        }
        let signed = Arc::new(SignedDirective::verify_known(bytes, digest, &self.signers)?);
        if self.order.len() >= OPENED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.opened.remove(&oldest);
        }
        self.order.push_back(digest);
        self.opened.insert(digest, signed.clone());
        Ok(signed)
    }

    /// Opens a heartbeat.
    pub fn heartbeat(&self, bytes: &[u8]) -> Result<Heartbeat, RevocationError> {
        Heartbeat::verify_known(bytes, &self.signers)
    }

    /// Opens a message of the stream, whichever it is. What does not open still counts in the sequence, so it
    /// is [`Item::Skipped`], with the reason for telemetry.
    pub fn item(&mut self, bytes: &[u8]) -> (Item, Option<RevocationError>) {
        let opened = if self.is_heartbeat(bytes) {
            self.heartbeat(bytes).map(Item::Heartbeat)
        } else {
            self.directive(bytes).map(Item::Directive)
        };
        match opened {
            Ok(item) => (item, None),
            Err(error) => (Item::Skipped, Some(error)),
        }
    }

    fn is_heartbeat(&self, bytes: &[u8]) -> bool {
        let header = bytes.split(|c| *c == b'.').next().unwrap_or_default();
        if self.signers.iter().any(|signer| signer.directive_header.as_bytes() == header) {
            return false;
        }
        self.signers.iter().any(|signer| signer.heartbeat_header.as_bytes() == header) || names_heartbeat(bytes)
    }
}

/// Whether a header says so that is none of those we know.
fn names_heartbeat(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).ok();
    let typ = text.and_then(|text| Compact::split(text).ok()?.header_member("typ").ok()?);
    typ.as_deref() == Some(HEARTBEAT_TYP)
}
