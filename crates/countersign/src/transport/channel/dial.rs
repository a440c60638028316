//! From an address to a connection that is ready for calls.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::connection::{Connection, Driver};
use super::error::{ConnectError, ConnectErrorKind};
use super::gated::{FirstBytes, Gated};
use super::options::Options;
use super::target::{Address, Target};
use crate::credentials::{AnyChannelCredentials, ChannelSecurity, ChannelSecurityInfo};
use crate::identity::SecurityLevel;
use crate::tcp::tune_tcp;
use crate::tls::{
    ClientHandshake, HandshakeResult, NotLoaded, ReloadedClientTls, Resumption, TlsConfigError,
    TlsFailure,
};
use crate::transport::instant_after;

/// Everything that dialling one target with one set of credentials needs.
pub(super) struct Dialer {
    pub(super) target: Arc<Target>,
    pub(super) credentials: AnyChannelCredentials,
    pub(super) options: Arc<Options>,
    security: Security,
}

/// What connections are to be protected by.
enum Security {
    /// A failure to read it is tried again by the next dial.
    Tls(Box<ReloadedClientTls>),
    Local,
    Insecure,
}

/// What a connection is to be protected by, ready to be used.
enum Protection {
    Tls(ClientHandshake),
    Local,
    Insecure,
}

impl Dialer {
    pub(super) fn new(
        target: Arc<Target>,
        credentials: AnyChannelCredentials,
        options: Arc<Options>,
    ) -> Self {
        let security = match &credentials.security {
            ChannelSecurity::Tls(tls) => {
                Security::Tls(Box::new(ReloadedClientTls::new(tls.clone())))
            }
            ChannelSecurity::Local => Security::Local,
            ChannelSecurity::Insecure => Security::Insecure,
        };
        Self { target, credentials, options, security }
    }

    /// Dials the addresses, each 250 ms after the one before or as soon as that failed
    /// (RFC 8305 §5). The first that is ready wins; the others are dropped.
    ///
    /// # Errors
    ///
    /// When all failed: the error of the one that came furthest.
    pub(super) async fn dial_any(
        self: &Arc<Self>,
        addresses: &[Address],
    ) -> Result<(Connection, Driver), ConnectError> {
        const STAGGER: Duration = Duration::from_millis(250);
        if let [address] = addresses {
            return self.dial(address).await;
        }
        let mut attempts = tokio::task::JoinSet::new();
        let mut waiting = addresses.iter();
        let mut worst: Option<ConnectError> = None;
        loop {
            if let Some(address) = waiting.next() {
                let (dialer, address) = (Arc::clone(self), address.clone());
                attempts.spawn(async move { dialer.dial(&address).await });
            }
            let more = waiting.len() > 0;
            let next = async {
                match more {
                    true => timeout(STAGGER, attempts.join_next()).await.ok().flatten(),
                    false => attempts.join_next().await,
                }
            };
            match next.await {
                Some(Ok(Ok(ready))) => return Ok(ready),
                Some(Ok(Err(error))) => {
                    let further = worst.as_ref().is_none_or(|known| error.stage() > known.stage());
                    if further {
                        worst = Some(error);
                    }
                }
                // A dial that panicked has been reported by the runtime.
                Some(Err(_)) => {}
                None if more => {}
                None => {
                    return Err(worst.unwrap_or_else(|| {
                        self.error(
                            ConnectErrorKind::NoAddresses,
                            "there is no address to dial",
                            "check the name",
                        )
                    }));
                }
            }
        }
    }

    async fn dial(&self, address: &Address) -> Result<(Connection, Driver), ConnectError> {
        // Before anything is sent: what cannot be used needs no connection to be found out.
        let deadline = instant_after(self.options.connect_timeout);
        let protection = timeout_at(deadline, self.prepare()).await.unwrap_or_else(|_| {
            let sentence = "reading the credentials' files took too long";
            Err(self.error(ConnectErrorKind::Credentials, sentence, "check the file system"))
        })?;
        match address {
            Address::Tcp(socket) => {
                let is_local = socket.ip().to_canonical().is_loopback();
                if matches!(protection, Protection::Local) && !is_local {
                    let error = self.error(
                        ConnectErrorKind::NotLocal,
                        "local credentials, and the address is not on this machine",
                        "use TLS for other machines",
                    );
                    return Err(error.at(address));
                }
                let io = self.within(deadline, address, TcpStream::connect(socket)).await?;
                tune_tcp(&io);
                self.secure(io, address, protection, SecurityLevel::NoSecurity, deadline).await
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let dialled = tokio::net::UnixStream::connect(path);
                let io = self.within(deadline, address, dialled).await?;
                let level = SecurityLevel::PrivacyAndIntegrity;
                self.secure(io, address, protection, level, deadline).await
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(self.error(
                ConnectErrorKind::Unreachable,
                "this system has no Unix sockets",
                "dial an address",
            )),
        }
    }

    async fn within<S>(
        &self,
        deadline: Instant,
        address: &Address,
        dialled: impl Future<Output = io::Result<S>>,
    ) -> Result<S, ConnectError> {
        timeout_at(deadline, dialled)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| self.not_dialled(error).at(address))
    }

