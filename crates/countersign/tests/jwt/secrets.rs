//! What was in tokens, proofs and secrets is in no line of the log, no status and no `Debug`.

use std::error::Error;
use std::fmt::Debug;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign::authentication::jwt::{
    DpopNonces, DpopSettings, HmacAlgorithm, Revocations, SharedSecret, thumbprint,
};
use countersign::{Gate, Jwt, Secret, ServerRequestExt};
use countersign_testkit::greeter::SAY_HELLO;
use countersign_testkit::issuer::{Algorithm, Mint, SigningKey, TestIssuer, TokenMint};
use serde_json::{Value, json};

use crate::stage::{AUDIENCE, Told, alice, at_noon, behind, build, given, noon, rules};
use crate::support::{RawClient, collect_logs};

const SHARED: &[u8; 32] = b"planted-shared-secret-of-32-byte";
const NONCES: &[u8; 32] = b"planted-nonces-secret-of-32-byte";
const PARTNER: &str = "https://partner.example";

/// Texts that must not come out, each with its name.
#[derive(Default)]
struct Planted(Vec<(String, String)>);

impl Planted {
    fn plant(&mut self, name: &str, text: &str) {
        assert!(text.len() >= 12, "{name} is long enough to be there by no accident");
        self.0.push((name.to_owned(), text.to_owned()));
    }

    fn plant_bytes(&mut self, name: &str, bytes: &[u8]) {
        let list: Vec<_> = bytes.iter().map(u8::to_string).collect();
        self.plant(name, &list.join(", "));
        self.plant(name, &STANDARD.encode(bytes)[..40]);
        self.plant(name, &String::from_utf8_lossy(bytes));
    }

    /// Each part of a token or a proof by itself, and what is in them.
    fn plant_token(&mut self, name: &str, token: &str) {
        for (part, text) in ["header", "payload", "signature"].into_iter().zip(token.split('.')) {
            let part = format!("{part} of {name}");
            // What follows from the claims of all tokens alike is no secret.
            let end = text.len().saturating_sub(24);
            self.plant(&part, &text[end..]);
        }
    }

    fn is_not_in(&self, what: &str, text: &str) {
        for (name, secret) in &self.0 {
            assert!(!text.contains(secret), "{name} is in {what}: {text}");
        }
    }

    fn is_not_shown_by(&self, what: &str, value: &dyn Debug) {
        self.is_not_in(what, &format!("{value:?}"));
        self.is_not_in(what, &format!("{value:#?}"));
    }
}

/// Claims with a planted value in each of those that a check could quote.
fn planted_claims(planted: &mut Planted, mint: &TokenMint) -> Value {
    let mut claims = alice(mint);
    for name in ["email", "jti", "client_id", "scope", "preferred_username"] {
        let value = format!("planted-{name}-value");
        planted.plant(name, &value);
        claims[name] = json!(value);
    }
    claims
}

