//! From a table to a token source.

use std::sync::Arc;

use countersign::credentials::oauth::{
    self, RefreshTokenFile, SelfSignedJwt, ServiceAccountKey, token_type,
};
use countersign::credentials::{DpopKey, ExecPlugin, FileToken, FixedToken, TokenSource};

use super::endpoint::{Asked, read as read_secret, signer, variable};
use super::{Fixed, Outside};
use crate::{ConfigError, Section, filled};

/// A source, and what else is to be known of it.
pub(super) struct Read {
    pub(super) source: Arc<dyn TokenSource>,
    pub(super) key: Option<DpopKey>,
    pub(super) fixed: Option<Fixed>,
}

impl Read {
    fn new(source: impl TokenSource, key: Option<DpopKey>) -> Self {
        Self { source: Arc::new(source), key, fixed: None }
    }
}

type Reader = fn(&mut Section<'_>, &Outside<'_>) -> Result<Read, ConfigError>;

/// The sources by their names, with what errors call their tables.
const SOURCES: [(&str, &str, Reader); 9] = [
    ("static", "[token.static]", fixed),
    ("environment", "[token.environment]", environment),
    ("file", "[token.file]", file),
    ("client_credentials", "[token.client_credentials]", client_credentials),
    ("refresh_token", "[token.refresh_token]", refresh_token),
    ("jwt_bearer", "[token.jwt_bearer]", jwt_bearer),
    ("token_exchange", "[token.token_exchange]", token_exchange),
    ("self_signed", "[token.self_signed]", self_signed),
    ("exec", "[token.exec]", exec),
];

/// Reads the one source of a table.
pub(super) fn read(mut token: Section<'_>, outside: &Outside<'_>) -> Result<Read, ConfigError> {
    let mut found = Vec::new();
    for (name, title, reader) in SOURCES {
        if let Some(section) = token.table(name, title)? {
            found.push((section, reader));
        }
    }
    token.finish()?;
    match found.as_mut_slice() {
        [(section, reader)] => reader(section, outside),
        [] => Err(token.wrong("there is no source").hint("write `[token.file]`, for instance")),
        [_, (second, _), ..] => Err(second.wrong("there is more than one source")),
    }
}

fn fixed(section: &mut Section<'_>, _: &Outside<'_>) -> Result<Read, ConfigError> {
    let file = section.path("file")?;
    section.finish()?;
    let file = file.ok_or_else(|| section.missing("file"))?;
    let text = read_secret(&file, section)?;
    let token = countersign::Secret::from(text.expose().trim());
    if token.expose().is_empty() {
        return Err(section.wrong(&format!("there is no token in `{}`", file.display())));
    }
    let place = format!("the file `{}`", file.display());
    let source = Read::new(FixedToken::new(token.clone()), None);
    Ok(Read { fixed: Some(Fixed { place, token }), ..source })
}

fn environment(section: &mut Section<'_>, outside: &Outside<'_>) -> Result<Read, ConfigError> {
    let name = section.text("variable", filled)?;
    section.finish()?;
    let name = name.ok_or_else(|| section.missing("variable"))?;
    let token = variable(&name, section, outside)?;
    let source = Read::new(FixedToken::new(token.clone()), None);
    Ok(Read { fixed: Some(Fixed { place: format!("the variable `{name}`"), token }), ..source })
}

fn file(section: &mut Section<'_>, _: &Outside<'_>) -> Result<Read, ConfigError> {
    let path = section.path("path")?;
    let jwt = section.flag("jwt")?;
    section.finish()?;
    let path = path.ok_or_else(|| section.missing("path"))?;
    let token = if jwt { FileToken::jwt(path) } else { FileToken::new(path) };
    let token = token.map_err(|error| section.wrong_because("`path` cannot be used", &error))?;
    Ok(Read::new(token, None))
}

fn client_credentials(
    section: &mut Section<'_>,
    outside: &Outside<'_>,
) -> Result<Read, ConfigError> {
    let scope = section.text("scope", filled)?;
    let audience = section.text("audience", filled)?;
    let resource = section.text("resource", filled)?;
    let asked = Asked::read(section)?;
    section.finish()?;
    let (endpoint, key) = asked.by_a_client(section)?.endpoint(section, outside)?;
    let mut source = oauth::ClientCredentials::new(endpoint);
    if let Some(scope) = scope {
        source = source.scope(scope);
    }
    if let Some(audience) = audience {
        source = source.audience(audience);
    }
    if let Some(resource) = resource {
        source = source.resource(resource);
    }
    Ok(Read::new(source, key))
}

fn refresh_token(section: &mut Section<'_>, outside: &Outside<'_>) -> Result<Read, ConfigError> {
    let store = section.path("store")?;
    let scope = section.text("scope", filled)?;
    let asked = Asked::read(section)?;
    section.finish()?;
    let store = store.ok_or_else(|| {
        section
            .missing("store")
            .hint("the file that holds the refresh token, and that the next one is written to")
    })?;
    let (endpoint, key) = asked.by_a_client(section)?.endpoint(section, outside)?;
    let mut source = oauth::RefreshToken::new(endpoint, RefreshTokenFile::new(store));
    if let Some(scope) = scope {
        source = source.scope(scope);
    }
    Ok(Read::new(source, key))
}

fn jwt_bearer(section: &mut Section<'_>, outside: &Outside<'_>) -> Result<Read, ConfigError> {
    let issuer = section.text("issuer", filled)?;
    let subject = section.text("subject", filled)?;
    let audience = section.text("audience", filled)?;
    let scope = section.text("scope", filled)?;
    let signing = section.table("key", "key")?;
    let asked = Asked::read(section)?;
    section.finish()?;
    let issuer = issuer.ok_or_else(|| section.missing("issuer"))?;
    let mut signing = signing.ok_or_else(|| section.missing("key"))?;
    let (endpoint, key) = asked.endpoint(section, outside)?;
    let mut source = oauth::JwtBearer::new(endpoint, issuer, signer(&mut signing)?);
    if let Some(subject) = subject {
        source = source.subject(subject);
    }
    if let Some(audience) = audience {
        source = source.assertion_audience(audience);
    }
    if let Some(scope) = scope {
        source = source.scope(scope);
    }
    Ok(Read::new(source, key))
}

