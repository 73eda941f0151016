//! Our extension constraints at their edges, and our own limits on counts.

use serde_json::{Value, json};

use super::case::{Case, Expected, Group};
use super::token::{Who, named, proof, proof_claims, root, root_claims, with};

type At = (&'static str, &'static str);

const REFUSED: Option<At> = Some(("6b", "argument_refused"));
const MALFORMED: Option<At> = Some(("3n", "constraint_malformed"));

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = nats_subjects();
    cases.extend(subpaths());
    cases.extend(urls());
    cases.extend(cidrs());
    cases.extend(limits());
    cases
}

fn granting(id: &str, title: &str, at: Option<At>, tools: Value, tool: &str, args: &Value) -> Case {
    let leaf = root(&root_claims(&named(id, "root"), tools));
    let token = proof(&proof_claims(&named(id, "proof"), &leaf, tool, args), Who::Orchestrator);
    let expected = at.map_or(Expected::Permit, |(step, code)| Expected::Deny(step, code));
    Case::new(Group::Extension, id, title, vec![leaf], token, expected).call(tool, args)
}

fn one(id: &str, title: &str, at: Option<At>, constraint: &Value, value: Value) -> Case {
    granting(id, title, at, json!({"act": {"a": constraint}}), "act", &json!({"a": value}))
}

fn nats_subjects() -> Vec<Case> {
    let of = |pattern: &str| json!({"constraint_type": "nats_subject", "pattern": pattern});
    let case = |id, title, at, pattern: &str, value: &str| one(id, title, at, &of(pattern), value.into());
    vec![
        case("ext-nats-subject-star-one-token", "`*` is exactly one token", None, "tools.*.query", "tools.crm.query"),
        case("ext-nats-subject-star-not-two", "`*` is not two tokens", REFUSED, "tools.*", "tools.crm.query"),
        case("ext-nats-subject-tail", "`>` is one token or more", None, "tools.>", "tools.crm.query"),
        case("ext-nats-subject-tail-not-none", "`>` is not no token", REFUSED, "tools.>", "tools"),
        case(
            "ext-nats-subject-subscription-within",
            "A wildcard subscription within the pattern",
            None,
            "tools.>",
            "tools.*.query",
        ),
        case(
            "ext-nats-subject-subscription-wider",
            "A wildcard subscription wider than the pattern",
            REFUSED,
            "tools.*",
            "tools.>",
        ),
        case(
            "ext-nats-subject-subscription-under-plain",
            "A subscription where one subject is granted",
            REFUSED,
            "tools.crm",
            "tools.*",
        ),
        case("ext-nats-subject-case", "Subjects are compared as they are", REFUSED, "tools.crm", "tools.CRM"),
        case("ext-nats-subject-empty-token", "An argument with an empty token", REFUSED, ">", "tools..crm"),
        case("ext-nats-subject-space", "An argument with a space", REFUSED, ">", "tools.a b"),
        one("ext-nats-subject-number", "An argument that is a number", REFUSED, &of(">"), 5.into()),
        case(
            "ext-nats-subject-tail-in-the-middle",
            "A pattern with `>` in the middle",
            MALFORMED,
            "tools.>.x",
            "tools.a.x",
        ),
        case("ext-nats-subject-empty-pattern", "An empty pattern", MALFORMED, "", "tools"),
        one(
            "ext-nats-subject-member-undefined",
            "A member that the registration does not define",
            MALFORMED,
            &with(of(">"), "queue", "q".into()),
            "tools".into(),
        ),
    ]
}

fn subpaths() -> Vec<Case> {
    let of = |root: &str| json!({"constraint_type": "subpath", "root": root});
    let case = |id, title, at, root: &str, value: &str| one(id, title, at, &of(root), value.into());
    vec![
        case("ext-subpath-root-itself", "The root itself", None, "/data", "/data"),
        case("ext-subpath-slashes-and-dots", "Empty segments and `.` fall away", None, "/data", "/data//./q3"),
        case("ext-subpath-sibling", "A sibling whose name begins alike", REFUSED, "/data", "/database"),
        case("ext-subpath-dot-dot", "A path that climbs out", REFUSED, "/data", "/data/../etc/passwd"),
        case(
            "ext-subpath-dot-dot-inside",
            "A path that climbs, even if it stays inside",
            REFUSED,
            "/data",
            "/data/a/../b",
        ),
        case("ext-subpath-relative", "A relative path", REFUSED, "/data", "data/q3"),
        case("ext-subpath-backslash", "A path with a backslash", REFUSED, "/data", "/data/..\\etc"),
        case("ext-subpath-nul", "A path with a NUL", REFUSED, "/data", "/data/q3\u{0}.pdf"),
        case("ext-subpath-whole-tree", "The root `/`", None, "/", "/etc"),
        case("ext-subpath-root-not-normal", "A root that climbs", MALFORMED, "/data/../etc", "/etc"),
        case("ext-subpath-root-relative", "A relative root", MALFORMED, "data", "data/q3"),
    ]
}

