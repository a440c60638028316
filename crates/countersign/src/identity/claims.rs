use std::any::{Any, TypeId};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::places::{Found, Place, Places};

/// What verified evidence says of its caller: a token's claims (RFC 7519 §4), an introspection
/// answer (RFC 7662 §2.2), or what is on record for an API key.
///
/// Only verified claims become one. Cloning is one atomic increment; `Debug` shows the names of
/// the claims and no values.
#[derive(Clone)]
pub struct TokenClaims {
    inner: Arc<Inner>,
}

struct Inner {
    /// The claims as they came. What is asked most often is read from where it stands here.
    text: Box<str>,
    places: Places,
    names: Option<Arc<ClaimNames>>,
    /// There from the beginning, or since somebody asked for more than the text will say.
    read: OnceLock<Box<Read>>,
    scopes: OnceLock<Box<[String]>>,
}

struct Read {
    object: Map<String, Value>,
    audience: OnceLock<Vec<String>>,
    /// What handlers parsed the claims into, once for each type.
    parsed: Mutex<Vec<(TypeId, Arc<dyn Any + Send + Sync>)>>,
}

impl TokenClaims {
    /// Takes the claims out of a JSON object. A standard claim of the wrong type counts as absent
    /// here; whoever verifies refuses it before.
    pub fn from_object(object: Map<String, Value>) -> Self {
        Self::with(object, None)
    }

    /// The same for a provider that keeps subject, client or scopes elsewhere.
    pub fn mapped(object: Map<String, Value>, names: Arc<ClaimNames>) -> Self {
        Self::with(object, Some(names))
    }

    fn with(object: Map<String, Value>, names: Option<Arc<ClaimNames>>) -> Self {
        let read = Box::new(Read::new(object)).into();
        let (text, places, scopes) = (Box::default(), Places::default(), OnceLock::new());
        Self { inner: Arc::new(Inner { text, places, names, read, scopes }) }
    }

