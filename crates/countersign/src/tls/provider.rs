//! One crypto provider, named explicitly in every configuration.
//!
//! The process default is never read or set: with two providers compiled in anywhere in a build,
//! asking for the default panics.

use std::sync::{Arc, LazyLock};

use rustls::CommonState;
use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

use crate::clock::Clock;
use crate::identity::TlsFacts;

/// aws-lc-rs with its own order, which puts X25519MLKEM768 first.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// Our clock as rustls asks for it.
#[derive(Debug)]
pub(super) struct ClockAsTime(pub(super) Arc<dyn Clock>);

impl TimeProvider for ClockAsTime {
    fn current_time(&self) -> Option<UnixTime> {
        // A clock before 1970 cannot judge a certificate: rustls then refuses the handshake.
        let since = self.0.now().duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}

/// What both ends can say of a finished handshake.
pub(crate) fn tls_facts(state: &CommonState, server_name: Option<&str>) -> TlsFacts {
    TlsFacts {
        version: match state.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(other) => other.as_str().unwrap_or_default(),
            None => "",
        },
        cipher_suite: state
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str())
            .unwrap_or_default(),
        key_exchange_group: state
            .negotiated_key_exchange_group()
            .and_then(|group| group.name().as_str()),
        server_name: server_name.map(str::to_owned),
        application_protocol: state
            .alpn_protocol()
            .map(|name| String::from_utf8_lossy(name).into_owned()),
        resumed: matches!(state.handshake_kind(), Some(rustls::HandshakeKind::Resumed)),
    }
}
