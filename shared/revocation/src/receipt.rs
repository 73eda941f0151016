//! The convergence receipt: who has applied a directive, how fast, and who was silent.

use std::time::Duration;

use marque_identity::{Did, Epoch};
use serde::{Deserialize, Serialize};

use crate::{Closed, DirectiveId};

/// A receipt is a record of at most 60,000 bytes, and an answer of at most 64 KiB.
const SILENT_NAMED_MAX: usize = 256;
/// How many closed connections a receipt names; of more it tells the number. Of some 170 bytes each, they leave room in
/// a record (59,000 bytes, base64) beside 256 silent ones, and in an answer (64 KiB) beside the directive too.
pub const RECEIPT_CLOSED_NAMED_MAX: usize = 96;

/// A convergence receipt. Times are on the broadcaster's one clock, from the publish to the arrival of the ack, or of
/// the first presence that shows it applied: never less than it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The directive.
    #[schemars(with = "String")]
    pub id: DirectiveId,
    /// Its sequence.
    #[schemars(with = "u64")]
    pub epoch: Epoch,
    /// How many verifiers, hosts and gatekeepers have answered.
    pub acked: u64,
    /// How many were present when it was published, or were heard of for the first time while the broadcaster was
    /// still learning who is there.
    pub of: u64,
    /// Median, in microseconds; 0 if nobody answered.
    pub p50_us: u64,
    /// 99th percentile, in microseconds.
    pub p99_us: u64,
    /// Slowest, in microseconds.
    pub max_us: u64,
    /// Who did not answer, at most 256 of them: `of` − `acked` counts all. They have failed closed once their bound
    /// has passed.
    #[schemars(with = "Vec<String>")]
    pub silent: Vec<Did>,
    /// The connections that gatekeepers closed on it before they acked; at most 96 of them by name.
    #[serde(default, skip_serializing_if = "Closed::is_empty")]
    pub closed: Closed,
    /// The broadcaster had listened for too short a time, since its start or since it last lost the broker, to know
    /// everyone who is present: `of` may lack some.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

impl Receipt {
    /// The receipt of a directive from how long each answer took and who gave none. Nothing was closed on it, and
    /// everyone present is known.
    pub fn new(id: DirectiveId, epoch: Epoch, mut took: Vec<Duration>, mut silent: Vec<Did>) -> Self {
        took.sort_unstable();
        silent.sort_unstable();
        let of = (took.len() + silent.len()) as u64;
        silent.truncate(SILENT_NAMED_MAX);
        // Nearest rank: the smallest time within which that share had answered.
        let at_percent = |percent: usize| {
            let rank = (took.len() * percent).div_ceil(100).max(1);
            took.get(rank - 1).map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
        };
        Self {
            id,
            epoch,
            acked: took.len() as u64,
            of,
            p50_us: at_percent(50),
            p99_us: at_percent(99),
            max_us: at_percent(100),
            silent,
            closed: Closed::default(),
            partial: false,
        }
    }

    /// Whether everyone present is known to have applied it, and someone is.
    pub fn reached_all(&self) -> bool {
        self.acked == self.of && self.of > 0 && !self.partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_nearest_rank() {
        let id = DirectiveId::from_bytes([0; 16]);
        let took = (1..=200).rev().map(Duration::from_micros).collect();
        let silent = vec![Did::from_key_bytes([2; 32]), Did::from_key_bytes([1; 32])];
        let receipt = Receipt::new(id, Epoch(7), took, silent);
        assert_eq!((receipt.acked, receipt.of), (200, 202));
        assert_eq!((receipt.p50_us, receipt.p99_us, receipt.max_us), (100, 198, 200));
        assert_eq!(receipt.silent[0], Did::from_key_bytes([1; 32]));
        let none = Receipt::new(id, Epoch(7), vec![], vec![]);
        assert_eq!((none.acked, none.of, none.max_us), (0, 0, 0));
        assert!(!none.reached_all() && !receipt.reached_all());
        let all = Receipt::new(id, Epoch(7), vec![Duration::ZERO], vec![]);
        assert!(all.reached_all() && !Receipt { partial: true, ..all }.reached_all());
    }
}