    /// `local_level` is what the connection is worth with local credentials.
    async fn secure<S>(
        &self,
        io: S,
        address: &Address,
        protection: Protection,
        local_level: SecurityLevel,
        deadline: Instant,
    ) -> Result<(Connection, Driver), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake = match protection {
            Protection::Insecure => {
                let security = ChannelSecurityInfo::new("insecure", SecurityLevel::NoSecurity);
                return self.http2(io, address, security, None, None, deadline).await;
            }
            Protection::Local => {
                let security = ChannelSecurityInfo::new("local", local_level);
                return self.http2(io, address, security, None, None, deadline).await;
            }
            Protection::Tls(handshake) => handshake,
        };
        let (limit, allowed) = self.silence(deadline);
        let shaken = timeout_at(limit, handshake.run(io))
            .await
            .unwrap_or_else(|_| Err(TlsFailure::timeout(allowed)));
        let io = shaken.map_err(|failure| {
            self.count(failure.kind().result());
            ConnectError::tls(&self.target.text, failure).at(address)
        })?;
        let chain = io.get_ref().1.peer_certificates();
        let leaf = chain.and_then(|chain| chain.first()).map(|leaf| leaf.clone().into_owned());
        let security = ChannelSecurityInfo::new("tls", SecurityLevel::PrivacyAndIntegrity);
        self.http2(io, address, security, leaf, Some(&handshake), deadline).await
    }

    /// HTTP/2 over `io`. Ready after the server's first frame, which with TLS 1.3 is also the
    /// sign that it accepted our certificate.
    async fn http2<S>(
        &self,
        io: S,
        address: &Address,
        security: ChannelSecurityInfo,
        leaf: Option<CertificateDer<'static>>,
        handshake: Option<&ClientHandshake>,
        deadline: Instant,
    ) -> Result<(Connection, Driver), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (io, first_word) = Gated::new(io);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        if let Some(keepalive) = self.options.keepalive {
            builder
                .keep_alive_interval(keepalive.interval)
                .keep_alive_timeout(keepalive.timeout)
                .keep_alive_while_idle(keepalive.while_idle);
        }
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(|error| {
            self.error(
                ConnectErrorKind::ClosedBeforeSettings,
                "the connection broke while HTTP/2 began",
                "try again; the server's log may have the reason",
            )
            .caused_by(error)
            .at(address)
        })?;
        // Polling the connection is what sends our preface and reads the answer. It owns itself
        // until it is handed to the pool: dropped before, it is closed.
        let running = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        }));
        let (limit, allowed) = self.silence(deadline);
        let first = timeout_at(limit, first_word.wait()).await;
        let outcome = self.judge(first.map_err(|_| allowed), handshake);
        if handshake.is_some() {
            self.count(match &outcome {
                Ok(()) => HandshakeResult::Success,
                Err(error) => match error.kind() {
                    ConnectErrorKind::Tls(kind) => kind.result(),
                    // The handshake was done; what failed came after it.
                    _ => HandshakeResult::Success,
                },
            });
        }
        outcome.map_err(|error| error.at(address))?;
        Ok(Connection::new(sender, running, security, leaf, address.to_string(), &self.options))
    }

    /// Until when the server may be silent, and how long that is.
    fn silence(&self, deadline: Instant) -> (Instant, Duration) {
        let longest = instant_after(self.options.handshake_timeout);
        if deadline >= longest {
            return (longest, self.options.handshake_timeout);
        }
        // In whole milliseconds, for people to read.
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        (deadline, Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX)))
    }

    /// `first` is what the server said, or how long it said nothing.
    fn judge(
        &self,
        first: Result<FirstBytes, Duration>,
        handshake: Option<&ClientHandshake>,
    ) -> Result<(), ConnectError> {
        use ConnectErrorKind as Kind;
        let first = first.map_err(|silent| {
            self.error(
                Kind::SettingsTimeout,
                format!(
                    "the server accepted the connection and sent no HTTP/2 frame for {silent:?}"
                ),
                "check that a gRPC server listens there",
            )
        })?;
        let plaintext = handshake.is_none();
        Err(match first {
            FirstBytes::Settings => return Ok(()),
            FirstBytes::Tls => self.error(
                Kind::ServerSpeaksTls,
                "the server speaks TLS and was sent plaintext",
                "dial https:// with TLS credentials",
            ),
            FirstBytes::GoAway { code, debug } => self.error(
                Kind::GoAway,
                format!("the server turned the connection away: {debug:?} (HTTP/2 code {code})"),
                "the server may be stopping, or full",
            ),
            FirstBytes::Http1 => self.error(
                Kind::NotHttp2,
                "the server speaks HTTP/1 and gRPC needs HTTP/2",
                "check the port, and any proxy between",
            ),
            FirstBytes::Unknown => self.error(
                Kind::NotHttp2,
                "the server speaks something that is not HTTP/2",
                "check the port",
            ),
            FirstBytes::Closed if plaintext => self.error(
                Kind::ClosedBeforeSettings,
                "the server closed the connection before its first HTTP/2 frame",
                "if it speaks TLS, dial https:// with TLS credentials",
            ),
            FirstBytes::Closed => self.error(
                Kind::ClosedBeforeSettings,
                "the server closed the connection after the TLS handshake",
                "it may be full or stopping, or have refused our certificate without saying so; \
                 its log has the reason",
            ),
            FirstBytes::Failed(error) => match handshake {
                Some(handshake) => ConnectError::tls(&self.target.text, handshake.explain(&error)),
                None => self
                    .error(
                        Kind::ClosedBeforeSettings,
                        "the connection broke before the server's first HTTP/2 frame",
                        "if the server speaks TLS, dial https:// with TLS credentials",
                    )
                    .caused_by(error),
            },
        })
    }

    /// Reads the TLS settings' files, if that is due, off the runtime's threads.
    async fn prepare(&self) -> Result<Protection, ConnectError> {
        let tls = match &self.security {
            Security::Insecure => return Ok(Protection::Insecure),
            Security::Local => return Ok(Protection::Local),
            Security::Tls(tls) => tls,
        };
        let loaded = tls.get().await.map_err(|error| match error {
            NotLoaded::Unusable(error) => self.unusable(error),
            NotLoaded::CutOff(_) => {
                let sentence = error.to_string();
                self.error(ConnectErrorKind::Credentials, sentence, "try again").caused_by(error)
            }
        })?;
        let handshake = loaded.handshake(&self.target.authority);
        handshake.map(Protection::Tls).map_err(|error| self.unusable(error))
    }

    /// The server sent its first frame, and closed the connection before there was a call.
    pub(super) fn closed_at_once(&self) -> ConnectError {
        self.error(
            ConnectErrorKind::ClosedBeforeSettings,
            "the server closed the connection right after its first HTTP/2 frame",
            "it may be full or stopping; its log has the reason",
        )
    }

    fn unusable(&self, error: TlsConfigError) -> ConnectError {
        let kind = ConnectErrorKind::Credentials;
        self.error(kind, error.to_string(), error.hint()).caused_by(error)
    }

    fn not_dialled(&self, error: io::Error) -> ConnectError {
        use ConnectErrorKind as Kind;
        let (kind, sentence, help) = match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                (Kind::Refused, "nobody listens there", "start the server, or check the address")
            }
            io::ErrorKind::TimedOut => (
                Kind::DialTimeout,
                "the address did not answer in time",
                "check the address and any firewall between",
            ),
            _ => (
                Kind::Unreachable,
                "the address cannot be reached",
                "check the address and this machine's network",
            ),
        };
        self.error(kind, format!("{sentence} ({error})"), help).caused_by(error)
    }

    pub(super) fn error(
        &self,
        kind: ConnectErrorKind,
        sentence: impl Into<String>,
        help: impl Into<String>,
    ) -> ConnectError {
        ConnectError::new(kind, &self.target.text, sentence, help)
    }

    fn count(&self, result: HandshakeResult) {
        self.options.counters.count(result, Resumption::FullHandshake);
    }
}