fn urls() -> Vec<Case> {
    let of = |host: &str, path: &str| json!({"constraint_type": "url", "schemes": ["https"], "hosts": [host], "path_prefix": path});
    let api = of("api.example.com", "/v1");
    let case = |id, title, at, value: &str| one(id, title, at, &api, value.into());
    vec![
        case(
            "ext-url-below-prefix",
            "A path below the prefix, with a query",
            None,
            "https://api.example.com/v1/users?id=1#top",
        ),
        case("ext-url-scheme-upper-case", "Scheme and host in capitals", None, "HTTPS://API.example.com/v1"),
        case("ext-url-other-scheme", "Another scheme", REFUSED, "http://api.example.com/v1"),
        case(
            "ext-url-user-information",
            "The granted host as user information",
            REFUSED,
            "https://api.example.com@evil.example/v1",
        ),
        case("ext-url-other-port", "A port that is not granted", REFUSED, "https://api.example.com:8443/v1"),
        case("ext-url-prefix-sibling", "A path whose segment begins alike", REFUSED, "https://api.example.com/v10"),
        case("ext-url-dot-dot", "A path that climbs out", REFUSED, "https://api.example.com/v1/../admin"),
        case(
            "ext-url-dot-dot-encoded",
            "A path that climbs out, percent-encoded",
            REFUSED,
            "https://api.example.com/v1/%2e%2e/admin",
        ),
        case(
            "ext-url-backslash",
            "A backslash that some read as a slash",
            REFUSED,
            "https://api.example.com\\@evil.example/v1",
        ),
        case(
            "ext-url-host-suffix",
            "The granted host as a prefix of another",
            REFUSED,
            "https://api.example.com.evil.example/v1",
        ),
        case("ext-url-tab", "A tab that some leave out", REFUSED, "https://api.exam\tple.com/v1"),
        one(
            "ext-url-star-host",
            "A host under a suffix",
            None,
            &of("*.example.com", "/"),
            "https://a.b.example.com/x".into(),
        ),
        one(
            "ext-url-star-not-apex",
            "The suffix itself is not under it",
            REFUSED,
            &of("*.example.com", "/"),
            "https://example.com/".into(),
        ),
        one(
            "ext-url-hosts-empty",
            "No host at all",
            MALFORMED,
            &json!({"constraint_type": "url", "schemes": ["https"], "hosts": []}),
            "https://a.example/".into(),
        ),
    ]
}

fn cidrs() -> Vec<Case> {
    let of = |network: &str| json!({"constraint_type": "cidr", "network": network});
    let case = |id, title, at, network: &str, value: &str| one(id, title, at, &of(network), value.into());
    vec![
        case("ext-cidr-last-address", "The network's last address", None, "10.0.0.0/8", "10.255.255.255"),
        case("ext-cidr-next-address", "The first address beyond", REFUSED, "10.0.0.0/8", "11.0.0.0"),
        case("ext-cidr-everything", "A prefix of no bits", None, "0.0.0.0/0", "255.255.255.255"),
        case("ext-cidr-other-family", "An IPv6 address under an IPv4 network", REFUSED, "0.0.0.0/0", "::1"),
        case("ext-cidr-mapped", "An IPv4-mapped address is an IPv6 address", REFUSED, "10.0.0.0/8", "::ffff:10.0.0.1"),
        case("ext-cidr-ipv6", "An IPv6 address", None, "2001:db8::/32", "2001:DB8:0:1::7"),
        case("ext-cidr-octal", "An address that some read as octal", REFUSED, "10.0.0.0/8", "010.0.0.1"),
        case("ext-cidr-short", "An address of three parts", REFUSED, "10.0.0.0/8", "10.1.1"),
        case("ext-cidr-host-bits", "A network with host bits set", MALFORMED, "10.0.0.1/8", "10.0.0.1"),
        case("ext-cidr-prefix-too-long", "A prefix of 33 bits", MALFORMED, "10.0.0.0/33", "10.0.0.0"),
    ]
}

/// AAT Appendix B.5 leaves these to the implementation; the numbers stand in schemas/README.md.
fn limits() -> Vec<Case> {
    let wildcard = || json!({"constraint_type": "wildcard"});
    let optional = || with(wildcard(), "optional", true.into());
    let tools =
        |count: usize| (0..count).fold(json!({}), |tools, n| with(tools, &format!("t{n}"), json!({"a": wildcard()})));
    let arguments =
        |count: usize| (1..count).fold(json!({"a": wildcard()}), |map, n| with(map, &format!("a{n}"), optional()));
    let call = json!({"a": 1});
    let named_tool = |bytes: usize| "t".repeat(bytes);
    let value = |bytes: usize| json!({"act": {"a": wildcard(), "b": with(json!({"constraint_type": "exact", "value": "v".repeat(bytes)}), "optional", true.into())}});
    vec![
        granting("limit-tools-256", "256 tools", None, tools(256), "t0", &call).ours("TOOLS_MAX"),
        granting("limit-tools-257", "257 tools", Some(("3m", "oversize")), tools(257), "t0", &call).ours("TOOLS_MAX"),
        granting("limit-arguments-64", "64 arguments of one tool", None, json!({"act": arguments(64)}), "act", &call)
            .ours("ARGUMENTS_MAX"),
        granting(
            "limit-arguments-65",
            "65 arguments of one tool",
            Some(("3n", "oversize")),
            json!({"act": arguments(65)}),
            "act",
            &call,
        )
        .ours("ARGUMENTS_MAX"),
        granting(
            "limit-tool-name-256",
            "A tool's name of 256 bytes",
            None,
            with(json!({}), &named_tool(256), json!({"a": wildcard()})),
            &named_tool(256),
            &call,
        )
        .ours("TOOL_NAME_BYTES_MAX"),
        granting(
            "limit-tool-name-257",
            "A tool's name of 257 bytes",
            Some(("3m", "oversize")),
            with(json!({}), &named_tool(257), json!({"a": wildcard()})),
            &named_tool(257),
            &call,
        )
        .ours("TOOL_NAME_BYTES_MAX"),
        granting("limit-value-4096", "A constraint's value of 4 KiB", None, value(4094), "act", &call)
            .ours("CONSTRAINT_VALUE_BYTES_MAX"),
        granting(
            "limit-value-beyond",
            "A constraint's value beyond 4 KiB",
            Some(("3n", "oversize")),
            value(4097),
            "act",
            &call,
        )
        .ours("CONSTRAINT_VALUE_BYTES_MAX"),
    ]
}
