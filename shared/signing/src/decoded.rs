//! Public keys that were decoded lately: finding the point costs a tenth of a verification, and the same agents hold
//! link after link. A bounded memory of a pure function: it changes no answer.

use std::sync::Mutex;

use ed25519_dalek::VerifyingKey;

/// 200 bytes each. A key that is not here is decoded, no more.
const KEYS_MAX: usize = 1024;

/// Each key has one place, by two of its bytes, and pushes out the one before it. Whoever makes keys that fall on
/// another's place makes that one be decoded again: what it cost without this.
///
/// INVARIANT: holds nothing but what was handed to [`remember`], found only by exactly its 32 bytes.
static DECODED: [Mutex<Option<VerifyingKey>>; KEYS_MAX] = [const { Mutex::new(None) }; KEYS_MAX];

fn place(bytes: &[u8; 32]) -> &'static Mutex<Option<VerifyingKey>> {
    &DECODED[usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % KEYS_MAX]
}

/// The key of these bytes, if it is here. Waits for no other thread.
pub(crate) fn recall(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    let key = place(bytes).try_lock().ok()?;
    key.filter(|key| key.as_bytes() == bytes)
}

/// Keeps a key that was found good. Waits for no other thread.
pub(crate) fn remember(key: VerifyingKey) {
    if let Ok(mut place) = place(key.as_bytes()).try_lock() {
        *place = Some(key);
    }
}
