use std::sync::Arc;
use std::time::Duration;

use super::authenticator::Jwt;
use super::builder::JwtError;
use super::hmac::SharedSecret;
use super::profile::Profile;
use super::source::KeySource;
use crate::identity::ClaimNames;
use crate::jose::Algorithm;

/// Somebody whose tokens are taken, and all that belongs to them: keys, algorithms, audience,
/// profile, names of claims, leeway. Nothing of one issuer ever counts for another.
///
/// Made by [`Jwt::issuer`] and its siblings, which leave only an [`IssuerWithoutAudience`]:
/// without an audience, whoever gets a token could use it here (RFC 8725 §3.9).
#[derive(Clone, Debug)]
#[must_use = "an issuer is trusted by nobody until it is built into a `Jwt`"]
pub struct Issuer {
    /// `iss`, or the trust domain of JWT-SVIDs.
    pub(super) names_itself: Vec<String>,
    pub(super) profile: Profile,
    pub(super) audiences: Vec<String>,
    pub(super) any_audience: bool,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) material: Material,
    pub(super) leeway: Duration,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) token_type: Option<String>,
    pub(super) required: Vec<String>,
    pub(super) names: Arc<ClaimNames>,
    pub(super) optional: bool,
}

/// What signatures are checked with.
#[derive(Clone, Debug)]
pub(super) enum Material {
    Keys(KeySource),
    Shared(SharedSecret),
}

/// An issuer that still needs an audience.
///
/// ```compile_fail,E0599
/// use countersign::Jwt;
///
/// let tokens = Jwt::issuer("https://id.example").build();
/// ```
///
/// ```
/// use countersign::Jwt;
///
/// let tokens = Jwt::issuer("https://id.example").audience("orders").build();
/// ```
#[derive(Clone, Debug)]
#[must_use = "an issuer needs an audience"]
pub struct IssuerWithoutAudience(Issuer);

impl IssuerWithoutAudience {
    pub(super) fn new(names_itself: Vec<String>, profile: Profile, material: Material) -> Self {
        Self(Issuer {
            names_itself,
            profile,
            audiences: Vec::new(),
            any_audience: false,
            algorithms: profile.default_algorithms(),
            material,
            leeway: Issuer::DEFAULT_LEEWAY,
            max_lifetime: None,
            token_type: None,
            required: Vec::new(),
            names: Arc::default(),
            optional: false,
        })
    }

    /// Where its keys are, instead of at the issuer's own URL; see [`Issuer::keys`].
    pub fn keys(mut self, keys: KeySource) -> Self {
        self.0 = self.0.keys(keys);
        self
    }

    /// Who we are to this issuer: a token has to be for us. Compared byte by byte.
    pub fn audience(self, audience: impl Into<String>) -> Issuer {
        self.0.audience(audience)
    }

    /// See [`any_audience`](crate::danger::any_audience).
    pub(crate) fn for_anybody(mut self) -> Issuer {
        self.0.any_audience = true;
        self.0
    }
}

impl Issuer {
    /// For how long a token is taken beyond `exp` and before `nbf`, unless told otherwise.
    pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(60);

    /// The most that can be granted: more would defeat short tokens.
    pub const MAX_LEEWAY: Duration = Duration::from_secs(300);

    /// Another name that we have. A token has to be for one of them.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Where its keys are. Default: discovery, at the issuer's own URL.
    pub fn keys(mut self, keys: KeySource) -> Self {
        self.material = Material::Keys(keys);
        self
    }

    /// Which algorithms it may use. Default: [`Algorithm::DEFAULT`]; RS, PS and ES for JWT-SVIDs.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Which kind of token is taken. Default: [`Profile::AccessToken`]. JWT-SVIDs have no issuer
    /// but a trust domain, see [`Jwt::trust_domain`].
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// For how long a token is taken beyond `exp` and before `nbf`: 0 to 300 s, default 60 s.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Refuses tokens whose `exp` is further from their `iat`. Default: any.
    pub fn max_lifetime(mut self, most: Duration) -> Self {
        self.max_lifetime = Some(most);
        self
    }

    /// Which `typ` the header has to have, beside what the profile says: with or without
    /// `application/`, in any case. Default: what the profile says.
    pub fn token_type(mut self, name: impl Into<String>) -> Self {
        self.token_type = Some(name.into());
        self
    }

    /// A claim that has to be there and not `null`, beside those of the profile. A name that
    /// begins with a slash is a JSON pointer.
    pub fn required_claim(mut self, name: impl Into<String>) -> Self {
        self.required.push(name.into());
        self
    }

    /// Where the provider keeps subject, client and scopes.
    pub fn claim_names(mut self, names: ClaimNames) -> Self {
        self.names = Arc::new(names);
        self
    }

    /// The server counts as ready while this issuer has no keys. Default: it does not.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Trusts this issuer and no other.
    ///
    /// # Errors
    ///
    /// The first setting that cannot hold.
    pub fn build(self) -> Result<Jwt, JwtError> {
        Jwt::builder().issuer(self).build()
    }
}
