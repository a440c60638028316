//! A real connection to our listener, for what its requests carry.

use countersign::{
    ChannelCredentials, ClientCertificates, ClientTls, ConnectionInfo, Identity, RootCertificates,
    ServerCredentials, connect,
};
use countersign_testkit::pki::{Certificate, CertificateAuthority};
use tonic::transport::server::Connected as _;

/// What a connection with a verified client certificate carries, from one handshake on loopback.
///
/// Nothing but our listener can make it, so there is no shortcut to take.
///
/// # Panics
///
/// When there is no loopback interface.
pub fn mutual_tls_connection() -> ConnectionInfo {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime on this thread");
    runtime.block_on(handshake())
}

async fn handshake() -> ConnectionInfo {
    let ca = CertificateAuthority::new("benchmark CA");
    let roots = || RootCertificates::from_pem(ca.certificate_pem());
    let server = ServerCredentials::tls(identity(&ca.server(&["localhost", "127.0.0.1"])))
        .client_certificates(ClientCertificates::required(roots()))
        .build()
        .expect("usable server credentials");
    let mut incoming = server.bind("127.0.0.1:0").await.expect("a loopback port");
    let address = incoming.local_addr().expect("a TCP listener");
    let client = ClientTls::only_roots(roots())
        .identity(identity(&ca.client(&["spiffe://prod.example/orders"])));
    let credentials = ChannelCredentials::tls(client);
    let calling = tokio::spawn(async move {
        connect(&format!("https://localhost:{}", address.port()), credentials).await.map(drop)
    });
    let info = incoming.next_connection().await.connect_info();
    // The connection has served its purpose, and the client would wait for HTTP/2.
    calling.abort();
    info
}

fn identity(certificate: &Certificate) -> Identity {
    Identity::from_pem(certificate.chain_pem(), certificate.key_pem())
}