#[tokio::test]
async fn neither_the_log_nor_any_status_tells_what_was_in_a_token() {
    let logs = collect_logs();
    let mut planted = Planted::default();
    planted.plant_bytes("the shared secret", SHARED);
    planted.plant_bytes("the nonces' secret", NONCES);

    let issuer = TestIssuer::start().await;
    let mint = issuer.token_mint();
    let jwt = Jwt::builder()
        .issuer(Jwt::issuer(issuer.url()).audience(AUDIENCE))
        .issuer(partner())
        .revocations(Revocations::new())
        .proofs(DpopSettings::new().with_nonces(nonces()))
        .clock(at_noon());
    planted.is_not_shown_by("the builder", &jwt);
    let jwt = build(jwt);
    let gate = Gate::builder().authenticate(jwt.clone()).authorize(rules()).clock(at_noon());
    let gate = gate.build().expect("a gate");
    planted.is_not_shown_by("the gate", &gate);
    let (server, reached) = behind(gate).await;
    let mut client = RawClient::connect(&server).await;

    let claims = planted_claims(&mut planted, &mint);
    let changed = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        mint.mint(&claims)
    };
    let strange = SigningKey::generate(Algorithm::ES256, "planted-key-name");
    for (name, text) in [
        ("kid", "planted-key-name"),
        ("aud", "planted-audience"),
        ("iss", "https://planted.example"),
        ("sub", "planted-subject"),
        ("typ", "planted-type"),
        ("alg", "planted-algorithm"),
        ("exp", "planted-expiry"),
        ("cnf", "planted-binding"),
    ] {
        planted.plant(name, text);
    }
    let subject = |mut claims: Value| {
        claims["sub"] = json!("planted-subject");
        claims
    };
    let bad = subject(claims.clone());
    let good = mint.mint(&claims);
    let rows = [
        ("good", good.clone(), "passes"),
        ("forged", mint.token(&bad).broken().sign(), "TOKEN_INVALID"),
        ("no key", mint.token(&bad).key(&strange).sign(), "TOKEN_INVALID"),
        ("type", mint.token(&bad).header("typ", "planted-type").sign(), "TOKEN_INVALID"),
        ("algorithm", mint.token(&bad).header("alg", "planted-algorithm").sign(), "TOKEN_INVALID"),
        ("audience", changed("aud", json!(["planted-audience"])), "TOKEN_AUDIENCE"),
        ("issuer", changed("iss", json!("https://planted.example")), "TOKEN_INVALID"),
        ("expiry", changed("exp", json!("planted-expiry")), "TOKEN_INVALID"),
        ("expired", changed("exp", json!(7)), "TOKEN_EXPIRED"),
        ("early", changed("nbf", json!(1_900_000_000)), "TOKEN_NOT_YET_VALID"),
        ("subject", changed("sub", json!(["planted-subject"])), "TOKEN_INVALID"),
        ("binding", changed("cnf", json!({ "planted-binding": 1 })), "PROOF_REQUIRED"),
        (
            "payload",
            mint.token(&bad).payload_text("planted-subject").sign(),
            "CREDENTIALS_MALFORMED",
        ),
        ("partner's", by_partner(&claims, SHARED), "passes"),
        ("not partner's", by_partner(&bad, &[7; 32]), "TOKEN_INVALID"),
    ];
    for (name, token, _) in &rows {
        planted.plant_token(name, token);
    }
    for (name, token, told) in &rows {
        let value = format!("Bearer {token}");
        let answer = client.call(SAY_HELLO, &[("authorization", &value)]).await;
        let heard = Told::by(&answer);
        assert!(heard.short().ends_with(told), "{name}: {heard:?}");
        planted.is_not_shown_by(name, &answer);
        planted.is_not_shown_by(name, &answer.grpc());
        // The same outside of a call.
        match jwt.verify(token).await {
            Ok(claims) => {
                assert_eq!(*told, "passes", "{name}");
                planted.is_not_shown_by(name, &claims);
            }
            Err(error) => {
                assert_ne!(*told, "passes", "{name}");
                planted.is_not_in(name, &error.to_string());
                planted.is_not_shown_by(name, &error);
                assert!(error.source().is_none(), "{name}");
            }
        }
        if *told == "passes" {
            let request = reached.last_request();
            // The subject of a good token is its caller's name.
            if *name == "good" {
                planted.is_not_shown_by(name, request.auth_context().expect("a gate"));
                planted.is_not_shown_by(name, request.principal().expect("a caller"));
            }
            assert!(reached.last_values("authorization").is_empty(), "{name}");
        }
    }

    // Proofs.
    let holder = SigningKey::generate(Algorithm::ES256, "unused").unnamed();
    let jwk = holder.jwk();
    let jkt = thumbprint(jwk.as_object().expect("an object")).expect("a key");
    planted.plant("the key's thumbprint", &jkt);
    let bound = changed("cnf", json!({ "jkt": jkt }));
    planted.plant_token("a bound token", &bound);
    let proof = |name: &str, value: Value| {
        let mut says = json!({
            "jti": "planted-proof-name",
            "htm": "POST",
            "htu": format!("https://localhost{SAY_HELLO}"),
            "iat": 1_800_000_000,
            "ath": URL_SAFE_NO_PAD.encode(digest(&SHA256, bound.as_bytes())),
        });
        says[name] = value;
        Mint::new(&says, &holder).header("typ", "dpop+jwt").header("jwk", holder.jwk()).sign()
    };
    planted.plant("jti of the proof", "planted-proof-name");
    planted.plant("htm of the proof", "planted-method");
    planted.plant("query of the proof", "planted-query");
    planted.plant("nonce of the proof", "planted-nonce");
    for (name, proof, told) in [
        ("method", proof("htm", json!("planted-method")), "PROOF_INVALID"),
        ("target", proof("htu", json!("https://other/a?b=planted-query")), "PROOF_INVALID"),
        ("hash", proof("ath", json!("planted-binding")), "PROOF_INVALID"),
        ("nonce", proof("nonce", json!("planted-nonce")), "PROOF_NONCE"),
    ] {
        planted.plant_token(name, &proof);
        let value = format!("DPoP {bound}");
        let metadata = [("authorization", value.as_str()), ("dpop", proof.as_str())];
        let answer = client.call(SAY_HELLO, &metadata).await;
        assert!(Told::by(&answer).short().ends_with(told), "{name}");
        planted.is_not_shown_by(name, &answer);
        planted.is_not_shown_by(name, &answer.grpc());
    }

    planted.is_not_shown_by("the verifier", &jwt);
    planted.is_not_shown_by("what is known of its keys", &jwt.keys());
    let text = logs.text();
    assert!(logs.lines_with("a call was refused").len() >= 16, "{text}");
    for line in text.lines() {
        planted.is_not_in("the log", line);
    }
}

