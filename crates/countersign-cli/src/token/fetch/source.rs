//! From a configuration to a token source.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign::credentials::oauth::{
    self, ClientAuthentication, PemSigner, RefreshTokenFile, SelfSignedJwt, ServiceAccountKey,
    TokenEndpoint, token_type,
};
use countersign::credentials::{ExecPlugin, FileToken, FixedToken, TokenError, TokenSource};
use countersign::fetch::HttpsClient;
use countersign::{ClientTls, Identity, RootCertificates, Secret};

use super::config::{Client, Config, Key, Method, Party, Source, Tls};
use crate::output::Failure;

/// Makes the source; reads keys and secrets, and asks nobody.
pub(super) fn make(config: &Config) -> Result<Arc<dyn TokenSource>, Failure> {
    let http = || http(&config.tls);
    Ok(match &config.token {
        Source::Environment(it) => Arc::new(FixedToken::new(variable(&it.variable)?)),
        Source::File(it) => {
            let file = if it.jwt { FileToken::jwt(&it.path) } else { FileToken::new(&it.path) };
            Arc::new(file.map_err(unusable)?)
        }
        Source::ClientCredentials(it) => {
            let endpoint = endpoint(&it.endpoint, Some(&it.client), http()?)?;
            let mut source = oauth::ClientCredentials::new(endpoint);
            if let Some(scope) = &it.scope {
                source = source.scope(scope);
            }
            if let Some(audience) = &it.audience {
                source = source.audience(audience);
            }
            if let Some(resource) = &it.resource {
                source = source.resource(resource);
            }
            Arc::new(source)
        }
        Source::RefreshToken(it) => {
            let endpoint = endpoint(&it.endpoint, Some(&it.client), http()?)?;
            let mut source = oauth::RefreshToken::new(endpoint, RefreshTokenFile::new(&it.store));
            if let Some(scope) = &it.scope {
                source = source.scope(scope);
            }
            Arc::new(source)
        }
        Source::JwtBearer(it) => {
            let endpoint = endpoint(&it.endpoint, it.client.as_ref(), http()?)?;
            let mut source = oauth::JwtBearer::new(endpoint, &it.issuer, signer(&it.key)?);
            if let Some(subject) = &it.subject {
                source = source.subject(subject);
            }
            if let Some(audience) = &it.audience {
                source = source.assertion_audience(audience);
            }
            if let Some(scope) = &it.scope {
                source = source.scope(scope);
            }
            Arc::new(source)
        }
        Source::TokenExchange(it) => {
            let endpoint = endpoint(&it.endpoint, it.client.as_ref(), http()?)?;
            let (subject, kind) = party(&it.subject, "subject")?;
            let mut source =
                oauth::TokenExchange::new(endpoint, subject, kind).map_err(unusable)?;
            if let Some(actor) = &it.actor {
                let (actor, kind) = party(actor, "actor")?;
                source = source.actor(actor, kind);
            }
            if it.audience_of_each_host {
                source = source.audience_of_each_host();
            }
            if let Some(audience) = &it.audience {
                source = source.audience(audience);
            }
            if let Some(resource) = &it.resource {
                source = source.resource(resource);
            }
            if let Some(scope) = &it.scope {
                source = source.scope(scope);
            }
            if let Some(requested) = &it.requested_type {
                source = source.requested_type(full_type(requested));
            }
            Arc::new(source)
        }
        Source::SelfSigned(it) => {
            let mut source = match (&it.service_account, &it.key, &it.issuer) {
                (Some(file), None, None) => ServiceAccountKey::from_json(read(file)?.expose())
                    .map_err(|error| {
                        unusable(error).hint(format!("look into `{}`", file.display()))
                    })?
                    .self_signed(),
                (None, Some(key), Some(issuer)) => SelfSignedJwt::new(issuer, signer(key)?),
                _ => {
                    return Err(Failure::config("the source `self_signed` has no one key")
                        .hint("write `service_account`, or `key` and `issuer`"));
                }
            };
            if let Some(subject) = &it.subject {
                source = source.subject(subject);
            }
            if let Some(audience) = &it.audience {
                source = source.audience(audience);
            }
            if let Some(seconds) = it.lifetime_seconds {
                source = source.lifetime(Duration::from_secs(seconds));
            }
            Arc::new(source)
        }
        Source::Exec(it) => {
            let mut plugin = ExecPlugin::new(&it.command);
            for argument in &it.args {
                plugin = plugin.arg(argument);
            }
            let usual = || vec!["PATH".to_owned(), "HOME".to_owned()];
            for name in it.pass_env.clone().unwrap_or_else(usual) {
                if let Some(value) = environment(&name) {
                    plugin = plugin.env(name, value);
                }
            }
            for (name, value) in &it.env {
                plugin = plugin.env(name, value);
            }
            if let Some(seconds) = it.timeout_seconds {
                plugin = plugin.timeout(Duration::from_secs(seconds));
            }
            Arc::new(plugin)
        }
    })
}

