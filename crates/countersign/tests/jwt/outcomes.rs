//! Every outcome that a token can have: code, reason, challenge, and when to come back.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::Jwt;
use countersign::authentication::jwt::Revocations;
use countersign_testkit::greeter::SAY_HELLO;
use countersign_testkit::issuer::{Algorithm, SigningKey, TokenMint};
use serde_json::{Value, json};
use tonic::Code;

use crate::stage::{
    AUDIENCE, ISSUER, RESET, SAY_HELLO_STREAM, Told, alice, alice_of, at_noon, behind, build, gate,
    given, noon,
};
use crate::support::{RawClient, Reached, Served};

/// A call, and what its caller is told.
struct Row {
    name: &'static str,
    path: &'static str,
    metadata: Vec<(&'static str, String)>,
    told: &'static str,
    /// What follows the realm in the challenge of each scheme; `None` without a challenge.
    challenge: Option<&'static str>,
    retry_after: Option<Duration>,
}

impl Row {
    fn passes(name: &'static str, token: String) -> Self {
        Self::refused(name, "passes", None, vec![bearer(token)])
    }

    fn refused(
        name: &'static str,
        told: &'static str,
        challenge: Option<&'static str>,
        metadata: Vec<(&'static str, String)>,
    ) -> Self {
        Self { name, path: SAY_HELLO, metadata, told, challenge, retry_after: None }
    }

    /// Refused as a token that is not good, and for good.
    fn bad(name: &'static str, told: &'static str, token: String) -> Self {
        Self::refused(name, told, Some(BAD_TOKEN), vec![bearer(token)])
    }

    fn at(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    fn retried_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(Duration::from_secs(seconds)), ..self }
    }
}

const BAD_TOKEN: &str = ", error=\"invalid_token\"";
const BAD_REQUEST: &str = ", error=\"invalid_request\"";

fn bearer(token: String) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

/// The claims with one of them changed; `null` takes it away.
fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    let object = claims.as_object_mut().expect("an object");
    match value {
        Value::Null => object.remove(name),
        value => object.insert(name.to_owned(), value),
    };
    claims
}

fn after_noon(seconds: i64) -> i64 {
    1_800_000_000 + seconds
}

async fn shown(rows: Vec<Row>, server: &Served, reached: &Reached) {
    let mut client = RawClient::connect(server).await;
    for Row { name, path, metadata, told, challenge, retry_after } in rows {
        let before = reached.count();
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let answer = client.call(path, &metadata).await;
        assert_eq!(answer.status, 200, "{name}");
        let heard = Told::by(&answer);
        assert_eq!(heard.short(), told, "{name}");
        let challenges: Vec<_> = ["Bearer", "DPoP"]
            .iter()
            .filter_map(|scheme| Some(format!("{scheme} realm=\"grpc\"{}", challenge?)))
            .collect();
        assert_eq!(heard.challenges, challenges, "{name}");
        assert_eq!(heard.retry_after, retry_after, "{name}");
        assert_eq!(reached.count() - before, usize::from(told == "passes"), "{name}");
        if told == "passes" {
            let request = reached.last_request();
            let context = request.extensions().get::<countersign::AuthContext>();
            let caller = context.and_then(|context| context.caller()).expect("a caller");
            assert_eq!(caller.principal().name(), alice_of(ISSUER), "{name}");
        }
    }
}

