//! What a directive says, and the rules that hold for every one.

use std::fmt;

use marque_identity::{Did, Digest, TrustDomain, UnixSeconds};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::RevocationError;
use crate::narrow::NARROW_BYTES_MAX;
use crate::{DirectiveId, Target, TargetKind};

/// A sentence or two for the person who meets the refusal.
pub const REASON_BYTES_MAX: usize = 512;

/// What a directive does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Ends everything the target can do, for good.
    Revoke,
    /// Ends it until resumed, lifted or expired.
    Suspend,
    /// Ends a suspend.
    Resume,
    /// Adds constraints to everything the target can do.
    Narrow,
    /// Ends a narrow or a suspend.
    Lift,
}

impl Op {
    /// Every op.
    pub const ALL: [Op; 5] = [Self::Revoke, Self::Suspend, Self::Resume, Self::Narrow, Self::Lift];

    /// Whether it takes away. Such a one applies on sight, in any order; the others in sequence order alone.
    pub fn tightens(self) -> bool {
        match self {
            Self::Revoke | Self::Suspend | Self::Narrow => true,
            Self::Resume | Self::Lift => false,
        }
    }

    /// Whether it may end a directive that does `other`. A revoke is never ended.
    pub fn may_end(self, other: Op) -> bool {
        match self {
            Self::Resume => other == Self::Suspend,
            Self::Lift => matches!(other, Self::Suspend | Self::Narrow),
            Self::Revoke | Self::Suspend | Self::Narrow => false,
        }
    }

    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Narrow => "narrow",
            Self::Lift => "lift",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A directive. Not yet signed; see [`SignedDirective`].
#[derive(Debug, Clone, PartialEq)]
pub struct Directive {
    /// What it is called by.
    pub id: DirectiveId,
    /// What it does.
    pub op: Op,
    /// To what.
    pub target: Target,
    /// When it ends by itself. On a suspend or narrow as it was asked for; on the revoke of a token when no
    /// token that it can match lives any more; on nothing else.
    pub until: Option<UnixSeconds>,
    /// The constraints of a narrow: `{"tools": {…}}`.
    pub narrow: Option<Value>,
    /// The directive that a resume or lift ends; it has the same target.
    pub lifts: Option<DirectiveId>,
    /// For people. At most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
    /// Who asked.
    pub requested_by: Did,
    /// When it was signed.
    pub iat: UnixSeconds,
    /// The trust domain it holds in.
    pub domain: TrustDomain,
}

impl Directive {
    /// Checks that the members fit the op. Says nothing about who asked.
    pub fn check(&self) -> Result<(), RevocationError> {
        let refused = |rule| Err(RevocationError::Shape { rule });
        if self.op.tightens() == self.lifts.is_some() {
            return refused("a resume or lift names the directive that it ends, and nothing else does");
        }
        if (self.op == Op::Narrow) != self.narrow.is_some() {
            return refused("a narrow carries constraints, and nothing else does");
        }
        if let Some(narrow) = &self.narrow {
            check_narrow(narrow)?;
        }
        let until_allowed = match self.op {
            Op::Suspend | Op::Narrow => true,
            Op::Revoke => self.target.kind() == TargetKind::Token,
            Op::Resume | Op::Lift => false,
        };
        if self.until.is_some() && !until_allowed {
            return refused("only a suspend, a narrow or the revoke of a token ends by itself");
        }
        // Seconds that fit a double as milliseconds: JCS goes through one.
        const UNTIL_MAX: i64 = 9_007_199_254_740;
        if self.until.is_some_and(|until| !(0..=UNTIL_MAX).contains(&until.0)) {
            return refused("`until` is a time in seconds since 1970");
        }
        if self.reason.len() > REASON_BYTES_MAX || self.reason.chars().any(char::is_control) {
            return refused("a reason is at most 512 bytes without control characters");
        }
        Ok(())
    }
}

fn check_narrow(narrow: &Value) -> Result<(), RevocationError> {
    let tools = narrow.as_object().filter(|object| object.len() == 1).and_then(|object| object.get("tools"));
    let Some(Value::Object(tools)) = tools else {
        return Err(RevocationError::Shape { rule: "a narrowing is an object with the member `tools` alone" });
    };
    if tools.is_empty() {
        return Err(RevocationError::Shape { rule: "a narrowing names at least one tool, or `*`" });
    }
    let bytes = marque_json::to_canonical(narrow).map_err(RevocationError::Json)?.len();
    if bytes > NARROW_BYTES_MAX {
        return Err(RevocationError::Shape { rule: "a narrowing is at most 8 KiB" });
    }
    Ok(())
}

/// A directive with the bytes that were signed.
///
/// INVARIANT: made only by signing, or by verifying a broadcaster's signature over these bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedDirective {
    pub(crate) compact: String,
    pub(crate) digest: Digest,
    pub(crate) directive: Directive,
}

impl SignedDirective {
    /// The token as it travels.
    pub fn compact(&self) -> &str {
        &self.compact
    }

    /// SHA-256 of the token as it travels: its name in the set digest and as message id.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it says.
    pub fn directive(&self) -> &Directive {
        &self.directive
    }
}
