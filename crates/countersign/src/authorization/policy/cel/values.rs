//! What an expression is told of a call.

use std::collections::HashMap;

use cel::Context;
use cel::objects::Value;
use chrono::DateTime;

use super::super::condition::{Seen, token};
use super::super::request::{Callers, PolicyRequest};
use crate::identity::Principal;

/// How many values a list or a map of the call may have, with all that lies in it. With more, the
/// expression is not evaluated: a token or a header section could otherwise make a macro walk for
/// as long as its sender likes.
const MAX_VALUES: usize = 1024;
/// How deep claims may lie in each other.
const MAX_DEPTH: usize = 16;

/// The call has more than an expression is told.
#[derive(Debug)]
pub(super) struct TooMuch;

/// Which parts of a call an expression asks for. No other is made ready.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) headers: bool,
    request: Vec<&'static str>,
    source: Vec<&'static str>,
    token: bool,
}

const REQUEST: [&str; 5] = ["path", "service", "method", "headers", "time"];
const SOURCE: [&str; 6] =
    ["address", "tls", "principal", "authenticator", "principals", "certificate"];
const TOKEN: [&str; 1] = ["claims"];

impl Reads {
    /// The fields of a variable; `None` where there is no such variable.
    pub(super) fn fields(root: &str) -> Option<&'static [&'static str]> {
        match root {
            "request" => Some(&REQUEST),
            "source" => Some(&SOURCE),
            "token" => Some(&TOKEN),
            _ => None,
        }
    }

    /// Notes that a field is asked for. Whether there is one.
    pub(super) fn field(&mut self, root: &str, field: &str) -> bool {
        let fields = Self::fields(root).unwrap_or_default();
        let Some(known) = fields.iter().copied().find(|known| *known == field) else {
            return false;
        };
        let list = match root {
            "request" => &mut self.request,
            "source" => &mut self.source,
            _ => {
                self.token = true;
                return true;
            }
        };
        if !list.contains(&known) {
            list.push(known);
        }
        self.headers |= known == "headers";
        true
    }

    /// Notes that a whole variable is asked for. Whether there is one.
    pub(super) fn whole(&mut self, root: &str) -> bool {
        let fields = Self::fields(root);
        fields.is_some_and(|fields| fields.iter().all(|field| self.field(root, field)))
    }

    /// Whether it is asked whom an authenticator proved.
    pub(super) fn callers(&self) -> bool {
        self.token || self.source.iter().any(|one| ["principal", "authenticator"].contains(one))
    }

    /// Makes ready what is asked for, in time and space that the call's bounds bound.
    pub(super) fn add_to(
        &self,
        context: &mut Context<'_, '_>,
        seen: &Seen<'_>,
    ) -> Result<(), TooMuch> {
        let request = seen.request;
        if !self.request.is_empty() {
            let mut all = HashMap::new();
            for field in &self.request {
                all.insert((*field).to_owned(), of_request(field, request)?);
            }
            context.add_variable_from_value("request", all);
        }
        if !self.source.is_empty() {
            let fields = self.source.iter();
            let all: HashMap<String, Value> = fields
                .filter_map(|field| Some(((*field).to_owned(), of_source(field, seen)?)))
                .collect();
            context.add_variable_from_value("source", all);
        }
        if self.token {
            let mut all = HashMap::new();
            let mut claims = None;
            request.any_caller(|caller| {
                claims = token(caller);
                claims.is_some()
            });
            if let Some(claims) = claims {
                let mut budget = MAX_VALUES;
                all.insert("claims".to_owned(), object(claims.object(), &mut budget, 0)?);
            }
            context.add_variable_from_value("token", all);
        }
        Ok(())
    }
}

fn of_request(field: &str, request: &PolicyRequest<'_>) -> Result<Value, TooMuch> {
    Ok(match field {
        "path" => request.path.as_str().into(),
        "service" => request.path.service().into(),
        "method" => request.path.method().into(),
        "headers" => {
            let mut all: HashMap<String, String> = HashMap::new();
            if request.headers.len() > MAX_VALUES {
                return Err(TooMuch);
            }
            for (name, value) in request.headers {
                // Several values are one text with commas, as in a rule's `headers`.
                let value = String::from_utf8_lossy(value.as_bytes());
                match all.get_mut(name.as_str()) {
                    Some(known) => {
                        known.push(',');
                        known.push_str(&value);
                    }
                    None => drop(all.insert(name.as_str().to_owned(), value.into_owned())),
                }
            }
            all.into()
        }
        _ => Value::Timestamp(time(request).ok_or(TooMuch)?.into()),
    })
}

fn time(request: &PolicyRequest<'_>) -> Option<DateTime<chrono::Utc>> {
    let since = request.now.duration_since(std::time::UNIX_EPOCH).ok()?;
    DateTime::from_timestamp(i64::try_from(since.as_secs()).ok()?, since.subsec_nanos())
}

/// `None` where the call has none: `has()` tells.
fn of_source(field: &str, seen: &Seen<'_>) -> Option<Value> {
    let peer = &seen.request.peer;
    let texts = |all: &[String]| -> Value {
        all.iter().map(|one| Value::from(one.as_str())).collect::<Vec<_>>().into()
    };
    Some(match field {
        "address" => peer.address?.to_canonical().to_string().into(),
        "tls" => peer.tls.into(),
        "principal" => known(seen.request)?.name().into(),
        "authenticator" => known(seen.request)?.authenticator().into(),
        "principals" => {
            let mut names = Vec::new();
            seen.any_name(|name| {
                names.push(name.to_owned());
                false
            });
            texts(&names)
        }
        _ => {
            let certificate = peer.certificate.filter(|_| peer.tls)?;
            let all: HashMap<String, Value> = HashMap::from([
                ("uris".to_owned(), texts(certificate.uris)),
                ("dns_names".to_owned(), texts(certificate.dns_names)),
                ("subject".to_owned(), certificate.subject.into()),
            ]);
            all.into()
        }
    })
}

/// The first of those who were proven and are somebody.
fn known<'a>(request: &PolicyRequest<'a>) -> Option<&'a Principal> {
    match request.callers {
        Callers::Authenticated(all) => {
            all.iter().find(|caller| !caller.is_anonymous()).map(|caller| caller.principal())
        }
        Callers::Assumed(all) => all.first(),
    }
}

type Object = serde_json::Map<String, serde_json::Value>;

fn object(object: &Object, budget: &mut usize, depth: usize) -> Result<Value, TooMuch> {
    let member = |(name, value): (&String, &serde_json::Value)| {
        Ok((name.clone(), of_json(value, budget, depth + 1)?))
    };
    let all = object.iter().map(member).collect::<Result<HashMap<String, Value>, TooMuch>>()?;
    Ok(all.into())
}

fn of_json(value: &serde_json::Value, budget: &mut usize, depth: usize) -> Result<Value, TooMuch> {
    *budget = budget.checked_sub(1).filter(|_| depth <= MAX_DEPTH).ok_or(TooMuch)?;
    Ok(match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => (*value).into(),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::UInt(number),
            (None, None) => Value::Float(number.as_f64().ok_or(TooMuch)?),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(all) => {
            let items = all.iter().map(|one| of_json(one, budget, depth + 1));
            items.collect::<Result<Vec<_>, _>>()?.into()
        }
        serde_json::Value::Object(all) => object(all, budget, depth)?,
    })
}
