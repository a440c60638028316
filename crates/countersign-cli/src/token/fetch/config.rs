//! The part of a client's configuration that says where its tokens come from.
//!
//! Secrets are never in it: it names files and variables that hold them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::output::Failure;

/// More than any configuration, by far.
const MAX_BYTES: u64 = 1 << 20;

/// A client's configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// One table, named for the source: `[token.client_credentials]`.
    pub(crate) token: Source,
    /// How the token endpoint is reached.
    #[serde(default)]
    pub(crate) tls: Tls,
}

/// Where tokens come from.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    Environment(Environment),
    File(File),
    ClientCredentials(ClientCredentials),
    RefreshToken(RefreshToken),
    JwtBearer(JwtBearer),
    TokenExchange(TokenExchange),
    SelfSigned(SelfSigned),
    Exec(Exec),
}

/// A token in an environment variable.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Environment {
    pub(crate) variable: String,
}

/// A token in a file; with `jwt = true` nothing but a JWT.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    #[serde(default)]
    pub(crate) jwt: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientCredentials {
    pub(crate) endpoint: String,
    pub(crate) client: Client,
    pub(crate) scope: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) resource: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshToken {
    pub(crate) endpoint: String,
    pub(crate) client: Client,
    /// The file that holds the refresh token, and that the next one is written to.
    pub(crate) store: PathBuf,
    pub(crate) scope: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JwtBearer {
    pub(crate) endpoint: String,
    pub(crate) client: Option<Client>,
    pub(crate) key: Key,
    pub(crate) issuer: String,
    pub(crate) subject: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) scope: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenExchange {
    pub(crate) endpoint: String,
    pub(crate) client: Option<Client>,
    pub(crate) subject: Party,
    pub(crate) actor: Option<Party>,
    /// One audience; without it the host that is called, if `audience_of_each_host` is set.
    pub(crate) audience: Option<String>,
    #[serde(default)]
    pub(crate) audience_of_each_host: bool,
    pub(crate) resource: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) requested_type: Option<String>,
}

/// A token that takes part in an exchange.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Party {
    pub(crate) file: Option<PathBuf>,
    pub(crate) variable: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SelfSigned {
    /// A service account's key file, in JSON.
    pub(crate) service_account: Option<PathBuf>,
    pub(crate) key: Option<Key>,
    pub(crate) issuer: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) lifetime_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exec {
    pub(crate) command: PathBuf,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// Variables with their values.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Variables that are passed on from our own environment. Default: `PATH` and `HOME`.
    pub(crate) pass_env: Option<Vec<String>>,
    pub(crate) timeout_seconds: Option<u64>,
}

/// Who asks at the token endpoint.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) method: Method,
    pub(crate) secret_file: Option<PathBuf>,
    pub(crate) secret_variable: Option<String>,
    pub(crate) key: Option<Key>,
    /// The audience of assertions. Default: the endpoint.
    pub(crate) audience: Option<String>,
}

/// As server metadata names them (RFC 8414 §2).
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    #[default]
    ClientSecretBasic,
    ClientSecretPost,
    PrivateKeyJwt,
    TlsClientAuth,
    None,
}

/// A private key in a PEM file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    pub(crate) file: PathBuf,
    pub(crate) id: Option<String>,
}

/// Whom to trust, and which certificate to show.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// Roots in PEM. Default: the system's.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

/// Reads a configuration; the paths in it are relative to its folder.
pub(crate) fn read(path: &Path) -> Result<Config, Failure> {
    let cannot = || Failure::config(format!("cannot read the configuration `{}`", path.display()));
    let length = std::fs::metadata(path).map_err(|error| cannot().because(&error))?.len();
    if length > MAX_BYTES {
        return Err(cannot().cause("it is larger than 1 MiB"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| cannot().because(&error))?;
    let mut config: Config = toml::from_str(&text).map_err(|error| {
        // The line's number and not the line: a secret that was put there by mistake stays there.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Failure::config(format!("the configuration `{}` has an error", path.display()))
            .cause(format!("line {line}: {}", error.message()))
    })?;
    config.resolve(path.parent().unwrap_or(Path::new("")));
    Ok(config)
}

impl Config {
    fn resolve(&mut self, folder: &Path) {
        let mut paths: Vec<&mut PathBuf> = Vec::new();
        let tls = &mut self.tls;
        paths.extend([&mut tls.ca, &mut tls.certificate, &mut tls.key].into_iter().flatten());
        match &mut self.token {
            // A program without a slash is looked for in PATH.
            Source::Environment(_) | Source::Exec(_) => {}
            Source::File(it) => paths.push(&mut it.path),
            Source::ClientCredentials(it) => it.client.add_paths(&mut paths),
            Source::RefreshToken(it) => {
                it.client.add_paths(&mut paths);
                paths.push(&mut it.store);
            }
            Source::JwtBearer(it) => {
                paths.push(&mut it.key.file);
                if let Some(client) = &mut it.client {
                    client.add_paths(&mut paths);
                }
            }
            Source::TokenExchange(it) => {
                paths.extend(&mut it.subject.file);
                paths.extend(it.actor.as_mut().and_then(|actor| actor.file.as_mut()));
                if let Some(client) = &mut it.client {
                    client.add_paths(&mut paths);
                }
            }
            Source::SelfSigned(it) => {
                paths.extend(&mut it.service_account);
                paths.extend(it.key.as_mut().map(|key| &mut key.file));
            }
        }
        for path in paths {
            *path = folder.join(&*path);
        }
    }
}

impl Client {
    fn add_paths<'a>(&'a mut self, paths: &mut Vec<&'a mut PathBuf>) {
        paths.extend(&mut self.secret_file);
        paths.extend(self.key.as_mut().map(|key| &mut key.file));
    }
}
