//! The ceiling: what a blueprint's instances may be commissioned with at most. Nothing is silently reduced.

use marque_credential::Tools;
use marque_identity::{Code, Refusal, UnixSeconds};

use crate::blueprint::Blueprint;

/// Refuses tools that the blueprint does not subsume, by the very code that judges a chain's links (AAT §8 4p).
pub(crate) fn tools(blueprint: &Blueprint, asked: &Tools) -> Result<(), Refusal> {
    blueprint.tools.subsumes(asked).map_err(|widening| {
        // The ceiling is the parent here: say so in the reader's words.
        let reason = widening.reason.replace("parent", "ceiling").replace("child", "request");
        let argument = widening.argument.map(|argument| format!(", argument {argument}")).unwrap_or_default();
        let message = format!("beyond blueprint `{}`: tool {}{argument}: {reason}", blueprint.name, widening.tool);
        Refusal::at(widening.step, Code::CeilingExceeded, message)
    })
}

/// When the root ends. A life that was asked for is given or refused; one that was left to us also ends with the
/// credential.
pub(crate) fn life(
    blueprint: &Blueprint,
    asked_seconds: Option<i64>,
    now: UnixSeconds,
    credential_exp: UnixSeconds,
) -> Result<UnixSeconds, Refusal> {
    let exceeded = |message: String| Err(Refusal::new(Code::CeilingExceeded, message));
    let Some(seconds) = asked_seconds else {
        return Ok(now.plus(blueprint.token_life_seconds).min(credential_exp));
    };
    if seconds < 1 {
        return Err(Refusal::new(Code::LifetimeInvalid, format!("`ttl_seconds` is {seconds}")));
    }
    if seconds > blueprint.token_life_max_seconds {
        let max = blueprint.token_life_max_seconds;
        return exceeded(format!("beyond blueprint `{}`: `ttl_seconds` is {seconds}, at most {max}", blueprint.name));
    }
    let exp = now.plus(seconds);
    if exp > credential_exp {
        let left = credential_exp.0.saturating_sub(now.0);
        return exceeded(format!("`ttl_seconds` is {seconds}, but the identity credential ends in {left} s: renew it"));
    }
    Ok(exp)
}

/// How deep the root may be delegated; not at all unless asked.
pub(crate) fn depth(blueprint: &Blueprint, asked: Option<u64>) -> Result<u64, Refusal> {
    let (depth, max) = (asked.unwrap_or(0), blueprint.max_depth);
    if depth <= max {
        return Ok(depth);
    }
    let message = format!("beyond blueprint `{}`: `del_max_depth` is {depth}, at most {max}", blueprint.name);
    Err(Refusal::new(Code::CeilingExceeded, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use marque_json::Json;
    use serde_json::{Value, json};

    const NOW: UnixSeconds = UnixSeconds(1_000);
    const FAR: UnixSeconds = UnixSeconds(100_000);

    fn asked(tools: Value) -> Result<(), Refusal> {
        super::tools(&testing::blueprint(), &Tools::parse(&Json::from_serde(&tools).unwrap()).unwrap())
    }

    #[test]
    fn allows_the_ceiling_itself_and_less() {
        assert!(super::tools(&testing::blueprint(), &testing::blueprint().tools).is_ok());
        assert!(
            asked(json!({"nats:tools.crm.query": {"customer": {"constraint_type": "exact", "value": "acme"}}})).is_ok()
        );
        assert!(asked(json!({})).is_ok());
    }

    #[test]
    fn names_what_goes_beyond() {
        let tool = asked(json!({"nats:tools.shell.run": {}})).unwrap_err();
        assert_eq!((tool.code, tool.step), (Code::CeilingExceeded, Some("4p1")));
        assert!(tool.message.contains("`nats:tools.shell.run`: the ceiling does not grant the tool"), "{tool}");

        let query = |map: Value| asked(json!({ "nats:tools.crm.query": map })).unwrap_err();
        let value = query(json!({"customer": {"constraint_type": "one_of", "values": ["acme", "initech"]}}));
        assert_eq!((value.code, value.step), (Code::CeilingExceeded, Some("4p4")));
        assert!(value.message.contains("tool `nats:tools.crm.query`, argument `customer`"), "{value}");
        assert_eq!(query(json!({})).code, Code::CeilingExceeded, "any argument is more than a closed map");
        let any = json!({"customer": {"constraint_type": "wildcard"}});
        assert_eq!(query(any).step, Some("4p4"));
        let optional = json!({"customer": {"constraint_type": "exact", "value": "acme", "optional": true}});
        assert_eq!(query(optional).step, Some("4p3"));
    }

    #[test]
    fn a_life_is_given_or_refused() {
        let blueprint = testing::blueprint();
        assert_eq!(life(&blueprint, None, NOW, FAR), Ok(UnixSeconds(1_900)));
        assert_eq!(life(&blueprint, None, NOW, UnixSeconds(1_100)), Ok(UnixSeconds(1_100)));
        assert_eq!(life(&blueprint, Some(3_600), NOW, FAR), Ok(UnixSeconds(4_600)));
        assert_eq!(life(&blueprint, Some(3_601), NOW, FAR).unwrap_err().code, Code::CeilingExceeded);
        assert_eq!(life(&blueprint, Some(100), NOW, UnixSeconds(1_100)), Ok(UnixSeconds(1_100)));
        assert_eq!(life(&blueprint, Some(101), NOW, UnixSeconds(1_100)).unwrap_err().code, Code::CeilingExceeded);
        for none in [0, -1, i64::MIN] {
            assert_eq!(life(&blueprint, Some(none), NOW, FAR).unwrap_err().code, Code::LifetimeInvalid);
        }
        assert_eq!(life(&blueprint, Some(i64::MAX), NOW, FAR).unwrap_err().code, Code::CeilingExceeded);
    }

    #[test]
    fn a_depth_is_given_or_refused() {
        let blueprint = testing::blueprint();
        assert_eq!(depth(&blueprint, None), Ok(0));
        assert_eq!(depth(&blueprint, Some(4)), Ok(4));
        for beyond in [5, u64::MAX] {
            assert_eq!(depth(&blueprint, Some(beyond)).unwrap_err().code, Code::CeilingExceeded);
        }
    }
}
