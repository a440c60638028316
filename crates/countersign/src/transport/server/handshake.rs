//! From an accepted socket to a connection that is let in.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::answer::{Notice, PREFACE, Spoken, linger, refuse};
use super::budget::{Place, Turn};
use super::drain::Drain;
use super::io::{ConnectionInfo, Io, ServerIo, Socket, TonicsOwn};
use super::rewind::Rewind;
use crate::credentials::ServerSecurity;
use crate::identity::{PeerAddress, PeerIdentity, SecurityLevel};
use crate::tls::{
    Alpn, HandshakeCounters, HandshakeResult, LoadedServerTls, Resumption, TlsFailure,
    explain_to_server, shared_certificate, tls_facts,
};
use crate::transport::instant_after;
use crate::transport::warnings::Warnings;

/// What every handshake of a listener shares.
pub(super) struct Door {
    pub(super) security: ServerSecurity,
    pub(super) http1: bool,
    pub(super) timeout: Duration,
    pub(super) counters: HandshakeCounters,
    pub(super) warnings: Warnings,
    pub(super) drain: Drain,
}

/// A connection whose handshake is done.
struct LetIn {
    io: Io,
    peer: PeerIdentity,
    tonics_own: TonicsOwn,
    /// How long it may last, if its certificate says so.
    lasts: Option<Duration>,
}

/// Why a connection is not let in.
enum Refused {
    /// It failed; the operator should know.
    Failed(TlsFailure),
    /// The peer came to the wrong port; it was told.
    WrongPort { spoken: Spoken, notice: Notice },
    /// The peer left before it said anything, as a TCP health check does.
    Silent,
    /// After the handshake no HTTP/2 came.
    NoPreface(io::Error),
    /// Local credentials, and a peer from elsewhere.
    NotLocal,
}

/// The connection is not let in, and the operator was told why.
struct TurnedAway;

/// How long a peer that is turned away may take to hear why, after its time.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The time that one handshake has.
struct Time<'a> {
    /// One timer for all steps.
    over: Pin<&'a mut Sleep>,
    last_words: Instant,
}

impl Time<'_> {
    /// What a step comes to; `None` if the time is over before.
    async fn within<T>(&mut self, mut step: impl Future<Output = T> + Unpin) -> Option<T> {
        tokio::select! {
            // The timer first: a step that uses up the task's turn, since its peer sends without
            // end, would leave it none to be looked at.
            biased;
            () = self.over.as_mut() => None,
            outcome = &mut step => Some(outcome),
        }
    }

    /// Tells a peer why it is turned away. One that takes nothing makes us wait no longer.
    ///
    /// Boxed: few peers are turned away, and every silent one would hold the room for it.
    fn last_words<F>(&self, telling: F) -> Pin<Box<impl Future<Output = ()> + use<F>>>
    where
        F: Future<Output = ()>,
    {
        let until = self.last_words;
        Box::pin(async move {
            // Heard or not, it is turned away.
            let _ = timeout_at(until, telling).await;
        })
    }
}

impl Door {
    /// Lets a connection in, or says why not and hangs up. Takes no longer than the timeout, and
    /// three seconds for last words.
    pub(super) async fn open(
        self: Arc<Self>,
        socket: Socket,
        address: PeerAddress,
        place: Place,
        mut turn: Turn,
    ) -> Option<ServerIo> {
        let outcome = tokio::select! {
            outcome = self.shake_hands(socket, &address) => outcome,
            () = turn.cut() => {
                self.warn(&address, "CUT", "too many handshakes at once: the oldest was cut");
                return None;
            }
        };
        let LetIn { io, peer, tonics_own, lasts } = outcome.ok()?;
        let (standing, room) = place.let_in();
        let over = self.drain.over(lasts.map(instant_after), room);
        let info = ConnectionInfo::new(peer, tonics_own, standing);
        Some(ServerIo::new(io, info, over, place))
    }

