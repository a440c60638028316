use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Channel;
use super::backoff::Backoff;
use super::error::{ConnectError, ConnectErrorKind};
use super::resolve::{Resolve, SystemResolver};
use super::target::{Target, shown};
use crate::credentials::{AnyChannelCredentials, ChannelCredentials};
use crate::identity::Authority;
use crate::tls::HandshakeCounters;

/// Which of several addresses gets a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Balancing {
    /// The first that can be connected, until it is lost. Further ones are tried 250 ms later.
    #[default]
    PickFirst,
    /// All that can be connected, in turn.
    RoundRobin,
}

/// HTTP/2 pings on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How long nothing may be heard before a ping is sent. Servers allow one ping in 5 minutes
    /// unless they are told otherwise, and end connections that send more.
    pub interval: Duration,
    /// How long the answer may take before the connection counts as dead.
    pub timeout: Duration,
    /// Whether to ping without calls in flight.
    pub while_idle: bool,
}

/// Makes a [`Channel`] with other than the usual settings.
#[must_use = "a builder does nothing until it connects"]
pub struct ChannelBuilder {
    target: String,
    credentials: AnyChannelCredentials,
    authority: Option<String>,
    options: Options,
}

#[derive(Clone)]
pub(super) struct Options {
    pub(super) balancing: Balancing,
    pub(super) backoff: Backoff,
    pub(super) connect_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_connection_age: Option<Duration>,
    pub(super) call_timeout: Option<Duration>,
    pub(super) user_agent: String,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) counters: HandshakeCounters,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            balancing: Balancing::PickFirst,
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(20),
            handshake_timeout: Duration::from_secs(10),
            keepalive: None,
            idle_timeout: Some(Duration::from_secs(30 * 60)),
            max_connection_age: None,
            call_timeout: None,
            user_agent: concat!("grpc-rust-countersign/", env!("CARGO_PKG_VERSION")).to_owned(),
            resolver: Arc::new(SystemResolver),
            counters: HandshakeCounters::new(),
        }
    }
}

impl ChannelBuilder {
    pub(super) fn new<Kind>(
        target: impl Into<String>,
        credentials: ChannelCredentials<Kind>,
    ) -> Self {
        Self {
            target: target.into(),
            credentials: credentials.into_any(),
            authority: None,
            options: Options::default(),
        }
    }

    /// Sends this `:authority`, and verifies its host in the server's certificate, rather than
    /// the target's.
    pub fn authority(mut self, authority: impl Into<String>) -> Self {
        self.authority = Some(authority.into());
        self
    }

    /// Which of several addresses gets a call. Default: [`Balancing::PickFirst`].
    pub fn balancing(mut self, balancing: Balancing) -> Self {
        self.options.balancing = balancing;
        self
    }

    /// How long to leave a server alone after a failure. Default: gRPC's, from 1 s to 120 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.options.backoff = backoff;
        self
    }

    /// The longest that one address may take from dialling to ready. Default: 20 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout.min(CENTURY);
        self
    }

    /// The longest silence in the TLS handshake, and again before the server's first HTTP/2
    /// frame. Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.options.handshake_timeout = timeout.min(CENTURY);
        self
    }

    /// Pings. Default: none, since servers end connections that ping more often than they allow;
    /// a dead peer is found by TCP's own keepalive (30 s) and, on Linux, by data that stays
    /// unacknowledged for 20 s.
    pub fn keepalive(mut self, keepalive: Keepalive) -> Self {
        let (interval, timeout) = (keepalive.interval.min(CENTURY), keepalive.timeout.min(CENTURY));
        self.options.keepalive = Some(Keepalive { interval, timeout, ..keepalive });
        self
    }

    /// Closes a connection that carried no call for so long. Default: 30 minutes; `None`: never.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.idle_timeout = timeout.into().map(|timeout| timeout.min(CENTURY));
        self
    }

    /// Takes no new calls on a connection older than this, give or take 10 %, so that both
    /// sides' credentials are checked again. Calls in flight finish. Default: `None`, never.
    pub fn max_connection_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.options.max_connection_age = age.into().map(|age| age.min(CENTURY));
        self
    }

    /// The deadline of calls that bring none. Default: `None`.
    pub fn call_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.call_timeout = timeout.into();
        self
    }

    /// Stands before our own name in `user-agent`.
    pub fn user_agent(mut self, product: &str) -> Self {
        self.options.user_agent = format!("{product} {}", Options::default().user_agent);
        self
    }

    /// Asks this for addresses. Default: the operating system.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.options.resolver = Arc::new(resolver);
        self
    }

    /// Counts TLS handshakes here. Default: counters of the channel's own.
    pub fn count_handshakes(mut self, counters: HandshakeCounters) -> Self {
        self.options.counters = counters;
        self
    }

    /// Makes the channel and waits for its first connection.
    ///
    /// Cancel-safe: dropping the future drops the channel with everything that it began.
    ///
    /// # Errors
    ///
    /// The exact error of the first attempt; with several addresses, of the one that came
    /// furthest. A permanent error needs somebody; see [`ConnectError::is_permanent`].
    pub async fn connect(self) -> Result<Channel, ConnectError> {
        let channel = self.connect_lazy()?;
        channel.ready().await?;
        Ok(channel)
    }

    /// Makes the channel without any I/O. The first call connects.
    ///
    /// # Errors
    ///
    /// Only what can be seen without I/O: a target that cannot be read or does not fit the
    /// credentials.
    pub fn connect_lazy(self) -> Result<Channel, ConnectError> {
        let mut target = Target::parse(&self.target, &self.credentials.security)?;
        if let Some(authority) = self.authority {
            target.authority = Authority::parse(&authority).map_err(|error| {
                ConnectError::new(
                    ConnectErrorKind::InvalidTarget,
                    &self.target,
                    format!("the authority cannot be used: {error}"),
                    "write a host, and a port if it is not the scheme's own",
                )
            })?;
        }
        let fits = http::HeaderValue::from_str(&self.options.user_agent);
        let user_agent = fits.map_err(|_| {
            ConnectError::new(
                ConnectErrorKind::InvalidTarget,
                &self.target,
                "the user agent has a character that no header can carry",
                "use visible ASCII",
            )
        })?;
        Ok(Channel::new(target, self.credentials, self.options, user_agent))
    }
}

/// As good as never, and can be added to any instant.
pub(super) const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder")
            .field("target", &shown(&self.target))
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}