    /// Takes the claims as they came: one JSON object, which somebody has read and verified.
    /// `find` gives its members and nothing but them. An object is made of it when somebody asks
    /// for one: many a token is remembered of which nobody ever does.
    pub(crate) fn from_text<'a>(
        text: &'a str,
        find: impl Fn(&str) -> Option<Found<'a>>,
        names: Arc<ClaimNames>,
    ) -> Self {
        let places = Places::find(text, find, &names);
        let (names, read, scopes) = (Some(names), OnceLock::new(), OnceLock::new());
        Self { inner: Arc::new(Inner { text: text.into(), places, names, read, scopes }) }
    }

    fn read(&self) -> &Read {
        self.inner.read.get_or_init(|| {
            // It was read before, so it can be read again; otherwise nothing is known.
            Box::new(Read::new(serde_json::from_str(&self.inner.text).unwrap_or_default()))
        })
    }

    fn text(&self, name: &str) -> Option<&str> {
        ClaimNames::look_up(self.object(), name).and_then(Value::as_str)
    }

    /// A text from where it stands, or else from the object.
    fn text_at<'a>(
        &'a self,
        place: Place,
        look: impl FnOnce(&'a Self) -> Option<&'a str>,
    ) -> Option<&'a str> {
        place.text(&self.inner.text).unwrap_or_else(|| look(self))
    }

    fn time(&self, name: &str) -> Option<SystemTime> {
        self.get(name).and_then(numeric_date)
    }

    /// `iss`.
    pub fn issuer(&self) -> Option<&str> {
        self.text_at(self.inner.places.issuer, |claims| claims.text("iss"))
    }

    /// `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.text_at(self.inner.places.subject, |claims| match &claims.inner.names {
            Some(names) => claims.text(&names.subject),
            None => claims.text("sub"),
        })
    }

    /// `aud`, whether it was written as one text or as several.
    pub fn audience(&self) -> &[String] {
        self.read().audience.get_or_init(|| self.get("aud").map(texts).unwrap_or_default())
    }

    /// The client that the token was issued to: `client_id`, else `azp`.
    pub fn client(&self) -> Option<&str> {
        self.text_at(self.inner.places.client, |claims| {
            match claims.inner.names.as_ref().and_then(|names| names.client.as_deref()) {
                Some(name) => claims.text(name),
                // RFC 9068 §2.2 says `client_id`, OpenID Connect Core §2 `azp`.
                None => claims.text("client_id").or_else(|| claims.text("azp")),
            }
        })
    }

    /// `scope` (RFC 8693 §4.2, separated by spaces), else `scp` as some providers write it.
    pub fn scopes(&self) -> &[String] {
        self.inner.scopes.get_or_init(|| {
            if let Some(text) = self.inner.places.scopes.text(&self.inner.text) {
                return text.map(split).unwrap_or_default().into();
            }
            let found = match self.inner.names.as_ref().and_then(|names| names.scopes.as_deref()) {
                Some(name) => ClaimNames::look_up(self.object(), name),
                None => self.get("scope").or_else(|| self.get("scp")),
            };
            found.map(scopes).unwrap_or_default().into()
        })
    }

    /// Whether it has the scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().iter().any(|known| known == scope)
    }

    /// `exp`, without leeway.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.time("exp")
    }

    /// `nbf`.
    pub fn not_before(&self) -> Option<SystemTime> {
        self.time("nbf")
    }

    /// `iat`.
    pub fn issued_at(&self) -> Option<SystemTime> {
        self.time("iat")
    }

    /// `jti`, or the public ID of an API key.
    pub fn id(&self) -> Option<&str> {
        self.text_at(self.inner.places.id, |claims| claims.text("jti"))
    }

    /// Any claim, as it was written.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.object().get(name)
    }

    /// All claims, as they were written.
    pub fn object(&self) -> &Map<String, Value> {
        &self.read().object
    }

    /// The claims as a type of one's own. Parsed once for each token and type, not for each call.
    ///
    /// # Errors
    ///
    /// The claims do not fit the type.
    pub fn parse<T>(&self) -> Result<Arc<T>, ClaimsError>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let known = |parsed: &[(TypeId, Arc<dyn Any + Send + Sync>)]| {
            let (_, value) = parsed.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
            Arc::clone(value).downcast::<T>().ok()
        };
        let lock = || self.read().parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = known(&lock()) {
            return Ok(value);
        }
        // Without the lock: a type's own code runs here.
        let value = T::deserialize(Value::Object(self.object().clone()))
            .map_err(|source| ClaimsError::Type { name: std::any::type_name::<T>(), source })?;
        let mut parsed = lock();
        Ok(known(&parsed).unwrap_or_else(|| {
            let value = Arc::new(value);
            parsed.push((TypeId::of::<T>(), Arc::clone(&value) as Arc<dyn Any + Send + Sync>));
            value
        }))
    }
}

impl Read {
    fn new(object: Map<String, Value>) -> Self {
        Self { object, audience: OnceLock::new(), parsed: Mutex::default() }
    }
}

/// Where a provider keeps what a principal is made of.
///
/// A name that begins with a slash is a JSON pointer (RFC 6901), as `/realm_access/roles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// Default: `sub`.
    pub subject: String,
    /// Default: `client_id`, else `azp`.
    pub client: Option<String>,
    /// Text separated by spaces, or a list of texts. Default: `scope`, else `scp`.
    pub scopes: Option<String>,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self { subject: "sub".to_owned(), client: None, scopes: None }
    }
}

impl ClaimNames {
    pub(crate) fn look_up<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
        Self::follow(name, |name| object.get(name), |value, step| value.as_object()?.get(step))
    }

    /// Follows a name or a pointer, from a member of the object on.
    pub(crate) fn follow<V>(
        name: &str,
        member: impl FnOnce(&str) -> Option<V>,
        inner: impl Fn(V, &str) -> Option<V>,
    ) -> Option<V> {
        let Some(pointer) = name.strip_prefix('/') else {
            return member(name);
        };
        let mut steps = pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
        let first = member(&steps.next()?)?;
        steps.try_fold(first, |value, step| inner(value, &step))
    }
}

