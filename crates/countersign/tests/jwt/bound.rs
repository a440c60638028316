//! Tokens that are bound to a certificate (RFC 8705) or to a key (RFC 9449): worth nothing to
//! whoever has no more than the token.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::authentication::jwt::{DpopNonces, DpopSettings, thumbprint};
use countersign::{Channel, Jwt};
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{GreeterClient, SAY_HELLO};
use countersign_testkit::issuer::{Algorithm, Mint, SigningKey, TokenMint};
use countersign_testkit::pki::{Certificate, CertificateAuthority};
use serde_json::{Value, json};

use crate::stage::{
    ISSUER, PASSES, SAY_HELLO_STREAM, Told, alice, alice_of, at_noon, behind, build, gate, given,
    noon,
};
use crate::support::{RawClient, behind_tls, channel, identity, trusting};

const PROOF_REQUIRED: &str = "Unauthenticated PROOF_REQUIRED";
const PROOF_INVALID: &str = "Unauthenticated PROOF_INVALID";
const PROOF_NONCE: &str = "Unauthenticated PROOF_NONCE";

const BAD_PROOF: &str = "DPoP realm=\"grpc\", error=\"invalid_dpop_proof\"";
const NONCE_WANTED: &str = "DPoP realm=\"grpc\", error=\"use_dpop_nonce\"";

fn sha256(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes))
}

fn bound_to(mint: &TokenMint, cnf: Value) -> String {
    let mut claims = alice(mint);
    claims["cnf"] = cnf;
    mint.mint(&claims)
}

fn to_certificate(mint: &TokenMint, certificate: &Certificate) -> String {
    bound_to(mint, json!({ "x5t#S256": sha256(&certificate.chain_der()[0]) }))
}

// --- certificates --------------------------------------------------------------------------------

