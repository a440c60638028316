//! Conditions in CEL.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use countersign::Principal;
use countersign::authorization::{MethodAccess, Policy};
use countersign::identity::{MethodPath, TokenClaims};
use serde_json::{Value, json};

use crate::support::{Call, Peer, policy};

fn token(claims: Value) -> Principal {
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    Principal::with_token("alice", "jwt", TokenClaims::from_object(claims))
}

fn allowing(expression: &str) -> String {
    json!({"name": "p", "allow_rules": [{"name": "r", "countersign": {"cel": expression}}]})
        .to_string()
}

fn denying(expression: &str) -> String {
    json!({"name": "p", "deny_rules": [{"name": "d", "countersign": {"cel": expression}}],
           "allow_rules": [{"name": "all"}]})
    .to_string()
}

fn call() -> Call {
    let mut call = Call::to("/orders.v1.Orders/Get")
        .header("x-tenant", "acme")
        .header("x-tenant", "other")
        .by(token(json!({"sub": "alice", "iss": "https://id", "level": 3, "ratio": 0.5,
            "big": u64::MAX, "roles": ["dev", "ops"], "org": {"unit": "x"}, "none": null,
            "verified": true})))
        .from("10.0.0.7")
        .over(Peer::mtls(&["spiffe://prod.example/web"], &["web.example"], "CN=web"));
    // 2026-11-22T16:00:00Z, a Sunday.
    call.now = UNIX_EPOCH + Duration::from_secs(1_795_363_200);
    call
}

#[test]
fn an_expression_sees_the_call() {
    for (expression, holds) in [
        ("request.path == '/orders.v1.Orders/Get'", true),
        ("request.service == 'orders.v1.Orders' && request.method == 'Get'", true),
        ("request.headers['x-tenant'] == 'acme,other'", true),
        ("request.headers['x-tenant'] == 'acme'", false),
        ("'x-tenant' in request.headers && !('x-other' in request.headers)", true),
        ("request.time > timestamp('2026-11-22T15:59:59Z')", true),
        ("request.time < timestamp('2026-11-22T16:00:00Z')", false),
        ("request.time.getHours() == 16 && request.time.getDayOfWeek() == 0", true),
        ("request.time.getHours('Europe/Zurich') == 17", true),
        ("source.address == '10.0.0.7' && source.tls", true),
        ("source.principal == 'alice' && source.authenticator == 'jwt'", true),
        ("source.principals == ['spiffe://prod.example/web']", true),
        ("source.certificate.dns_names[0] == 'web.example'", true),
        ("source.certificate.uris.exists(u, u.endsWith('/web'))", true),
        ("source.certificate.subject == 'CN=api'", false),
        ("token.claims.sub == 'alice' && token.claims.level >= 3", true),
        ("token.claims.ratio < 0.6 && token.claims.big > 1u", true),
        ("'ops' in token.claims.roles", true),
        ("token.claims.roles.all(r, r in ['dev', 'ops'])", true),
        ("token.claims.roles.exists_one(r, r == 'admin')", false),
        ("token.claims.org.unit == 'x' && token.claims.none == null", true),
        ("has(token.claims.verified) && token.claims.verified", true),
        ("has(token.claims.absent)", false),
        ("size(token.claims.roles) == 2", true),
        ("request.path.contains(token.claims.sub) ? false : true", true),
        ("token.claims[?'absent'].orValue('none') == 'none'", true),
        ("type(token.claims.level) == int", true),
    ] {
        assert_eq!(call().decided(&policy(&allowing(expression))).0, holds, "{expression}");
        let denied = call().decided(&policy(&denying(expression)));
        assert_eq!(!denied.0, holds, "as a denial: {expression}");
    }
}

#[test]
fn what_is_not_there_can_be_asked_for() {
    let nobody = Call::to("/orders.v1.Orders/Get");
    for (expression, holds) in [
        ("has(source.address)", false),
        ("has(source.principal) || has(source.certificate) || has(token.claims)", false),
        ("source.tls", false),
        ("size(source.principals) == 0", true),
        ("size(request.headers) == 0", true),
    ] {
        assert_eq!(nobody.decided(&policy(&allowing(expression))).0, holds, "{expression}");
    }
    let key = Principal::with_token(
        "batch",
        "api-keys",
        TokenClaims::from_object(serde_json::Map::from_iter([("sub".to_owned(), json!("batch"))])),
    );
    let key = nobody.by(key);
    let api_key = allowing("source.principal == 'batch' && !has(token.claims)");
    assert!(key.decided(&policy(&api_key)).0, "an API key is no token");
}

