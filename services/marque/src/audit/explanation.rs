//! The sink's explanation of one action, in words.

use serde_json::Value;

use crate::output::tame;

/// An explanation in one line: who handed what to whom, what decided, where it stands.
pub(crate) fn in_short(explained: &Value) -> String {
    let path: Vec<String> = links(explained).map(holder).collect();
    let decided = explained.get("decided").unwrap_or(&Value::Null);
    let step = decided.get("step").and_then(Value::as_str).map(|step| format!(" at step {step}")).unwrap_or_default();
    let code = text(decided, "code").map(|code| format!(": {code}")).unwrap_or_default();
    let why = explained.pointer("/claimed/why").and_then(Value::as_str);
    let why = why.map(|why| format!("; it said \u{201c}{why}\u{201d}")).unwrap_or_default();
    tame(&format!("{}; {}{step}{code}{why}", path.join(" \u{2192} "), text(decided, "decision").unwrap_or("?")))
}

/// An explanation for a person who reads it to its end.
pub(crate) fn in_full(explained: &Value) -> String {
    let mut lines = Vec::new();
    let record = explained.pointer("/record/record").unwrap_or(&Value::Null);
    let word = |name: &str| text(record, name).unwrap_or("-").to_owned();
    lines.push(format!("record     {} ({})", word("id"), word("kind")));
    lines.push(format!("tool       {}", word("tool")));
    lines.push(format!("task       {}", word("task")));
    lines.push("delegation".to_owned());
    for (depth, link) in links(explained).enumerate() {
        lines.push(format!("  {depth}  {}", holder(link)));
        lines.push(format!("     token {}", text(link, "token").unwrap_or("?")));
        lines.extend(grants(link).map(|grant| format!("     may   {grant}")));
        lines.extend(narrowed(link));
    }
    if let Some(arguments) = explained.get("arguments") {
        lines.push(format!("arguments  {arguments}"));
    }
    if let Some(decided) = explained.get("decided") {
        lines.push(format!("decision   {}", decision(decided)));
        let number = |name: &str| decided.get(name).map(Value::to_string).unwrap_or_else(|| "?".to_owned());
        lines.push(format!(
            "knew       epoch {}, view {} ms old, {} ms allowed",
            number("epoch"),
            number("view_age_ms"),
            number("staleness_bound_ms")
        ));
        if let Some(constraint) = decided.get("constraint").filter(|constraint| !constraint.is_null()) {
            // It is JSON in a string.
            lines.push(format!(
                "constraint {}",
                constraint.as_str().map_or_else(|| constraint.to_string(), str::to_owned)
            ));
        }
    }
    lines.extend(directive(explained));
    if let Some(why) = explained.pointer("/claimed/why").and_then(Value::as_str) {
        lines.push(format!("claimed    \u{201c}{why}\u{201d}"));
    }
    lines.extend(beside(explained, "causes").map(|cause| format!("led to it  {cause}")));
    for outcome in explained.get("completed").and_then(Value::as_array).into_iter().flatten() {
        let outcome = outcome.get("record").unwrap_or(&Value::Null);
        lines.push(format!("outcome    {}", text(outcome, "outcome").unwrap_or("?")));
    }
    lines.extend(beside(explained, "followed").map(|next| format!("followed   {next}")));
    let leaf = explained.pointer("/record/leaf").map(Value::to_string).unwrap_or_default();
    lines.push(match explained.get("inclusion") {
        Some(_) => format!("log        leaf {leaf}, proven under a signed checkpoint"),
        None => format!("log        leaf {leaf}, not yet under a checkpoint"),
    });
    lines.iter().map(|line| tame(line)).collect::<Vec<_>>().join("\n")
}

/// What a link has less than the one before.
fn narrowed(link: &Value) -> impl Iterator<Item = String> + '_ {
    let narrowed = link.get("narrowed");
    let dropped = narrowed.and_then(|narrowed| narrowed.get("dropped")).and_then(Value::as_array).into_iter().flatten();
    let dropped = dropped.map(|tool| format!("     less  not {}", tool.as_str().unwrap_or("?")));
    let constrained = narrowed.and_then(|narrowed| narrowed.get("constrained")).and_then(Value::as_object);
    let constrained = constrained.into_iter().flatten().map(|(tool, map)| format!("     less  {tool} only {map}"));
    let sooner = narrowed.and_then(|narrowed| narrowed.get("sooner_seconds")).and_then(Value::as_i64);
    dropped.chain(constrained).chain(sooner.map(|seconds| format!("     less  ends {seconds} s sooner")))
}

