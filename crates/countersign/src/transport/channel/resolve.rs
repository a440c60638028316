use std::fmt;
use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;

/// Turns a host name into addresses. The default asks the operating system.
///
/// Called before the first connection, and again, at most every 30 s, after a connection was
/// lost or could not be made. May wait; it is dropped when the channel is.
#[async_trait]
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// The addresses of `host`, in the order in which they are to be tried.
    ///
    /// # Errors
    ///
    /// Calls fail with it as their cause until the next try.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// Asks the operating system (`getaddrinfo`), on a thread for blocking work.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}
