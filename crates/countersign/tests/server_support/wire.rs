//! Clients that say exactly what a test wants said.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use countersign_testkit::pki::{Certificate, CertificateAuthority};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::time::within;

/// The client's connection preface (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A SETTINGS frame without settings.
pub(crate) const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Dials. What is written is sent at once.
pub(crate) async fn dial(address: SocketAddr) -> TcpStream {
    let io = TcpStream::connect(address).await.expect("connected");
    io.set_nodelay(true).expect("no delay");
    io
}

/// Dials from this address of the loopback network.
pub(crate) async fn dial_from(source: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((source, 0).into()).expect("an address of this machine");
    socket.connect(address).await.expect("connected")
}

/// Begins HTTP/2 as every client does.
pub(crate) async fn begin_http2<S: AsyncWrite + Unpin>(io: &mut S) {
    io.write_all(&[PREFACE, SETTINGS].concat()).await.expect("written");
    io.flush().await.expect("flushed");
}

/// What the server still says, and then hangs up.
pub(crate) async fn last_words<S: AsyncRead + Unpin>(io: &mut S) -> Vec<u8> {
    let mut words = Vec::new();
    // A reset is an end too.
    let _ = within("the server hangs up", io.read_to_end(&mut words)).await;
    words
}

/// Whether the server has neither said anything nor hung up. Asks the kernel and not the
/// runtime, which may not have heard yet.
pub(crate) fn is_waiting(io: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    let peeked = socket2::SockRef::from(io).peek(&mut byte);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// A TLS client of `rustls` alone, with its own defaults, resumption among them.
pub(crate) fn client_config(ca: &CertificateAuthority) -> ClientConfig {
    client_config_with(ca, provider(), rustls::ALL_VERSIONS)
}

pub(crate) fn client_config_with(
    ca: &CertificateAuthority,
    provider: CryptoProvider,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate_der()).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Lets a client show a certificate to servers that ask for one.
pub(crate) fn showing(mut config: ClientConfig, certificate: &Certificate) -> ClientConfig {
    let (chain, key) = (certificate.chain_der(), certificate.key_der());
    let key = CertifiedKey::from_der(chain, key, &provider()).expect("a certificate and its key");
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
    config
}

/// A TLS client that takes any certificate signed in one of these ways, to look at it.
pub(crate) fn curious_config(schemes: &[SignatureScheme]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Curious { schemes: schemes.to_vec() }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

pub(crate) async fn tls<S>(
    io: S,
    config: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(name.to_owned()).expect("a server name");
    within("a handshake ends", TlsConnector::from(Arc::clone(config)).connect(name, io)).await
}

/// TLS to `localhost`, and HTTP/2 in it.
pub(crate) async fn tls_and_http2(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut io = tls(dial(address).await, config, "localhost").await?;
    begin_http2(&mut io).await;
    Ok(io)
}

#[derive(Debug)]
struct Curious {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Curious {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// Writes one byte at a time, each in a segment of its own.
#[derive(Debug)]
pub(crate) struct ByteByByte(TcpStream);

impl ByteByByte {
    pub(crate) fn new(io: TcpStream) -> Self {
        Self(io)
    }
}

impl AsyncRead for ByteByByte {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for ByteByByte {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &buf[..buf.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
