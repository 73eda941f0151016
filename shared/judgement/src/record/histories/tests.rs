use super::*;
use crate::record::{Decided, Heads, InputDigest, Requested, Verb};
use marque_identity::{Epoch, UnixMillis};
use marque_signing::{SigningKey, sha256};
use serde_json::json;

fn agent() -> Did {
    SigningKey::from_seed(&[7; 32]).did()
}

fn proof(seq: u64, prev: Option<Digest>, salt: &str) -> String {
    let claims = json!({ "jti": salt, "seq": seq, "prev": prev.map(|prev| prev.to_string()) });
    marque_signing::jws::sign_json(&SigningKey::from_seed(&[7; 32]), "aat-pop+jwt", None, &claims).unwrap()
}

/// A record about the key's action `seq`, as its proof has it.
fn decided(seq: u64, prev: Option<Digest>, proof: Carried) -> Record {
    let decided = Decided {
        decision: Verb::Permit,
        code: None,
        step: None,
        message: None,
        blame: None,
        proof: Some(proof),
        audience: None,
        why: None,
        cause: None,
        manifest_hash: None,
        seq: Some(seq),
        prev,
        epoch: Epoch(1),
        view_age_ms: None,
        staleness_bound_ms: 1,
        directive: None,
        constraint: None,
        side_effecting: false,
        input: None,
        sealed: None,
    };
    let record = Record::new(UnixMillis(1), SigningKey::from_seed(&[2; 32]).did(), Body::Decided(Box::new(decided)));
    Record { agent: Some(agent()), ..record }
}

/// A sound chain of so many proofs.
fn chain(count: u64) -> Vec<(Option<Digest>, String)> {
    let (mut proofs, mut prev) = (Vec::new(), None);
    for seq in 1..=count {
        let next = proof(seq, prev, "sound");
        proofs.push((prev, next.clone()));
        prev = Some(sha256(next.as_bytes()));
    }
    proofs
}

fn act(proofs: &[(Option<Digest>, String)], seq: u64) -> Record {
    let (prev, proof) = &proofs[seq as usize - 1];
    decided(seq, *prev, Carried::of(proof))
}

/// Followed from leaf `from` on, a minute apart.
fn followed(from: u64, records: &[Record]) -> Chains {
    let mut histories = Histories::default();
    for (leaf, record) in (from..).zip(records) {
        histories.follow(leaf, leaf as i64 * 60_000, Step::of(record));
    }
    // What comes last is too young to be missing.
    histories.follow(from + records.len() as u64, 1 << 40, None);
    histories.finish(from)
}

fn rules(chains: &Chains) -> Vec<(u64, u64, BrokenRule)> {
    chains.findings.iter().map(|broken| (broken.leaf, broken.seq, broken.rule)).collect()
}

