//! Where tonic, hyper and tokio meet our own types. The only room that knows them.

pub(crate) mod channel;
pub(crate) mod gate;
pub(crate) mod server;
pub(crate) mod status;

/// A setting by which our listener tells our channel that it came in plaintext to a port that
/// speaks TLS. Unknown to everybody else, and so ignored (RFC 9113 §6.5.2); from the range for
/// experimental use.
pub(crate) const SPEAKS_TLS_SETTING: u16 = 0xf0c5;
