//! The extra constraints of a `narrow` directive.

use std::any::Any;
use std::fmt;
use std::sync::OnceLock;

use serde_json::Value;

/// A narrowing's JSON, canonical: it must fit a directive with room for the rest.
pub const NARROW_BYTES_MAX: usize = 8 * 1024;

/// `{"tools": {<tool or "*">: <constraint map>}}`: ANDed with what the chain grants.
///
/// This room does not know what a constraint means. Whoever does compiles it once and leaves the result here
/// ([`compiled`](Self::compiled)), so that a decision parses nothing.
pub struct Narrow {
    value: Value,
    compiled: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Narrow {
    /// A narrowing as it was signed.
    pub fn new(value: Value) -> Self {
        Self { value, compiled: OnceLock::new() }
    }

    /// Its JSON.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// What `compile` made of the JSON, made once and kept. `None` if another caller has left another type
    /// here: such a narrowing can't be decided on.
    pub fn compiled<T: Send + Sync + 'static>(&self, compile: impl FnOnce(&Value) -> T) -> Option<&T> {
        self.compiled.get_or_init(|| Box::new(compile(&self.value))).downcast_ref()
    }
}

impl fmt::Debug for Narrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Narrow").field(&self.value).finish()
    }
}
