//! What the program's exit codes mean. They are API: scripts and probes rely on them.
#![allow(dead_code, reason = "the whole table stands here; a verb uses the codes that it needs")]

/// What `countersign --help` says of them.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done, or: yes
  1  the answer is no
  2  the command line makes no sense
  3  a file or setting on this machine cannot be used
  4  the peer cannot be reached
  5  the peer was reached, and TLS failed
  6  one end did not accept who the other is, or a token is not accepted
  7  nobody could tell: what verifies credentials is out of reach";

/// Done, or: yes.
pub(crate) const OK: u8 = 0;

/// The answer is no: a call is denied, a check found something.
pub(crate) const DENIED: u8 = 1;

/// The command line makes no sense. clap uses the same code.
pub(crate) const USAGE: u8 = 2;

/// A file or setting on this machine cannot be read, written or used.
pub(crate) const CONFIG: u8 = 3;

/// The peer cannot be reached.
pub(crate) const NETWORK: u8 = 4;

/// The peer was reached, and TLS failed.
pub(crate) const TLS: u8 = 5;

/// The peer did not accept who we are, or we did not accept who it is.
pub(crate) const AUTHENTICATION: u8 = 6;

/// Nobody could tell: what verifies credentials is out of reach.
pub(crate) const VERIFIER_UNAVAILABLE: u8 = 7;
