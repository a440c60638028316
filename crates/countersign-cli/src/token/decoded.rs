use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// What a text says of itself. Nothing of it is believed.
pub(super) enum Decoded {
    /// A signed token, or one that says so.
    Signed { header: Map<String, Value>, claims: Map<String, Value>, signature_bytes: usize },
    /// An encrypted token: only its header can be read.
    Encrypted { header: Map<String, Value> },
    /// Anything else.
    Opaque { because: &'static str },
}

impl Decoded {
    /// Reads more than a verifier does, so that what is wrong with a token can be seen.
    pub(super) fn read(token: &str) -> Self {
        let segments: Vec<&str> = token.split('.').collect();
        let [header, rest @ ..] = segments.as_slice() else {
            return Self::Opaque { because: "it is empty" };
        };
        let count = 1 + rest.len();
        if count != 3 && count != 5 {
            return Self::Opaque { because: "it has not the three parts of a JWT" };
        }
        let Some(header) = object(header) else {
            return Self::Opaque { because: "its first part is not a JSON object in base64url" };
        };
        let [claims, signature] = rest else {
            return Self::Encrypted { header };
        };
        let Some(claims) = object(claims) else {
            return Self::Opaque { because: "its second part is not a JSON object in base64url" };
        };
        let signature_bytes = bytes(signature).map_or(0, |bytes| bytes.len());
        Self::Signed { header, claims, signature_bytes }
    }
}

fn object(segment: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&bytes(segment)?).ok()
}

/// With padding too, which a verifier refuses.
fn bytes(segment: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(segment.trim_end_matches('=')).ok()
}
