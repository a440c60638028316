use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::objects::object;
use super::{NOW, Still};
use crate::authentication::jwt::{Algorithm, Issuer, Jwt, KeySet, KeySource, Profile};
use crate::authentication::{Authenticator, CallEvidence, Evidence, Reason};
use crate::identity::{PeerIdentity, Principal};

/// The bits of the first byte say what the rest is. 1: what is to be signed, and otherwise a
/// token as it is sent; 2: by the Ed25519 key, and otherwise by the one for ES256; 4: choices of
/// members, those of the header counted by a byte, and otherwise the header's text in a line and
/// the payload's.
///
/// An accepted token has our signature, issuer and audience, and is not over; it is judged alike
/// when it is remembered, and not accepted with any other byte in what is signed.
pub fn token(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let token = match mode & 1 {
        0 => match std::str::from_utf8(rest) {
            Ok(text) => text.to_owned(),
            Err(_) => return,
        },
        _ => signed(mode & 2 != 0, mode & 4 != 0, rest),
    };
    let judged = judge(&ONCE, &token);
    assert_eq!(judge(&REMEMBERING, &token), judged, "whether it is remembered or not");
    assert_eq!(judge(&REMEMBERING, &token), judged, "and again");
    let Ok(name) = judged else { return };
    assert_is_good(&token, &name);

    let signed = token.rfind('.').expect("three parts");
    let number = |byte: Option<&u8>| usize::from(*byte.unwrap_or(&0));
    let at = (number(data.last()) << 8 | number(data.iter().nth_back(1))) % signed;
    let mut changed = token.into_bytes();
    changed[at] ^= 1 << (data.len() % 7);
    let changed = String::from_utf8(changed).expect("still ASCII");
    judge(&REMEMBERING, &changed).expect_err("one byte is another");
    judge(&ONCE, &changed).expect_err("one byte is another");
}

