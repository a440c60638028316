use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::error::TokenError;
use super::keys::KeySet;
use crate::authentication::CallEvidence;
use crate::jose::json;

/// A token in JWS compact form (RFC 7515 §7.1), taken apart. Nothing is verified yet.
pub(super) struct Token<'a> {
    /// What was signed: header and payload as they came.
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
    pub(super) header: Header,
    pub(super) claims: Map<String, Value>,
}

/// A token's header (RFC 7515 §4.1). `jku`, `jwk`, `x5u` and `x5c` are not even kept: whoever
/// obeys them lets the sender choose the key.
pub(super) struct Header {
    pub(super) algorithm: String,
    pub(super) kid: Option<String>,
    pub(super) kind: Option<String>,
    /// Whether there are members beside `alg`, `kid` and `typ`.
    pub(super) has_more: bool,
}

impl<'a> Token<'a> {
    /// The longest token that is looked at, in bytes.
    pub(super) const MAX_BYTES: usize = CallEvidence::MAX_BYTES;

    pub(super) fn parse(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > Self::MAX_BYTES {
            return Err(TokenError::Malformed("it is longer than 16 KiB"));
        }
        let mut segments = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(TokenError::Malformed("it has not three segments"));
        };
        let header = decoded(header)?;
        let header = json::object(&header)
            .map_err(|_| TokenError::Malformed("its header is not one JSON object"))?;
        let header = Header::read(header)?;
        let claims = json::object(&decoded(payload)?)
            .map_err(|_| TokenError::Malformed("its payload is not one JSON object"))?;
        let signed = &text[..text.len() - signature.len() - 1];
        Ok(Self { signed, signature: decoded(signature)?, header, claims })
    }
}

impl Header {
    fn read(mut header: Map<String, Value>) -> Result<Self, TokenError> {
        // RFC 7515 §4.1.11: what is critical has to be understood, and nothing is here.
        if header.contains_key("crit") {
            return Err(TokenError::Header("`crit` names what is not understood here"));
        }
        // RFC 7797 §6 wants `b64` to be in `crit`; on its own it is a trap all the same.
        if header.get("b64").is_some_and(|b64| *b64 != Value::Bool(true)) {
            return Err(TokenError::Header("`b64` is not true"));
        }
        if header.contains_key("zip") {
            return Err(TokenError::Header("`zip` is for encrypted tokens"));
        }
        let mut text = |name: &str, problem: &'static str| match header.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(TokenError::Header(problem)),
        };
        let algorithm = text("alg", "`alg` is not text")?.ok_or(TokenError::Header("no `alg`"))?;
        let kid = text("kid", "`kid` is not text")?;
        if kid.as_ref().is_some_and(|kid| kid.len() > KeySet::MAX_KID_BYTES) {
            return Err(TokenError::Header("`kid` is longer than 256 bytes"));
        }
        let kind = text("typ", "`typ` is not text")?;
        Ok(Self { algorithm, kid, kind, has_more: !header.is_empty() })
    }

    /// Whether `typ` is the media type, with or without `application/` (RFC 7515 §4.1.9).
    pub(super) fn is_kind(&self, name: &str) -> bool {
        self.kind.as_deref().is_some_and(|kind| {
            const PREFIX: &str = "application/";
            let bare = match kind.get(..PREFIX.len()) {
                Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &kind[PREFIX.len()..],
                _ => kind,
            };
            bare.eq_ignore_ascii_case(name)
        })
    }
}

/// base64url as RFC 7515 §2 wants it: no padding, no spaces, and one spelling for each value.
fn decoded(segment: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| TokenError::Malformed("it is not base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    fn problem(text: &str) -> TokenError {
        match Token::parse(text) {
            Ok(_) => panic!("{text} was taken"),
            Err(error) => error,
        }
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = token(r#"{"alg":"ES256","kid":"k","typ":"application/AT+jwt"}"#, r#"{"a":1}"#);
        let token = Token::parse(&text).expect("well-formed");
        assert_eq!(token.header.algorithm, "ES256");
        assert_eq!(token.header.kid.as_deref(), Some("k"));
        assert!(token.header.is_kind("at+jwt") && !token.header.is_kind("jwt"));
        assert_eq!((token.signature.as_slice(), token.signed), (&[0][..], &text[..text.len() - 3]));
        assert!(!token.header.has_more && token.claims.contains_key("a"));
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        let good = token(r#"{"alg":"ES256"}"#, "{}");
        Token::parse(&good).expect("well-formed");
        for (name, text) in [
            ("empty", String::new()),
            ("two segments", good[..good.len() - 3].to_owned()),
            ("four segments", format!("{good}.AA")),
            ("five segments, as encrypted ones have", format!("{good}.AA.AA")),
            ("padding", format!("{good}==")),
            ("a space", format!("{good} ")),
            ("the other alphabet", good.replace(".AA", ".+/")),
            ("trailing bits", good.replace(".AA", ".AB")),
            ("header no JSON", token("alg", "{}")),
            ("header an array", token("[]", "{}")),
            ("header with a member twice", token(r#"{"alg":"ES256","alg":"none"}"#, "{}")),
            ("payload an array", token(r#"{"alg":"ES256"}"#, "[]")),
            ("payload with a member twice", token(r#"{"alg":"ES256"}"#, r#"{"a":1,"a":1}"#)),
            ("too long", format!("{good}{}", "A".repeat(Token::MAX_BYTES))),
        ] {
            assert!(matches!(problem(&text), TokenError::Malformed(_)), "{name}");
        }
    }

    #[test]
    fn a_header_that_asks_for_more_is_refused() {
        for header in [
            r#"{}"#,
            r#"{"alg":1}"#,
            r#"{"alg":"ES256","kid":1}"#,
            r#"{"alg":"ES256","typ":[]}"#,
            r#"{"alg":"ES256","crit":["exp"],"exp":1}"#,
            r#"{"alg":"ES256","crit":[]}"#,
            r#"{"alg":"ES256","b64":false}"#,
            r#"{"alg":"ES256","zip":"DEF"}"#,
        ] {
            assert!(matches!(problem(&token(header, "{}")), TokenError::Header(_)), "{header}");
        }
        let long = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(257));
        assert!(matches!(problem(&token(&long, "{}")), TokenError::Header(_)));
    }

    #[test]
    fn what_names_a_key_of_the_senders_is_not_obeyed() {
        let header = r#"{"alg":"ES256","jku":"https://evil.example","jwk":{"kty":"oct"},"x5u":""}"#;
        let text = token(header, "{}");
        assert!(Token::parse(&text).expect("well-formed").header.has_more);
    }
}
