//! J.15, J.16, J.18: `all` and `any`.

use serde_json::{Value, json};

use super::super::case::{Case, Expected, Group};
use super::super::token::{Token, Who, numbered, root, root_claims};
use super::{all, any, child, exact, one_of, proves, range, wildcard};

const WIDENED: Expected = Expected::Deny("4p4", "authority_widened");
const REFUSED: Expected = Expected::Deny("6b", "argument_refused");

pub(super) fn cases() -> Vec<Case> {
    let mut cases = conjunctions();
    cases.extend(disjunctions());
    cases.extend(nested());
    cases
}

fn formats(names: &[&str]) -> Value {
    any(&names.iter().map(|name| exact(*name)).collect::<Vec<_>>())
}

fn within(max: i64) -> [Value; 2] {
    [range(json!({"max": max})), range(json!({"min": 0}))]
}

fn export_root() -> Token {
    let tools = json!({"export": {"format": formats(&["pdf", "csv", "xlsx"]), "limit": all(&within(100))}});
    root(&root_claims(&numbered(0xf0), tools))
}

fn export(id: &str, slug: &str, title: &str, chain: [Token; 2], n: u64, args: Value, expected: Expected) -> Case {
    let proof = proves(n, &chain[1], "export", &args, Who::Worker);
    Case::new(Group::Draft, id, title, chain.to_vec(), proof, expected).named(slug).call("export", &args)
}

/// A child of [`export_root`], number `n` of its family.
fn composite(
    id: &str,
    slug: &str,
    title: &str,
    n: u64,
    (format, limit): (Value, Value),
    args: Value,
    expected: Expected,
) -> Case {
    let parent = export_root();
    let leaf = child(0xf10 + n, &parent, json!({"export": {"format": format, "limit": limit}}));
    export(id, slug, title, [parent, leaf], 0xaf0 + n, args, expected)
}

fn pdf(limit: i64) -> Value {
    json!({"format": "pdf", "limit": limit})
}

fn conjunctions() -> Vec<Case> {
    let [max, min] = within(100);
    let at_least_1 = range(json!({"min": 1}));
    let limit = |id, slug, title, n, limit, call, expected| {
        composite(id, slug, title, n, (formats(&["pdf"]), limit), call, expected)
    };
    let wild = {
        let parent = root(&root_claims(
            &numbered(0xf1),
            json!({"export": {"format": wildcard(), "limit": all(&[wildcard(), wildcard()])}}),
        ));
        let leaf = child(0xf14, &parent, json!({"export": {"format": wildcard(), "limit": all(&[exact(5)])}}));
        [parent, leaf]
    };
    vec![
        limit(
            "J.15.1",
            "all-clause-added",
            "`all` gains a clause",
            1,
            all(&[max.clone(), min.clone(), at_least_1.clone()]),
            pdf(10),
            Expected::Permit,
        ),
        limit(
            "J.15.2",
            "all-clause-dropped",
            "`all` loses a clause",
            2,
            all(std::slice::from_ref(&max)),
            pdf(10),
            WIDENED,
        ),
        limit(
            "J.15.3",
            "all-clause-serves-two",
            "One clause serves two of the parent's",
            3,
            all(&[range(json!({"min": 10, "max": 50}))]),
            pdf(10),
            Expected::Permit,
        ),
        export(
            "J.15.4",
            "all-exact-serves-wildcards",
            "One `exact` serves two wildcards",
            wild,
            0xaf4,
            pdf(5),
            Expected::Permit,
        ),
        limit("J.15.5", "all-clause-widened", "A clause of `all` is widened", 5, all(&within(200)), pdf(10), WIDENED),
        limit(
            "J.15.6",
            "all-clause-fails",
            "The call fails one clause of `all`",
            6,
            all(&[max, min, at_least_1]),
            pdf(0),
            REFUSED,
        ),
    ]
}

fn disjunctions() -> Vec<Case> {
    let format = |id, slug, title, n, format, call, expected| {
        composite(id, slug, title, n, (format, all(&within(100))), call, expected)
    };
    let empty = Expected::Deny("4o", "constraint_malformed");
    let call = |format: &str| json!({"format": format, "limit": 10});
    let two = || formats(&["pdf", "csv"]);
    let cross = {
        let parent = any(&[one_of(&["pdf", "csv"]), exact("xlsx")]);
        let parent = root(&root_claims(&numbered(0xf2), json!({"export": {"format": parent, "limit": wildcard()}})));
        let leaf = child(0xf16, &parent, json!({"export": {"format": formats(&["pdf"]), "limit": wildcard()}}));
        [parent, leaf]
    };
    vec![
        format("J.16.1", "any-clause-dropped", "`any` loses a clause", 7, two(), pdf(10), Expected::Permit),
        format("J.16.2", "any-clause-added", "`any` gains a clause", 8, formats(&["pdf", "docx"]), pdf(10), WIDENED),
        format("J.16.3", "any-empty", "`any` without clauses", 9, any(&[]), pdf(10), empty),
        format(
            "J.16.4",
            "any-clause-met",
            "The call meets one clause of `any`",
            10,
            two(),
            call("csv"),
            Expected::Permit,
        ),
        format(
            "J.16.5",
            "any-none-met",
            "The call meets only a clause that was dropped",
            11,
            two(),
            call("xlsx"),
            REFUSED,
        ),
        export(
            "J.16.6",
            "any-across-types",
            "A clause below a clause of another type",
            cross,
            0xaf6,
            pdf(3),
            Expected::Permit,
        ),
    ]
}

fn nested() -> Vec<Case> {
    let flattened = {
        let parent = export_root();
        let leaf =
            child(0xd1, &parent, json!({"export": {"format": all(&[exact("pdf")]), "limit": all(&within(100))}}));
        [parent, leaf]
    };
    let inner = {
        let tools = |names: &[&str]| json!({"export": {"format": all(&[formats(names)]), "limit": wildcard()}});
        let parent = root(&root_claims(&numbered(0xd0), tools(&["pdf", "csv", "xlsx"])));
        let leaf = child(0xd2, &parent, tools(&["pdf"]));
        [parent, leaf]
    };
    vec![
        export("J.18.1", "all-under-any", "`all` under `any` is no legal pair", flattened, 0xd81, pdf(10), WIDENED),
        export("J.18.2", "any-within-all", "`any` inside `all` loses a clause", inner, 0xd82, pdf(3), Expected::Permit),
    ]
}
