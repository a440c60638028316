use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisResult, Value};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::address::{Address, At};
use super::said_no;
use crate::quota::store::error::{QuotaStoreError, QuotaStoreErrorKind};
use crate::secret::Secret;

/// What a connection is made with.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) address: Address,
    /// The configuration, and the name to verify if it is not the host's.
    pub(super) tls: Option<(Arc<ClientConfig>, Option<ServerName<'static>>)>,
    pub(super) user: Option<(String, Secret<String>)>,
}

/// Has a connection, or makes one when it is asked for.
pub(super) struct Connector {
    settings: Arc<Settings>,
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    #[default]
    Nothing,
    /// Goes on when whoever asked for it is gone: connecting may take longer than a call waits.
    Dialling(Dialling),
    Connected(Arc<Link>),
}

struct Dialling {
    outcome: watch::Receiver<Option<Outcome>>,
    _task: AbortOnDropHandle<()>,
}

/// One attempt fails for all that waited for it.
type Outcome = Result<Arc<Link>, QuotaStoreError>;

/// A connection, and the task that drives it for as long as somebody has this.
pub(super) struct Link {
    connection: MultiplexedConnection,
    driver: AbortOnDropHandle<()>,
    /// Since when there are questions, and no answer to any.
    silent: Mutex<Option<Instant>>,
}

impl Connector {
    /// How long connecting may take, TLS and the password included.
    const CONNECT: Duration = Duration::from_secs(5);

    pub(super) fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings), state: Mutex::default() }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The connection. Cancel-safe: dropped, it leaves the connecting to whoever asks next.
    pub(super) async fn link(&self) -> Result<Arc<Link>, QuotaStoreError> {
        let mut outcome = {
            let mut state = self.lock();
            match &*state {
                State::Connected(link) if link.is_alive() => return Ok(Arc::clone(link)),
                State::Dialling(dialling) => dialling.outcome.clone(),
                State::Connected(_) | State::Nothing => {
                    let dialling = Dialling::start(Arc::clone(&self.settings));
                    let outcome = dialling.outcome.clone();
                    *state = State::Dialling(dialling);
                    outcome
                }
            }
        };
        let ended = outcome.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        let ended = ended.unwrap_or_else(|| {
            let what = "connecting to the quota store was given up";
            Err(QuotaStoreError::new(QuotaStoreErrorKind::Unreachable, what))
        });
        let mut state = self.lock();
        if matches!(&*state, State::Dialling(one) if one.outcome.same_channel(&outcome)) {
            *state = match &ended {
                Ok(link) => State::Connected(Arc::clone(link)),
                Err(_) => State::Nothing,
            };
        }
        ended
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dialling {
    fn start(settings: Arc<Settings>) -> Self {
        let (told, outcome) = watch::channel(None);
        let task = tokio::spawn(async move {
            let ended = match timeout(Connector::CONNECT, dial(&settings)).await {
                Ok(ended) => ended,
                Err(_) => {
                    let what =
                        format!("no connection to the quota store in {:?}", Connector::CONNECT);
                    Err(QuotaStoreError::new(QuotaStoreErrorKind::TimedOut, what))
                }
            };
            told.send_replace(Some(ended.map(Arc::new)));
        });
        Self { outcome, _task: AbortOnDropHandle::new(task) }
    }
}

impl Link {
    /// A connection on which nothing was answered for so long is given up. One answer is enough
    /// to keep it, and whoever asks and goes away costs a new one in each such time at most.
    const SILENCE: Duration = Duration::from_secs(1);

    async fn over<S>(stream: S, settings: &Settings) -> Result<Self, QuotaStoreError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut info = RedisConnectionInfo::default()
            .set_db(settings.address.database.into())
            // One right less for our user to need.
            .set_skip_set_lib_name();
        if let Some((name, password)) = &settings.user {
            info = info.set_password(password.expose());
            if !name.is_empty() {
                info = info.set_username(name);
            }
        }
        // Deadlines are the asker's.
        let config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let connected = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) = connected.map_err(said_no)?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        Ok(Self { connection, driver, silent: Mutex::default() })
    }

    fn is_alive(&self) -> bool {
        let silent = *self.silence();
        !self.driver.is_finished() && silent.is_none_or(|since| since.elapsed() < Self::SILENCE)
    }

    /// Asks, and waits for the answer.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        self.silence().get_or_insert_with(Instant::now);
        let answer = self.connection.clone().send_packed_command(command).await;
        *self.silence() = None;
        answer
    }

    fn silence(&self) -> MutexGuard<'_, Option<Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn dial(settings: &Settings) -> Result<Link, QuotaStoreError> {
    let unreachable = |error: io::Error| {
        let what = format!("cannot connect to the quota store at {:?}", settings.address);
        QuotaStoreError::new(QuotaStoreErrorKind::Unreachable, what).with_source(error)
    };
    let (host, port) = match &settings.address.at {
        At::Tcp { host, port, .. } => (host, *port),
        #[cfg(unix)]
        At::Unix(path) => {
            let stream = tokio::net::UnixStream::connect(path).await.map_err(unreachable)?;
            return Link::over(stream, settings).await;
        }
        #[cfg(not(unix))]
        At::Unix(_) => return Err(unreachable(io::ErrorKind::Unsupported.into())),
    };
    let stream = connect(&settings.address.at, host, port).await.map_err(unreachable)?;
    let Some((config, verified_name)) = &settings.tls else {
        return Link::over(stream, settings).await;
    };
    let untrusted = |error: io::Error| {
        let what = format!("no TLS with the quota store at {:?}", settings.address);
        QuotaStoreError::new(QuotaStoreErrorKind::NotAllowed, what).with_source(error)
    };
    let name = match verified_name {
        Some(name) => name.clone(),
        None => ServerName::try_from(host.clone())
            .map_err(|error| untrusted(io::Error::other(error)))?,
    };
    let connector = TlsConnector::from(Arc::clone(config));
    let stream = connector.connect(name, stream).await.map_err(untrusted)?;
    Link::over(stream, settings).await
}

/// Tries the host's addresses, one after the other.
async fn connect(at: &At, host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failed = io::Error::other("the name has no address that may be used");
    for address in lookup_host((host, port)).await?.filter(|address| at.may_dial(*address)) {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                // A server that is gone without a word is noticed while nobody asks.
                let keepalive = TcpKeepalive::new()
                    .with_time(Duration::from_secs(15))
                    .with_interval(Duration::from_secs(5));
                SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
