//! Tokens through a gate, over real sockets: what becomes of each kind of them, and what becomes
//! of good ones when their issuer rotates its keys, is away, or is attacked.

#[path = "../support/reached.rs"]
mod support;
#[path = "../support/time.rs"]
mod time;

mod bound;
mod claims;
mod keys;
mod outcomes;
mod recipes;
mod secrets;
mod several;
mod stage;
mod streams;