impl fmt::Debug for TokenClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenClaims")?;
        f.debug_set().entries(self.object().keys()).finish()
    }
}

/// Why there are no claims of the asked type.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// What proved the principal has no claims, as a certificate.
    #[error("the principal was not proven by a token")]
    None,
    /// The claims do not fit the type. The source may quote a claim.
    #[error("the token's claims are not a `{name}`")]
    Type {
        /// The type.
        name: &'static str,
        /// What does not fit.
        source: serde_json::Error,
    },
}

/// A NumericDate (RFC 7519 §2): seconds, and fractions of them, since 1970. `None` for what is
/// no number, and for times that a clock cannot show.
pub(crate) fn numeric_date(value: &Value) -> Option<SystemTime> {
    if let Some(seconds) = value.as_u64() {
        return UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    }
    let seconds = value.as_f64()?;
    let apart = Duration::try_from_secs_f64(seconds.abs()).ok()?;
    match seconds < 0.0 {
        true => UNIX_EPOCH.checked_sub(apart),
        false => UNIX_EPOCH.checked_add(apart),
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Scopes as RFC 8693 §4.2 writes them, or as a list.
fn scopes(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => split(text),
        list => texts(list),
    }
}

fn split(text: &str) -> Vec<String> {
    text.split(' ').filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    fn claims(value: Value) -> TokenClaims {
        match value {
            Value::Object(object) => TokenClaims::from_object(object),
            _ => unreachable!("an object"),
        }
    }

    #[test]
    fn standard_claims_are_fields() {
        let all = claims(json!({
            "iss": "https://id.example", "sub": "alice", "aud": "orders", "azp": "web",
            "scope": "read  write", "exp": 1_800_000_000, "iat": 1.5, "jti": "j1",
        }));
        assert_eq!(all.issuer(), Some("https://id.example"));
        assert_eq!(
            (all.subject(), all.client(), all.id()),
            (Some("alice"), Some("web"), Some("j1"))
        );
        assert_eq!(all.audience(), ["orders"]);
        assert_eq!(all.scopes(), ["read", "write"]);
        assert!(all.has_scope("write") && !all.has_scope("read  write"));
        assert_eq!(all.expires_at(), Some(UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
        assert_eq!(all.issued_at(), Some(UNIX_EPOCH + Duration::from_millis(1_500)));
        assert_eq!(claims(json!({"scp": ["a", "b"], "aud": ["x", "y"]})).scopes(), ["a", "b"]);
    }

    #[test]
    fn a_provider_may_keep_them_elsewhere() {
        let names = ClaimNames {
            subject: "oid".to_owned(),
            client: Some("appid".to_owned()),
            scopes: Some("/realm_access/roles".to_owned()),
        };
        let Value::Object(object) = json!({
            "sub": "pairwise", "oid": "42", "appid": "web", "azp": "no", "scope": "no",
            "realm_access": {"roles": ["reader"]},
        }) else {
            unreachable!("an object")
        };
        let all = TokenClaims::mapped(object, Arc::new(names));
        assert_eq!((all.subject(), all.client()), (Some("42"), Some("web")));
        assert_eq!(all.scopes(), ["reader"]);
    }

    /// The same claims as they came, of which nothing is read yet.
    fn as_they_came(text: &str, names: ClaimNames) -> TokenClaims {
        let Ok(Value::Object(object)) = serde_json::from_str(text) else {
            unreachable!("an object")
        };
        let find = |name: &str| {
            let found = match object.get(name)? {
                // A reader that borrows finds it in the text, unless there are escapes.
                Value::String(value) => Found::Text(match text.find(&format!("\"{value}\"")) {
                    Some(start) => &text[start + 1..=start + value.len()],
                    None => value,
                }),
                _ => Found::Other,
            };
            Some(found)
        };
        TokenClaims::from_text(text, find, Arc::new(names))
    }

    #[test]
    fn claims_say_the_same_before_and_after_they_are_read() {
        let mapped = |subject: &str, client: Option<&str>, scopes: Option<&str>| ClaimNames {
            subject: subject.to_owned(),
            client: client.map(str::to_owned),
            scopes: scopes.map(str::to_owned),
        };
        for names in [
            ClaimNames::default(),
            mapped("oid", Some("appid"), Some("roles")),
            mapped("/deep/sub", Some("/deep/client"), Some("/deep/roles")),
        ] {
            for text in [
                r#"{"iss":"i","sub":"s","client_id":"c","azp":"z","jti":"j","scope":" a  b "}"#,
                r#"{"oid":"o","appid":"p","roles":["x","y"],"azp":"z","scp":"d e","exp":7}"#,
                r#"{"deep":{"sub":"o","client":"p","roles":"q r"},"scope":["f"],"aud":["m","n"]}"#,
                r#"{"iss":1,"sub":null,"client_id":[],"azp":"z","jti":{},"scope":3,"scp":"s"}"#,
                r#"{"iss":"\u0061b","sub":"\n","jti":"\\","azp":"\"","scope":"a\u0020b"}"#,
                "{}",
            ] {
                let Ok(Value::Object(object)) = serde_json::from_str(text) else {
                    unreachable!("an object")
                };
                let (read, came) = (
                    TokenClaims::mapped(object, Arc::new(names.clone())),
                    as_they_came(text, names.clone()),
                );
                let said = |all: &TokenClaims| {
                    let texts = [all.issuer(), all.subject(), all.client(), all.id()];
                    let texts = texts.map(|text| text.map(str::to_owned));
                    let lists = [all.scopes().to_vec(), all.audience().to_vec()];
                    (texts, lists, all.expires_at(), all.object().clone())
                };
                assert_eq!(said(&came), said(&read), "{text}");
                assert_eq!(said(&came), said(&read), "{text}, when it was read");
            }
        }
    }

    #[test]
    fn no_object_is_made_for_what_the_text_says() {
        let text = r#"{"iss":"i","sub":"s","azp":"z","jti":"j","scope":"a b"}"#;
        let all = as_they_came(text, ClaimNames::default());
        assert_eq!((all.subject(), all.client(), all.id()), (Some("s"), Some("z"), Some("j")));
        assert!(all.issuer() == Some("i") && all.has_scope("b"));
        assert!(all.inner.read.get().is_none());
        assert!(all.get("sub").is_some() && all.inner.read.get().is_some());
    }

    #[test]
    fn times_that_no_clock_shows_are_absent() {
        for exp in [json!("1"), json!(null), json!(1e300), json!(-1e300)] {
            assert_eq!(claims(json!({"exp": exp})).expires_at(), None);
        }
        assert!(claims(json!({"exp": -1.5})).expires_at().expect("a time") < UNIX_EPOCH);
    }

    #[test]
    fn own_claims_are_parsed_once_for_each_type() {
        #[derive(Deserialize)]
        struct Mine {
            tenant: String,
        }
        let all = claims(json!({"tenant": "acme"}));
        let first = all.parse::<Mine>().expect("fits");
        assert_eq!(first.tenant, "acme");
        assert!(Arc::ptr_eq(&first, &all.clone().parse::<Mine>().expect("fits")));
        all.parse::<std::collections::HashMap<String, u32>>().expect_err("does not fit");
    }

    #[test]
    fn values_stay_hidden_in_debug_output() {
        let shown = format!("{:?}", claims(json!({"sub": "hunter2"})));
        assert_eq!(shown, r#"TokenClaims{"sub"}"#);
    }
}
