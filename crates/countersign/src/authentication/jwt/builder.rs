use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::authenticator::Jwt;
use super::dpop::{DpopSettings, DpopVerifier};
use super::hmac::SharedSecret;
use super::issuer::{Issuer, IssuerWithoutAudience, Material};
use super::keys::KeyUse;
use super::profile::Profile;
use super::revocation::Revocations;
use super::source::{KeySettings, KeySource, KeySourceError, Keys};
use super::verifier::{Trusted, Verification, Verifier};
use crate::clock::{Clock, SystemClock};
use crate::fetch::{HttpClient, HttpsClient};
use crate::jose::Algorithm;
use crate::tls::ClientTls;

/// Makes a [`Jwt`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct JwtBuilder {
    issuers: Vec<Issuer>,
    name: String,
    capacity: usize,
    revocations: Revocations,
    proofs: DpopSettings,
    client: Option<Arc<dyn HttpClient>>,
    clock: Arc<dyn Clock>,
}

/// Why tokens cannot be verified as it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// Nobody is trusted.
    #[error("there is no issuer")]
    NoIssuer,
    /// Two entries are for one issuer, and it would be unclear which checks count.
    #[error("there are two entries for the issuer {issuer:?}")]
    DuplicateIssuer {
        /// The issuer.
        issuer: String,
    },
    /// An issuer's keys can never be had.
    #[error(transparent)]
    Keys(#[from] KeySourceError),
    /// A setting of an issuer cannot hold.
    #[error("the issuer {issuer:?} cannot be used: {problem}")]
    Issuer {
        /// The issuer.
        issuer: String,
        /// What is wrong.
        problem: String,
    },
}

impl Jwt {
    /// An issuer by its `iss`, compared byte by byte, whose keys are found by discovery.
    pub fn issuer(issuer: impl Into<String>) -> IssuerWithoutAudience {
        let keys = Material::Keys(KeySource::discovery());
        IssuerWithoutAudience::new(vec![issuer.into()], Profile::default(), keys)
    }