#[test]
fn an_error_keeps_callers_out_whichever_the_rule() {
    for expression in [
        "token.claims.absent == 'x'",
        "request.headers['x-absent'] == 'x'",
        "token.claims.level == 'three' || token.claims.absent",
        "token.claims.level / 0 == 1",
        "token.claims.roles[7] == 'x'",
        "timestamp('yesterday') < request.time",
        "token.claims.sub",
        "1",
        "[true]",
        "null",
        "token.claims.level + 'x' == 'y'",
        "int(token.claims.sub) == 1",
        "9223372036854775807 + token.claims.level > 0",
        "token.claims.sub.getHours() == 1",
    ] {
        assert!(!call().decided(&policy(&allowing(expression))).0, "{expression}");
        let (allowed, rule) = call().decided(&policy(&denying(expression)));
        assert_eq!((allowed, rule.as_deref()), (false, Some("d")), "{expression}");
    }
    // What an error cannot change is decided: CEL's `||` and `&&` look at both sides.
    assert!(call().decided(&policy(&allowing("token.claims.absent || source.tls"))).0);
    assert!(call().decided(&policy(&denying("token.claims.absent && !source.tls"))).0);
}

#[test]
fn the_rest_of_a_rule_has_to_match_too() {
    let text = json!({"name": "p", "allow_rules": [{
        "name": "r", "source": {"countersign": {"require": ["token"]}},
        "request": {"paths": ["/orders.v1.Orders/*"]},
        "countersign": {"cel": "token.claims.sub == 'alice'"}}]});
    let policy = policy(&text.to_string());
    assert!(call().decided(&policy).0);
    let other = Call { path: "/other.v1.Other/Get".to_owned(), ..call() };
    assert!(!other.decided(&policy).0);
    let path = MethodPath::parse("/orders.v1.Orders/Get").expect("a path");
    assert!(matches!(policy.access(&path), MethodAccess::Authenticated(_)));
    // Alone it proves nothing that anybody could see from outside.
    let alone = Policy::from_json(&allowing("token.claims.sub == 'alice'")).expect("a policy");
    assert!(matches!(alone.access(&path), MethodAccess::Public(_)));
    let missing = Call::to("/orders.v1.Orders/Get").by(token(json!({"sub": "bob"})));
    missing.ask(|request| {
        let near = policy.explain(request).nearest.expect("a near one");
        assert_eq!(near.missing, ["the expression token.claims.sub == 'alice'"]);
    });
}

#[test]
fn what_is_wrong_with_an_expression_has_its_place_in_the_policy() {
    for (expression, at, message, hint) in [
        ("request.path ==", 15, "is not CEL", ""),
        ("request.path = 'x'", 13, "is not CEL", ""),
        ("", 0, "is not CEL: it ends too early", ""),
        ("has(source.address)&&", 21, "is not CEL: it ends too early", ""),
        ("has(source.address", 18, "is not CEL: it ends too early", ""),
        ("has(", 4, "is not CEL: it ends too early", ""),
        ("request.path in [", 17, "is not CEL: it ends too early", ""),
        ("source.tls ? true", 17, "is not CEL: it ends too early", ""),
        ("source.", 7, "is not CEL: no viable alternative at input '.'", ""),
        ("source.tls source.tls", 11, "is not CEL: mismatched input 'source'", ""),
        ("source.tls && true )", 19, "is not CEL: extraneous input ')'", ""),
        ("has(source)", 4, "is not CEL: invalid argument to has() macro", ""),
        ("has()", 3, "has asks for one field", "has(source.certificate)"),
        ("has(source.address, 1)", 3, "has asks for one field", ""),
        ("request.pth == 'x'", 7, "there is no request.pth", "did you mean request.path?"),
        ("true && request.nope == 'x'", 15, "there is no request.nope", "request has path"),
        ("caller == 'x'", 0, "unknown variable \"caller\"", "request, source and token"),
        ("source.tls && x", 14, "unknown variable \"x\"", ""),
        ("request.path.matches('x')", 20, "no function matches", "cost too much"),
        ("_starts(request.path)", 7, "no function _starts", ""),
        ("request.path.startWith('x')", 22, "no function startWith", "did you mean startsWith?"),
        ("[1].all(x, [2].all(y, x == y))", 18, "a macro walks within another", ""),
        ("Message{a: 1} == 1", 7, "no messages to make", ""),
    ] {
        let text = format!(
            "{{\"name\": \"p\",\n \"allow_rules\": [{{\"name\": \"r\", \"countersign\":\n  {{\"cel\": \"{expression}\"}}}}]}}"
        );
        let error = Policy::from_json(&text).expect_err(expression);
        assert!(error.message().contains(message), "{expression}: {error}");
        assert!(
            error.hint().unwrap_or_default().contains(hint),
            "{expression}: {:?}",
            error.hint()
        );
        assert_eq!(error.line(), 3, "{expression}: {error}");
        assert!(!error.message().contains("EOF"), "a parser's own words: {error}");
        // The opening quote stands in column 11.
        let found = error.column();
        let expected: u32 = 12 + at;
        let exact = found == expected || (expression.is_empty() && found == 11);
        assert!(exact, "{expression}: column {found}, and not {expected}: {error}");
    }
    // A quote within has an escape before it: then the place is that of the whole.
    let escaped = allowing("request.headers[\"x\"] == request.nope");
    assert_eq!(Policy::from_json(&escaped).expect_err("unknown").line(), 1);
}

