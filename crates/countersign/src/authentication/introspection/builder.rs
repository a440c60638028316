use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Audience, Expected};
use super::endpoint::Endpoint;
use super::flights::Shared;
use super::{Introspection, LeftAlone};
use crate::authentication::jwt::DpopSettings;
use crate::authentication::jwt::dpop::DpopVerifier;
use crate::clock::{Clock, SystemClock};
use crate::credentials::oauth::ClientAuthentication;
use crate::fetch::{FetchError, FetchLimits, HttpClient, HttpsClient, Url};
use crate::tls::ClientTls;

/// Settings of [`Introspection`]. It can be built once an audience is named.
#[must_use = "it does nothing before it is built"]
#[derive(Debug)]
pub struct IntrospectionBuilder<A> {
    endpoint: Result<Url, FetchError>,
    client: Option<ClientAuthentication>,
    audience: Audience,
    issuer: Option<String>,
    http: Option<Arc<dyn HttpClient>>,
    clock: Arc<dyn Clock>,
    leeway: Duration,
    remember: Duration,
    limits: FetchLimits,
    concurrency: usize,
    dpop: DpopSettings,
    left: LeftAlone,
    named: PhantomData<A>,
}

/// An audience has to be named still.
#[derive(Clone, Copy, Debug)]
pub enum WantsAudience {}

/// It is known whom tokens have to be for.
#[derive(Clone, Copy, Debug)]
pub enum KnowsAudience {}

/// Settings do not make an authenticator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntrospectionError {
    /// The endpoint is not an https URL, nor an http URL on a loopback address.
    #[error("the introspection endpoint cannot be asked")]
    Endpoint(#[source] FetchError),
    /// It is not said how we prove to the endpoint who we are (RFC 7662 §2.1).
    #[error(
        "the introspection endpoint {endpoint} has to know who asks: name a client with \
         `authenticated_by`"
    )]
    NoClient {
        /// The endpoint.
        endpoint: String,
    },
    /// A setting is out of its range.
    #[error("{setting} is {value}, and may be {allowed}")]
    Range {
        /// Its name.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
}

impl IntrospectionBuilder<WantsAudience> {
    pub(super) fn new(endpoint: &str) -> Self {
        Self {
            endpoint: Url::parse(endpoint),
            client: None,
            audience: Audience::Required(Vec::new()),
            issuer: None,
            http: None,
            clock: Arc::new(SystemClock),
            leeway: Duration::from_secs(60),
            remember: MAX_REMEMBER,
            limits: FetchLimits { max_bytes: 64 * 1024, ..FetchLimits::default() },
            concurrency: 64,
            dpop: DpopSettings::new(),
            left: LeftAlone::default(),
            named: PhantomData,
        }
    }

    /// Accepts tokens for this audience: `aud` of the answer has to hold it, exactly. Can be
    /// said again for others.
    ///
    /// RFC 7662 §2.2 lets servers leave `aud` out; such tokens are refused with
    /// `TOKEN_AUDIENCE`, unless
    /// [`danger::introspected_without_audience`](crate::danger::introspected_without_audience) says otherwise.
    pub fn audience(self, audience: impl Into<String>) -> IntrospectionBuilder<KnowsAudience> {
        self.knowing(Audience::Required(vec![audience.into()]))
    }

    /// Only by [`danger::introspected_for_any_audience`](crate::danger::introspected_for_any_audience).
    pub(crate) fn any_audience(self) -> IntrospectionBuilder<KnowsAudience> {
        self.knowing(Audience::Unchecked)
    }

    fn knowing(self, audience: Audience) -> IntrospectionBuilder<KnowsAudience> {
        IntrospectionBuilder {
            endpoint: self.endpoint,
            client: self.client,
            audience,
            issuer: self.issuer,
            http: self.http,
            clock: self.clock,
            leeway: self.leeway,
            remember: self.remember,
            limits: self.limits,
            concurrency: self.concurrency,
            dpop: self.dpop,
            left: self.left,
            named: PhantomData,
        }
    }
}

impl<A> IntrospectionBuilder<A> {
    /// Who we are to the endpoint. There is no default (RFC 7662 §2.1).
    pub fn authenticated_by(mut self, client: ClientAuthentication) -> Self {
        self.client = Some(client);
        self
    }

    /// Refuses tokens of which the answer names another `iss`, and takes this one for the
    /// issuer where the answer names none. Default: any; the endpoint is asked because it is
    /// trusted.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Sends requests by this client. Default: [`HttpsClient`] that trusts the system's roots.
    pub fn http_client(mut self, client: impl HttpClient) -> Self {
        self.http = Some(Arc::new(client));
        self
    }