/// Actions beside the one that is explained, one line each.
fn beside<'e>(explained: &'e Value, name: &str) -> impl Iterator<Item = String> + use<'e> {
    let actions = explained.get(name).and_then(Value::as_array).into_iter().flatten();
    actions.map(|action| {
        let word = |name: &str| text(action, name).unwrap_or("-");
        let why = text(action, "why").map(|why| format!(": \u{201c}{why}\u{201d}")).unwrap_or_default();
        let leaf = action.get("leaf").map(Value::to_string).unwrap_or_default();
        format!("{} {} by {} at leaf {leaf}{why}", word("decision"), word("tool"), short_did(word("agent")))
    })
}

/// The last characters of a DID, enough to tell a handful apart.
pub(crate) fn short_did(did: &str) -> String {
    match did.rsplit_once(':') {
        Some((_, key)) if key.is_ascii() && key.len() > 12 => format!("{}\u{2026}{}", &key[..4], &key[key.len() - 6..]),
        Some(_) | None => did.to_owned(),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn links(explained: &Value) -> impl Iterator<Item = &Value> {
    explained.get("path").and_then(Value::as_array).into_iter().flatten()
}

/// Who holds a link; of a root also what kind of agent it is, and who answers for it.
fn holder(link: &Value) -> String {
    let who = text(link, "holder").map_or_else(|| "unknown holder".to_owned(), short_did);
    match (text(link, "sponsor"), text(link, "blueprint")) {
        (Some(sponsor), Some(blueprint)) => format!("{sponsor} \u{2192} {who} ({blueprint})"),
        (_, _) => who,
    }
}

/// The directive that decided, by the id that `marque lift` and `marque revoke ls` know it by: the *decided* record
/// names it. Its own record, which has an id of its own, tells who asked.
fn directive(explained: &Value) -> Option<String> {
    let id = explained.pointer("/decided/directive").and_then(Value::as_str)?;
    let asked = explained.pointer("/directive/record").and_then(|record| text(record, "requested_by"));
    let asked = asked.map(|did| format!(", asked for by {did}")).unwrap_or_default();
    Some(format!("directive  {id}{asked}"))
}

fn grants(link: &Value) -> impl Iterator<Item = String> + '_ {
    let tools = link.pointer("/claims/authorization_details/0/tools").and_then(Value::as_object);
    tools.into_iter().flatten().map(|(tool, arguments)| format!("{tool} {arguments}"))
}

fn decision(decided: &Value) -> String {
    let mut said = text(decided, "decision").unwrap_or("?").to_owned();
    if let Some(step) = text(decided, "step") {
        said.push_str(&format!(" at step {step}"));
    }
    if let (Some(code), Some(message)) = (text(decided, "code"), text(decided, "message")) {
        said.push_str(&format!(": {message} ({code})"));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn says_who_handed_on_and_what_decided() {
        let explained = json!({
            "record": {"leaf": 7, "record": {"id": "r", "kind": "decided", "tool": "nats:a"}},
            "path": [{"token": "t", "holder": "did:key:z6MkAAAAAAAAAABBBBBB", "sponsor": "team", "blueprint": "reader"}, {"token": "u"}],
            "decided": {"decision": "deny", "step": "9", "code": "revoked", "message": "gone", "directive": "d",
                        "constraint": "{\"constraint_type\":\"exact\"}"},
            "directive": {"leaf": 3, "record": {"id": "another", "requested_by": "did:key:z6MkC"}},
            "claimed": {"why": "because"},
        });
        assert_eq!(
            in_short(&explained),
            "team \u{2192} z6Mk\u{2026}BBBBBB (reader) \u{2192} unknown holder; deny at step 9: revoked; it said \u{201c}because\u{201d}"
        );
        let full = in_full(&explained);
        assert!(full.contains("deny at step 9: gone (revoked)"));
        assert!(full.contains(r#"constraint {"constraint_type":"exact"}"#), "{full}");
        // What an agent says can't reach the terminal's controls, nor begin a line of its own.
        let saying = |why: &str| json!({ "claimed": { "why": why } });
        let hostile = saying("x\u{1b}]0;y\u{7}\nlog  leaf 7");
        assert!(in_full(&hostile).lines().all(|line| !line.chars().any(char::is_control)));
        assert_eq!(in_full(&hostile).lines().count(), in_full(&saying("x")).lines().count());
        assert!(!in_short(&hostile).chars().any(char::is_control));
        assert!(full.contains("directive  d, asked for by did:key:z6MkC"), "{full}");
    }

    #[test]
    fn an_answer_of_another_shape_is_no_panic() {
        for odd in [json!(null), json!([]), json!({"path": 3, "decided": "x"}), json!({"path": [1]})] {
            let _ = (in_short(&odd), in_full(&odd));
        }
        assert_eq!(short_did("did:key:é"), "did:key:é");
    }
}