#[test]
fn a_sound_chain_in_any_order_and_told_twice_has_nothing_broken() {
    let proofs = chain(6);
    for order in [[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [2, 1, 4, 6, 3, 5]] {
        let mut records: Vec<Record> = order.iter().map(|seq| act(&proofs, *seq)).collect();
        records.push(act(&proofs, 3));
        let chains = followed(0, &records);
        assert!(chains.findings.is_empty(), "{:?}", chains.findings);
        assert_eq!((chains.keys, chains.actions, chains.by_digest_only), (1, 6, 0));
    }
}

#[test]
fn finds_a_gap_by_the_leaf_above_it() {
    let proofs = chain(9);
    let records: Vec<Record> = [1, 2, 5, 6, 8].iter().map(|seq| act(&proofs, *seq)).collect();
    let chains = followed(0, &records);
    assert_eq!(rules(&chains), [(2, 3, BrokenRule::Gap), (4, 7, BrokenRule::Gap)]);
    assert!(chains.findings[0].what.contains("3 to 4"));
    // The beginning is missing, too.
    assert_eq!(rules(&followed(0, &[act(&proofs, 4)])), [(0, 1, BrokenRule::Gap)]);
}

#[test]
fn a_chain_that_begins_before_the_first_leaf_is_not_called_broken() {
    let proofs = chain(9);
    let chains = followed(100, &[act(&proofs, 4), act(&proofs, 5), act(&proofs, 7)]);
    assert_eq!(rules(&chains), [(102, 6, BrokenRule::Gap)]);
    assert_eq!(chains.begun_before, 1);
}

#[test]
fn a_gap_is_judged_once_it_has_settled() {
    let proofs = chain(3);
    let mut histories = Histories::default();
    for (leaf, seq) in [(0, 1), (1, 3)] {
        histories.follow(leaf, 1000, Step::of(&act(&proofs, seq)));
    }
    let chains = histories.finish(0);
    assert_eq!((rules(&chains).len(), chains.unsettled), (0, 1));
}

#[test]
fn finds_a_fork_and_lets_either_branch_go_on() {
    let proofs = chain(3);
    let other = proof(2, Some(sha256(proofs[0].1.as_bytes())), "other");
    let third = proof(3, Some(sha256(other.as_bytes())), "third");
    let second = decided(2, Some(sha256(proofs[0].1.as_bytes())), Carried::of(&other));
    let after = decided(3, Some(sha256(other.as_bytes())), Carried::of(&third));
    let sound = [act(&proofs, 1), act(&proofs, 2)];
    let chains = followed(0, &[sound[0].clone(), sound[1].clone(), second.clone(), after.clone()]);
    assert_eq!(rules(&chains), [(2, 2, BrokenRule::Fork)]);
    assert!(chains.findings[0].what.contains("leaf 1"));
    // In another order, and told twice.
    let chains = followed(0, &[after, sound[1].clone(), second.clone(), sound[0].clone(), second]);
    assert_eq!(rules(&chains), [(2, 2, BrokenRule::Fork)]);
}

#[test]
fn finds_a_proof_that_does_not_name_the_one_before_it() {
    let proofs = chain(2);
    let wrong = |seq, prev: Option<Digest>| decided(seq, prev, Carried::of(&proof(seq, prev, "wrong")));
    let zero = Some(sha256(b"another"));
    assert_eq!(rules(&followed(0, &[act(&proofs, 1), wrong(2, zero)])), [(1, 2, BrokenRule::Previous)]);
    assert_eq!(rules(&followed(0, &[act(&proofs, 1), wrong(2, None)])), [(1, 2, BrokenRule::Previous)]);
    assert_eq!(rules(&followed(0, &[wrong(2, zero), act(&proofs, 1)])), [(0, 2, BrokenRule::Previous)]);
    assert_eq!(rules(&followed(0, &[wrong(1, zero)])), [(0, 1, BrokenRule::Previous)]);
}

#[test]
fn finds_a_record_that_misstates_its_proof() {
    let proofs = chain(2);
    let misstated = decided(2, proofs[1].0, Carried::of(&proof(3, proofs[1].0, "wrong")));
    assert_eq!(rules(&followed(0, &[act(&proofs, 1), misstated])), [(1, 2, BrokenRule::Misstated)]);
    // Of one that is carried by its digest nothing can be compared, and that is said.
    let elided = decided(2, proofs[1].0, Carried::Elided(InputDigest::of(proofs[1].1.as_bytes())));
    let chains = followed(0, &[act(&proofs, 1), elided]);
    assert_eq!((rules(&chains).len(), chains.by_digest_only), (0, 1));
}

#[test]
fn an_agents_own_statement_fills_a_gap() {
    let proofs = chain(3);
    let by = agent();
    let requested = Body::Requested(Requested { proof: Carried::of(&proofs[1].1) });
    let requested = Record { agent: Some(by), ..Record::new(UnixMillis(1), by, requested) };
    let chains = followed(0, &[act(&proofs, 1), requested, act(&proofs, 3)]);
    assert!(chains.findings.is_empty(), "{:?}", chains.findings);
}

#[test]
fn holds_the_log_to_the_heads_that_the_sink_stated() {
    let proofs = chain(3);
    let heads = |seq: u64, proof: &str| {
        let head = KeyHead { agent: agent(), seq, proof: sha256(proof.as_bytes()), leaf: 1 };
        Record::new(
            UnixMillis(1),
            SigningKey::from_seed(&[3; 32]).did(),
            Body::Heads(Heads { tree_size: 1, heads: vec![head] }),
        )
    };
    let sound = [act(&proofs, 1), act(&proofs, 2)];
    let with = |head: Record| [sound.to_vec(), vec![head]].concat();
    assert!(followed(0, &with(heads(2, &proofs[1].1))).findings.is_empty());
    assert_eq!(rules(&followed(0, &with(heads(3, &proofs[2].1)))), [(2, 3, BrokenRule::Head)]);
    assert_eq!(rules(&followed(0, &with(heads(2, "another")))), [(2, 2, BrokenRule::Head)]);
    assert!(followed(50, &[heads(2, &proofs[1].1)]).findings.is_empty());
}

#[test]
fn tells_a_bounded_number_of_findings() {
    let records: Vec<Record> =
        (0..FINDINGS_MAX + 5).map(|at| decided(1, None, Carried::of(&proof(1, None, &at.to_string())))).collect();
    let chains = followed(0, &records);
    assert_eq!((chains.findings.len(), chains.findings_untold), (FINDINGS_MAX, 4));
}

/// One key's acts as the rules have them, each looked for among all before it.
fn naive(acts: &[Act]) -> Vec<(u64, u64, BrokenRule)> {
    let mut found = Vec::new();
    let mut told: Vec<(u64, &Act)> = Vec::new();
    for (leaf, act) in (0..).zip(acts) {
        if !act.agrees {
            found.push((leaf, act.seq, BrokenRule::Misstated));
        }
        let mut same = told.iter().filter(|(_, other)| other.seq == act.seq).peekable();
        let forks = same.peek().is_some();
        if same.any(|(_, other)| other.proof == act.proof) {
            continue;
        }
        if forks {
            found.push((leaf, act.seq, BrokenRule::Fork));
        }
        told.push((leaf, act));
    }
    for (leaf, act) in &told {
        let mut before = told.iter().filter(|(_, other)| other.seq + 1 == act.seq).peekable();
        let names_another = match act.prev {
            prev if act.seq == 1 => prev.is_some(),
            None => true,
            Some(prev) => before.peek().is_some() && !before.any(|(_, other)| other.proof == prev),
        };
        if names_another {
            found.push((*leaf, act.seq, BrokenRule::Previous));
        }
        let first = told.iter().all(|(other, at)| at.seq != act.seq || other >= leaf);
        let below = told.iter().filter(|(_, other)| other.seq < act.seq).map(|(_, other)| other.seq).max().unwrap_or(0);
        if first && below + 1 < act.seq {
            found.push((*leaf, below + 1, BrokenRule::Gap));
        }
    }
    found.sort();
    found
}

proptest::proptest! {
    /// Few numbers and few proofs: most histories fork, repeat and miss something.
    #[test]
    fn agrees_with_looking_at_each(
        drawn in proptest::collection::vec((1..8u64, 0..6u8, proptest::option::of((1..8u64, 0..6u8)), 0..8u8), 0..60)
    ) {
        let digest = |seq: u64, which: u8| sha256(&[seq as u8, which]);
        let acts: Vec<Act> = drawn
            .into_iter()
            .map(|(seq, which, prev, odd)| Act {
                agent: agent(),
                seq,
                prev: prev.map(|(seq, which)| digest(seq, which)),
                proof: digest(seq, which),
                carried: true,
                agrees: odd > 0,
            })
            .collect();
        let mut histories = Histories::default();
        for (leaf, act) in (0..).zip(&acts) {
            histories.follow(leaf, 0, Some(Step::Act(act.clone())));
        }
        histories.follow(acts.len() as u64, SETTLED_MS, None);
        let mut found = rules(&histories.finish(0));
        found.sort();
        proptest::prop_assert_eq!(found, naive(&acts));
    }
}
