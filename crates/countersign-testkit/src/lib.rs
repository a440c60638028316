//! What tests of authenticated gRPC services share.
//!
//! * [`pki`]: a certificate authority in memory, and every broken certificate a test wants.
//! * [`clock`]: a clock that moves when the test moves it.
//! * [`greeter`]: a service to call.
//! * [`issuer`]: an identity provider on this machine, and tokens of every kind.
//! * [`key_store`]: what a store of API keys has to hold to.
//! * [`wait`]: for what is about to happen.
//! * [`logs`]: what was written to the log.
//!
//! The book's page [Testing your server][page] has a whole test.
//!
//! [page]: https://github.com/countersign/countersign/blob/main/docs/book/src/testing.md

pub mod clock;
pub mod greeter;
pub mod issuer;
pub mod key_store;
pub mod logs;
pub mod pki;
pub mod wait;
