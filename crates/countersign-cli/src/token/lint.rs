use std::time::{Duration, SystemTime};

use countersign::Secret;
use countersign::authentication::jwt::{HmacAlgorithm, Jwt, SharedSecret, TokenError};
use serde::Serialize;
use serde_json::{Map, Value};

use super::moment;
use crate::pki::lint::Level;
use crate::pki::text;

/// One thing that is wrong or worth a look. The code is API, the words are not.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) code: &'static str,
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

impl Finding {
    fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Error, code, message: message.into(), hint: None }
    }

    fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, code, message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Beyond this a stolen token is good for too long.
const LONG_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is wrong with a text that is no signed token.
pub(super) fn opaque(because: &str) -> Vec<Finding> {
    vec![
        Finding::warning("not-a-jwt", format!("the token is opaque: {because}"))
            .hint("ask its issuer about it (RFC 7662, introspection)"),
    ]
}

/// What there is to say about an encrypted token.
pub(super) fn encrypted() -> Vec<Finding> {
    vec![Finding::error(
        "encrypted",
        "the token is encrypted (JWE): only who has the key can read it, and it is not accepted",
    )]
}

/// Everything that a look at the token can tell.
pub(super) fn signed(
    token: &str,
    header: &Map<String, Value>,
    claims: &Map<String, Value>,
    now: SystemTime,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(refused(token));
    findings.extend(of_header(header));
    findings.extend(of_times(claims, now));
    findings.extend(of_claims(header, claims));
    findings
}

/// What the engine itself says, before it would need to trust anybody.
fn refused(token: &str) -> Option<Finding> {
    // A secret that nobody has, so that there is nobody to ask for keys.
    let mut secret = vec![0; 32];
    aws_lc_rs::rand::fill(&mut secret).ok()?;
    let secret = SharedSecret::new(HmacAlgorithm::HS256, &Secret::new(secret)).ok()?;
    let nobody =
        Jwt::shared_secret("https://nobody.invalid", secret).audience("nobody").build().ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    match runtime.block_on(nobody.verify(token)) {
        Err(error @ (TokenError::Malformed(_) | TokenError::Header(_))) => {
            Some(Finding::error("malformed", format!("no verifier takes it: {error}")))
        }
        _ => None,
    }
}

fn of_header(header: &Map<String, Value>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    if algorithm.eq_ignore_ascii_case("none") {
        findings.push(
            Finding::error("alg-none", "the token has no signature (`alg` is `none`)")
                .hint("no verifier may ever accept it (RFC 8725 §3.2)"),
        );
    } else if algorithm.starts_with("HS") {
        findings.push(Finding::warning(
            "symmetric",
            format!("`{algorithm}` is a shared secret: whoever can verify it can make tokens"),
        ));
    }
    for name in ["jku", "jwk", "x5u", "x5c"] {
        if header.contains_key(name) {
            findings.push(Finding::warning(
                "names-a-key",
                format!("`{name}` in the header lets the sender choose the key; it is not obeyed"),
            ));
        }
    }
    findings
}

fn of_times(claims: &Map<String, Value>, now: SystemTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    let time = |name: &str| claims.get(name).and_then(moment::of);
    match (claims.get("exp"), time("exp")) {
        (None, _) => {
            findings.push(Finding::error("no-exp", "the token never expires (it has no `exp`)"));
        }
        (Some(_), None) => findings.push(Finding::error("bad-exp", "`exp` is no time")),
        (Some(_), Some(end)) if end <= now => findings.push(Finding::warning(
            "expired",
            format!("the token expired {}", moment::apart(end, now)),
        )),
        _ => {}
    }
    if let Some(begin) = time("nbf").filter(|begin| *begin > now) {
        let when = moment::apart(begin, now);
        findings.push(Finding::warning("not-yet-valid", format!("the token begins {when}")));
    }
    let begin = time("iat").or(time("nbf"));
    if let (Some(begin), Some(end)) = (begin, time("exp"))
        && let Ok(life) = end.duration_since(begin)
        && life > LONG_LIFE
    {
        findings.push(
            Finding::warning("long-life", format!("the token lives {}", text::duration(life)))
                .hint("who steals it can use it for as long: an hour is usual"),
        );
    }
    findings
}

fn of_claims(header: &Map<String, Value>, claims: &Map<String, Value>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_there = |name: &str| claims.get(name).is_some_and(|value| !value.is_null());
    if !is_there("aud") {
        findings.push(
            Finding::error("no-aud", "the token says not for whom it is (it has no `aud`)")
                .hint("every service that gets it could use it at every other (RFC 8725 §3.9)"),
        );
    }
    for (name, code, what) in
        [("iss", "no-iss", "who issued it"), ("sub", "no-sub", "whom it is about")]
    {
        if !is_there(name) {
            let message = format!("the token does not say {what} (it has no `{name}`)");
            findings.push(Finding::warning(code, message));
        }
    }
    let of_kind = |value: Option<&Value>, kind: &str| {
        value.and_then(Value::as_str).is_some_and(|found| found.eq_ignore_ascii_case(kind))
    };
    let is_access_token =
        of_kind(header.get("typ"), "at+jwt") || of_kind(header.get("typ"), "application/at+jwt");
    let looks_like_id_token = ["nonce", "at_hash", "c_hash"].into_iter().any(is_there)
        || of_kind(claims.get("typ"), "id");
    if looks_like_id_token && !is_access_token {
        findings.push(
            Finding::warning(
                "id-token",
                "it looks like an ID token, which is for the client alone",
            )
            .hint("send the access token to services"),
        );
    }
    if is_there("cnf") {
        findings.push(Finding::warning(
            "bound",
            "the token is bound to a key (`cnf`): it is worth nothing without a proof of it",
        ));
    }
    findings
}
