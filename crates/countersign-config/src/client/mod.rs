//! A client's configuration: where its tokens come from.

mod endpoint;
mod source;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use countersign::credentials::{CachedToken, DpopKey, DpopToken, PerAuthority, TokenSource};
use countersign::{CallCredentials, Secret};

use crate::{ConfigError, Document, Section, filled};
use endpoint::Tls;

/// The call credentials of a client, as its configuration says.
///
/// ```toml
/// [token.client_credentials]          # or another source, see below
/// endpoint = "https://id.example/token"
/// client = { id = "orders", secret_file = "secret" }
/// scope = "billing"
///
/// [tls]                               # how token endpoints are reached
/// ca = "id-ca.pem"                    # default: the system's roots
/// ```
///
/// In place of `[token.…]`, each authority may have its own, which goes to no other:
///
/// ```toml
/// [[target]]
/// authority = "orders.example"
/// token.file = { path = "/run/secrets/token" }
///
/// [[target]]
/// authority = "billing.example:8443"
/// token.environment = { variable = "BILLING_TOKEN" }
/// ```
///
/// The sources are `static`, `environment`, `file`, `client_credentials`, `refresh_token`,
/// `jwt_bearer`, `token_exchange`, `self_signed` and `exec`; the book's page "Tokens that stay
/// fresh" has the settings of each. Paths start from the file's directory.
#[derive(Debug)]
pub struct ClientConfig {
    tokens: Vec<ConfiguredToken>,
    credentials: Arc<dyn CallCredentials>,
}

/// One source of a [`ClientConfig`], with its cache.
#[derive(Clone, Debug)]
pub struct ConfiguredToken {
    authority: Option<String>,
    token: CachedToken<Arc<dyn TokenSource>>,
    key: Option<DpopKey>,
    fixed: Option<Fixed>,
}

/// A token that is known as soon as the configuration is read.
#[derive(Clone, Debug)]
struct Fixed {
    place: String,
    token: Secret<String>,
}

/// What reading a source needs from outside.
struct Outside<'a> {
    environment: &'a dyn Fn(&str) -> Option<OsString>,
    tls: Tls,
}

impl ClientConfig {
    /// Reads a configuration, and the keys and secrets that it names; asks nobody and spawns
    /// nothing. Blocks on the file system.
    ///
    /// `environment` gives the value of a variable: `std::env::var_os`, or what a test says.
    ///
    /// # Errors
    ///
    /// With file, line and column, when something is unknown, missing, contradictory or unusable.
    pub fn read(
        path: impl AsRef<Path>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let document = Document::read(path.as_ref())?;
        let mut root = document.root()?;
        let mut tls = root.table("tls", "[tls]")?;
        let token = root.table("token", "[token]")?;
        let targets = root.sections("target", "[[target]]")?;
        root.finish()?;
        let tls = tls.as_mut().map(Tls::read).transpose()?.unwrap_or_default();
        let outside = Outside { environment: &environment, tls };
        match (token, targets.is_empty()) {
            (Some(token), true) => {
                let token = ConfiguredToken::read(None, token, &outside)?;
                let credentials = token.call_credentials();
                Ok(Self { tokens: vec![token], credentials })
            }
            (None, false) => Self::of_targets(targets, &outside),
            (None, true) => Err(root
                .wrong("there is no source of tokens")
                .hint("write a table such as `[token.client_credentials]`")),
            (Some(token), false) => Err(token
                .wrong("there are both `[token]` and `[[target]]`")
                .hint("with a source for each authority there is none for all")),
        }
    }

    fn of_targets(targets: Vec<Section<'_>>, outside: &Outside<'_>) -> Result<Self, ConfigError> {
        let mut tokens: Vec<ConfiguredToken> = Vec::new();
        let mut all = PerAuthority::new();
        for mut target in targets {
            let authority = target.text("authority", filled)?;
            let token = target.table("token", "[target.token]")?;
            target.finish()?;
            let authority = authority.ok_or_else(|| target.missing("authority"))?;
            let token = token.ok_or_else(|| {
                target.wrong("the target has no source").hint("write `token.file = { path = … }`")
            })?;
            if tokens.iter().any(|known| known.is_for(&authority)) {
                return Err(target.wrong("an earlier target has the same authority"));
            }
            let token = ConfiguredToken::read(Some(authority.clone()), token, outside)?;
            all = all
                .with(&authority, token.call_credentials())
                .map_err(|error| target.wrong(&error.to_string()))?;
            tokens.push(token);
        }
        Ok(Self { tokens, credentials: Arc::new(all) })
    }

    /// What a channel's calls carry: for all authorities, or for those that are configured and
    /// no other. Clones share their tokens.
    pub fn call_credentials(&self) -> Arc<dyn CallCredentials> {
        Arc::clone(&self.credentials)
    }

    /// All sources, in the order of the file.
    pub fn tokens(&self) -> &[ConfiguredToken] {
        &self.tokens
    }

    /// The source for calls to a host, which has its port unless that is 443.
    pub fn token_for(&self, host: &str) -> Option<&ConfiguredToken> {
        self.tokens.iter().find(|token| token.authority.is_none() || token.is_for(host))
    }
}

impl ConfiguredToken {
    fn read(
        authority: Option<String>,
        token: Section<'_>,
        outside: &Outside<'_>,
    ) -> Result<Self, ConfigError> {
        let source::Read { source, key, fixed } = source::read(token, outside)?;
        Ok(Self { authority, token: CachedToken::new(source), key, fixed })
    }

    /// The authority that it is for; none where it is for all.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The token, for what is not a gRPC call, and its telemetry.
    pub fn token(&self) -> &CachedToken<Arc<dyn TokenSource>> {
        &self.token
    }

    /// The key that the token is bound to, where `dpop = true`.
    pub fn dpop_key(&self) -> Option<&DpopKey> {
        self.key.as_ref()
    }

    /// Where a token is written that does not change, such as ``the variable `TOKEN` ``, and the
    /// token. For a warning before the first call.
    pub fn fixed(&self) -> Option<(&str, &Secret<String>)> {
        self.fixed.as_ref().map(|fixed| (fixed.place.as_str(), &fixed.token))
    }

    /// The call credentials of this source alone; bound to no authority.
    pub fn call_credentials(&self) -> Arc<dyn CallCredentials> {
        match &self.key {
            Some(key) => Arc::new(DpopToken::new(self.token.clone(), key.clone())),
            None => Arc::new(self.token.clone()),
        }
    }

    fn is_for(&self, host: &str) -> bool {
        let bare = |text: &str| text.strip_suffix(":443").unwrap_or(text).to_ascii_lowercase();
        self.authority().is_some_and(|authority| bare(authority) == bare(host))
    }
}