    /// Issuers that differ in one place, as a provider's tenants do: `{tenant}` in the template
    /// stands for each of the names, and for nothing else.
    ///
    /// ```
    /// use countersign::Jwt;
    ///
    /// let realms = Jwt::issuers_of("https://kc.example/realms/{tenant}", ["acme", "globex"])
    ///     .audience("orders");
    /// ```
    pub fn issuers_of<'a>(
        template: &str,
        tenants: impl IntoIterator<Item = &'a str>,
    ) -> IssuerWithoutAudience {
        let named = |tenant: &str| template.replace("{tenant}", tenant);
        let names = tenants.into_iter().map(named).collect();
        let keys = Material::Keys(KeySource::discovery());
        IssuerWithoutAudience::new(names, Profile::default(), keys)
    }

    /// A SPIFFE trust domain whose JWT-SVIDs are taken, and where its bundle is. The bundle's keys
    /// are those with `use` `jwt-svid`.
    pub fn trust_domain(domain: impl Into<String>, bundle: KeySource) -> IssuerWithoutAudience {
        let keys = Material::Keys(bundle);
        IssuerWithoutAudience::new(vec![domain.into()], Profile::JwtSvid, keys)
    }

    /// An issuer with whom we share a secret. It has no key set, and its tokens no signature.
    pub fn shared_secret(issuer: impl Into<String>, secret: SharedSecret) -> IssuerWithoutAudience {
        let secret = Material::Shared(secret);
        IssuerWithoutAudience::new(vec![issuer.into()], Profile::default(), secret)
    }

    /// For several issuers.
    pub fn builder() -> JwtBuilder {
        JwtBuilder {
            issuers: Vec::new(),
            name: Self::NAME.to_owned(),
            capacity: Self::DEFAULT_CAPACITY,
            revocations: Revocations::new(),
            proofs: DpopSettings::new(),
            client: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl JwtBuilder {
    /// Trusts an issuer too.
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// What rules call it. Default: [`Jwt::NAME`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many verified tokens are remembered; 0: none. Default: [`Jwt::DEFAULT_CAPACITY`].
    pub fn remember_tokens(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Tokens, subjects and keys that are taken back before their time.
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = revocations;
        self
    }

    /// How proofs for tokens that are bound to a key are checked.
    pub fn proofs(mut self, settings: DpopSettings) -> Self {
        self.proofs = settings;
        self
    }

    /// Who fetches keys and metadata. Default: [`HttpsClient`] with the system's roots.
    pub fn http_client(mut self, client: impl HttpClient) -> Self {
        self.client = Some(Arc::new(client));
        self
    }

    /// What says whether a token is expired. Default: the system's clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Checks everything. Asks no issuer.
    ///
    /// # Errors
    ///
    /// The first setting that cannot hold.
    pub fn build(self) -> Result<Jwt, JwtError> {
        if self.issuers.is_empty() {
            return Err(JwtError::NoIssuer);
        }
        let client =
            self.client.unwrap_or_else(|| Arc::new(HttpsClient::new(ClientTls::system_roots())));
        let mut seen = HashSet::new();
        let mut trusted = Vec::new();
        let mut clusters = 0;
        for issuer in self.issuers {
            for name in issuer.names_itself.clone() {
                if !seen.insert(name.clone()) {
                    return Err(JwtError::DuplicateIssuer { issuer: name });
                }
                let problem = |problem| JwtError::Issuer { issuer: name.clone(), problem };
                check(&name, &issuer).map_err(|text| problem(text.to_owned()))?;
                clusters += usize::from(issuer.profile == Profile::K8sServiceAccount);
                if clusters > 1 {
                    let text = "another cluster names its service accounts alike: \
                                each cluster has a `Jwt` and a name of its own";
                    return Err(problem(text.to_owned()));
                }
                let verification = match &issuer.material {
                    Material::Shared(secret) => Verification::Shared(secret.clone()),
                    Material::Keys(source) => {
                        let mut settings = KeySettings::new(Arc::clone(&client));
                        if issuer.profile == Profile::JwtSvid {
                            settings.key_use = KeyUse::JwtSvid;
                        }
                        Verification::Keys(Keys::new(source.clone(), &name, settings)?)
                    }
                };
                trusted.push(Trusted { name, issuer: issuer.clone(), verification });
            }
        }
        let Self { name, capacity, revocations, proofs, clock, .. } = self;
        let proofs = DpopVerifier::new(proofs, Arc::clone(&clock));
        let name = Arc::from(name);
        let verifier = Verifier::new(trusted, Arc::clone(&name), capacity, revocations, clock);
        Ok(Jwt::new(name, verifier, proofs))
    }
}

fn check(name: &str, issuer: &Issuer) -> Result<(), &'static str> {
    let svid = issuer.profile == Profile::JwtSvid;
    let by_trust_domain = !name.contains("://");
    if name.is_empty() {
        return Err("it has no name");
    }
    if svid && !by_trust_domain {
        return Err("JWT-SVIDs are trusted by trust domain: use `Jwt::trust_domain`");
    }
    // A principal is named `issuer#subject`, and nobody's name may be another's.
    if name.contains('#') {
        return Err("an issuer has no fragment");
    }
    if !svid && name.starts_with("spiffe://") {
        return Err("the names of SPIFFE IDs are theirs");
    }
    if issuer.audiences.iter().any(String::is_empty) {
        return Err("an audience is empty");
    }
    if issuer.leeway > Issuer::MAX_LEEWAY {
        return Err("a leeway has at most 300 s");
    }
    if issuer.max_lifetime.is_some_and(|most| most < Duration::from_secs(1)) {
        return Err("no token lives as short as that");
    }
    let shared = matches!(issuer.material, Material::Shared(_));
    if issuer.algorithms.is_empty() && !shared {
        return Err("it may use no algorithm");
    }
    // JWT-SVID §2.2: a shared secret proves no trust domain.
    if svid && shared {
        return Err("a JWT-SVID has a signature");
    }
    if svid && issuer.algorithms.contains(&Algorithm::EdDSA) {
        return Err("a JWT-SVID is signed with RS, PS or ES");
    }
    Ok(())
}
