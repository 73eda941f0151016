//! When a checkpoint is to be believed: the log signed it, and enough witnesses have seen it. Source: C2SP `tlog-policy`.
//!
//! Names are UTF-8 here, where the specification lets them be any octets.

use std::collections::HashMap;

use marque_identity::UnixSeconds;

use crate::cosignature::verify_cosignature;
use crate::{Checkpoint, KeyKind, LedgerError, Note, VerifierKey};

/// The most a policy's file may have (limit of our own; a line takes some hundred bytes).
pub const POLICY_BYTES_MAX: usize = 64 * 1024;
/// Logs, witnesses and groups at the most, each (the specification asks for 32).
const DEFINITIONS_MAX: usize = 64;
/// The quorum of a policy that asks for no witness.
const NONE: &str = "none";

/// A witness that a policy knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// What the policy calls it; its own name is its key's.
    pub name: String,
    /// The key under which it cosigns.
    pub key: VerifierKey,
    /// Where it takes checkpoints: its submission prefix.
    pub url: Option<String>,
}

/// What a quorum is made of. A group's members stand before it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    /// By its place among the witnesses.
    Witness(usize),
    /// So many of these members, by their place among the members.
    Group { least: usize, of: Vec<usize> },
}

/// Which logs and witnesses are trusted, and how many of the latter must have seen a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    members: Vec<Member>,
    /// The member that must have witnessed; none where no witness is asked for.
    quorum: Option<usize>,
}

/// A checkpoint that a policy's log signed, and its witnesses' quorum too.
///
/// INVARIANT: only [`Policy::open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// What the log states.
    pub checkpoint: Checkpoint,
    /// Which of the policy's witnesses have cosigned it, and when each says that it did, in the policy's order.
    pub by: Vec<(String, UnixSeconds)>,
}

impl Policy {
    /// Any of these logs, and no witness.
    pub fn of_logs(logs: Vec<VerifierKey>) -> Self {
        Self { logs, ..Self::default() }
    }

    /// Any of these logs, and at least so many of these witnesses; none asked for is no quorum.
    pub fn at_least(logs: Vec<VerifierKey>, least: usize, witnesses: Vec<Witness>) -> Result<Self, LedgerError> {
        if least > witnesses.len() {
            return Err(LedgerError::PolicyMalformed { line: 0, what: "more witnesses are asked for than there are" });
        }
        let mut members: Vec<Member> = (0..witnesses.len()).map(Member::Witness).collect();
        let of = (0..witnesses.len()).collect();
        members.push(Member::Group { least, of });
        let quorum = (least > 0).then_some(witnesses.len());
        Ok(Self { logs, witnesses, members, quorum })
    }

    /// Reads a policy's file.
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(LedgerError::PolicyMalformed { line: 0, what: "too long" });
        }
        let mut reading = Reading::default();
        for (at, line) in text.split('\n').enumerate() {
            let read = reading.line(line);
            read.map_err(|what| LedgerError::PolicyMalformed { line: at + 1, what })?;
        }
        if reading.quorum_stated {
            Ok(reading.policy)
        } else {
            Err(LedgerError::PolicyMalformed { line: 0, what: "no line states the quorum" })
        }
    }

    /// The logs that it trusts.
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// The witnesses that it knows.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// The checkpoint in a note that one of the logs signed under the checkpoint's own origin, and the quorum cosigned.
    ///
    /// A signature of a known key that fails rejects the note; one of an unknown key is passed over.
    pub fn open(&self, note: &[u8]) -> Result<Witnessed, LedgerError> {
        let note = Note::parse(note)?;
        let checkpoint = Checkpoint::signed(&note, &self.logs)?;
        let seen: Vec<Option<UnixSeconds>> =
            self.witnesses.iter().map(|witness| verify_cosignature(&note, &witness.key)).collect();
        if !self.is_met(|witness| seen[witness].is_some()) {
            return Err(LedgerError::QuorumMissing);
        }
        let named = self.witnesses.iter().zip(seen);
        let by = named.filter_map(|(witness, at)| at.map(|at| (witness.name.clone(), at))).collect();
        Ok(Witnessed { checkpoint, by })
    }

    /// Whether the quorum is met where these witnesses, and no others, cosign.
    pub fn is_met_by(&self, cosigns: impl Fn(&Witness) -> bool) -> bool {
        self.is_met(|at| self.witnesses.get(at).is_some_and(&cosigns))
    }

    fn is_met(&self, cosigned: impl Fn(usize) -> bool) -> bool {
        let Some(quorum) = self.quorum else { return true };
        let mut met: Vec<bool> = Vec::with_capacity(self.members.len());
        for member in &self.members {
            let this = match member {
                Member::Witness(at) => cosigned(*at),
                Member::Group { least, of } => of.iter().filter(|at| met[**at]).count() >= *least,
            };
            met.push(this);
        }
        met.get(quorum).copied().unwrap_or(false)
    }
}