/// What a shared secret's Debug and the lists of the revoked show is nobody's.
#[test]
fn what_holds_secrets_and_names_of_tokens_shows_neither() {
    let mut planted = Planted::default();
    planted.plant_bytes("the shared secret", SHARED);
    planted.plant_bytes("the nonces' secret", NONCES);
    planted.plant("the token's name", "planted-token-name");
    planted.plant("the subject", "planted-subject");
    planted.plant("the key's name", "planted-key-name");
    let revocations = Revocations::new();
    revocations.revoke_token(PARTNER, "planted-token-name", noon()).expect("room");
    revocations.revoke_subject(PARTNER, "planted-subject", noon(), noon()).expect("room");
    revocations.revoke_key(PARTNER, "planted-key-name", noon()).expect("room");
    planted.is_not_shown_by("what is revoked", &revocations);
    planted.is_not_shown_by("the secret", &shared());
    planted.is_not_shown_by("the partner", &partner());
    planted.is_not_shown_by("the nonces", &nonces());
    planted.is_not_shown_by("the proofs", &DpopSettings::new().with_nonces(nonces()));
    let builder = Jwt::builder().issuer(partner()).revocations(revocations);
    planted.is_not_shown_by("the builder", &builder);
    planted.is_not_shown_by("the verifier", &build(builder));
    let short = SharedSecret::new(HmacAlgorithm::HS512, &Secret::new(SHARED.to_vec()));
    let short = short.expect_err("64 bytes are needed");
    planted.is_not_shown_by("the error", &short);
    planted.is_not_in("the error", &short.to_string());
}

fn shared() -> SharedSecret {
    let secret = Secret::new(SHARED.to_vec());
    SharedSecret::new(HmacAlgorithm::HS256, &secret).expect("long enough")
}

fn partner() -> countersign::Issuer {
    Jwt::shared_secret(PARTNER, shared()).audience(AUDIENCE)
}

fn by_partner(claims: &Value, secret: &[u8]) -> String {
    let mut claims = claims.clone();
    claims["iss"] = json!(PARTNER);
    TokenMint::new(PARTNER).token(&claims).hmac(secret).without_header("kid").sign()
}

fn nonces() -> DpopNonces {
    DpopNonces::from_secret(Secret::new(NONCES.to_vec())).expect("long enough")
}

/// The search itself: what a careless `Debug` would show is found.
#[test]
#[should_panic(expected = "the shared secret is in")]
fn the_search_finds_what_is_there() {
    let mut planted = Planted::default();
    planted.plant_bytes("the shared secret", SHARED);
    let mint = TokenMint::new(PARTNER);
    planted.is_not_shown_by("given keys", &given(&mint));
    planted.is_not_shown_by("bytes", SHARED);
}
