//! `nats_subject {pattern}`: a bus subject, or a wildcard subscription, within a pattern.
//!
//! check: the argument is a string, a well-formed subject in which `*` and `>` may stand as on the bus, and every
//! subject that it matches the pattern matches. subsumes: the same containment, which is exact and transitive.

use super::ConstraintError;

/// A pattern of NATS subjects: tokens between dots; `*` is one token, a last `>` one or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsSubject(Box<str>);

impl NatsSubject {
    pub(super) fn parse(pattern: &str) -> Result<Self, ConstraintError> {
        if !is_subject(pattern) {
            return Err(ConstraintError::Malformed { reason: "`pattern` is not a bus subject" });
        }
        Ok(Self(pattern.into()))
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a subject, or a subscription, lies within the pattern.
    pub fn admits(&self, subject: &str) -> bool {
        is_subject(subject) && contains(&self.0, subject)
    }

    pub(super) fn subsumes(&self, child: &Self) -> bool {
        contains(&self.0, &child.0)
    }
}

/// Non-empty tokens of visible characters between dots; a wildcard is a whole token, `>` only the last.
fn is_subject(text: &str) -> bool {
    let mut tokens = text.split('.').peekable();
    let mut well_formed = !text.is_empty();
    while let Some(token) = tokens.next() {
        let wildcard = match token {
            "*" => true,
            ">" => tokens.peek().is_none(),
            _ => false,
        };
        let plain =
            !token.is_empty() && !token.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>'));
        well_formed &= wildcard || plain;
    }
    well_formed
}

fn contains(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(own), Some(token)) if own == token && !matches!(own, "*" | ">") => {}
            (Some(_), _) | (None, Some(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> NatsSubject {
        NatsSubject::parse(text).unwrap()
    }

    #[test]
    fn containment_is_that_of_the_bus() {
        for (outer, inner, held) in [
            (">", "a", true),
            (">", "a.>", true),
            (">", "*", true),
            ("a.>", "a", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a.*", true),
            ("a.*", "a.>", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("*.b", "*.b", true),
            ("a.b", "a.*", false),
            ("a.b", "a.b.c", false),
            ("*.>", ">", false),
            ("*.>", "a.*.>", true),
        ] {
            assert_eq!(pattern(outer).admits(inner), held, "{outer} {inner}");
        }
    }

    #[test]
    fn rejects_what_is_no_subject() {
        for text in ["", ".", "a.", ".a", "a..b", "a b", "a.>.b", "a*", "a.b>", "a.\t", "a.\u{0}", "a.\u{a0}b"] {
            assert!(NatsSubject::parse(text).is_err(), "{text:?}");
            assert!(!pattern(">").admits(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn containment_is_exact(outer in "([ab]|\\*)(\\.([ab]|\\*)){0,2}(\\.>)?", inner in "([ab]|\\*)(\\.([ab]|\\*)){0,2}(\\.>)?") {
            // Against every concrete subject of up to five tokens over three letters.
            let mut all = vec![String::new()];
            let mut every = true;
            for _ in 0..5 {
                all = all.iter().flat_map(|head| ["a", "b", "c"].map(|t| if head.is_empty() { t.to_owned() } else { format!("{head}.{t}") })).collect();
                every &= all.iter().all(|subject| !pattern(&inner).admits(subject) || pattern(&outer).admits(subject));
            }
            prop_assert_eq!(pattern(&outer).subsumes(&pattern(&inner)), every);
        }
    }
}
