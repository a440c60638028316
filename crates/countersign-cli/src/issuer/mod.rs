//! A development issuer's keys, and the tokens that it signs. Nothing but development trusts it.

mod key;
mod store;
mod token;

pub(crate) use key::SigningKey;
pub(crate) use store::{DevClient, IssuerFacts, IssuerStore, jwks};
pub(crate) use token::{ACCESS_TOKEN, Draft};