#[derive(Default)]
struct Reading {
    policy: Policy,
    /// Name → its place among the members, and whether a group has it already.
    names: HashMap<String, (usize, bool)>,
    groups: usize,
    quorum_stated: bool,
}

impl Reading {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if line.bytes().any(|byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
            return Err("a control character");
        }
        let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", key] | ["log", key, _] => self.log(key),
            ["witness", name, key] => self.witness(name, key, None),
            ["witness", name, key, url] => self.witness(name, key, Some((*url).to_owned())),
            ["group", name, least, members @ ..] => self.group(name, least, members),
            ["quorum", name] => self.quorum(name),
            _ => Err("neither `log`, `witness`, `group` nor `quorum` with what belongs to it"),
        }
    }

    fn log(&mut self, key: &str) -> Result<(), &'static str> {
        let key = key_of(key, KeyKind::Ed25519)?;
        if self.policy.logs.iter().any(|known| known.key() == key.key()) {
            return Err("a log's key stands twice");
        }
        bounded(self.policy.logs.len())?;
        self.policy.logs.push(key);
        Ok(())
    }

    fn witness(&mut self, name: &str, key: &str, url: Option<String>) -> Result<(), &'static str> {
        let key = key_of(key, KeyKind::Cosignature)?;
        if self.policy.witnesses.iter().any(|known| known.key.key() == key.key()) {
            return Err("a witness's key stands twice");
        }
        bounded(self.policy.witnesses.len())?;
        self.define(name, Member::Witness(self.policy.witnesses.len()))?;
        self.policy.witnesses.push(Witness { name: name.to_owned(), key, url });
        Ok(())
    }

    fn group(&mut self, name: &str, least: &str, members: &[&str]) -> Result<(), &'static str> {
        let mut of = Vec::with_capacity(members.len());
        for member in members {
            let (at, taken) = self.names.get_mut(*member).ok_or("a member is not defined before")?;
            if std::mem::replace(taken, true) {
                return Err("a member belongs to a group already");
            }
            of.push(*at);
        }
        let least = match least {
            "any" => 1,
            "all" => of.len(),
            number => crate::lines::decimal(number).and_then(|n| usize::try_from(n).ok()).ok_or("no threshold")?,
        };
        if least == 0 || least > of.len() {
            return Err("the threshold is not within 1 and the number of members");
        }
        bounded(self.groups)?;
        self.groups += 1;
        self.define(name, Member::Group { least, of })
    }

    fn quorum(&mut self, name: &str) -> Result<(), &'static str> {
        if std::mem::replace(&mut self.quorum_stated, true) {
            return Err("a second quorum");
        }
        if name != NONE {
            self.policy.quorum = Some(self.names.get(name).ok_or("the quorum is not defined before")?.0);
        }
        Ok(())
    }

    fn define(&mut self, name: &str, member: Member) -> Result<(), &'static str> {
        let at = self.policy.members.len();
        if name == NONE || self.names.insert(name.to_owned(), (at, false)).is_some() {
            return Err("the name is taken");
        }
        self.policy.members.push(member);
        Ok(())
    }
}

fn bounded(count: usize) -> Result<(), &'static str> {
    if count < DEFINITIONS_MAX { Ok(()) } else { Err("more definitions than are taken") }
}

