//! An identity provider for tests: keys, tokens, and an HTTP side that can be made to fail.
//!
//! [`TokenMint`] signs tokens and needs nothing else. [`TestIssuer`] publishes a mint's keys on
//! this machine as identity providers do.
//!
//! ```
//! use countersign_testkit::issuer::TestIssuer;
//! use serde_json::json;
//!
//! # async fn example() {
//! let issuer = TestIssuer::start().await;
//! let mut claims = issuer.claims("alice", "orders");
//! claims["scope"] = json!("orders:read");
//! let token = issuer.mint(&claims);
//! issuer.rotate();
//! let newer = issuer.mint(&claims);
//! # drop((token, newer));
//! # }
//! ```

mod key;
mod mint;
mod provider;
mod server;
#[cfg(test)]
mod tests;

pub use countersign::authentication::jwt::Algorithm;
pub use key::SigningKey;
pub use mint::{Mint, TokenMint};
pub use provider::TestIssuer;
pub use server::Behaviour;