/// A secret in an environment variable.
pub(super) fn variable(name: &str) -> Result<Secret<String>, Failure> {
    let value = environment(name).and_then(|value| value.into_string().ok());
    match value.map(Secret::from) {
        Some(value) if !value.expose().trim().is_empty() => Ok(Secret::from(value.expose().trim())),
        _ => Err(Failure::config(format!("the variable `{name}` holds no token or secret"))),
    }
}

#[expect(clippy::disallowed_methods, reason = "the program reads its environment")]
fn environment(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

fn endpoint(
    url: &str,
    client: Option<&Client>,
    http: HttpsClient,
) -> Result<TokenEndpoint, Failure> {
    match client {
        Some(client) => TokenEndpoint::new(url, authentication(client)?, http),
        None => TokenEndpoint::without_client(url, http),
    }
    .map_err(unusable)
}

fn authentication(client: &Client) -> Result<ClientAuthentication, Failure> {
    let secret = || match (&client.secret_file, &client.secret_variable) {
        (Some(file), None) => {
            let text = read(file)?;
            Ok(Secret::from(text.expose().trim()))
        }
        (None, Some(name)) => variable(name),
        _ => Err(Failure::config(format!("the client `{}` has no one secret", client.id))
            .hint("write `secret_file` or `secret_variable`")),
    };
    Ok(match client.method {
        Method::ClientSecretBasic => ClientAuthentication::basic(&client.id, secret()?),
        Method::ClientSecretPost => ClientAuthentication::post(&client.id, secret()?),
        Method::TlsClientAuth => ClientAuthentication::mutual_tls(&client.id),
        Method::None => ClientAuthentication::none(&client.id),
        Method::PrivateKeyJwt => {
            let key = client.key.as_ref().ok_or_else(|| {
                Failure::config(format!("the client `{}` has no key", client.id))
                    .hint("write `key = { file = \"client.key\" }`")
            })?;
            let proof = ClientAuthentication::private_key_jwt(&client.id, signer(key)?);
            match &client.audience {
                Some(audience) => proof.assertion_audience(audience),
                None => proof,
            }
        }
    })
}

fn party(party: &Party, name: &str) -> Result<(Arc<dyn TokenSource>, String), Failure> {
    let source: Arc<dyn TokenSource> = match (&party.file, &party.variable) {
        (Some(file), None) => Arc::new(FileToken::new(file).map_err(unusable)?),
        (None, Some(name)) => Arc::new(FixedToken::new(variable(name)?)),
        _ => {
            return Err(Failure::config(format!("the {name} of the exchange has no one source"))
                .hint("write `file` or `variable`"));
        }
    };
    Ok((source, full_type(&party.kind)))
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

fn signer(key: &Key) -> Result<PemSigner, Failure> {
    let signer = PemSigner::from_pem(read(&key.file)?.expose()).map_err(|error| {
        Failure::config(format!("cannot use the key in `{}`", key.file.display())).because(&error)
    })?;
    Ok(match &key.id {
        Some(id) => signer.with_key_id(id),
        None => signer,
    })
}

fn read(path: &Path) -> Result<Secret<String>, Failure> {
    std::fs::read_to_string(path).map(Secret::from).map_err(|error| {
        Failure::config(format!("cannot read `{}`", path.display())).because(&error)
    })
}

fn http(tls: &Tls) -> Result<HttpsClient, Failure> {
    let mut client = match &tls.ca {
        Some(ca) => ClientTls::only_roots(RootCertificates::from_pem_file(ca)),
        None => ClientTls::system_roots(),
    };
    match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            client = client.identity(Identity::from_pem_files(certificate, key));
        }
        (None, None) => {}
        _ => {
            return Err(Failure::config(
                "a client certificate needs its key, and a key its certificate",
            )
            .hint("write `certificate` and `key` under [tls]"));
        }
    }
    Ok(HttpsClient::new(client))
}

fn unusable(error: TokenError) -> Failure {
    Failure::config("the source cannot be used").because(&error)
}