#[tokio::test]
async fn each_outcome_has_its_code_reason_challenge_and_hint() {
    let mut mint = TokenMint::new(ISSUER);
    let strong = SigningKey::generate(Algorithm::ES384, "strong");
    mint.add(strong.clone());
    mint.add(SigningKey::generate(Algorithm::ES256, "main"));
    let strange = SigningKey::generate(Algorithm::ES256, "strange");
    let claims = alice(&mint);
    let good = || mint.mint(&claims);
    let of = |name: &str, value: Value| mint.mint(&with(&claims, name, value));
    let public_key = mint.current().public_key();
    let rows = vec![
        Row::passes("a good token", good()),
        // No credential, or none that can be read.
        Row::refused("no credential", "Unauthenticated CREDENTIALS_MISSING", Some(""), vec![]),
        Row::refused(
            "the same token twice",
            "Unauthenticated CREDENTIALS_MALFORMED",
            Some(BAD_REQUEST),
            vec![bearer(good()), bearer(good())],
        ),
        Row::refused(
            "another scheme",
            "Unauthenticated CREDENTIALS_MALFORMED",
            Some(BAD_REQUEST),
            vec![("authorization", format!("Basic {}", good()))],
        ),
        Row::refused(
            "no scheme",
            "Unauthenticated CREDENTIALS_MALFORMED",
            Some(BAD_REQUEST),
            vec![("authorization", good())],
        ),
        Row::refused(
            "no JWT",
            "Unauthenticated CREDENTIALS_MALFORMED",
            Some(BAD_REQUEST),
            vec![bearer("correct-horse-battery-staple".to_owned())],
        ),
        Row::refused(
            "a fourth segment",
            "Unauthenticated CREDENTIALS_MALFORMED",
            Some(BAD_REQUEST),
            vec![bearer(format!("{}.AA", good()))],
        ),
        // Time, with the leeway of 60 s.
        Row::passes("expired by less than the leeway", of("exp", json!(after_noon(-59)))),
        Row::bad(
            "expired by the leeway",
            "Unauthenticated TOKEN_EXPIRED",
            of("exp", json!(after_noon(-60))),
        ),
        Row::passes("ahead by the leeway", of("nbf", json!(after_noon(60)))),
        Row::bad(
            "ahead by 3 s more than the leeway",
            "Unauthenticated TOKEN_NOT_YET_VALID",
            of("nbf", json!(after_noon(63))),
        )
        .retried_after(3),
        Row::bad(
            "ahead by 5 s more than the leeway",
            "Unauthenticated TOKEN_NOT_YET_VALID",
            of("nbf", json!(after_noon(65))),
        ),
        Row::bad(
            "exp as text",
            "Unauthenticated TOKEN_INVALID",
            of("exp", json!(after_noon(60).to_string())),
        ),
        Row::bad("no exp", "Unauthenticated TOKEN_INVALID", of("exp", Value::Null)),
        // Signature, key, algorithm.
        Row::bad(
            "one bit of the signature",
            "Unauthenticated TOKEN_INVALID",
            mint.token(&claims).broken().sign(),
        ),
        Row::bad(
            "another key under a known name",
            "Unauthenticated TOKEN_INVALID",
            mint.token(&claims).signed_by(&strange).sign(),
        ),
        Row::bad(
            "a key that the issuer has not got",
            "Unauthenticated TOKEN_INVALID",
            mint.token(&claims).key(&strange).sign(),
        ),
        Row::bad(
            "a key of the sender in the header",
            "Unauthenticated TOKEN_INVALID",
            mint.token(&claims).key(&strange).header("jwk", strange.jwk()).sign(),
        ),
        Row::bad(
            "an algorithm that the issuer may not use",
            "Unauthenticated TOKEN_INVALID",
            mint.token(&claims).key(&strong).sign(),
        ),
        Row::bad(
            "no signature",
            "Unauthenticated TOKEN_INVALID",
            mint.token(&claims).unsigned().sign(),
        ),
        Row::bad(
            "the public key as a secret",
            "Unauthenticated TOKEN_INVALID",
            mint.token(&claims).hmac(public_key).sign(),
        ),
        Row::bad(
            "a critical extension",
            "Unauthenticated TOKEN_INVALID",
            mint.token(&claims).header("crit", json!(["exp"])).sign(),
        ),
        // From whom, about whom, of which kind.
        Row::bad(
            "another issuer",
            "Unauthenticated TOKEN_INVALID",
            of("iss", json!("https://id.example/")),
        ),
        Row::bad("no issuer", "Unauthenticated TOKEN_INVALID", of("iss", Value::Null)),
        Row::bad("no subject", "Unauthenticated TOKEN_INVALID", of("sub", Value::Null)),
        Row::passes(
            "an access token by type",
            mint.token(&claims).header("typ", "application/at+jwt").sign(),
        ),
        Row::bad(
            "another type",
            "Unauthenticated TOKEN_INVALID",
            mint.token(&claims).header("typ", "logout+jwt").sign(),
        ),
        Row::bad("an ID token", "Unauthenticated TOKEN_INVALID", of("nonce", json!("n"))),
        // For whom.
        Row::passes("for us and another", of("aud", json!(["billing", AUDIENCE]))),
        Row::bad("for another", "Unauthenticated TOKEN_AUDIENCE", of("aud", json!("billing"))),
        Row::bad("for others", "Unauthenticated TOKEN_AUDIENCE", of("aud", json!(["billing"]))),
        Row::bad("for nobody", "Unauthenticated TOKEN_AUDIENCE", of("aud", Value::Null)),
        // Known, and what then.
        Row::refused("denied", "PermissionDenied POLICY_DENIED", None, vec![bearer(good())])
            .at(RESET),
        Row::refused("denied, and nobody", "Unauthenticated CREDENTIALS_MISSING", Some(""), vec![])
            .at(RESET),
        Row::passes("the scope", of("scope", json!("openid orders:write"))).at(SAY_HELLO_STREAM),
        Row::refused(
            "no scope",
            "PermissionDenied INSUFFICIENT_SCOPE",
            Some(", error=\"insufficient_scope\", scope=\"orders:write\""),
            vec![bearer(good())],
        )
        .at(SAY_HELLO_STREAM),
        Row::refused(
            "no such method, and nobody",
            "Unauthenticated CREDENTIALS_MISSING",
            Some(""),
            vec![],
        )
        .at("/countersign.demo.v1.Greeter/Nope"),
    ];
    let jwt = build(Jwt::builder().issuer(given(&mint)).clock(at_noon()));
    let (server, reached) = behind(gate(jwt)).await;
    shown(rows, &server, &reached).await;

    // Somebody who may is told by the server itself that there is no such method.
    let mut client = RawClient::connect(&server).await;
    let (key, value) = bearer(good());
    let answer = client.call("/countersign.demo.v1.Greeter/Nope", &[(key, &value)]).await;
    assert_eq!(answer.grpc().code(), Code::Unimplemented);
}

