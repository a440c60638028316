//! tonic's own channel with the interceptor that people write. Its TLS features are not allowed
//! in this workspace; the same tokio-rustls stands in their place.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use super::Outcome;
use crate::options::CallOptions;

/// A connected channel whose calls carry the token.
pub(super) async fn channel(
    options: &CallOptions,
) -> Outcome<InterceptedService<Channel, Carries>> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(&options.ca)? {
        roots.add(root?)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsConnector::from(Arc::new(config));
    let connector = Connector { tls, address: options.target };
    let channel =
        Endpoint::from_static("http://localhost").connect_with_connector(connector).await?;
    Ok(InterceptedService::new(channel, Carries(super::header(options)?)))
}

/// Puts the value into each call.
#[derive(Clone)]
pub(super) struct Carries(MetadataValue<Ascii>);

impl Interceptor for Carries {
    fn call(
        &mut self,
        mut request: tonic::Request<()>,
    ) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

struct Connector {
    tls: TlsConnector,
    address: SocketAddr,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, std::io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (tls, address) = (self.tls.clone(), self.address);
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from("localhost").expect("a constant");
            Ok(TokioIo::new(tls.connect(name, stream).await?))
        })
    }
}
