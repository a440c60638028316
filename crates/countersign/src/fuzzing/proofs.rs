use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{NOW, Still};
use crate::authentication::jwt::DpopSettings;
use crate::authentication::jwt::dpop::DpopVerifier;
use crate::authentication::{CallTarget, Proof, Reason};
use crate::identity::MethodPath;
use crate::jose::{json, thumbprint};

/// A proof as it is sent, or three lines that become one: header, payload, and a signature that
/// is base64url already. Bytes that are changed inside of base64 rarely stay JSON.
pub fn dpop_proof(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(3, '\n');
    let proof = match (lines.next(), lines.next(), lines.next()) {
        (Some(header), Some(payload), Some(signature)) => {
            let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
            format!("{}.{}.{signature}", part(header), part(payload))
        }
        _ => text.to_owned(),
    };
    // The token is bound to whatever key the proof has, so that the checks behind are reached.
    let jkt = jkt_of(&proof).unwrap_or_default();
    let path = MethodPath::parse("/orders.v1.Orders/Get").expect("canonical");
    let target = Some(CallTarget { authority: "api.example", path });
    let verifier = DpopVerifier::new(DpopSettings::new(), Arc::new(Still));
    let show = || verifier.verify(Proof::One(&proof), TOKEN, &jkt, target);
    let reason = |error: crate::authentication::AuthenticationError| error.reason();
    match show() {
        Ok(_) => {
            assert_is_for_the_call(&proof);
            let again = show().map_err(reason);
            assert_eq!(again, Err(Reason::ProofInvalid), "a proof passes once");
        }
        Err(error) => assert_eq!(error.reason(), Reason::ProofInvalid, "{error}"),
    }
}

/// What a proof has to say at least, read without any of our code.
fn assert_is_for_the_call(proof: &str) {
    let payload = proof.split('.').nth(1).expect("a payload");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    let claims: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!(claims["htm"], "POST");
    assert_eq!(claims["ath"], TOKEN_HASH);
    let htu = claims["htu"].as_str().expect("a text");
    let uri: http::Uri = htu.parse().expect("a URI");
    assert_eq!(uri.path(), "/orders.v1.Orders/Get");
    assert!(uri.host().is_some_and(|host| host.eq_ignore_ascii_case("api.example")));
    let iat = claims["iat"].as_f64().expect("a number");
    assert!((iat - NOW as f64).abs() <= 60.0, "young: {iat}");
}

fn jkt_of(proof: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(proof.split('.').next()?).ok()?;
    match json::object(&header).ok()?.get("jwk")? {
        Value::Object(jwk) => thumbprint(jwk).ok(),
        _ => None,
    }
}

/// The seeds are signed for it.
const TOKEN: &str = "header.payload.signature";

/// Its SHA-256.
const TOKEN_HASH: &str = "JW0E205eSsMIdR7QiFtyK3WGMFZ8U6cSXtn70Gjlw_Y";