    async fn shake_hands(
        &self,
        socket: Socket,
        address: &PeerAddress,
    ) -> Result<LetIn, TurnedAway> {
        let time = &mut Time {
            over: pin!(sleep_until(instant_after(self.timeout))),
            last_words: instant_after(self.timeout.saturating_add(LAST_WORDS)),
        };
        let mut io = Rewind::new(socket);
        let spoken = match time.within(io.read_ahead(Spoken::ENOUGH)).await {
            Some(Ok(())) if io.ahead().is_empty() => {
                return Err(self.turn_away(address, &Refused::Silent));
            }
            Some(Ok(())) => Spoken::tell(io.ahead()),
            Some(Err(error)) => {
                // A health check may hang up by a reset, so as not to linger.
                let refused = match io.ahead().is_empty() {
                    true => Refused::Silent,
                    false => Refused::NoPreface(error),
                };
                return Err(self.turn_away(address, &refused));
            }
            None => {
                if let ServerSecurity::Tls(_) = self.security {
                    self.count(HandshakeResult::HandshakeTimeout, false);
                }
                let failure = TlsFailure::silent_client(self.timeout);
                return Err(self.turn_away(address, &Refused::Failed(failure)));
            }
        };
        match &self.security {
            ServerSecurity::Tls(tls) => {
                if matches!(spoken, Spoken::Http1 | Spoken::Http2) {
                    return Err(self
                        .wrong_port(address, io, spoken, Notice::SpeaksTls, time)
                        .await);
                }
                // Here and not where TLS begins, so that there is one place for the socket.
                let hello = time.within(io.read_ahead_record()).await;
                let tls = tls.current();
                let stream = self.tls(&tls, io, hello, address, time).await?;
                self.after_tls(&tls, stream, address, time).await
            }
            ServerSecurity::Local | ServerSecurity::Insecure => {
                let level = match &self.security {
                    ServerSecurity::Local => local_level(address)
                        .ok_or_else(|| self.turn_away(address, &Refused::NotLocal))?,
                    _ => SecurityLevel::NoSecurity,
                };
                match spoken {
                    Spoken::Tls => {
                        return Err(self
                            .wrong_port(address, io, spoken, Notice::SpeaksPlaintext, time)
                            .await);
                    }
                    Spoken::Http1 if !self.http1 => {
                        return Err(self
                            .wrong_port(address, io, spoken, Notice::SpeaksHttp2, time)
                            .await);
                    }
                    Spoken::Http1 => {}
                    Spoken::Http2 => preface(&mut io, time)
                        .await
                        .map_err(|refused| self.turn_away(address, &refused))?,
                    // Whatever follows, it is not going to become a preface.
                    Spoken::Unknown => return Err(self.turn_away(address, &not_a_preface())),
                }
                let local = io.get_ref().local_address();
                let peer = PeerIdentity::new(address.clone(), local, level, None, None);
                let tonics_own = TonicsOwn::Tcp(io.connect_info());
                Ok(LetIn { io: Io::Plain(io), peer, tonics_own, lasts: None })
            }
        }
    }

    async fn tls(
        &self,
        tls: &LoadedServerTls,
        io: Rewind<Socket>,
        hello: Option<io::Result<()>>,
        address: &PeerAddress,
        time: &mut Time<'_>,
    ) -> Result<Box<Rewind<TlsStream<Rewind<Socket>>>>, TurnedAway> {
        let (failure, io) = match hello {
            Some(Ok(())) => {
                let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
                // Boxed, as what comes of it: each is more than a KiB, which silent peers are not
                // to cost.
                let accept = Box::new(acceptor.accept(io).into_fallible());
                match time.within(accept).await {
                    Some(Ok(stream)) => return Ok(Box::new(Rewind::new(stream))),
                    Some(Err((error, io))) => {
                        (explain_to_server(&error, tls.clock.now()), Some(io))
                    }
                    None => (TlsFailure::silent_client(self.timeout), None),
                }
            }
            Some(Err(error)) => (explain_to_server(&error, tls.clock.now()), None),
            None => (TlsFailure::silent_client(self.timeout), None),
        };
        self.count(failure.kind().result(), false);
        let turned_away = self.turn_away(address, &Refused::Failed(failure));
        if let Some(mut io) = io {
            // The alert is on its way; let it arrive.
            time.last_words(linger(&mut io)).await;
        }
        Err(turned_away)
    }

