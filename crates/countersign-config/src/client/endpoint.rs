//! Token endpoints, who asks at them, and the keys and secrets that prove it.

use std::path::{Path, PathBuf};

use countersign::credentials::DpopKey;
use countersign::credentials::oauth::{ClientAuthentication, PemSigner, TokenEndpoint};
use countersign::fetch::HttpsClient;
use countersign::{ClientTls, Identity, RootCertificates, Secret};

use super::Outside;
use crate::{ConfigError, Section, filled};

/// How token endpoints are reached: the table `[tls]`.
#[derive(Default)]
pub(super) struct Tls {
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

/// The largest file with a key or a secret that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

impl Tls {
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, ConfigError> {
        let ca = section.path("ca")?;
        let (certificate, key) = (section.path("certificate")?, section.path("key")?);
        section.finish()?;
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(section.wrong("a certificate needs its key, and a key its certificate"));
            }
        };
        Ok(Self { ca, identity })
    }

    fn client(&self) -> HttpsClient {
        let client = match &self.ca {
            Some(ca) => ClientTls::only_roots(RootCertificates::from_pem_file(ca)),
            None => ClientTls::system_roots(),
        };
        HttpsClient::new(match &self.identity {
            Some((certificate, key)) => client.identity(Identity::from_pem_files(certificate, key)),
            None => client,
        })
    }
}

/// The settings that all sources with a token endpoint have.
pub(super) struct Asked<'a> {
    url: Option<String>,
    client: Option<Section<'a>>,
    bound: bool,
}

impl<'a> Asked<'a> {
    pub(super) fn read(section: &mut Section<'a>) -> Result<Self, ConfigError> {
        Ok(Self {
            url: section.text("endpoint", filled)?,
            client: section.table("client", "client")?,
            bound: section.flag("dpop")?,
        })
    }

    /// For grants that do not say themselves who asks.
    pub(super) fn by_a_client(self, section: &Section<'_>) -> Result<Self, ConfigError> {
        match self.client {
            Some(_) => Ok(self),
            None => Err(section
                .missing("client")
                .hint("write `client = { id = \"…\", secret_file = \"…\" }`")),
        }
    }

    /// The endpoint, and the key that its tokens are bound to.
    pub(super) fn endpoint(
        self,
        section: &Section<'_>,
        outside: &Outside<'_>,
    ) -> Result<(TokenEndpoint, Option<DpopKey>), ConfigError> {
        let url = self.url.ok_or_else(|| section.missing("endpoint"))?;
        let http = outside.tls.client();
        let endpoint = match self.client {
            Some(mut client) => {
                TokenEndpoint::new(&url, authentication(&mut client, outside)?, http)
            }
            None => TokenEndpoint::without_client(&url, http),
        };
        let endpoint =
            endpoint.map_err(|error| section.wrong_because("`endpoint` cannot be used", &error))?;
        if !self.bound {
            return Ok((endpoint, None));
        }
        let key = DpopKey::generate()
            .map_err(|error| section.wrong_because("no key can be made", &error))?;
        Ok((endpoint.with_dpop(key.clone()), Some(key)))
    }
}

/// Who asks, by the names that server metadata has for it (RFC 8414 §2).
fn authentication(
    section: &mut Section<'_>,
    outside: &Outside<'_>,
) -> Result<ClientAuthentication, ConfigError> {
    let id = section.text("id", filled)?;
    let method = section.text("method", method)?.unwrap_or("client_secret_basic");
    let secret_file = section.path("secret_file")?;
    let secret_variable = section.text("secret_variable", filled)?;
    let key = section.table("key", "key")?;
    let audience = section.text("audience", filled)?;
    section.finish()?;
    let id = id.ok_or_else(|| section.missing("id"))?;
    let wants_secret = method.starts_with("client_secret");
    if !wants_secret && (secret_file.is_some() || secret_variable.is_some()) {
        return Err(section.wrong(&format!("`{method}` has no secret")));
    }
    if method != "private_key_jwt" && (key.is_some() || audience.is_some()) {
        return Err(section.wrong(&format!("`{method}` has neither `key` nor `audience`")));
    }
    let secret = || match (&secret_file, &secret_variable) {
        (Some(file), None) => Ok(Secret::from(read(file, section)?.expose().trim())),
        (None, Some(name)) => variable(name, section, outside),
        _ => Err(section
            .wrong("the client has no one secret")
            .hint("write `secret_file` or `secret_variable`")),
    };
    Ok(match method {
        "client_secret_basic" => ClientAuthentication::basic(id, secret()?),
        "client_secret_post" => ClientAuthentication::post(id, secret()?),
        "tls_client_auth" | "self_signed_tls_client_auth" if outside.tls.identity.is_none() => {
            return Err(section
                .wrong(&format!("`{method}` needs a certificate"))
                .hint("write `certificate` and `key` under `[tls]`"));
        }
        "tls_client_auth" | "self_signed_tls_client_auth" => ClientAuthentication::mutual_tls(id),
        "private_key_jwt" => {
            let mut key = key.ok_or_else(|| {
                section
                    .wrong("the client has no key")
                    .hint("write `key = { file = \"client.key\" }`")
            })?;
            let proof = ClientAuthentication::private_key_jwt(id, signer(&mut key)?);
            match audience {
                Some(audience) => proof.assertion_audience(audience),
                None => proof,
            }
        }
        _ => ClientAuthentication::none(id),
    })
}

fn method(name: &str) -> Result<&'static str, String> {
    const METHODS: [&str; 6] = [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
        "tls_client_auth",
        "self_signed_tls_client_auth",
        "none",
    ];
    METHODS
        .into_iter()
        .find(|known| *known == name)
        .ok_or_else(|| format!("known are {}", METHODS.join(", ")))
}

/// A private key in a PEM file, and the name that verifiers know it by.
pub(super) fn signer(section: &mut Section<'_>) -> Result<PemSigner, ConfigError> {
    let file = section.path("file")?;
    let id = section.text("id", filled)?;
    section.finish()?;
    let file = file.ok_or_else(|| section.missing("file"))?;
    let signer = PemSigner::from_pem(read(&file, section)?.expose()).map_err(|error| {
        section.wrong_because(&format!("cannot use the key in `{}`", file.display()), &error)
    })?;
    Ok(match id {
        Some(id) => signer.with_key_id(id),
        None => signer,
    })
}

/// A secret in an environment variable, white space around it removed.
pub(super) fn variable(
    name: &str,
    section: &Section<'_>,
    outside: &Outside<'_>,
) -> Result<Secret<String>, ConfigError> {
    let value = (outside.environment)(name).and_then(|value| value.into_string().ok());
    match value.map(Secret::from) {
        Some(value) if !value.expose().trim().is_empty() => Ok(Secret::from(value.expose().trim())),
        _ => Err(section.wrong(&format!("the variable `{name}` holds no token or secret"))),
    }
}

/// A file with a key or a secret.
pub(super) fn read(path: &Path, section: &Section<'_>) -> Result<Secret<String>, ConfigError> {
    use std::io::Read as _;
    let cannot = |error: &dyn std::error::Error| {
        section.wrong_because(&format!("cannot read `{}`", path.display()), error)
    };
    let file = std::fs::File::open(path).map_err(|error| cannot(&error))?;
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    let text = Secret::from(text);
    read.map_err(|error| cannot(&error))?;
    match text.expose().len() as u64 > MAX_BYTES {
        true => Err(cannot(&std::io::Error::other("it is larger than 1 MiB"))),
        false => Ok(text),
    }
}