fn key_of(text: &str, kind: KeyKind) -> Result<VerifierKey, &'static str> {
    let key: VerifierKey = text.parse().map_err(|_| "not a verifier key")?;
    if key.kind() == kind { Ok(key) } else { Err("a key of the other kind: logs sign, witnesses cosign") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hash, cosign};
    use marque_signing::SigningKey;
    use proptest::prelude::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn vkey(name: &str, kind: KeyKind, seed: u8) -> VerifierKey {
        VerifierKey::new(name, kind, key(seed).public()).unwrap()
    }

    fn log() -> VerifierKey {
        vkey("o.example", KeyKind::Ed25519, 1)
    }

    fn witness(seed: u8) -> VerifierKey {
        vkey(&format!("w{seed}.example"), KeyKind::Cosignature, seed)
    }

    /// The specification's example: two of X, and one of Y.
    fn example() -> String {
        let line = |group: &str, n: u8, seed: u8| format!("witness {group}{n} {}\n", witness(seed));
        let mut text = format!("# example\nlog {} https://o.example/\n\n", log());
        (1..=3).for_each(|n| text.push_str(&line("X", n, 10 + n)));
        text.push_str("group X-witnesses 2 X1 X2 X3\n");
        (1..=3).for_each(|n| text.push_str(&line("Y", n, 20 + n)));
        text.push_str("group Y-witnesses any Y1\tY2  Y3\ngroup X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n");
        text
    }

    fn cosigned_by(seeds: &[u8]) -> String {
        let checkpoint = Checkpoint { origin: "o.example".into(), size: 7, root: Hash::leaf(b"x") };
        let mut note = Note::parse(checkpoint.sign(&key(1)).unwrap().as_bytes()).unwrap();
        for seed in seeds {
            let line = cosign(note.text(), witness(*seed).name(), &key(*seed), UnixSeconds(i64::from(*seed))).unwrap();
            note.add(line);
        }
        note.to_string()
    }

    #[test]
    fn the_quorum_decides() {
        let policy = Policy::parse(&example()).unwrap();
        let open = |seeds: &[u8]| policy.open(cosigned_by(seeds).as_bytes());
        let by = open(&[21, 12, 11, 99]).unwrap().by;
        assert_eq!(
            by,
            [("X1".into(), UnixSeconds(11)), ("X2".into(), UnixSeconds(12)), ("Y1".into(), UnixSeconds(21))]
        );
        for seeds in [&[][..], &[11, 12], &[11, 21, 22, 23], &[11, 11, 21], &[99, 98, 97]] {
            assert_eq!(open(seeds), Err(LedgerError::QuorumMissing), "{seeds:?}");
        }
    }

    #[test]
    fn a_failing_cosignature_of_a_known_witness_counts_for_nothing() {
        let policy =
            Policy::at_least(vec![log()], 1, vec![Witness { name: "w".into(), key: witness(11), url: None }]).unwrap();
        let good = cosigned_by(&[11]);
        assert!(policy.open(good.as_bytes()).is_ok());
        // The same line under another checkpoint.
        let other = Checkpoint { origin: "o.example".into(), size: 8, root: Hash::leaf(b"x") }.sign(&key(1)).unwrap();
        let line = good.lines().last().unwrap();
        assert!(policy.open(format!("{other}{line}\n").as_bytes()).is_err());
    }

    #[test]
    fn without_the_logs_signature_witnesses_are_nothing() {
        let policy = Policy::parse(&format!("log {}\nquorum none\n", vkey("o.example", KeyKind::Ed25519, 2))).unwrap();
        assert!(matches!(policy.open(cosigned_by(&[11]).as_bytes()), Err(LedgerError::NoteUntrusted(_))));
    }

    #[test]
    fn refuses_malformed_policies() {
        let (log, w1, w2) = (log(), witness(11), witness(12));
        for text in [
            String::new(),
            format!("log {log}\n"),
            format!("log {log}\nlog {log}\nquorum none\n"),
            format!("log {w1}\nquorum none\n"),
            format!("witness a {log}\nquorum a\n"),
            format!("witness a {w1}\nwitness a {w2}\nquorum a\n"),
            format!("witness a {w1}\nwitness b {w1}\nquorum a\n"),
            format!("witness none {w1}\nquorum none\n"),
            format!("quorum a\nwitness a {w1}\n"),
            format!("witness a {w1}\nquorum a\nquorum a\n"),
            format!("witness a {w1}\ngroup g 2 a\nquorum g\n"),
            format!("witness a {w1}\ngroup g 0 a\nquorum g\n"),
            format!("witness a {w1}\ngroup g 01 a\nquorum g\n"),
            format!("witness a {w1}\ngroup g any\nquorum g\n"),
            format!("witness a {w1}\ngroup g all a a\nquorum g\n"),
            format!("witness a {w1}\ngroup g any a\ngroup h any a\nquorum h\n"),
            format!("group g any h\nwitness h {w1}\nquorum g\n"),
            "quorum none\nextra\n".into(),
            "quorum none\r\n".into(),
            format!("{}quorum none\n", "#\n".repeat(POLICY_BYTES_MAX / 2)),
        ] {
            assert!(matches!(Policy::parse(&text), Err(LedgerError::PolicyMalformed { .. })), "{text:.120}");
        }
        assert!(Policy::parse(&format!(" witness\ta  {w1}  http://w/ \n\n # note\n quorum a")).is_ok());
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in "((log|witness|group|quorum|none|any|all|a|b|2|#)[ \t\n]){0,20}") {
            let _ = Policy::parse(&text);
        }
    }
}
