//! A call of the official client without generated code, and what the server needs.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use countersign::{Gate, Identity, Rules, StaticTokens};
use countersign_testkit::greeter::proto::{HelloReply, HelloRequest};
use countersign_testkit::greeter::{GREETER, SAY_HELLO};
use countersign_testkit::pki::CertificateAuthority;
use grpc::StatusError;
use grpc::client::{CallOptions, Channel, Invoke, RecvStream, ResponseStreamItem};
use grpc::client::{SendOptions, SendStream};
use grpc::core::{RecvMessage, RequestHeaders, SendMessage};
use grpc::credentials::rustls::client::{ClientTlsConfig, RustlsChannelCredendials};
use grpc::credentials::rustls::{RootCertificates, StaticProvider};
use prost::Message;

/// The token that the gate knows as alice's.
pub(crate) const TOKEN: &str = "a-token-that-somebody-issued";

pub(crate) fn gate() -> Gate {
    let gate = Gate::builder()
        .authenticate(StaticTokens::new().with_token("alice", TOKEN))
        .authorize(Rules::new().authenticated(GREETER))
        .build();
    gate.expect("a gate")
}

pub(crate) fn identity(ca: &CertificateAuthority, name: &str) -> Identity {
    let certificate = ca.server(&[name]);
    Identity::from_pem(certificate.chain_pem(), certificate.key_pem())
}

/// TLS of the official crate. It wants a process-wide provider, which a test may install.
pub(crate) fn tls(ca: &CertificateAuthority) -> RustlsChannelCredendials {
    // An error says that another test was first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let roots = StaticProvider::new(RootCertificates::from_pem(ca.certificate_pem()));
    let config = ClientTlsConfig::new().with_root_certificates_provider(roots);
    RustlsChannelCredendials::new(config).expect("TLS settings")
}

/// One unary call.
pub(crate) async fn say_hello(channel: &Channel) -> Result<HelloReply, StatusError> {
    let headers = RequestHeaders::new().with_method_name(SAY_HELLO);
    let mut options = CallOptions::new();
    options.set_deadline(Instant::now() + Duration::from_secs(120));
    let (mut requests, mut replies) = channel.invoke(headers, options).await;
    let request = Request(HelloRequest { name: "you".to_owned() });
    // What a stream that is closed already has to say is in the trailers.
    let _ = requests.send(&request, SendOptions::new().with_final_msg(true)).await;
    let mut reply = Reply::default();
    loop {
        match replies.recv(&mut reply).await {
            ResponseStreamItem::Headers(_) | ResponseStreamItem::Message => {}
            ResponseStreamItem::Trailers(trailers) => {
                return trailers.into_status().map(|()| reply.0);
            }
            ResponseStreamItem::StreamClosed => panic!("a stream ends with its trailers"),
        }
    }
}

struct Request(HelloRequest);

impl SendMessage for Request {
    fn encode(&self) -> Result<Box<dyn Buf + Send + Sync>, String> {
        Ok(Box::new(Bytes::from(self.0.encode_to_vec())))
    }
}

#[derive(Default)]
struct Reply(HelloReply);

impl RecvMessage for Reply {
    fn decode(&mut self, data: &mut dyn Buf) -> Result<(), String> {
        self.0 = HelloReply::decode(data).map_err(|error| error.to_string())?;
        Ok(())
    }
}
