//! `countersign token`, the real program: what it prints and returns.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use support::{Place, Run};

const AUTH: &str = ".countersign/auth.toml";

fn verify(place: &Place, token: &str, args: &[&str]) -> Run {
    place.feed(&[&["token", "verify"], args].concat(), token.as_bytes())
}

/// A token that nobody signed.
fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.AAAA", part(header), part(claims))
}

fn codes(inspected: &Run) -> Vec<String> {
    let findings = inspected.json()["findings"].as_array().expect("findings").clone();
    findings.iter().map(|it| it["code"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn a_minted_token_is_accepted_and_says_that_it_is_for_development() {
    let place = Place::with_issuer();
    let run = place.ok(&[
        "token",
        "mint",
        "--sub",
        "bob",
        "--scope",
        "a b",
        "--scope",
        "c",
        "--claim",
        "groups=[\"x\"]",
        "--expires",
        "1h",
        "--json",
    ]);
    assert!(run.stderr.contains("DEVELOPMENT"), "{}", run.stderr);
    let minted = run.json();
    assert_eq!(minted["development"], true);
    assert_eq!(minted["claims"]["scope"], "a b c");
    let token = minted["token"].as_str().expect("a token");
    let run = verify(&place, token, &["--config", AUTH, "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let told = run.json();
    assert_eq!((&told["verdict"], &told["claims"]["sub"]), (&json!("accepted"), &json!("bob")));
    assert_eq!(told["claims"]["groups"], json!(["x"]));
    let life = told["claims"]["exp"].as_u64().expect("a time")
        - told["claims"]["iat"].as_u64().expect("a time");
    assert_eq!(life, 3600);
    let run = verify(&place, token, &["--config", AUTH]);
    assert!(run.stdout.starts_with("accepted: bob\n"), "{}", run.stdout);
    assert!(!run.stdout.contains('\u{1b}'), "{}", run.stdout);
}

/// Name, token and flags; then the check that fails, its reason, and a fact with its value.
type Row = (
    &'static str,
    String,
    &'static [&'static str],
    &'static str,
    &'static str,
    &'static str,
    Value,
);

#[test]
fn a_refused_token_is_told_the_check_and_both_values() {
    let place = Place::with_issuer();
    let issuer = place.issuer();
    let jwks = ".countersign/issuer/jwks.json";
    let by_flags = |more: &[&'static str]| -> Vec<String> {
        let own = ["--issuer", &issuer, "--audience", "dev", "--jwks", jwks];
        own.iter().chain(more).map(|it| (*it).to_owned()).collect()
    };
    let right = place.mint(&[]);
    let forged = {
        let (signed, signature) = right.rsplit_once('.').expect("three parts");
        let other = if signature.starts_with('A') { "B" } else { "A" };
        format!("{signed}.{other}{}", &signature[1..])
    };
    let cnf = r#"cnf={"jkt":"x"}"#;
    let rows: [Row; 14] = [
        (
            "no token",
            "abc".into(),
            &[],
            "structure",
            "CREDENTIALS_MALFORMED",
            "problem",
            json!("it has not three segments"),
        ),
        (
            "crit",
            unsigned(&json!({"alg": "ES256", "crit": ["x"]}), &json!({})),
            &[],
            "header",
            "TOKEN_INVALID",
            "problem",
            json!("`crit` names what is not understood here"),
        ),
        (
            "issuer",
            place.mint(&["--claim", "iss=\"https://evil.example\""]),
            &[],
            "iss",
            "TOKEN_INVALID",
            "iss_in_token",
            json!("https://evil.example"),
        ),
        (
            "algorithm",
            right.clone(),
            &["--algorithm", "RS256"],
            "alg",
            "TOKEN_INVALID",
            "alg_allowed",
            json!(["RS256"]),
        ),
        (
            "type",
            place.mint(&["--typ", "secevent+jwt"]),
            &[],
            "typ",
            "TOKEN_INVALID",
            "typ_in_token",
            json!("secevent+jwt"),
        ),
        (
            "configured type",
            right.clone(),
            &["--typ", "JWT"],
            "typ",
            "TOKEN_INVALID",
            "typ_configured",
            json!("JWT"),
        ),
        (
            "expired",
            right.clone(),
            &["--now", "2100-01-01T00:00:00Z"],
            "exp",
            "TOKEN_EXPIRED",
            "now",
            json!("2100-01-01T00:00:00Z"),
        ),
        (
            "no exp",
            place.mint(&["--claim", "exp=null"]),
            &[],
            "exp",
            "TOKEN_INVALID",
            "claim_required",
            json!("exp"),
        ),
        (
            "not yet",
            place.mint(&["--claim", "nbf=4102444800"]),
            &[],
            "nbf",
            "TOKEN_NOT_YET_VALID",
            "nbf_in_token",
            json!(4_102_444_800_u64),
        ),
        (
            "audience",
            place.mint(&["--aud", "a", "--aud", "b"]),
            &[],
            "aud",
            "TOKEN_AUDIENCE",
            "aud_in_token",
            json!(["a", "b"]),
        ),
        (
            "claim",
            right.clone(),
            &["--require", "tenant"],
            "claims",
            "TOKEN_INVALID",
            "claim_required",
            json!("tenant"),
        ),
        (
            "ID token",
            place.mint(&["--typ", "JWT", "--claim", "nonce=\"x\""]),
            &[],
            "claims",
            "TOKEN_INVALID",
            "profile",
            json!("access-token"),
        ),
        ("signature", forged, &[], "signature", "TOKEN_INVALID", "keys_from", json!(jwks)),
        (
            "bound",
            place.mint(&["--claim", cnf]),
            &[],
            "binding",
            "PROOF_REQUIRED",
            "cnf_in_token",
            json!({"jkt": "x"}),
        ),
    ];
    for (name, token, more, check, reason, fact, value) in rows {
        let args = by_flags(more);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let run = verify(&place, &token, &[&args[..], &["--json"]].concat());
        assert_eq!(run.code, 6, "{name}: {} {}", run.stdout, run.stderr);
        let told = run.json();
        assert_eq!(told["check"], check, "{name}: {told}");
        assert_eq!(told["reason"], reason, "{name}: {told}");
        assert_eq!(told["facts"][fact], value, "{name}: {told}");
        let count = |list: &str| told[list].as_array().expect("a list").len();
        assert_eq!(count("passed") + 1 + count("not_reached"), 13, "{name}: {told}");
    }
    // The twin of them all.
    let args = by_flags(&[]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert_eq!(verify(&place, &right, &args).code, 0);
}

#[test]
fn people_read_what_passed_and_what_was_not_reached() {
    let place = Place::with_issuer();
    let run = verify(&place, &place.mint(&["--aud", "billing"]), &["--config", AUTH]);
    assert_eq!(run.code, 6);
    let mut lines = run.stdout.lines();
    assert_eq!(lines.next(), Some("rejected: TOKEN_AUDIENCE"));
    let text = run.stdout.as_str();
    for part in [
        "aud in token   \"billing\"",
        "aud accepted   [\"dev\"]",
        "typ ok (at+jwt)",
        "alg ok (ES256)",
        "exp ok (14 minutes left)",
        "not reached: claims, key, signature, revocation, binding",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn an_issuer_out_of_reach_is_no_verdict() {
    let place = Place::with_issuer();
    let issuer = place.issuer();
    let token = place.mint(&[]);
    let args = ["--issuer", issuer.as_str(), "--audience", "dev"];
    let run = verify(&place, &token, &args);
    assert_eq!(run.code, 7, "{} {}", run.stdout, run.stderr);
    assert!(run.stderr.contains("cannot get the keys of"), "{}", run.stderr);
    assert_eq!(run.stdout, "");
    // What can be refused without keys is, and nobody is asked.
    let run = verify(&place, &place.mint(&["--aud", "other"]), &args);
    assert_eq!(run.code, 6, "{}", run.stderr);
}

#[test]
fn svids_are_verified_by_the_bundle_of_their_trust_domain() {
    let place = Place::with_issuer();
    let mut bundle: Value =
        serde_json::from_str(&place.read(".countersign/issuer/jwks.json")).expect("JSON");
    bundle["keys"][0]["use"] = json!("jwt-svid");
    place.write("bundle.json", bundle.to_string());
    place.write(
        "svid.toml",
        "[[issuer]]\ntrust_domain = \"dev.example\"\naudience = \"dev\"\njwks_file = \"bundle.json\"\n",
    );
    let svid = |subject: &str, kind: &str| place.mint(&["--sub", subject, "--typ", kind]);
    let right = svid("spiffe://dev.example/web", "JWT");
    let by_flags = |domain: &str| {
        let args = ["--trust-domain", domain, "--audience", "dev", "--jwks", "bundle.json"];
        verify(&place, &right, &[&args[..], &["--json"]].concat())
    };
    assert_eq!(by_flags("dev.example").code, 0);
    assert_eq!(by_flags("prod.example").json()["check"], "iss");
    let by_file = |token: &str| verify(&place, token, &["--config", "svid.toml", "--json"]);
    assert_eq!(by_file(&right).code, 0);
    for (token, check) in [
        (svid("spiffe://prod.example/web", "JWT"), "iss"),
        (svid("alice", "JWT"), "iss"),
        (svid("spiffe://dev.example/web", "at+jwt"), "typ"),
    ] {
        let run = by_file(&token);
        assert_eq!((run.code, &run.json()["check"]), (6, &json!(check)), "{}", run.stdout);
    }
    // The same keys for another use are none of the trust domain's.
    let args = ["--trust-domain", "dev.example", "--audience", "dev", "--jwks"];
    let jwks = ".countersign/issuer/jwks.json";
    let run = verify(&place, &right, &[&args[..], &[jwks, "--json"]].concat());
    assert_eq!(run.code, 3, "{} {}", run.stdout, run.stderr);
    assert!(run.stderr.contains("can be used"), "{}", run.stderr);
}

#[test]
fn a_configuration_is_read_in_full_and_told_by_line() {
    let place = Place::with_issuer();
    let token = place.mint(&[]);
    let good = format!(
        "[[issuer]]\nissuer = \"{}\"\naudience = \"dev\"\njwks_file = \".countersign/issuer/jwks.json\"\n",
        place.issuer()
    );
    place.write("good.toml", &good);
    assert_eq!(verify(&place, &token, &["--config", "good.toml"]).code, 0);
    for (name, extra, words) in [
        ("unknown", "leway = \"1s\"\n", "line 5, column 1: `leway` is not a setting"),
        ("near", "leway = \"1s\"\n", "`leeway` is; all of them"),
        ("type", "leeway = 60\n", "line 5, column 10: `leeway`: text is wanted here"),
        ("value", "algorithms = [\"none\"]\n", "\"none\" is not an algorithm"),
        ("profile", "profile = \"jwt\"\n", "\"jwt\" is not a profile"),
        ("two places", "jwks_url = \"https://x\"\n", "one of `jwks_file` and `jwks_url`"),
        ("two names", "trust_domain = \"x\"\n", "one of `issuer` and `trust_domain`"),
        ("twice", "audience = \"dev\"\n", "line 5"),
        ("no TOML", "= 1\n", "line 5"),
        ("leeway", "leeway = \"301s\"\n", "at most 300 s"),
        ("table", "[other]\n", "`other` is not known"),
    ] {
        place.write("auth.toml", format!("{good}{extra}"));
        let run = verify(&place, &token, &["--config", "auth.toml"]);
        assert_eq!(run.code, 3, "{name}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{name}: {}", run.stderr);
    }
    let without = good.replace("audience = \"dev\"\n", "");
    for (name, text) in [("no audience", without.as_str()), ("no issuer", "")] {
        place.write("auth.toml", text);
        assert_eq!(verify(&place, &token, &["--config", "auth.toml"]).code, 3, "{name}");
    }
}

#[test]
fn command_lines_that_make_no_sense_are_refused() {
    let place = Place::with_issuer();
    for args in [
        &["token", "verify"][..],
        &["token", "verify", "--issuer", "https://x"],
        &["token", "verify", "--config", AUTH, "--audience", "dev"],
        &["token", "verify", "--trust-domain", "x", "--audience", "y"],
        &["token", "verify", "--issuer", "x", "--audience", "y", "--algorithm", "none"],
        &["token", "verify", "--issuer", "x", "--audience", "y", "--now", "soon"],
        &["token", "verify", "--issuer", "x", "--audience", "y", "--profile", "jwt-svid"],
        &["token", "mint", "--expires", "15"],
        &["token", "mint", "--expires", "366d"],
        &["token", "mint", "--claim", "a=b"],
        &["token", "mint", "--kid", "nobody's"],
        &["token", "inspect", ""],
    ] {
        assert_eq!(place.run(args).code, 2, "{args:?}");
    }
    let elsewhere = Place::new().run(&["token", "mint"]);
    assert_eq!(elsewhere.code, 3);
    assert!(elsewhere.stderr.contains("countersign dev"), "{}", elsewhere.stderr);
}

#[test]
fn inspect_shows_what_a_token_says_and_that_nobody_vouches_for_it() {
    let place = Place::with_issuer();
    let token = place.mint(&[]);
    place.write("token", format!("{token}\n"));
    for run in [
        place.run(&["token", "inspect", &token]),
        place.run(&["token", "inspect", "--file", "token"]),
        place.feed(&["token", "inspect"], token.as_bytes()),
        place.feed(&["token", "inspect"], format!("Bearer {token}").as_bytes()),
    ] {
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stderr.contains("NOT VERIFIED"), "{}", run.stderr);
        assert!(run.stdout.contains("(in 14 minutes)"), "{}", run.stdout);
        assert!(run.stdout.contains("\"alice\""), "{}", run.stdout);
    }
    let run = place.run(&["token", "inspect", &token, "--json", "--lint=warning"]);
    assert_eq!((run.code, run.json()["verified"].clone()), (0, json!(false)));
    assert_eq!(codes(&run), [""; 0]);
    assert!(run.json()["times"]["exp"]["in_seconds"].as_i64().expect("seconds") > 800);
}

#[test]
fn inspect_finds_what_is_wrong() {
    let place = Place::new();
    let header = json!({"alg": "ES256"});
    let good = json!({"iss": "i", "sub": "s", "aud": "a", "iat": 4_102_444_800_u64,
                      "exp": 4_102_448_400_u64});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        unsigned(&header, &claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(name);
        unsigned(&header, &claims)
    };
    let right = unsigned(&header, &good);
    let run = place.run(&["token", "inspect", &right, "--json", "--lint=warning"]);
    assert_eq!((run.code, codes(&run)), (0, vec![]), "the twin of them all");
    for (code, token) in [
        ("alg-none", unsigned(&json!({"alg": "none"}), &good)),
        ("symmetric", unsigned(&json!({"alg": "HS256"}), &good)),
        ("names-a-key", unsigned(&json!({"alg": "ES256", "jku": "https://x"}), &good)),
        ("malformed", unsigned(&json!({"alg": "ES256", "crit": []}), &good)),
        ("malformed", format!("{right}==")),
        ("no-exp", without("exp")),
        ("bad-exp", with("exp", json!("tomorrow"))),
        ("expired", with("exp", json!(1))),
        ("not-yet-valid", with("nbf", json!(4_102_444_800_u64))),
        ("long-life", with("iat", json!(4_102_358_400_u64 - 86_400))),
        ("no-aud", without("aud")),
        ("no-iss", without("iss")),
        ("no-sub", without("sub")),
        ("id-token", with("nonce", json!("n"))),
        ("bound", with("cnf", json!({"jkt": "x"}))),
        ("encrypted", format!("{}.a.b.c.d", URL_SAFE_NO_PAD.encode(r#"{"alg":"dir"}"#))),
        ("not-a-jwt", "opaque-token".to_owned()),
        ("not-a-jwt", "a.b.c".to_owned()),
    ] {
        let run = place.run(&["token", "inspect", &token, "--json", "--lint=warning"]);
        assert_eq!(run.code, 1, "{code}: {}", run.stderr);
        assert_eq!(codes(&run), [code], "{}", run.stdout);
        assert_eq!(place.run(&["token", "inspect", &token]).code, 0, "{code}");
    }
}

#[test]
fn what_a_token_says_cannot_move_the_cursor() {
    let claims = json!({"sub": "\u{202e}x", "a\u{1b}[2J": "y"});
    let token = unsigned(&json!({"alg": "ES256", "kid": "\u{9b}2J"}), &claims);
    let run = Place::new().run(&["token", "inspect", &token]);
    for hidden in ['\u{1b}', '\u{9b}', '\u{202e}'] {
        assert!(!run.stdout.contains(hidden) && !run.stderr.contains(hidden), "{:?}", run.stdout);
    }
}
