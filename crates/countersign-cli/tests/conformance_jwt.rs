//! `countersign conformance jwt`, the real program: one verdict a line, whatever the line.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::SigningKey as _;
use serde_json::{Value, json};
use support::Place;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://id.example";

/// An Ed25519 key, and what it signs.
struct Key {
    pair: rcgen::KeyPair,
    kid: &'static str,
}

impl Key {
    fn new(kid: &'static str) -> Self {
        Self { pair: rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key"), kid }
    }

    fn jwk(&self, key_use: &str) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key_raw());
        json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": key_use})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(message.as_bytes()).expect("a signature");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A P-256 key for JWT-SVIDs, which have no EdDSA.
fn p256() -> (rcgen::KeyPair, Value) {
    let pair = rcgen::KeyPair::generate().expect("a key");
    let point = pair.public_key_raw()[1..].to_vec();
    let (x, y) = point.split_at(32);
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y),
                     "kid": "svid", "use": "jwt-svid"});
    (pair, jwk)
}

/// ECDSA's two numbers one after the other, out of the DER that the key writes.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut numbers = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(usize::from(rest[1]));
        let number = &number[number.len().saturating_sub(32)..];
        numbers.extend(std::iter::repeat_n(0, 32 - number.len()).chain(number.iter().copied()));
        rest = after;
    }
    numbers
}

fn svid(pair: &rcgen::KeyPair, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = pair.sign(message.as_bytes()).expect("a signature");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(fixed(&signature)))
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "alice", "aud": "orders", "iat": NOW - 60, "exp": NOW + 600})
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    match value {
        Value::Null => drop(object.as_object_mut().expect("an object").remove(name)),
        value => object[name] = value,
    }
    object
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": "k1", "typ": "at+jwt"})
}

/// A verifier that takes the right token.
fn verifier(key: &Key) -> Value {
    json!({
        "providers": [{"issuer": ISSUER, "jwks": {"keys": [key.jwk("sig")]}}],
        "audiences": ["orders"],
        "algorithms": ["EdDSA"],
        "leeway": 0,
        "required_claims": [],
        "typ": null,
        "now": NOW,
    })
}

/// A case and the reason that has to come of it; `None` where it has to be accepted.
struct Case {
    name: &'static str,
    input: Value,
    reason: Option<&'static str>,
}