#[tokio::test]
async fn what_was_taken_back_is_refused_at_once_also_where_it_passed_before() {
    let mut mint = TokenMint::new(ISSUER);
    let old = mint.current().clone();
    mint.rotate();
    let revocations = Revocations::new();
    let jwt = Jwt::builder().issuer(given(&mint)).clock(at_noon());
    let jwt = build(jwt.revocations(revocations.clone()));
    let (server, reached) = behind(gate(jwt)).await;

    let claims = alice(&mint);
    let stolen = mint.mint(&with(&claims, "jti", json!("stolen")));
    let kept = mint.mint(&with(&claims, "jti", json!("kept")));
    let by_old_key = mint.token(&claims).key(&old).sign();
    let later = mint.mint(&with(&claims, "iat", json!(after_noon(10))));
    let all = || [&stolen, &kept, &by_old_key, &later].map(String::clone);
    let passes = |tokens: [&String; 4]| -> Vec<Row> {
        tokens.map(|token| Row::passes("before", token.clone())).into()
    };
    shown(passes([&stolen, &kept, &by_old_key, &later]), &server, &reached).await;

    const REVOKED: &str = "Unauthenticated CREDENTIALS_REVOKED";
    let until = noon() + Duration::from_secs(7200);
    revocations.revoke_token(ISSUER, "stolen", until).expect("room");
    revocations.revoke_key(ISSUER, old.kid().expect("a name"), until).expect("room");
    let [stolen, kept, by_old_key, later] = all();
    let rows = vec![
        Row::bad("the token", REVOKED, stolen),
        Row::passes("another token", kept.clone()),
        Row::bad("the key", REVOKED, by_old_key),
        Row::passes("another key", later.clone()),
    ];
    shown(rows, &server, &reached).await;

    let before = noon() + Duration::from_secs(5);
    revocations.revoke_subject(ISSUER, "alice", before, until).expect("room");
    let rows = vec![
        Row::bad("issued before", REVOKED, kept),
        Row::passes("issued afterwards", later),
        Row::passes(
            "issued after that time",
            mint.mint(&with(&claims, "iat", json!(after_noon(6)))),
        ),
    ];
    shown(rows, &server, &reached).await;
}

