use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign::Issuer;
use countersign::authentication::jwt::{Algorithm, Jwt, KeySource, Profile};
use countersign_config::{ConfigError, Document, Section, filled, length};

use crate::output::Failure;

/// Whose tokens are accepted, and which of them: the tables `[[issuer]]` of a file.
///
/// ```toml
/// [[issuer]]
/// issuer = "https://id.example"   # or: trust_domain = "example.org"
/// audience = ["orders"]
/// jwks_url = "https://id.example/keys"   # or jwks_file; default: discovery
/// profile = "rfc9068"
/// algorithms = ["ES256"]
/// leeway = "30s"
/// required_claims = ["client_id"]
/// token_type = "at+jwt"
/// ```
#[derive(Debug)]
pub(crate) struct AuthConfig {
    pub(crate) issuers: Vec<IssuerConfig>,
}

/// One `[[issuer]]`. What is `None` or empty has the library's default.
#[derive(Debug)]
pub(crate) struct IssuerConfig {
    pub(crate) trust: Trust,
    pub(crate) audiences: Vec<String>,
    pub(crate) keys: KeysAt,
    pub(crate) profile: Profile,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) leeway: Option<Duration>,
    pub(crate) required_claims: Vec<String>,
    pub(crate) token_type: Option<String>,
}

/// Who is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// By `iss`.
    Issuer(String),
    /// By the trust domain of SPIFFE IDs.
    TrustDomain(String),
}

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeysAt {
    /// Where the issuer's metadata says.
    Discovery,
    File(PathBuf),
    Url(String),
}

impl AuthConfig {
    /// Reads a file. Paths in it start from its directory.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let document = Document::read(path)?;
        let mut root = document.root()?;
        let mut sections = root.sections("issuer", "[[issuer]]")?;
        root.finish()?;
        let read = |section| IssuerConfig::read(section, document.directory());
        let issuers = sections.iter_mut().map(read).collect::<Result<Vec<_>, _>>()?;
        if issuers.is_empty() {
            return Err(root
                .wrong("no `[[issuer]]` is trusted")
                .hint("write `[[issuer]]`, `issuer = \"https://…\"` and `audience = \"…\"`"));
        }
        Ok(Self { issuers })
    }
}

impl IssuerConfig {
    fn read(section: &mut Section<'_>, directory: &Path) -> Result<Self, ConfigError> {
        let issuer = section.text("issuer", filled)?;
        let trust_domain = section.text("trust_domain", filled)?;
        let audiences = section.texts("audience", filled)?;
        let file =
            section.text("jwks_file", |path| filled(path).map(|path| directory.join(path)))?;
        let url = section.text("jwks_url", filled)?;
        let profile = section.text("profile", profile)?;
        let algorithms = section.texts("algorithms", algorithm)?;
        let leeway = section.text("leeway", length)?;
        let required_claims = section.texts("required_claims", filled)?;
        let token_type = section.text("token_type", filled)?;
        section.finish()?;

        let trust = match (issuer, trust_domain) {
            (Some(issuer), None) => Trust::Issuer(issuer),
            (None, Some(domain)) => Trust::TrustDomain(domain),
            _ => return Err(section.wrong("there is one of `issuer` and `trust_domain`")),
        };
        let keys = match (file, url) {
            (None, None) => KeysAt::Discovery,
            (Some(file), None) => KeysAt::File(file),
            (None, Some(url)) => KeysAt::Url(url),
            _ => return Err(section.wrong("there is one of `jwks_file` and `jwks_url`")),
        };
        let Some(audiences) = audiences.filter(|all| !all.is_empty()) else {
            return Err(section
                .wrong("there is no `audience`")
                .hint("without one, whoever gets a token could use it here (RFC 8725 §3.9)"));
        };
        if algorithms.as_ref().is_some_and(Vec::is_empty) {
            return Err(section.wrong("`algorithms` allows nothing"));
        }
        let svid = matches!(trust, Trust::TrustDomain(_));
        let profile = match (svid, profile) {
            (true, None | Some(Profile::JwtSvid)) => Profile::JwtSvid,
            (true, Some(_)) => return Err(section.wrong("a trust domain has `jwt-svid`s alone")),
            (false, Some(Profile::JwtSvid)) => {
                return Err(
                    section.wrong("JWT-SVIDs are trusted by `trust_domain` and not by `issuer`")
                );
            }
            (false, profile) => profile.unwrap_or_default(),
        };
        if svid && keys == KeysAt::Discovery {
            return Err(section.wrong("a trust domain's keys are in a `jwks_file` or `jwks_url`"));
        }
        Ok(Self {
            trust,
            audiences,
            keys,
            profile,
            algorithms: algorithms.unwrap_or_default(),
            leeway,
            required_claims: required_claims.unwrap_or_default(),
            token_type,
        })
    }

    /// `iss`, or the trust domain.
    pub(crate) fn name(&self) -> &str {
        match &self.trust {
            Trust::Issuer(name) | Trust::TrustDomain(name) => name,
        }
    }

    /// The issuer as the library knows it.
    pub(crate) fn issuer(&self) -> Result<Issuer, Failure> {
        let keys = match &self.keys {
            KeysAt::Discovery => KeySource::discovery(),
            KeysAt::File(path) => KeySource::file(path),
            KeysAt::Url(url) => KeySource::url(url),
        };
        let named = match &self.trust {
            Trust::Issuer(name) => Jwt::issuer(name).keys(keys),
            Trust::TrustDomain(name) => Jwt::trust_domain(name, keys),
        };
        let mut audiences = self.audiences.iter();
        let first = audiences
            .next()
            .ok_or_else(|| Failure::config(format!("`{}` has no audience", self.name())))?;
        let mut issuer = audiences.fold(named.audience(first), Issuer::audience);
        if self.profile != Profile::JwtSvid {
            issuer = issuer.profile(self.profile);
        }
        if !self.algorithms.is_empty() {
            issuer = issuer.algorithms(self.algorithms.iter().copied());
        }
        if let Some(leeway) = self.leeway {
            issuer = issuer.leeway(leeway);
        }
        if let Some(name) = &self.token_type {
            issuer = issuer.token_type(name);
        }
        Ok(self.required_claims.iter().fold(issuer, Issuer::required_claim))
    }
}

/// Reads the name of a profile.
pub(crate) fn profile(name: &str) -> Result<Profile, String> {
    let known = "known are access-token, rfc9068, id-token, jwt-svid and k8s-sa";
    Profile::from_name(name).ok_or_else(|| format!("{name:?} is not a profile; {known}"))
}

/// Reads the name of an algorithm.
pub(crate) fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::from_name(name).ok_or_else(|| {
        let known = Algorithm::ALL.map(Algorithm::name).join(", ");
        format!("{name:?} is not an algorithm; known are {known}")
    })
}
