//! Configuration files: TOML, read in full and checked before anything is done with them.
//!
//! A setting that nobody knows is an error, with its line and the name that was probably meant.

mod auth;

pub(crate) use auth::{AuthConfig, IssuerConfig, KeysAt, Trust, algorithm, profile};
pub(crate) use countersign_config::length;
