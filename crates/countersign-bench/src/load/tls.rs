//! The client's side of TLS: one suite and one key exchange, so that all servers do the same.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, NamedGroup, RootCertStore,
};
use rustls_pki_types::ServerName;

use super::LoadError;
use crate::material::Material;

/// How a client speaks TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    resumed: bool,
    group: NamedGroup,
}

impl Tls {
    /// TLS 1.3 with AES-128-GCM and X25519; no session is resumed.
    pub(crate) fn new(material: &Material) -> Result<Self, rustls::Error> {
        Self::build(material, false, false, kx_group::X25519)
    }

    /// The same with P-256 for the key exchange, for servers that know no X25519.
    pub(crate) fn p256(material: &Material, mutual: bool) -> Result<Self, rustls::Error> {
        Self::build(material, mutual, false, kx_group::SECP256R1)
    }

    /// The same, with a certificate.
    pub(crate) fn mutual(material: &Material) -> Result<Self, rustls::Error> {
        Self::build(material, true, false, kx_group::X25519)
    }

    /// With sessions that are resumed; each value has sessions of its own.
    pub(crate) fn resumed(material: &Material, mutual: bool) -> Result<Self, rustls::Error> {
        Self::build(material, mutual, true, kx_group::X25519)
    }

    fn build(
        material: &Material,
        mutual: bool,
        resumed: bool,
        group: &'static dyn SupportedKxGroup,
    ) -> Result<Self, rustls::Error> {
        let mut provider = default_provider();
        provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![group];
        let mut roots = RootCertStore::empty();
        roots.add(material.authority().certificate_der())?;
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = if mutual {
            let client = material.client();
            builder.with_client_auth_cert(client.chain_der(), client.key_der())?
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption =
            if resumed { Resumption::in_memory_sessions(256) } else { Resumption::disabled() };
        Ok(Self { config: Arc::new(config), resumed, group: group.name() })
    }

    /// Whether sessions are resumed.
    pub(super) fn is_resumed(&self) -> bool {
        self.resumed
    }

    pub(super) fn name() -> ServerName<'static> {
        ServerName::try_from("localhost").expect("a constant")
    }

    /// Whether the handshake went as asked. `first` is the one that resumption begins with.
    pub(super) fn check(
        &self,
        connection: &ClientConnection,
        first: bool,
    ) -> Result<(), LoadError> {
        let wrong = |what: String| Err(LoadError::Negotiated(what));
        let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
        if suite != Some(CipherSuite::TLS13_AES_128_GCM_SHA256) {
            return wrong(format!("the suite {suite:?}"));
        }
        if connection.alpn_protocol() != Some(b"h2") {
            return wrong("a protocol other than h2".to_owned());
        }
        let group = connection.negotiated_key_exchange_group().map(|group| group.name());
        if group.is_some_and(|group| group != self.group) {
            return wrong(format!("the group {group:?}"));
        }
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        if !first && resumed != self.resumed {
            return wrong(
                if resumed { "to resume a session" } else { "a full handshake" }.to_owned(),
            );
        }
        Ok(())
    }
}

/// A whole ClientHello, for clients that send only half of it.
pub(crate) fn hello_bytes(tls: &Tls) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut connection = ClientConnection::new(Arc::clone(&tls.config), Tls::name())?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_one_handshake_record() {
        let material = Material::new().expect("material");
        let tls = Tls::new(&material).expect("settings");
        let hello = hello_bytes(&tls).expect("a hello");
        assert_eq!(hello[0], 0x16);
        assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), hello.len() - 5);
    }
}