    async fn after_tls(
        &self,
        tls: &LoadedServerTls,
        mut stream: Box<Rewind<TlsStream<Rewind<Socket>>>>,
        address: &PeerAddress,
        time: &mut Time<'_>,
    ) -> Result<LetIn, TurnedAway> {
        let (socket, connection) = stream.get_ref().get_ref();
        let facts = tls_facts(connection, connection.server_name());
        let protocol = connection.alpn_protocol().map(<[u8]>::to_vec);
        if protocol.is_none() && tls.alpn == Alpn::Required && !self.http1 {
            self.count(HandshakeResult::NoApplicationProtocol, facts.resumed);
            let refused = Refused::Failed(TlsFailure::client_without_alpn());
            let turned_away = self.turn_away(address, &refused);
            time.last_words(refuse(&mut *stream, Spoken::Http2, Notice::NeedsAlpn)).await;
            return Err(turned_away);
        }
        let tonics_own = stream.get_ref().connect_info();
        // rustls keeps a client's chain only when the verifier accepted it. tonic's copy of it is
        // ours too.
        let certificate = match tonics_own.peer_certs().map(shared_certificate) {
            None => None,
            Some(Ok(certificate)) => Some(certificate),
            Some(Err(reason)) => {
                self.count(HandshakeResult::CertificateMalformed, facts.resumed);
                let refused = Refused::Failed(TlsFailure::unreadable_certificate(reason));
                let turned_away = self.turn_away(address, &refused);
                time.last_words(linger(&mut *stream)).await;
                return Err(turned_away);
            }
        };
        self.count(HandshakeResult::Success, facts.resumed);
        let local = socket.get_ref().local_address();
        let level = SecurityLevel::PrivacyAndIntegrity;
        // A connection does not outlive the certificate that speaks for it.
        let lasts = certificate.as_ref().map(|certificate| {
            let now = tls.clock.now();
            certificate.not_after().duration_since(now).unwrap_or_default()
        });
        let peer = PeerIdentity::new(address.clone(), local, level, Some(facts), certificate);
        let http1 = match protocol.as_deref() {
            Some(b"http/1.1") => true,
            Some(_) => false,
            None => self.http1,
        };
        let begun = match http1 {
            false => preface(&mut *stream, time).await,
            true => first_bytes(&mut *stream, time).await,
        };
        begun.map_err(|refused| self.turn_away(address, &refused))?;
        let tonics_own = TonicsOwn::of_tls(tonics_own);
        Ok(LetIn { io: Io::Tls(stream), peer, tonics_own, lasts })
    }

    fn count(&self, result: HandshakeResult, resumed: bool) {
        let resumption = match resumed {
            true => Resumption::ResumedHandshake,
            false => Resumption::FullHandshake,
        };
        self.counters.count(result, resumption);
    }

    async fn wrong_port(
        &self,
        address: &PeerAddress,
        mut io: Rewind<Socket>,
        spoken: Spoken,
        notice: Notice,
        time: &mut Time<'_>,
    ) -> TurnedAway {
        let turned_away = self.turn_away(address, &Refused::WrongPort { spoken, notice });
        time.last_words(refuse(&mut io, spoken, notice)).await;
        turned_away
    }

    /// Tells the operator, before the peer is told, which may take a second.
    fn turn_away(&self, address: &PeerAddress, refused: &Refused) -> TurnedAway {
        match refused {
            Refused::Silent => {
                tracing::debug!(peer = %address, "a peer connected and left without a word");
            }
            Refused::Failed(failure) => {
                self.warn(address, failure.kind().result().as_str(), &failure.to_string());
            }
            Refused::WrongPort { spoken, notice } => {
                let what = match spoken {
                    Spoken::Http2 if *notice == Notice::SpeaksTls => "plaintext gRPC on a TLS port",
                    Spoken::Http1 if *notice == Notice::SpeaksTls => {
                        "plaintext HTTP/1 on a TLS port"
                    }
                    Spoken::Tls => "TLS on a plaintext port",
                    _ => "HTTP/1 on a gRPC port",
                };
                self.warn(address, "WRONG_PORT", what);
            }
            Refused::NoPreface(error) => self.warn(
                address,
                "NO_HTTP2_PREFACE",
                &format!("the peer connected and did not begin HTTP/2 ({error})"),
            ),
            Refused::NotLocal => self.warn(
                address,
                "NOT_LOCAL",
                "local credentials, and the peer is not on this machine",
            ),
        }
        TurnedAway
    }

    fn warn(&self, address: &PeerAddress, result: &str, cause: &str) {
        if let Some(withheld) = self.warnings.allow() {
            tracing::warn!(peer = %address, result, cause, withheld, "a connection was not let in");
        }
    }
}