#[tokio::test]
async fn a_token_ends_by_the_clock_on_the_connection_where_it_passed() {
    let mint = TokenMint::new(ISSUER);
    let clock = at_noon();
    let jwt = build(Jwt::builder().issuer(given(&mint)).clock(clock.clone()));
    let builder = countersign::Gate::builder().authenticate(jwt).authorize(crate::stage::rules());
    let (server, reached) = behind(builder.clock(clock.clone()).build().expect("a gate")).await;
    let token = mint.mint(&with(&alice(&mint), "exp", json!(after_noon(30))));
    shown(vec![Row::passes("at first", token.clone())], &server, &reached).await;

    let mut client = RawClient::connect(&server).await;
    for (seconds, told) in [(0, "passes"), (89, "passes"), (90, "Unauthenticated TOKEN_EXPIRED")] {
        clock.set(noon() + Duration::from_secs(seconds));
        let heard = crate::stage::greet(&mut client, &token).await;
        assert_eq!(heard.short(), told, "{seconds} s after noon");
    }
}

#[tokio::test]
async fn a_caller_that_is_not_grpc_gets_https_own_status() {
    let mint = TokenMint::new(ISSUER);
    let jwt = build(Jwt::builder().issuer(given(&mint)).clock(at_noon()));
    let (server, reached) = behind(gate(jwt)).await;
    let mut client = RawClient::connect(&server).await;
    let claims = with(&alice(&mint), "aud", json!("billing"));
    let (_, value) = bearer(mint.mint(&claims));
    let request = http::Request::post(format!("http://localhost{SAY_HELLO}"))
        .header("content-type", "application/json")
        .header("authorization", value);
    let request = request.body(crate::support::empty_message()).expect("a request");
    let answer = client.send(request).await;
    assert_eq!(answer.status, 401);
    let challenges = answer.headers.get_all("www-authenticate");
    assert_eq!(challenges.iter().count(), 2);
    assert!(challenges.iter().all(|one| one.to_str().is_ok_and(|it| it.ends_with(BAD_TOKEN))));
    assert_eq!(reached.count(), 0);
}

/// Both spellings mean one value to a lenient decoder, and only one of them is a token.
#[tokio::test]
async fn a_token_has_one_spelling() {
    let mint = TokenMint::new(ISSUER);
    let jwt = build(Jwt::builder().issuer(given(&mint)).clock(at_noon()));
    let (server, _) = behind(gate(jwt)).await;
    let mut client = RawClient::connect(&server).await;
    let token = mint.mint(&alice(&mint));
    assert_eq!(crate::stage::greet(&mut client, &token).await.short(), "passes");
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let padded = base64::engine::general_purpose::URL_SAFE.encode(bytes);
    assert_ne!(padded, signature);
    let told = crate::stage::greet(&mut client, &format!("{signed}.{padded}")).await;
    assert_eq!(told.short(), "Unauthenticated CREDENTIALS_MALFORMED");
}