fn signed(ed25519: bool, chosen: bool, rest: &[u8]) -> String {
    let (header, payload) = if chosen {
        let (count, choices) = rest.split_first().unwrap_or((&0, &[]));
        let (header, payload) = choices.split_at(choices.len().min(usize::from(count % 8) * 2));
        let good = match ed25519 {
            true => [("alg", r#""EdDSA""#), ("kid", r#""ed""#)],
            false => [("alg", r#""ES256""#), ("kid", r#""ec""#)],
        };
        let names = ["alg", "kid", "typ", "crit", "b64", "zip", "jwk", "jku", "cty"];
        let header = object(&good, &names, header);
        (header.into_bytes(), object(&GOOD, &NAMES, payload).into_bytes())
    } else {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let (header, payload) = rest.split_at(end);
        (header.to_vec(), payload.get(1..).unwrap_or_default().to_vec())
    };
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", part(&header), part(&payload));
    let signature = match ed25519 {
        true => part(KEYS.ed25519.sign(signed.as_bytes()).as_ref()),
        false => {
            let signature = KEYS.es256.sign(&SystemRandom::new(), signed.as_bytes());
            part(signature.expect("randomness").as_ref())
        }
    };
    format!("{signed}.{signature}")
}

fn judge(jwt: &Jwt, token: &str) -> Result<String, Reason> {
    let peer = PeerIdentity::unknown();
    let evidence = Evidence::new(&peer, CallEvidence::Bearer(token));
    let outcome = jwt.authenticate_now(&evidence).expect("given keys are there");
    let caller = outcome.map_err(|error| error.reason())?.expect("a bearer token is read");
    Ok(read_all(caller.principal()))
}

/// What a handler may ask for.
fn read_all(principal: &Principal) -> String {
    let claims = principal.token().expect("a token has claims");
    assert!(claims.audience().iter().any(|audience| audience == AUDIENCE), "{claims:?}");
    assert!(claims.subject().is_some_and(|subject| !subject.is_empty()), "{claims:?}");
    let _ = (claims.scopes(), claims.client(), claims.expires_at(), claims.issued_at());
    principal.name().to_owned()
}

/// What a token has to be at least, read without any of our code.
fn assert_is_good(token: &str, name: &str) {
    let parts: Vec<_> = token.split('.').collect();
    let &[header, payload, signature] = &parts[..] else { panic!("{} parts", parts.len()) };
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let read = |text: &str| serde_json::from_slice::<Value>(&bytes(text)).expect("JSON");
    let (header, claims) = (read(header), read(payload));

    let message = &token.as_bytes()[..token.len() - signature.len() - 1];
    let signature = bytes(signature);
    let verified = match header["alg"].as_str() {
        Some("ES256") => {
            let key = KEYS.es256.public_key();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, &signature)
        }
        Some("EdDSA") => {
            let key = KEYS.ed25519.public_key();
            UnparsedPublicKey::new(&ED25519, key).verify(message, &signature)
        }
        other => panic!("signed with {other:?}"),
    };
    assert!(verified.is_ok(), "somebody else signed it");
    for member in ["crit", "zip"] {
        assert!(header.get(member).is_none(), "{header}");
    }
    assert!(claims.get("cnf").is_none_or(Value::is_null), "a bound token is none: {claims}");

    let ours = |one: &Value| one == AUDIENCE;
    let for_us =
        ours(&claims["aud"]) || claims["aud"].as_array().is_some_and(|a| a.iter().any(ours));
    assert!(for_us, "{claims}");
    assert!(claims["exp"].as_f64().is_some_and(|end| end > NOW as f64), "{claims}");
    assert!(claims["nbf"].as_f64().is_none_or(|begin| begin <= NOW as f64), "{claims}");
    let subject = claims["sub"].as_str().expect("a subject");
    match claims["iss"].as_str() {
        Some(issuer) if ISSUERS.iter().any(|(known, _)| *known == issuer) => {
            assert!(name == format!("{issuer}#{subject}") || issuer == K8S && name.contains('/'));
        }
        _ => {
            assert!(subject.starts_with("spiffe://svid.example/"), "{claims}");
            assert_eq!(name, subject);
        }
    }
}

const AUDIENCE: &str = "orders";
const K8S: &str = "https://k8s.example";
const ISSUERS: [(&str, Profile); 4] = [
    ("https://id.example", Profile::AccessToken),
    ("https://strict.example", Profile::Rfc9068),
    ("https://openid.example", Profile::IdToken),
    (K8S, Profile::K8sServiceAccount),
];

const GOOD: [(&str, &str); 4] = [
    ("iss", r#""https://id.example""#),
    ("sub", r#""alice""#),
    ("aud", r#""orders""#),
    ("exp", "1800000300"),
];

const NAMES: [&str; 17] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "azp",
    "cnf",
    "typ",
    "nonce",
    "scope",
    "scp",
    "kubernetes.io",
    "auth_time",
    "act",
];

struct Keys {
    es256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    // RFC 5915, with a key that is no secret.
    let der = [
        &[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20][..],
        &[7; 32],
        &[0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
    ];
    let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
    Keys {
        es256: EcdsaKeyPair::from_private_key_der(kind, &der.concat()).expect("a key"),
        ed25519: Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key"),
    }
});

static ONCE: LazyLock<Jwt> = LazyLock::new(|| jwt(0));
static REMEMBERING: LazyLock<Jwt> = LazyLock::new(|| jwt(64));

fn jwt(remembered: usize) -> Jwt {
    let settings = |issuer: Issuer| issuer.leeway(Duration::ZERO);
    let mut builder = Jwt::builder().remember_tokens(remembered).clock(Still);
    for (issuer, profile) in ISSUERS {
        let issuer = Jwt::issuer(issuer).keys(key_source("sig")).audience(AUDIENCE);
        let algorithms = [Algorithm::ES256, Algorithm::EdDSA];
        let issuer = settings(issuer).profile(profile).algorithms(algorithms);
        builder = builder.issuer(match profile {
            Profile::Rfc9068 => issuer.max_lifetime(Duration::from_secs(3600)),
            _ => issuer,
        });
    }
    let domain = Jwt::trust_domain("svid.example", key_source("jwt-svid")).audience(AUDIENCE);
    builder.issuer(settings(domain)).build().expect("settings that can hold")
}

fn key_source(used_for: &str) -> KeySource {
    let (x, y) = KEYS.es256.public_key().as_ref()[1..].split_at(32);
    let [x, y, ed] = [x, y, KEYS.ed25519.public_key().as_ref()].map(|b| URL_SAFE_NO_PAD.encode(b));
    let set = json!({"keys": [
        {"kty": "EC", "crv": "P-256", "kid": "ec", "use": used_for, "x": x, "y": y},
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": used_for, "x": ed},
    ]});
    let set = match used_for {
        "jwt-svid" => KeySet::from_spiffe_bundle(&set.to_string()),
        _ => KeySet::from_json(&set.to_string()),
    };
    KeySource::given(set.expect("a key set"))
}
