use std::borrow::Cow;

use serde_json::Value;

use super::error::TokenError;
use super::keys::KeySet;
use crate::authentication::CallEvidence;
use crate::jose::base64url;
use crate::jose::json::{self, Member, Members, Seen};

/// A token in JWS compact form (RFC 7515 §7.1), taken apart. Nothing is verified yet.
pub(super) struct Token<'a> {
    /// What was signed: header and payload as they came.
    pub(super) signed: &'a str,
    pub(super) signature: &'a [u8],
    pub(super) header: Header<'a>,
    /// The payload as it was written.
    pub(super) payload: &'a str,
    pub(super) claims: Members<'a>,
}

/// A token's header (RFC 7515 §4.1). `jku`, `jwk`, `x5u` and `x5c` are not even kept: whoever
/// obeys them lets the sender choose the key.
pub(super) struct Header<'a> {
    pub(super) algorithm: Cow<'a, str>,
    pub(super) kid: Option<Cow<'a, str>>,
    pub(super) kind: Option<Cow<'a, str>>,
    /// Whether there are members beside `alg`, `kid` and `typ`.
    pub(super) has_more: bool,
}

impl<'a> Token<'a> {
    /// The longest token that is looked at, in bytes.
    pub(super) const MAX_BYTES: usize = CallEvidence::MAX_BYTES;

    /// `room` is where the parts are decoded.
    pub(super) fn parse(text: &'a str, room: &'a mut Vec<u8>) -> Result<Self, TokenError> {
        if text.len() > Self::MAX_BYTES {
            return Err(TokenError::Malformed("it is longer than 16 KiB"));
        }
        let mut segments = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(TokenError::Malformed("it has not three segments"));
        };
        // Each part takes less than its segment.
        room.clear();
        room.resize(text.len() + 3, 0);
        let (header, room) = decoded(header, room)?;
        let header =
            object(header).ok_or(TokenError::Malformed("its header is not one JSON object"))?.1;
        let header = Header::read(header)?;
        let (payload, room) = decoded(payload, room)?;
        let (payload, claims) =
            object(payload).ok_or(TokenError::Malformed("its payload is not one JSON object"))?;
        let signed = &text[..text.len() - signature.len() - 1];
        let (signature, _) = decoded(signature, room)?;
        Ok(Self { signed, signature, header, payload, claims })
    }
}

impl<'a> Header<'a> {
    fn read(mut header: Members<'a>) -> Result<Self, TokenError> {
        // RFC 7515 §4.1.11: what is critical has to be understood, and nothing is here.
        if header.contains("crit") {
            return Err(TokenError::Header("`crit` names what is not understood here"));
        }
        // RFC 7797 §6 wants `b64` to be in `crit`; on its own it is a trap all the same.
        let plain = |b64: Seen<'_>| matches!(b64, Seen::Other(Value::Bool(true)));
        if header.get("b64").is_some_and(|b64| !plain(b64)) {
            return Err(TokenError::Header("`b64` is not true"));
        }
        if header.contains("zip") {
            return Err(TokenError::Header("`zip` is for encrypted tokens"));
        }
        let mut more = header.len();
        let mut text = |name: &str, problem: &'static str| match header.take(name) {
            None => Ok(None),
            Some(Member::Text(text)) => {
                more -= 1;
                Ok(Some(text))
            }
            Some(Member::Other(_)) => Err(TokenError::Header(problem)),
        };
        let algorithm = text("alg", "`alg` is not text")?.ok_or(TokenError::Header("no `alg`"))?;
        let kid = text("kid", "`kid` is not text")?;
        if kid.as_ref().is_some_and(|kid| kid.len() > KeySet::MAX_KID_BYTES) {
            return Err(TokenError::Header("`kid` is longer than 256 bytes"));
        }
        let kind = text("typ", "`typ` is not text")?;
        Ok(Self { algorithm, kid, kind, has_more: more > 0 })
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

/// What is decoded, and the rest of the room.
fn decoded<'a>(segment: &str, room: &'a mut [u8]) -> Result<(&'a [u8], &'a mut [u8]), TokenError> {
    let length = base64url::decode_into(segment, room)
        .map_err(|_| TokenError::Malformed("it is not base64url"))?;
    let (decoded, rest) = room.split_at_mut(length);
    Ok((decoded, rest))
}

fn object(json: &[u8]) -> Option<(&str, Members<'_>)> {
    let json = std::str::from_utf8(json).ok()?;
    Some((json, json::members(json).ok()?))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    fn problem(text: &str) -> TokenError {
        match Token::parse(text, &mut Vec::new()) {
            Ok(_) => panic!("{text} was taken"),
            Err(error) => error,
        }
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = token(r#"{"alg":"ES256","kid":"k","typ":"application/AT+jwt"}"#, r#"{"a":1}"#);
        let mut room = Vec::new();
        let token = Token::parse(&text, &mut room).expect("well-formed");
        assert_eq!(token.header.algorithm, "ES256");
        assert_eq!(token.header.kid.as_deref(), Some("k"));
        assert!(token.header.is_kind("at+jwt") && !token.header.is_kind("jwt"));
        assert_eq!((token.signature, token.signed), (&[0][..], &text[..text.len() - 3]));
        assert!(!token.header.has_more && token.claims.contains("a"));
        assert_eq!(token.payload, r#"{"a":1}"#);
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        let good = token(r#"{"alg":"ES256"}"#, "{}");
        Token::parse(&good, &mut Vec::new()).expect("well-formed");
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
        assert!(Token::parse(&text, &mut Vec::new()).expect("well-formed").header.has_more);
    }
}