fn judge(lines: &[u8]) -> Vec<Value> {
    let run = Place::new().feed(&["conformance", "jwt"], lines);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Feeds all cases at once: each has its verdict in its place.
fn check(cases: &[Case]) {
    let lines: String = cases
        .iter()
        .map(|case| format!("{}\n", with(case.input.clone(), "id", json!(case.name))))
        .collect();
    let verdicts = judge(lines.as_bytes());
    assert_eq!(verdicts.len(), cases.len());
    for (case, verdict) in cases.iter().zip(verdicts) {
        assert_eq!(verdict["id"], case.name);
        assert_eq!(verdict["reason"], json!(case.reason), "{verdict}");
        let is_accepted = case.reason.is_none();
        let word = if is_accepted { "accept" } else { "reject" };
        assert_eq!(verdict["verdict"], word, "{verdict}");
        assert_eq!(verdict["claims"].is_object(), is_accepted, "{verdict}");
    }
}

#[test]
fn every_token_gets_its_verdict_and_each_refused_one_has_an_accepted_twin() {
    let (key, other) = (Key::new("k1"), Key::new("k1"));
    let token = |header: Value, claims: Value| json!({"token": key.sign(&header, &claims), "verifier": verifier(&key)});
    let claim = |name: &str, value: Value| token(header(), with(claims(), name, value));
    let head = |name: &str, value: Value| token(with(header(), name, value), claims());
    let setting = |name: &str, value: Value| {
        let verifier = with(verifier(&key), name, value);
        json!({"token": key.sign(&header(), &claims()), "verifier": verifier})
    };
    let text = |token: String| json!({"token": token, "verifier": verifier(&key)});
    let right = key.sign(&header(), &claims());
    let invalid = Some("TOKEN_INVALID");
    let malformed = Some("CREDENTIALS_MALFORMED");
    let case = |name, input, reason| Case { name, input, reason };
    let leeway = |exp: u64| {
        let verifier = with(verifier(&key), "leeway", json!(60));
        let claims = with(claims(), "exp", json!(exp));
        json!({"token": key.sign(&header(), &claims), "verifier": verifier})
    };
    let cnf = json!({"x5t#S256": URL_SAFE_NO_PAD.encode([7; 32])});
    check(&[
        case("right", text(right.clone()), None),
        case("another key of that name", text(other.sign(&header(), &claims())), invalid),
        case("two segments", text(right.rsplit_once('.').expect("parts").0.to_owned()), malformed),
        case("padding", text(format!("{right}=")), malformed),
        case("empty", text(String::new()), malformed),
        case("no kid and one key", head("kid", Value::Null), None),
        case("unknown kid", head("kid", json!("k2")), invalid),
        case("typ JWT", head("typ", json!("JWT")), None),
        case("typ of something else", head("typ", json!("dpop+jwt")), invalid),
        case("alg none", head("alg", json!("none")), invalid),
        case("alg HS256", head("alg", json!("HS256")), invalid),
        case("jku is not obeyed", head("jku", json!("https://evil.example")), None),
        case("crit", head("crit", json!(["x"])), invalid),
        case("exp in a second", claim("exp", json!(NOW + 1)), None),
        case("exp now", claim("exp", json!(NOW)), Some("TOKEN_EXPIRED")),
        case("exp within the leeway", leeway(NOW - 59), None),
        case("exp at the end of the leeway", leeway(NOW - 60), Some("TOKEN_EXPIRED")),
        case("no exp", claim("exp", Value::Null), invalid),
        case("exp as text", claim("exp", json!("1800000600")), invalid),
        case("nbf now", claim("nbf", json!(NOW)), None),
        case("nbf in a second", claim("nbf", json!(NOW + 1)), Some("TOKEN_NOT_YET_VALID")),
        case("one of two audiences", claim("aud", json!(["a", "orders"])), None),
        case("two other audiences", claim("aud", json!(["a", "b"])), Some("TOKEN_AUDIENCE")),
        case("no audience", claim("aud", Value::Null), Some("TOKEN_AUDIENCE")),
        case("an audience that is a number", claim("aud", json!(1)), invalid),
        case("another issuer", claim("iss", json!("https://evil.example")), invalid),
        case("the issuer with a slash", claim("iss", json!("https://id.example/")), invalid),
        case("no issuer", claim("iss", Value::Null), invalid),
        case("no subject", claim("sub", Value::Null), invalid),
        case("bound to a certificate", claim("cnf", cnf), Some("PROOF_REQUIRED")),
        case("another algorithm is allowed", setting("algorithms", json!(["ES256"])), invalid),
        case("no algorithm that is known", setting("algorithms", json!(["none"])), invalid),
        case("typ as it is wanted", setting("typ", json!("at+jwt")), None),
        case("typ is wanted otherwise", setting("typ", json!("JWT")), invalid),
        case("a claim that is required", setting("required_claims", json!(["iat"])), None),
        case("a claim that is missing", setting("required_claims", json!(["jti"])), invalid),
        case("no audience is accepted", setting("audiences", json!([])), Some("TOKEN_AUDIENCE")),
        case("a profile that is met not", setting("profile", json!("rfc9068")), invalid),
        case("no such profile", setting("profile", json!("x")), Some("VERIFIER_UNAVAILABLE")),
        case("now is no time", setting("now", json!(-1)), Some("VERIFIER_UNAVAILABLE")),
        case("nobody is trusted", setting("providers", json!([])), invalid),
        case(
            "an ID token",
            token(with(header(), "typ", json!("JWT")), with(claims(), "nonce", json!("n"))),
            invalid,
        ),
    ]);
}

#[test]
fn metadata_values_are_judged_as_they_came() {
    let key = Key::new("k1");
    let token = key.sign(&header(), &claims());
    let values = |values: Value| json!({"authorization": values, "verifier": verifier(&key)});
    let malformed = Some("CREDENTIALS_MALFORMED");
    let case = |name, value: Value, reason| Case { name, input: values(value), reason };
    check(&[
        case("bearer", json!([format!("Bearer {token}")]), None),
        case("in another case", json!([format!("bEARER {token}")]), None),
        case("none", json!([]), Some("CREDENTIALS_MISSING")),
        case("two", json!([format!("Bearer {token}"), format!("Bearer {token}")]), malformed),
        case("another scheme", json!(["Basic YTpi"]), malformed),
        case("no scheme", json!([token]), malformed),
        case("no token", json!(["Bearer "]), malformed),
        case("a line break", json!([format!("Bearer {token}\n")]), malformed),
        case("another token", json!([format!("Bearer {token}A")]), Some("TOKEN_INVALID")),
        case(
            "a proof's scheme for a token that needs none",
            json!([format!("DPoP {token}")]),
            Some("PROOF_INVALID"),
        ),
    ]);
}

#[test]
fn svids_are_judged_by_the_bundle_of_their_trust_domain() {
    let (pair, jwk) = p256();
    let header = json!({"alg": "ES256", "kid": "svid", "typ": "JWT"});
    let claims = json!({"sub": "spiffe://example.org/web", "aud": ["orders"], "exp": NOW + 60});
    let verifier = json!({"profile": "jwt-svid", "bundles": {"example.org": {"keys": [jwk]}},
                          "audiences": ["orders"], "now": NOW});
    let of = |header: &Value, claims: &Value, verifier: &Value| json!({"token": svid(&pair, header, claims), "verifier": verifier});
    let claim =
        |name: &str, value: Value| of(&header, &with(claims.clone(), name, value), &verifier);
    let mut for_signatures = jwk.clone();
    for_signatures["use"] = json!("sig");
    let other_use =
        with(verifier.clone(), "bundles", json!({"example.org": {"keys": [for_signatures]}}));
    let invalid = Some("TOKEN_INVALID");
    let case = |name, input, reason| Case { name, input, reason };
    check(&[
        case("right", of(&header, &claims, &verifier), None),
        case("of another domain", claim("sub", json!("spiffe://example.com/web")), invalid),
        case("no SPIFFE ID", claim("sub", json!("alice")), invalid),
        case("for somebody else", claim("aud", json!(["billing"])), Some("TOKEN_AUDIENCE")),
        case("expired", claim("exp", json!(NOW - 61)), Some("TOKEN_EXPIRED")),
        case("typ JOSE", of(&with(header.clone(), "typ", json!("JOSE")), &claims, &verifier), None),
        case(
            "typ at+jwt",
            of(&with(header.clone(), "typ", json!("at+jwt")), &claims, &verifier),
            invalid,
        ),
        case(
            "more in the header",
            of(&with(header.clone(), "cty", json!("x")), &claims, &verifier),
            invalid,
        ),
        case("a key for another use", of(&header, &claims, &other_use), invalid),
    ]);
}

#[test]
fn no_line_ends_it_and_none_is_passed_over() {
    let key = Key::new("k1");
    let right =
        json!({"id": "last", "token": key.sign(&header(), &claims()), "verifier": verifier(&key)});
    let deep = "[".repeat(100_000);
    let mut lines = Vec::new();
    for line in [
        &b"not JSON"[..],
        b"\xff\xfe\x00",
        b"{\"id\":\"\xc3\x28\"}",
        b"{}",
        b"[]",
        b"null",
        b"{\"id\":{\"a\":[1]}}",
        b"{\"id\":7,\"token\":7,\"verifier\":{\"now\":0}}",
        b"{\"id\":8,\"token\":\"a\",\"authorization\":[],\"verifier\":{\"now\":0,\"audiences\":[\"a\"]}}",
        b"{\"id\":9,\"token\":\"a\",\"verifier\":{\"now\":1e308}}",
        deep.as_bytes(),
    ] {
        lines.extend_from_slice(line);
        lines.push(b'\n');
    }
    // A blank line has its verdict too, and the last line needs no end.
    lines.extend_from_slice(b"\n  \r\n");
    lines.extend_from_slice(right.to_string().as_bytes());
    let verdicts = judge(&lines);
    let ids: Vec<_> = verdicts.iter().map(|verdict| verdict["id"].clone()).collect();
    let mut expected = vec![Value::Null; 6];
    expected.extend([json!({"a": [1]}), json!(7), json!(8), json!(9)]);
    expected.extend([Value::Null, Value::Null, Value::Null, json!("last")]);
    assert_eq!(ids, expected);
    for verdict in &verdicts[..verdicts.len() - 1] {
        assert_eq!(verdict["verdict"], "reject", "{verdict}");
        assert!(verdict["error"].is_string(), "{verdict}");
    }
    assert_eq!(verdicts[verdicts.len() - 1]["verdict"], "accept");
}