#[cfg(feature = "toml")]
#[test]
fn lines_of_an_expression_are_lines_of_the_policy() {
    let text = "name = \"p\"\n[[allow_rules]]\nname = \"r\"\ncountersign.cel = \"\"\"\nsource.tls\n  && request.nope\n\"\"\"\n";
    let error = Policy::from_toml(text).expect_err("unknown");
    assert_eq!((error.line(), error.column()), (6, 13), "{error}");
}

#[test]
fn an_expression_has_its_bounds() {
    let error = |expression: &str| {
        Policy::from_json(&allowing(expression)).expect_err("refused").message().to_owned()
    };
    let long = format!("'{}' == ''", "x".repeat(5000));
    assert!(error(&long).contains("longer than 4096 bytes"));
    let sum = vec!["1"; 500].join(" + ") + " == 500";
    assert!(error(&sum).contains("lie in each other"), "{}", error(&sum));
    for (open, close) in [("(", ")"), ("[", "]"), ("!(", ")"), ("-(", ")"), ("{1: ", "}")] {
        let deep = format!("{}1{} == 1", open.repeat(700), close.repeat(700));
        assert!(!error(&deep).is_empty(), "{open}");
    }
    let signs = format!("{}true", "!".repeat(3000));
    let read = Policy::from_json(&allowing(&signs));
    assert!(read.is_err() || call().decided(&read.expect("read")).0);
    let macros = ["[1].all(x, true)"; 9].join(" && ");
    assert!(error(&macros).contains("more than 8 macros"), "{}", error(&macros));
    let macros = ["[1].all(x, true)"; 8].join(" && ");
    assert!(call().decided(&policy(&allowing(&macros))).0);
}

#[test]
fn a_call_with_too_much_to_look_at_is_not_looked_at() {
    let walks = "token.claims.roles.all(r, r != 'x')";
    let caller = |count: usize| {
        let roles: Vec<_> = (0..count).map(|n| n.to_string()).collect();
        Call::to("/orders.v1.Orders/Get").by(token(json!({ "roles": roles })))
    };
    assert!(caller(1000).decided(&policy(&allowing(walks))).0);
    assert!(!caller(2000).decided(&policy(&allowing(walks))).0);
    assert!(!caller(2000).decided(&policy(&denying(walks))).0);
    assert!(caller(2000).decided(&policy(&allowing("!source.tls"))).0, "who does not ask");
    let mut deep = json!("x");
    for _ in 0..40 {
        deep = json!({ "a": deep });
    }
    let deep = Call::to("/orders.v1.Orders/Get").by(token(json!({ "deep": deep })));
    assert!(!deep.decided(&policy(&allowing("has(token.claims.deep)"))).0);
    assert!(!deep.decided(&policy(&denying("!has(token.claims.deep)"))).0);
}

/// Anything may stand there; nothing may panic, and what is no answer is no yes.
#[test]
fn mangled_expressions_are_refused_or_evaluated() {
    let whole = "has(token.claims.roles) && token.claims.roles.exists(r, r == 'ops' || r[0] in ['x', \"y\"]) ? request.time.getHours() >= 8 : {'a': -1.5e3}.a != 2u";
    let parts = ["(", ")", "[", "]", "'", "?", ":", ".", "&&", "-", "u", "\\", "{", "r", " in "];
    let (mut read, mut random) = (0, 88_172_645_463_325_252_u64);
    for _ in 0..400 {
        let mut text = whole.to_owned();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = usize::try_from(random >> 8).expect("64 bits") % (text.len() - 4);
        let part = parts[usize::try_from(random % 15).expect("small")];
        match random & 32 {
            0 => text.insert_str(at, part),
            _ => text.replace_range(at..at + 2, part),
        }
        if let Ok(policy) = Policy::from_json(&allowing(&text)) {
            read += 1;
            let _ = call().decided(&policy);
        }
    }
    assert!(read > 5, "{read}");
}

/// Two million comparisons, and a bound that a slow machine keeps too, and one that does a lot
/// besides.
#[test]
fn the_dearest_expression_within_the_bounds_ends_soon() {
    let numbers: Vec<_> = (0..500).collect();
    let claims = json!({"a": numbers, "b": numbers.iter().map(|n| n + 1000).collect::<Vec<_>>()});
    let mut expression = String::new();
    for n in 0..8 {
        let and = if n == 0 { "" } else { " && " };
        write!(expression, "{and}token.claims.a.all(x, !(x in token.claims.b))").expect("a string");
    }
    let policy = policy(&allowing(&expression));
    let call = Call::to("/orders.v1.Orders/Get").by(token(claims));
    let begin = processor_time();
    assert!(call.decided(&policy).0);
    let took = processor_time() - begin;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// What this thread has had of a processor.
#[cfg(unix)]
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.try_into().expect("it is not negative")
}

#[cfg(not(unix))]
fn processor_time() -> Duration {
    static BEGIN: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    BEGIN.elapsed()
}