/// A greeting: as whom the handler knows the caller, or what the caller is told.
async fn greet(channel: &Channel, token: &str) -> Result<String, Told> {
    let mut request = tonic::Request::new(HelloRequest { name: "you".to_owned() });
    let value = format!("Bearer {token}").parse().expect("ASCII");
    request.metadata_mut().insert("authorization", value);
    let told = GreeterClient::new(channel.clone()).say_hello(request).await;
    told.map(|reply| reply.into_inner().principal).map_err(|status| Told::status(&status))
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_certificate_passes_with_that_one_alone() {
    let ca = CertificateAuthority::new("test CA");
    let [own, other] = ["own", "other"].map(|name| ca.client(&[&format!("spiffe://test/{name}")]));
    let mint = TokenMint::new(ISSUER);
    let jwt = build(Jwt::builder().issuer(given(&mint)).clock(at_noon()));
    let (server, reached) = behind_tls(&ca, &gate(jwt)).await;
    let with_own = channel(&server, trusting(&ca).identity(identity(&own))).await;
    let with_other = channel(&server, trusting(&ca).identity(identity(&other))).await;
    let without = channel(&server, trusting(&ca)).await;

    let token = to_certificate(&mint, &own);
    let passed = Ok(alice_of(ISSUER));
    // In turns, so that nothing that one connection proved counts for another.
    for turn in 0..2 {
        assert_eq!(greet(&with_own, &token).await, passed, "{turn}");
        let told = greet(&with_other, &token).await.expect_err("another certificate");
        assert_eq!(told.short(), PROOF_INVALID, "{turn}");
        assert_eq!(told.challenges, [BAD_PROOF], "{turn}");
        let told = greet(&without, &token).await.expect_err("no certificate");
        assert_eq!(told.short(), PROOF_REQUIRED, "{turn}");
        assert_eq!(told.challenges.len(), 2, "{turn}");
    }
    assert_eq!(reached.count(), 2);
    // The twins: a token that is bound to nothing passes with any, and with none.
    let free = mint.mint(&alice(&mint));
    for channel in [&with_own, &with_other, &without] {
        assert_eq!(greet(channel, &free).await, passed);
    }
    // And the other one's token with the other certificate.
    assert_eq!(greet(&with_other, &to_certificate(&mint, &other)).await, passed);
}

#[tokio::test]
async fn a_binding_that_is_not_understood_is_not_left_out() {
    let ca = CertificateAuthority::new("test CA");
    let own = ca.client(&["spiffe://test/own"]);
    let right = sha256(&own.chain_der()[0]);
    let mint = TokenMint::new(ISSUER);
    let jwt = build(Jwt::builder().issuer(given(&mint)).clock(at_noon()));
    let (server, _) = behind_tls(&ca, &gate(jwt)).await;
    let channel = channel(&server, trusting(&ca).identity(identity(&own))).await;
    let invalid = crate::stage::INVALID;
    for (name, cnf, told) in [
        ("a kind from the future", json!({ "x5t#S512": right }), PROOF_REQUIRED),
        ("the right and one more", json!({ "x5t#S256": right, "kid": "k" }), PROOF_REQUIRED),
        ("empty", json!({}), PROOF_REQUIRED),
        ("not an object", json!(right), invalid),
        ("no thumbprint", json!({ "x5t#S256": "AAAA" }), invalid),
        ("no text", json!({ "x5t#S256": 1 }), invalid),
    ] {
        let heard = greet(&channel, &bound_to(&mint, cnf)).await.expect_err(name);
        assert_eq!(heard.short(), told, "{name}");
    }
    let fits = bound_to(&mint, json!({ "x5t#S256": right }));
    assert_eq!(greet(&channel, &fits).await, Ok(alice_of(ISSUER)));
}

// --- keys ----------------------------------------------------------------------------------------

/// A caller with a key, and a token that is bound to it.
struct Holder {
    key: SigningKey,
    token: String,
}

impl Holder {
    fn new(mint: &TokenMint) -> Self {
        let key = SigningKey::generate(Algorithm::ES256, "unused").unnamed();
        let jwk = key.jwk();
        let jkt = thumbprint(jwk.as_object().expect("an object")).expect("a key");
        let token = bound_to(mint, json!({ "jkt": jkt }));
        Self { key, token }
    }

    /// What a right proof says.
    fn says(&self, id: &str) -> Value {
        json!({
            "jti": id,
            "htm": "POST",
            "htu": format!("https://localhost{SAY_HELLO}"),
            "iat": 1_800_000_000,
            "ath": sha256(self.token.as_bytes()),
        })
    }

    fn proof_of(&self, says: &Value) -> String {
        let proof = Mint::new(says, &self.key).header("typ", "dpop+jwt");
        proof.header("jwk", self.key.jwk()).sign()
    }

    fn proof(&self, id: &str) -> String {
        self.proof_of(&self.says(id))
    }
}

async fn shown(client: &mut RawClient, scheme: &str, token: &str, proofs: &[&str]) -> Told {
    let value = format!("{scheme} {token}");
    let mut metadata = vec![("authorization", value.as_str())];
    metadata.extend(proofs.iter().map(|proof| ("dpop", *proof)));
    Told::by(&client.call(SAY_HELLO, &metadata).await)
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_passes_with_a_proof_for_this_call_alone() {
    let mint = TokenMint::new(ISSUER);
    let jwt = build(Jwt::builder().issuer(given(&mint)).clock(at_noon()));
    let (server, reached) = behind(gate(jwt)).await;
    let mut client = RawClient::connect(&server).await;
    let (holder, thief) = (Holder::new(&mint), Holder::new(&mint));
    let token = &holder.token;

    let first = holder.proof("first");
    assert_eq!(shown(&mut client, "DPoP", token, &[&first]).await.short(), PASSES);
    // The gate took the credential and the proof for itself.
    for key in ["authorization", "dpop"] {
        assert_eq!(reached.last_values(key), [""; 0], "{key}");
    }
    let second = holder.proof("second");
    assert_eq!(shown(&mut client, "dpop", token, &[&second]).await.short(), PASSES);

    let replayed = shown(&mut client, "DPoP", token, &[&first]).await;
    assert_eq!(replayed.short(), PROOF_INVALID);
    assert_eq!(replayed.challenges, [BAD_PROOF]);
    let mut elsewhere = RawClient::connect(&server).await;
    assert_eq!(shown(&mut elsewhere, "DPoP", token, &[&second]).await.short(), PROOF_INVALID);

    for (name, scheme) in [("without a proof", "DPoP"), ("as a bearer token", "Bearer")] {
        let heard = shown(&mut client, scheme, token, &[]).await;
        assert_eq!(heard.short(), PROOF_REQUIRED, "{name}");
        assert_eq!(heard.challenges.len(), 2, "{name}");
    }
    let good = || holder.proof("as a bearer token");
    assert_eq!(shown(&mut client, "Bearer", token, &[&good()]).await.short(), PROOF_REQUIRED);
    assert_eq!(shown(&mut client, "DPoP", token, &[&good()]).await.short(), PASSES, "its twin");

    let with = |name: &str, value: Value| {
        let mut says = holder.says(name);
        says[name] = value;
        holder.proof_of(&says)
    };
    let stream = format!("https://localhost{SAY_HELLO_STREAM}");
    let rows = [
        ("another HTTP method", with("htm", json!("GET"))),
        ("another gRPC method", with("htu", json!(stream))),
        ("another server", with("htu", json!(format!("https://other{SAY_HELLO}")))),
        ("plain http", with("htu", json!(format!("http://localhost{SAY_HELLO}")))),
        ("too old", with("iat", json!(1_800_000_000 - 61))),
        ("too early", with("iat", json!(1_800_000_000 + 61))),
        ("another token", with("ath", json!(sha256(thief.token.as_bytes())))),
        ("no token", with("ath", Value::Null)),
        ("another key", {
            let says = holder.says("another key");
            thief.proof_of(&says)
        }),
        ("another key's signature", {
            let says = holder.says("another key's signature");
            let proof = Mint::new(&says, &holder.key).header("typ", "dpop+jwt");
            proof.header("jwk", holder.key.jwk()).signed_by(&thief.key).sign()
        }),
        ("another type", {
            let says = holder.says("another type");
            Mint::new(&says, &holder.key).header("jwk", holder.key.jwk()).sign()
        }),
        ("garbage", "garbage".to_owned()),
    ];
    let before = reached.count();
    for (name, proof) in rows {
        let heard = shown(&mut client, "DPoP", token, &[&proof]).await;
        assert_eq!(heard.short(), PROOF_INVALID, "{name}");
        assert_eq!(heard.challenges, [BAD_PROOF], "{name}");
        assert_eq!(heard.retry_after, None, "{name}");
    }
    let two = [holder.proof("two"), holder.proof("proofs")];
    let two = shown(&mut client, "DPoP", token, &[&two[0], &two[1]]).await;
    assert_eq!(two.short(), PROOF_INVALID);
    assert_eq!(reached.count(), before);

    // A token that is bound to no key has no use for a proof, and does not get better by one.
    let free = mint.mint(&alice(&mint));
    let mut says = holder.says("free");
    says["ath"] = json!(sha256(free.as_bytes()));
    let heard = shown(&mut client, "DPoP", &free, &[&holder.proof_of(&says)]).await;
    assert_eq!(heard.short(), PROOF_INVALID);
    assert_eq!(shown(&mut client, "Bearer", &free, &[]).await.short(), PASSES);
}

#[tokio::test]
async fn a_proof_is_remembered_for_as_long_as_it_is_good() {
    let mint = TokenMint::new(ISSUER);
    let clock = at_noon();
    let settings = DpopSettings::new().with_window(Duration::from_secs(10));
    let jwt = Jwt::builder().issuer(given(&mint)).clock(clock.clone()).proofs(settings);
    let (server, _) = behind(gate(build(jwt))).await;
    let mut client = RawClient::connect(&server).await;
    let holder = Holder::new(&mint);
    let [shown_once, kept] = ["shown once", "kept"].map(|id| holder.proof(id));
    assert_eq!(shown(&mut client, "DPoP", &holder.token, &[&shown_once]).await.short(), PASSES);
    clock.set(noon() + Duration::from_secs(10));
    let told = shown(&mut client, "DPoP", &holder.token, &[&shown_once]).await;
    assert_eq!(told.short(), PROOF_INVALID);
    assert_eq!(shown(&mut client, "DPoP", &holder.token, &[&kept]).await.short(), PASSES);
    clock.set(noon() + Duration::from_secs(11));
    let late = shown(&mut client, "DPoP", &holder.token, &[&holder.proof("late")]).await;
    assert_eq!(late.short(), PROOF_INVALID);
}

#[tokio::test]
async fn a_caller_without_a_nonce_is_told_one_and_passes_with_it() {
    let mint = TokenMint::new(ISSUER);
    let clock = at_noon();
    let nonces = DpopNonces::random().expect("randomness");
    let nonces = nonces.with_period(Duration::from_secs(20));
    let jwt = Jwt::builder().issuer(given(&mint)).clock(clock.clone());
    let jwt = build(jwt.proofs(DpopSettings::new().with_nonces(nonces)));
    let (server, reached) = behind(gate(jwt)).await;
    let mut client = RawClient::connect(&server).await;
    let holder = Holder::new(&mint);
    let with = |id: &str, nonce: &str| {
        let mut says = holder.says(id);
        says["nonce"] = json!(nonce);
        holder.proof_of(&says)
    };

    let told = shown(&mut client, "DPoP", &holder.token, &[&holder.proof("none")]).await;
    assert_eq!(told.short(), PROOF_NONCE);
    assert_eq!(told.challenges, [NONCE_WANTED]);
    let nonce = told.nonce.expect("a nonce to come back with");
    // Without any proof it is told as well, so that the first one is right.
    let none = shown(&mut client, "DPoP", &holder.token, &[]).await;
    assert_eq!((none.short().as_str(), none.nonce), (PROOF_REQUIRED, Some(nonce.clone())));

    let heard = shown(&mut client, "DPoP", &holder.token, &[&with("a", "guessed")]).await;
    assert_eq!(heard.short(), PROOF_NONCE);
    let right = with("b", &nonce);
    assert_eq!(shown(&mut client, "DPoP", &holder.token, &[&right]).await.short(), PASSES);
    assert_eq!(shown(&mut client, "DPoP", &holder.token, &[&right]).await.short(), PROOF_INVALID);

    // Good in its own period and the next, and no longer.
    // From the next period on it comes with its successor, whatever the answer (RFC 9449 §8.2).
    for (seconds, told, comes) in
        [(19, PASSES, false), (20, PASSES, true), (39, PASSES, true), (40, PROOF_NONCE, true)]
    {
        clock.set(noon() + Duration::from_secs(seconds));
        let proof = with(&format!("after {seconds}"), &nonce);
        let heard = shown(&mut client, "DPoP", &holder.token, &[&proof]).await;
        assert_eq!(heard.short(), told, "{seconds} s later");
        assert_eq!(heard.nonce.is_some(), comes, "{seconds} s later");
        assert!(heard.nonce.is_none_or(|new| new != nonce), "{seconds} s later");
    }
    // A proof that is bad for another reason earns no nonce.
    let mut says = holder.says("bad");
    says["htm"] = json!("GET");
    let heard = shown(&mut client, "DPoP", &holder.token, &[&holder.proof_of(&says)]).await;
    assert_eq!((heard.short().as_str(), heard.nonce), (PROOF_INVALID, None));
    assert_eq!(reached.count(), 4);
}

/// Bound to both, it takes both.
#[tokio::test]
async fn a_token_with_two_bindings_needs_what_each_of_them_asks_for() {
    let ca = CertificateAuthority::new("test CA");
    let own = ca.client(&["spiffe://test/own"]);
    let mint = TokenMint::new(ISSUER);
    let jwt = build(Jwt::builder().issuer(given(&mint)).clock(at_noon()));
    let (server, _) = behind_tls(&ca, &gate(jwt)).await;
    let mut holder = Holder::new(&mint);
    let jwk = holder.key.jwk();
    let jkt = thumbprint(jwk.as_object().expect("an object")).expect("a key");
    holder.token = bound_to(&mint, json!({ "jkt": jkt, "x5t#S256": sha256(&own.chain_der()[0]) }));
    let with_certificate = channel(&server, trusting(&ca).identity(identity(&own))).await;
    let without = channel(&server, trusting(&ca)).await;
    let authority = format!("https://localhost:{}", server.address().port());
    let ask = |channel: &Channel, proof: Option<&str>| {
        let mut request = tonic::Request::new(HelloRequest { name: "you".to_owned() });
        let value = format!("DPoP {}", holder.token).parse().expect("ASCII");
        request.metadata_mut().insert("authorization", value);
        if let Some(id) = proof {
            let mut says = holder.says(id);
            says["htu"] = json!(format!("{authority}{SAY_HELLO}"));
            let proof = holder.proof_of(&says).parse().expect("ASCII");
            request.metadata_mut().insert("dpop", proof);
        }
        let mut client = GreeterClient::new(channel.clone());
        async move {
            match client.say_hello(request).await {
                Ok(_) => PASSES.to_owned(),
                Err(status) => Told::status(&status).short(),
            }
        }
    };
    assert_eq!(ask(&with_certificate, Some("both")).await, PASSES);
    assert_eq!(ask(&with_certificate, None).await, PROOF_REQUIRED);
    assert_eq!(ask(&without, Some("key alone")).await, PROOF_REQUIRED);
    assert_eq!(ask(&without, None).await, PROOF_REQUIRED);
}