/// Waits for HTTP/1 to begin; what it has to say is the HTTP server's to bound.
async fn first_bytes<S>(io: &mut Rewind<S>, time: &mut Time<'_>) -> Result<(), Refused>
where
    S: AsyncRead + Unpin,
{
    match time.within(io.read_ahead(Spoken::ENOUGH)).await {
        None => Err(Refused::NoPreface(io::ErrorKind::TimedOut.into())),
        Some(Err(error)) => Err(Refused::NoPreface(error)),
        Some(Ok(())) if io.ahead().is_empty() => {
            Err(Refused::NoPreface(io::ErrorKind::UnexpectedEof.into()))
        }
        Some(Ok(())) => Ok(()),
    }
}

/// Waits for the client's preface and the head of its SETTINGS frame, both of which every
/// HTTP/2 client sends before it waits for anything (RFC 9113 §3.4).
async fn preface<S>(io: &mut Rewind<S>, time: &mut Time<'_>) -> Result<(), Refused>
where
    S: AsyncRead + Unpin,
{
    const SETTINGS: u8 = 4;
    match time.within(io.read_ahead(PREFACE.len() + 9)).await {
        None => Err(Refused::NoPreface(io::ErrorKind::TimedOut.into())),
        Some(Err(error)) => Err(Refused::NoPreface(error)),
        Some(Ok(())) => match io.ahead().strip_prefix(PREFACE) {
            Some(&[_, _, _, SETTINGS, ..]) => Ok(()),
            Some(head) if head.len() >= 9 => {
                let what = "the first frame is not SETTINGS";
                Err(Refused::NoPreface(io::Error::new(io::ErrorKind::InvalidData, what)))
            }
            _ => Err(not_a_preface()),
        },
    }
}

fn not_a_preface() -> Refused {
    let what = "the first bytes are not the HTTP/2 preface";
    Refused::NoPreface(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// What a connection from this machine is worth; `None` for one from elsewhere (gRFC L62).
fn local_level(address: &PeerAddress) -> Option<SecurityLevel> {
    match address {
        PeerAddress::Unix(_) => Some(SecurityLevel::PrivacyAndIntegrity),
        PeerAddress::Tcp(address) if address.ip().to_canonical().is_loopback() => {
            Some(SecurityLevel::NoSecurity)
        }
        PeerAddress::Tcp(_) | PeerAddress::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::task::coop;

    use super::*;
    use crate::ServerCredentials;
    use crate::credentials::ServerLimits;
    use crate::identity::UnixPeer;
    use crate::transport::server::budget::Budget;
    use crate::transport::server::incoming::Shared;

    #[tokio::test]
    async fn a_silent_peer_holds_less_than_two_kib_of_task() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let near = tokio::net::TcpStream::connect(address).await.expect("connected");
        let (place, turn) = Budget::new(ServerLimits::default()).admit(None).expect("room");
        let socket = Socket::tcp(near, address);
        let door = Shared::new(&ServerCredentials::insecure()).door();
        let opening = door.open(socket, PeerAddress::Tcp(address), place, turn);
        assert!(size_of_val(&opening) < 2048, "{} bytes", size_of_val(&opening));
    }

    #[tokio::test]
    async fn a_step_that_uses_up_the_tasks_turn_each_time_ends_with_its_time() {
        let mut over = pin!(sleep_until(Instant::now()));
        over.as_mut().await;
        let mut time = Time { over, last_words: Instant::now() };
        let greedy = poll_fn(|cx| -> Poll<()> {
            loop {
                match coop::poll_proceed(cx) {
                    Poll::Ready(turn) => turn.made_progress(),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let mut step = pin!(time.within(greedy));
        let outcome = poll_fn(|cx| Poll::Ready(step.as_mut().poll(cx))).await;
        assert!(matches!(outcome, Poll::Ready(None)), "at the first look");
    }

    #[test]
    fn only_peers_on_this_machine_are_local() {
        let tcp = |address: &str| PeerAddress::Tcp(address.parse().expect("an address"));
        for (peer, level) in [
            (PeerAddress::Unix(UnixPeer::default()), Some(SecurityLevel::PrivacyAndIntegrity)),
            (tcp("127.0.0.1:1"), Some(SecurityLevel::NoSecurity)),
            (tcp("127.8.8.8:1"), Some(SecurityLevel::NoSecurity)),
            (tcp("[::1]:1"), Some(SecurityLevel::NoSecurity)),
            (tcp("[::ffff:127.0.0.1]:1"), Some(SecurityLevel::NoSecurity)),
            (tcp("192.168.0.1:1"), None),
            (tcp("[::ffff:192.168.0.1]:1"), None),
            (tcp("[fe80::1]:1"), None),
            (tcp("0.0.0.0:1"), None),
            (PeerAddress::Unknown, None),
        ] {
            assert_eq!(local_level(&peer), level, "{peer:?}");
        }
    }
}
