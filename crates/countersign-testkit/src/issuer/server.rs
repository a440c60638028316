use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::TokenMint;

/// What the provider does with requests instead of answering them well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Behaviour {
    /// Answers with this status and no key.
    Status(u16),
    /// Keeps the request until it is told to behave in another way, and then does that.
    Hang,
    /// Hangs up without a word.
    HangUp,
    /// Answers with this text as the document.
    Text(String),
    /// Answers with a document of 1 MiB.
    Oversized,
    /// Answers `302 Found` with this location.
    Redirect(String),
    /// Answers one byte a second, by the runtime's timer.
    Drip,
}

/// What the provider has to say, and how.
#[derive(Debug)]
pub(super) struct State {
    pub(super) mint: TokenMint,
    pub(super) jwks: Option<Value>,
    pub(super) discovered_issuer: Option<String>,
    pub(super) jwks_uri: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) everywhere: Option<Behaviour>,
    pub(super) at: HashMap<String, Behaviour>,
    pub(super) requests: HashMap<String, usize>,
}

/// What requests and the test share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    /// Requests that are not done.
    pub(super) open: AtomicUsize,
}

impl Shared {
    pub(super) fn new(mint: TokenMint) -> Self {
        let state = State {
            mint,
            jwks: None,
            discovered_issuer: None,
            jwks_uri: None,
            cache_control: None,
            everywhere: None,
            at: HashMap::new(),
            requests: HashMap::new(),
        };
        Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            open: AtomicUsize::new(0),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.changed.send_replace(());
        changed
    }
}

/// The path of an issuer: empty, or with a slash before and none after.
pub(super) fn path_of(issuer: &str) -> &str {
    let after = issuer.split_once("://").map_or(issuer, |(_, after)| after);
    after.find('/').map_or("", |slash| after[slash..].trim_end_matches('/'))
}

impl State {
    fn behaviour(&self, path: &str) -> Option<Behaviour> {
        self.at.get(path).or(self.everywhere.as_ref()).cloned()
    }

    /// The document at a path; `None` when there is none.
    fn document(&self, path: &str, base: &str) -> Option<Value> {
        let issuer = self.mint.issuer();
        let own = path_of(issuer);
        if path == format!("{own}/jwks") {
            return Some(self.jwks.clone().unwrap_or_else(|| self.mint.jwks()));
        }
        // RFC 8414 §3.1 puts the issuer's path after the well-known part, OIDC before it.
        let discovery = [
            format!("/.well-known/oauth-authorization-server{own}"),
            format!("{own}/.well-known/openid-configuration"),
        ];
        discovery.contains(&path.to_owned()).then(|| {
            let uri = self.jwks_uri.clone().unwrap_or_else(|| format!("{base}{own}/jwks"));
            json!({
                "issuer": self.discovered_issuer.as_deref().unwrap_or(issuer),
                "jwks_uri": uri,
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            })
        })
    }
}

/// Binds the port of an address without listening: others are refused, and nobody can take it
/// but sockets of this kind.
pub(super) fn reserve(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket option");
    #[cfg(unix)]
    socket.set_reuseport(true).expect("a socket option");
    socket.bind(address).expect("the port is free");
    socket
}

pub(super) fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let mut open = JoinSet::new();
    while let Ok((io, _)) = listener.accept().await {
        while open.try_join_next().is_some() {}
        let (shared, base) = (Arc::clone(&shared), base.clone());
        open.spawn(async move {
            let _open = Open::count(&shared);
            // A client that goes away is its own affair.
            let _ = serve(io, &shared, &base).await;
        });
    }
}

struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn count(shared: &'a Shared) -> Self {
        shared.open.fetch_add(1, Ordering::SeqCst);
        Self(&shared.open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One request and its answer; the connection is closed afterwards.
async fn serve(mut io: TcpStream, shared: &Shared, base: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > 64 * 1024 || io.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let request = String::from_utf8_lossy(&request);
    let target = request.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let mut changed = shared.changed.subscribe();
    *shared.state().requests.entry(path.clone()).or_default() += 1;
    let behaviour = loop {
        changed.mark_unchanged();
        let behaviour = shared.state().behaviour(&path);
        if behaviour != Some(Behaviour::Hang) {
            break behaviour;
        }
        let mut byte = [0];
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return Ok(()) },
            // The client has nothing more to say: either it is gone, or it breaks the protocol.
            _ = io.read(&mut byte) => return Ok(()),
        }
    };
    let drips = behaviour == Some(Behaviour::Drip);
    let (status, location, body) = match behaviour {
        None | Some(Behaviour::Hang | Behaviour::Drip) => {
            match shared.state().document(&path, base) {
                Some(document) => (200, None, document.to_string()),
                None => (404, None, String::new()),
            }
        }
        Some(Behaviour::HangUp) => return Ok(()),
        Some(Behaviour::Status(status)) => (status, None, String::new()),
        Some(Behaviour::Text(text)) => (200, None, text),
        Some(Behaviour::Oversized) => {
            (200, None, format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(1024 * 1024)))
        }
        Some(Behaviour::Redirect(location)) => (302, Some(location), String::new()),
    };
    let mut head = format!("HTTP/1.1 {status} Answer\r\nconnection: close\r\n");
    head += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    if let Some(location) = location {
        head += &format!("location: {location}\r\n");
    }
    if let Some(cache_control) = &shared.state().cache_control {
        head += &format!("cache-control: {cache_control}\r\n");
    }
    head += "\r\n";
    io.write_all(head.as_bytes()).await?;
    if drips {
        let (mut reader, mut writer) = io.split();
        let drip = async {
            for byte in body.bytes() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                writer.write_all(&[byte]).await?;
            }
            Ok(())
        };
        let mut byte = [0];
        return tokio::select! {
            done = drip => done,
            _ = reader.read(&mut byte) => Ok(()),
        };
    }
    io.write_all(body.as_bytes()).await?;
    io.shutdown().await
}
