use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use super::server::{self, Shared, path_of};
use super::{Behaviour, Mint, SigningKey, TokenMint};

/// An identity provider on this machine, over plain HTTP.
///
/// Serves its metadata at `/.well-known/oauth-authorization-server` (RFC 8414) and
/// `/.well-known/openid-configuration`, and its keys at `/jwks`. An issuer with a path serves
/// them where RFC 8414 §3.1 and OpenID Connect Discovery §4 say. It stops when it is dropped.
pub struct TestIssuer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinSet<()>,
    /// Holds the port, whether anybody listens there or not.
    _reserved: TcpSocket,
}

impl TestIssuer {
    /// Starts one whose issuer is its own address: `http://127.0.0.1:port`.
    ///
    /// # Panics
    ///
    /// If there is no port to listen on.
    pub async fn start() -> Self {
        Self::start_at("").await
    }

    /// Starts one whose issuer has a path, such as `/realms/one`.
    ///
    /// # Panics
    ///
    /// If there is no port to listen on.
    pub async fn start_at(path: &str) -> Self {
        let reserved = server::reserve(server::any_port());
        let address = reserved.local_addr().expect("an address");
        let mint = TokenMint::new(format!("http://{address}{path}"));
        let mut issuer = Self {
            address,
            shared: Arc::new(Shared::new(mint)),
            accepting: JoinSet::new(),
            _reserved: reserved,
        };
        issuer.restart();
        issuer
    }

    /// The issuer: what `iss` has to be.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.state().mint.issuer().to_owned()
    }

    /// Where its keys are.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        format!("http://{}{}", self.address, self.jwks_path())
    }

    /// The path of its keys, for [`requests`](Self::requests) and
    /// [`misbehave_at`](Self::misbehave_at).
    #[must_use]
    pub fn jwks_path(&self) -> String {
        format!("{}/jwks", path_of(self.shared.state().mint.issuer()))
    }

    /// Its keys and tokens, as they are now.
    #[must_use]
    pub fn token_mint(&self) -> TokenMint {
        self.shared.state().mint.clone()
    }

    /// See [`TokenMint::claims`].
    #[must_use]
    pub fn claims(&self, subject: &str, audience: &str) -> Value {
        self.shared.state().mint.claims(subject, audience)
    }

    /// See [`TokenMint::mint`].
    #[must_use]
    pub fn mint(&self, claims: &Value) -> String {
        self.token(claims).sign()
    }

    /// See [`TokenMint::token`].
    pub fn token(&self, claims: &Value) -> Mint {
        self.shared.state().mint.token(claims)
    }

    /// Adds and publishes a key, which signs from now on.
    pub fn add(&self, key: SigningKey) {
        self.shared.change(|state| state.mint.add(key));
    }

    /// Adds and publishes a new key, which signs from now on. The old ones stay published.
    pub fn rotate(&self) -> SigningKey {
        self.shared.change(|state| state.mint.rotate())
    }

    /// Publishes no more than the key that signs.
    pub fn drop_old(&self) {
        self.shared.change(|state| state.mint.drop_old());
    }

    /// Publishes this in the place of its keys, whatever it is; `None` for its keys again.
    pub fn publish(&self, jwks: impl Into<Option<Value>>) {
        self.shared.change(|state| state.jwks = jwks.into());
    }

    /// Says that it is another issuer in its metadata.
    pub fn claim_to_be(&self, issuer: impl Into<String>) {
        self.shared.change(|state| state.discovered_issuer = Some(issuer.into()));
    }

    /// Sends those who ask for its metadata elsewhere for its keys.
    pub fn point_to(&self, jwks_uri: impl Into<String>) {
        self.shared.change(|state| state.jwks_uri = Some(jwks_uri.into()));
    }

    /// Sends this `Cache-Control` with every answer.
    pub fn cache_control(&self, value: impl Into<String>) {
        self.shared.change(|state| state.cache_control = Some(value.into()));
    }

    /// Behaves like this at every path.
    pub fn misbehave(&self, behaviour: Behaviour) {
        self.shared.change(|state| state.everywhere = Some(behaviour));
    }

    /// Behaves like this at one path, whatever it does elsewhere.
    pub fn misbehave_at(&self, path: &str, behaviour: Behaviour) {
        self.shared.change(|state| state.at.insert(path.to_owned(), behaviour));
    }

    /// Answers well again, at every path.
    pub fn recover(&self) {
        self.shared.change(|state| {
            state.everywhere = None;
            state.at.clear();
        });
    }

    /// How many requests there were for a path, without the query.
    #[must_use]
    pub fn requests(&self, path: &str) -> usize {
        self.shared.state().requests.get(path).copied().unwrap_or_default()
    }

    /// How many requests there were.
    #[must_use]
    pub fn all_requests(&self) -> usize {
        self.shared.state().requests.values().sum()
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Stops: connections break, and new ones are refused. The port stays its own.
    pub async fn stop(&mut self) {
        self.accepting.shutdown().await;
    }

    /// Listens again after [`stop`](Self::stop).
    ///
    /// # Panics
    ///
    /// If the system has no sockets left.
    pub fn restart(&mut self) {
        if self.accepting.is_empty() {
            let listener = server::reserve(self.address).listen(1024).expect("listening");
            self.accepting.spawn(server::accept(listener, Arc::clone(&self.shared)));
        }
    }
}

impl fmt::Debug for TestIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestIssuer").field("url", &self.url()).finish_non_exhaustive()
    }
}
