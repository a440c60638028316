//! What the tests of the channel share: servers that watch, servers that misbehave, and time that
//! stands still.

#![allow(dead_code, unused_imports, reason = "every test file uses a part of it")]

mod mute;
mod ports;
mod proxy;
mod recorder;
mod tasks;
mod time;

use countersign::{
    Channel, ChannelBuilder, ChannelCredentials, ClientTls, ConnectError, Identity,
    RootCertificates, ServerCredentials,
};
use countersign_testkit::greeter::GreeterClient;
use countersign_testkit::greeter::proto::{HelloReply, HelloRequest, HelloStreamRequest};
use countersign_testkit::pki::{Certificate, CertificateAuthority};
use tonic::{Request, Status, Streaming};

pub(crate) use mute::MuteServer;
pub(crate) use ports::ClosedPort;
pub(crate) use proxy::Proxy;
pub(crate) use recorder::{Answer, Recorder};
pub(crate) use tasks::Tasks;
pub(crate) use time::{StoppedTime, kernel_has_its_turn};

pub(crate) fn identity(certificate: &Certificate) -> Identity {
    Identity::from_pem(certificate.chain_pem(), certificate.key_pem())
}

pub(crate) fn roots(ca: &CertificateAuthority) -> RootCertificates {
    RootCertificates::from_pem(ca.certificate_pem())
}

/// Channel credentials that trust this authority alone.
pub(crate) fn trusting(ca: &CertificateAuthority) -> ChannelCredentials {
    ChannelCredentials::tls(ClientTls::only_roots(roots(ca)))
}

/// A server that shows this certificate, and asks its clients for none.
pub(crate) fn showing(certificate: &Certificate) -> ServerCredentials {
    ServerCredentials::tls(identity(certificate)).build().expect("server credentials")
}

/// A request that means nothing in particular.
pub(crate) fn hello() -> Request<HelloRequest> {
    Request::new(HelloRequest { name: "you".to_owned() })
}

/// One unary call.
pub(crate) async fn call(
    channel: &Channel,
    request: Request<HelloRequest>,
) -> Result<HelloReply, Status> {
    let reply = GreeterClient::new(channel.clone()).say_hello(request).await?;
    Ok(reply.into_inner())
}

/// The code of the connection error behind a status, and the empty text when there is none.
pub(crate) fn connect_code(status: &Status) -> &'static str {
    ConnectError::of(status).map_or("", ConnectError::code)
}

/// A channel without TLS.
pub(crate) fn plaintext(target: impl Into<String>) -> ChannelBuilder {
    Channel::builder(target, ChannelCredentials::insecure())
}

/// A call whose first message is there and whose end is not.
pub(crate) async fn held(channel: &Channel) -> Streaming<HelloReply> {
    let mut client = GreeterClient::new(channel.clone());
    let request = HelloStreamRequest::default();
    let mut replies = client.say_hello_stream(request).await.expect("a stream").into_inner();
    replies.message().await.expect("a message").expect("one message");
    replies
}

/// Reads the end.
pub(crate) async fn finishes(mut replies: Streaming<HelloReply>) {
    assert!(replies.message().await.expect("an end with OK").is_none());
}