fn token_exchange(section: &mut Section<'_>, outside: &Outside<'_>) -> Result<Read, ConfigError> {
    let subject = section.table("subject", "subject")?;
    let actor = section.table("actor", "actor")?;
    let audience = section.text("audience", filled)?;
    let of_each_host = section.flag("audience_of_each_host")?;
    let resource = section.text("resource", filled)?;
    let scope = section.text("scope", filled)?;
    let requested = section.text("requested_type", filled)?;
    let asked = Asked::read(section)?;
    section.finish()?;
    let mut subject = subject.ok_or_else(|| section.missing("subject"))?;
    if audience.is_some() && of_each_host {
        return Err(section.wrong("there is one of `audience` and `audience_of_each_host`"));
    }
    let (endpoint, key) = asked.endpoint(section, outside)?;
    let (token, kind) = party(&mut subject, outside)?;
    let mut source = oauth::TokenExchange::new(endpoint, token, kind)
        .map_err(|error| section.wrong_because("the exchange cannot be made", &error))?;
    if let Some(mut actor) = actor {
        let (token, kind) = party(&mut actor, outside)?;
        source = source.actor(token, kind);
    }
    if of_each_host {
        source = source.audience_of_each_host();
    }
    if let Some(audience) = audience {
        source = source.audience(audience);
    }
    if let Some(resource) = resource {
        source = source.resource(resource);
    }
    if let Some(scope) = scope {
        source = source.scope(scope);
    }
    if let Some(requested) = requested {
        source = source.requested_type(full_type(&requested));
    }
    Ok(Read::new(source, key))
}

/// A token that takes part in an exchange.
fn party(
    section: &mut Section<'_>,
    outside: &Outside<'_>,
) -> Result<(Arc<dyn TokenSource>, String), ConfigError> {
    let file = section.path("file")?;
    let name = section.text("variable", filled)?;
    let kind = section.text("type", filled)?;
    section.finish()?;
    let kind =
        kind.ok_or_else(|| section.missing("type").hint("access_token, jwt, id_token, or a URI"))?;
    let source: Arc<dyn TokenSource> = match (file, name) {
        (Some(file), None) => Arc::new(
            FileToken::new(file)
                .map_err(|error| section.wrong_because("`file` cannot be used", &error))?,
        ),
        (None, Some(name)) => Arc::new(FixedToken::new(variable(&name, section, outside)?)),
        _ => return Err(section.wrong("there is one of `file` and `variable`")),
    };
    Ok((source, full_type(&kind)))
}

/// Short names for the types that are common.
fn full_type(kind: &str) -> String {
    match kind {
        "access_token" => token_type::ACCESS_TOKEN,
        "jwt" => token_type::JWT,
        "id_token" => token_type::ID_TOKEN,
        other => other,
    }
    .to_owned()
}

fn self_signed(section: &mut Section<'_>, _: &Outside<'_>) -> Result<Read, ConfigError> {
    let account = section.path("service_account")?;
    let key = section.table("key", "key")?;
    let issuer = section.text("issuer", filled)?;
    let subject = section.text("subject", filled)?;
    let audience = section.text("audience", filled)?;
    let lifetime = section.seconds("lifetime_seconds")?;
    section.finish()?;
    let mut source = match (account, key, issuer) {
        (Some(file), None, None) => {
            ServiceAccountKey::from_json(read_secret(&file, section)?.expose())
                .map_err(|error| {
                    section.wrong_because(&format!("cannot use `{}`", file.display()), &error)
                })?
                .self_signed()
        }
        (None, Some(mut key), Some(issuer)) => SelfSignedJwt::new(issuer, signer(&mut key)?),
        _ => {
            return Err(section
                .wrong("there is no one key")
                .hint("write `service_account`, or `key` and `issuer`"));
        }
    };
    if let Some(subject) = subject {
        source = source.subject(subject);
    }
    if let Some(audience) = audience {
        source = source.audience(audience);
    }
    if let Some(lifetime) = lifetime {
        source = source.lifetime(lifetime);
    }
    Ok(Read::new(source, None))
}

/// A program, which sees `PATH` and `HOME` of ours unless `pass_env` says otherwise.
fn exec(section: &mut Section<'_>, outside: &Outside<'_>) -> Result<Read, ConfigError> {
    // A program without a slash is looked for in PATH, so this is no path of the file's directory.
    let command = section.text("command", filled)?;
    let args = section.texts("args", |text| Ok(text.to_owned()))?.unwrap_or_default();
    let variables = section.pairs("env")?;
    let passed = section.texts("pass_env", filled)?;
    let timeout = section.seconds("timeout_seconds")?;
    section.finish()?;
    let command = command.ok_or_else(|| section.missing("command"))?;
    let mut plugin = ExecPlugin::new(command);
    for argument in args {
        plugin = plugin.arg(argument);
    }
    for name in passed.unwrap_or_else(|| vec!["PATH".to_owned(), "HOME".to_owned()]) {
        if let Some(value) = (outside.environment)(&name) {
            plugin = plugin.env(name, value);
        }
    }
    for (name, value) in variables {
        plugin = plugin.env(name, value);
    }
    if let Some(timeout) = timeout {
        plugin = plugin.timeout(timeout);
    }
    Ok(Read::new(plugin, None))
}
