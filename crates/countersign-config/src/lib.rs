//! Configuration files of countersign: TOML, read in full and checked before anything is done.
//!
//! A setting that nobody knows is an error, with its line, its column and the name that was
//! probably meant. Secrets are never in a file: it names the files and variables that hold them.
//!
//! [`ClientConfig`] has the call credentials of a client, from any source that the library has:
//!
//! ```no_run
//! use countersign::{ChannelCredentials, ClientTls, connect};
//! use countersign_config::ClientConfig;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ClientConfig::read("client.toml", |name| std::env::var_os(name))?;
//! let credentials = ChannelCredentials::tls(ClientTls::system_roots())
//!     .with_call_credentials(config.call_credentials());
//! let channel = connect("https://orders.example", credentials).await?;
//! # drop(channel);
//! # Ok(())
//! # }
//! ```
//!
//! [`Document`] and [`Section`] read what else there is to be written down, and [`chain`] says why
//! something failed.

mod causes;
mod client;
mod document;
mod error;
mod length;
mod nearest;

pub use causes::chain;
pub use client::{ClientConfig, ConfiguredToken};
pub use document::{Document, Section, filled};
pub use error::ConfigError;
pub use length::length;

/// The book's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/book/src/token-sources.md")]
struct Book;
