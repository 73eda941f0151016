//! Equality of JCS forms (AAT §3.4) without writing the forms.

use marque_json::{Json, Number, Object};

/// Up to this many members, looking each name up beats sorting both sides.
const LOOKUP_MEMBERS_MAX: usize = 16;

/// Whether two values have the same RFC 8785 form.
///
/// A number is its double there, so `1.0` equals `1`, and `-0` equals `0`.
pub fn canonically_equal(a: &Json<'_>, b: &Json<'_>) -> bool {
    match (a, b) {
        (Json::Null, Json::Null) => true,
        (Json::Bool(a), Json::Bool(b)) => a == b,
        (Json::Number(a), Json::Number(b)) => numbers_equal(a, b),
        (Json::String(a), Json::String(b)) => a == b,
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| canonically_equal(a, b)),
        (Json::Object(a), Json::Object(b)) => objects_equal(a, b),
        (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_), _) => false,
    }
}

fn numbers_equal(a: &Number<'_>, b: &Number<'_>) -> bool {
    if a.text() == b.text() {
        return true;
    }
    let (a, b) = (a.value(), b.value());
    a.is_finite() && a == b
}

fn objects_equal(a: &Object<'_>, b: &Object<'_>) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // No name stands twice, so equal counts and one inclusion suffice.
    if a.len() <= LOOKUP_MEMBERS_MAX {
        return a.iter().all(|(name, value)| b.get(name).is_some_and(|other| canonically_equal(value, other)));
    }
    let (mut a, mut b): (Vec<_>, Vec<_>) = (a.iter().collect(), b.iter().collect());
    a.sort_unstable_by_key(|(name, _)| *name);
    b.sort_unstable_by_key(|(name, _)| *name);
    a.iter().zip(&b).all(|((name, value), (other_name, other))| name == other_name && canonically_equal(value, other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use marque_json::{Limits, parse};
    use proptest::prelude::*;

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            (-3i64..3).prop_map(Into::into),
            "[ab]{0,2}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map("[ab]{0,2}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_forms(a in json(), b in json()) {
            let (a, b) = (a.to_string(), b.to_string());
            let (a, b) = (parse(a.as_bytes(), Limits::DEFAULT).unwrap(), parse(b.as_bytes(), Limits::DEFAULT).unwrap());
            prop_assert!(canonically_equal(&a, &a));
            prop_assert_eq!(canonically_equal(&a, &b), a.canonical() == b.canonical());
        }
    }

    #[test]
    fn compares_numbers_as_doubles_and_objects_as_sets() {
        let equal = |a: &str, b: &str| {
            canonically_equal(
                &parse(a.as_bytes(), Limits::DEFAULT).unwrap(),
                &parse(b.as_bytes(), Limits::DEFAULT).unwrap(),
            )
        };
        assert!(equal("1.0", "1") && equal("-0", "0") && equal(r#"{"a":1,"b":2}"#, r#"{"b":2.0,"a":1}"#));
        assert!(!equal("1", "true") && !equal(r#"{"a":1}"#, r#"{"a":1,"b":2}"#) && !equal("1e400", "2e400"));
        let long = |order: &mut dyn Iterator<Item = u32>| {
            format!("{{{}}}", order.map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(","))
        };
        assert!(equal(&long(&mut (0..40)), &long(&mut (0..40).rev())));
        assert!(!equal(&long(&mut (0..40)), &long(&mut (1..41))));
    }
}
