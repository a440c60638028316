use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::Introspection;
use super::binding::Binding;
use super::endpoint::Trouble;
use crate::authentication::Reason;
use crate::authentication::naming::principal_name;
use crate::identity::{Principal, TokenClaims, numeric_date};
use crate::jose::json;

/// What is made of a token, before anyone looks at who presents it.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Known(Arc<Known>),
    Refused { reason: Reason, detail: &'static str },
    Trouble(Arc<Trouble>),
}

/// A token that the endpoint vouches for.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) principal: Principal,
    pub(super) binding: Binding,
    /// `exp`.
    pub(super) expires_at: Option<SystemTime>,
    /// `exp` and the leeway.
    pub(super) ends_at: Option<SystemTime>,
}

/// What an answer has to say.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) issuer: Option<String>,
    pub(super) audience: Audience,
    pub(super) leeway: Duration,
}

/// Whom a token has to be for.
#[derive(Clone, Debug)]
pub(super) enum Audience {
    /// `aud` has to hold one of them.
    Required(Vec<String>),
    /// `aud` has to hold one of them, if there is one.
    IfPresent(Vec<String>),
    Unchecked,
}

impl Expected {
    /// Reads an answer (RFC 7662 §2.2). `Err`: it is not one, and what is wrong with it. Nothing
    /// of the answer is quoted.
    pub(super) fn read(&self, body: &[u8], now: SystemTime) -> Result<Verdict, &'static str> {
        let mut members =
            json::object(body).map_err(|_| "it is not one JSON object without a member twice")?;
        match members.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => {
                return Ok(refused(Reason::TokenInvalid, "the token is not active"));
            }
            _ => return Err("`active` is not true or false"),
        }
        // What a server has nothing to say about, some leave out and some make null.
        members.retain(|_, value| !value.is_null());
        let answer = Answer::read(&members)?;
        if let Some(refused) = self.refuse(&answer, now) {
            return Ok(refused);
        }
        let subject = match (answer.subject, answer.client) {
            // Users may choose their names, and none of them is a client.
            (Some(subject), _) if subject.starts_with(CLIENT) => {
                let detail = "the answer's `sub` looks like a client's name";
                return Ok(refused(Reason::TokenInvalid, detail));
            }
            (Some(subject), _) => subject.to_owned(),
            (None, Some(client)) => format!("{CLIENT}{client}"),
            (None, None) => return Ok(refused(Reason::TokenInvalid, "the answer names nobody")),
        };
        let issuer = self.issuer.as_deref().or(answer.issuer);
        let name = principal_name(issuer, &subject);
        let known = Known {
            binding: answer.binding,
            expires_at: answer.expires_at,
            ends_at: answer.expires_at.and_then(|end| end.checked_add(self.leeway)),
            principal: Principal::with_token(
                name,
                Introspection::NAME,
                TokenClaims::from_object(members),
            ),
        };
        Ok(Verdict::Known(Arc::new(known)))
    }

    fn refuse(&self, answer: &Answer<'_>, now: SystemTime) -> Option<Verdict> {
        let other_issuer = |expected: &str| answer.issuer.is_some_and(|found| found != expected);
        if self.issuer.as_deref().is_some_and(other_issuer) {
            return Some(refused(Reason::TokenInvalid, "the token is of another issuer"));
        }
        if !answer.is_access_token {
            return Some(refused(Reason::TokenInvalid, "the token is not an access token"));
        }
        let holds_one =
            |ours: &[String]| answer.audience.iter().any(|one| ours.iter().any(|our| our == one));
        let (for_us, detail) = match &self.audience {
            Audience::Unchecked => (true, ""),
            Audience::IfPresent(_) if !answer.has_audience => (true, ""),
            Audience::Required(_) if !answer.has_audience => {
                (false, "the answer does not say whom the token is for")
            }
            Audience::Required(ours) | Audience::IfPresent(ours) => {
                (holds_one(ours), "the token is for another audience")
            }
        };
        if !for_us {
            return Some(refused(Reason::TokenAudience, detail));
        }
        let ended = |end: SystemTime| end.checked_add(self.leeway).is_some_and(|end| end <= now);
        if answer.expires_at.is_some_and(ended) {
            return Some(refused(Reason::TokenExpired, "the token has expired"));
        }
        let ahead =
            |start: SystemTime| now.checked_add(self.leeway).is_some_and(|latest| start > latest);
        if answer.not_before.is_some_and(ahead) {
            return Some(refused(Reason::TokenNotYetValid, "the token is not valid yet"));
        }
        None
    }
}

/// What the names of clients begin with, and nobody else's.
const CLIENT: &str = "client:";

fn refused(reason: Reason, detail: &'static str) -> Verdict {
    Verdict::Refused { reason, detail }
}

/// The members that decide, with the types that they have to have.
struct Answer<'a> {
    issuer: Option<&'a str>,
    subject: Option<&'a str>,
    client: Option<&'a str>,
    audience: Vec<&'a str>,
    has_audience: bool,
    expires_at: Option<SystemTime>,
    not_before: Option<SystemTime>,
    binding: Binding,
    is_access_token: bool,
}

impl<'a> Answer<'a> {
    fn read(members: &'a Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.as_str())),
            Some(_) => Err("a member that should be text is not, or is empty"),
        };
        let time = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(value) => numeric_date(value).map(Some).ok_or("a time is not a time"),
        };
        let texts = |name: &str| match members.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one.as_str()]),
            Some(Value::Array(all)) => {
                let all: Option<Vec<&str>> = all.iter().map(Value::as_str).collect();
                all.ok_or("a list of texts holds something else")
            }
            Some(_) => Err("a member that should be text or a list of texts is not"),
        };
        // Read by handlers and rules alone, which take them for what they should be.
        for name in ["username", "jti", "azp"] {
            text(name)?;
        }
        for name in ["scope", "scp"] {
            texts(name)?;
        }
        time("iat")?;
        let token_type = text("token_type")?;
        Ok(Self {
            issuer: text("iss")?,
            subject: text("sub")?,
            client: text("client_id")?,
            audience: texts("aud")?,
            has_audience: members.contains_key("aud"),
            expires_at: time("exp")?,
            not_before: time("nbf")?,
            binding: Binding::read(token_type, members.get("cnf"))?,
            is_access_token: is_access_token(token_type, text("token_use")?, members.get("typ")),
        })
    }
}

/// Refresh and ID tokens are active too. Servers that say so: by a `token_type` that is none of
/// RFC 6750 or RFC 9449, by `token_use` (Ory Hydra, Amazon Cognito), by `typ` (Keycloak).
fn is_access_token(token_type: Option<&str>, used_as: Option<&str>, typ: Option<&Value>) -> bool {
    let is = |text: &str, kinds: &[&str]| kinds.iter().any(|kind| text.eq_ignore_ascii_case(kind));
    let typ = typ.and_then(Value::as_str);
    token_type.is_none_or(|kind| is(kind, &["Bearer", "DPoP", "access_token"]))
        && used_as.is_none_or(|kind| is(kind, &["access_token", "access"]))
        && !typ.is_some_and(|kind| is(kind, &["Refresh", "Offline", "ID", "Logout"]))
}

#[cfg(test)]
mod tests;