    /// Reads the time from this clock. Default: the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How far clocks may be apart at `exp` and `nbf`. Default: 60 s; at most 300 s.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// How long a yes counts without asking again, if `exp` is not earlier. Default and at most
    /// 60 s: so long does a token pass after it was revoked. Zero asks for each call.
    pub fn remember_for(mut self, time: Duration) -> Self {
        self.remember = time;
        self
    }

    /// How long an answer may take. Default: 5 s; from 1 ms to 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout;
        self
    }

    /// How many requests may run at once. Default: 64; from 1 to 1,024.
    ///
    /// One address may wait for the answers on twice as many tokens, and 512 at most. Set more
    /// where many callers come through one proxy.
    pub fn max_concurrent_requests(mut self, most: usize) -> Self {
        self.concurrency = most;
        self
    }

    /// How proofs are checked of tokens that are bound to a key (RFC 9449). Default:
    /// [`DpopSettings::new`].
    pub fn dpop(mut self, settings: DpopSettings) -> Self {
        self.dpop = settings;
        self
    }

    /// Never asks about tokens of the form of a JWT, which is three segments with dots between
    /// (RFC 7519 §3). For a gate with a [`Jwt`](crate::Jwt) beside it, which would ask the
    /// endpoint about each of those as well: every authenticator that reads a kind of credential
    /// is asked, whether or not another knows it. Default: asks about all.
    pub fn except_jwts(mut self) -> Self {
        self.left.jwts = true;
        self
    }

    /// Never asks about tokens that begin like this, such as `cs_` for the
    /// [API keys](crate::authentication::api_keys) of a gate that has both: a key that a caller
    /// sends with the scheme `Bearer` is nothing for another party to see. Can be said again.
    pub fn except_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.left.prefixes.push(prefix.into());
        self
    }
}

impl IntrospectionBuilder<KnowsAudience> {
    /// Accepts tokens for this audience too.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        match &mut self.audience {
            Audience::Required(all) | Audience::IfPresent(all) => all.push(audience.into()),
            // Whoever names one means that it counts.
            Audience::Unchecked => self.audience = Audience::Required(vec![audience.into()]),
        }
        self
    }

    /// Only by [`danger::introspected_without_audience`](crate::danger::introspected_without_audience).
    pub(crate) fn audience_may_be_absent(mut self) -> Self {
        if let Audience::Required(all) = &mut self.audience {
            self.audience = Audience::IfPresent(std::mem::take(all));
        }
        self
    }

    /// Makes the authenticator. Asks nothing yet and spawns nothing.
    ///
    /// # Errors
    ///
    /// [`IntrospectionError`]: the endpoint cannot be asked, no client was named, or a setting
    /// is out of its range.
    pub fn build(self) -> Result<Introspection, IntrospectionError> {
        let url = self.endpoint.map_err(IntrospectionError::Endpoint)?;
        let Some(client) = self.client else {
            return Err(IntrospectionError::NoClient { endpoint: url.to_string() });
        };
        within("the leeway", self.leeway, Duration::ZERO..=MAX_LEEWAY, "0 to 300 s")?;
        within("the time to remember", self.remember, Duration::ZERO..=MAX_REMEMBER, "0 to 60 s")?;
        let timeouts = Duration::from_millis(1)..=Duration::from_secs(30);
        within("the timeout", self.limits.timeout, timeouts, "1 ms to 30 s")?;
        within("the number of requests at once", self.concurrency, 1..=1024, "1 to 1024")?;
        let http = match self.http {
            Some(http) => http,
            None => Arc::new(HttpsClient::new(ClientTls::system_roots())),
        };
        let proofs = DpopVerifier::new(self.dpop, Arc::clone(&self.clock));
        let endpoint = Endpoint { url, client, http, limits: self.limits, clock: self.clock };
        let expected =
            Expected { issuer: self.issuer, audience: self.audience, leeway: self.leeway };
        let shared = Shared::new(endpoint, expected, self.remember, self.concurrency);
        Ok(Introspection::with(shared, proofs, self.left))
    }
}

const MAX_LEEWAY: Duration = Duration::from_secs(300);
const MAX_REMEMBER: Duration = Duration::from_secs(60);

fn within<T: PartialOrd + std::fmt::Debug>(
    setting: &'static str,
    value: T,
    range: std::ops::RangeInclusive<T>,
    allowed: &'static str,
) -> Result<(), IntrospectionError> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(IntrospectionError::Range { setting, value: format!("{value:?}"), allowed }),
    }
}
