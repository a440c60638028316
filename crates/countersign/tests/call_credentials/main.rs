//! What a call carries to prove itself: when it is asked for, where it may travel, how it fails.
//!
//! IDs are those of the acceptance cases; where ours differs from grpc-go's, the name says how.

mod asking;
mod authority;
mod failing;
mod metadata;
#[cfg(unix)]
#[path = "../support/pipe.rs"]
mod pipe;
mod several;
#[path = "../support/reached.rs"]
mod support;
mod tokens;
mod travel;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use countersign::credentials::{
    CallCredentialsError, CallCredentialsErrorKind, CallDetails, CallMetadata, ChannelSecurityInfo,
};
use countersign::{
    CallCredentials, CallError, Channel, ChannelCredentials, ClientRequestExt, SecurityLevel,
    ServerCredentials, async_trait, connect,
};
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{GreeterClient, SAY_HELLO};
use countersign_testkit::pki::CertificateAuthority;
use support::{Reached, Served, greeter, identity, keep_logs_awake, serve, trusting};
use tonic::{Request, Status};

use SecurityLevel::PrivacyAndIntegrity;

const TOKEN: &str = "correct-horse-battery-staple";

type Give = dyn Fn(&CallDetails, &ChannelSecurityInfo, &mut CallMetadata) -> Given + Send + Sync;
type Given = Result<(), CallCredentialsError>;

/// Call credentials that do what a test says, and count how often they are asked.
#[derive(Clone)]
struct Fake {
    need: SecurityLevel,
    asked: Arc<AtomicUsize>,
    give: Arc<Give>,
}

impl Fake {
    fn new(
        give: impl Fn(&CallDetails, &ChannelSecurityInfo, &mut CallMetadata) -> Given
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { need: PrivacyAndIntegrity, asked: Arc::default(), give: Arc::new(give) }
    }

    /// Sends one entry.
    fn sending(key: &'static str, value: &'static str) -> Self {
        Self::new(move |_, _, metadata| Ok(metadata.insert(key, value)?))
    }

    /// Fails with this.
    fn failing(kind: CallCredentialsErrorKind, text: &'static str) -> Self {
        Self::new(move |_, _, _| Err(CallCredentialsError::new(kind, text)))
    }

    fn needing(mut self, need: SecurityLevel) -> Self {
        self.need = need;
        self
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

#[async_trait]
impl CallCredentials for Fake {
    async fn get_metadata(
        &self,
        call: &CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Given {
        self.asked.fetch_add(1, Ordering::SeqCst);
        (self.give)(call, security, metadata)
    }

    fn minimum_channel_security_level(&self) -> SecurityLevel {
        self.need
    }
}

/// A greeter over TLS that notes what reaches it.
struct Stage {
    ca: CertificateAuthority,
    server: Served,
    reached: Reached,
}

/// To whom credentials are given.
#[derive(Clone, Copy, Debug)]
enum Way {
    Channel,
    Call,
}

const BOTH_WAYS: [Way; 2] = [Way::Channel, Way::Call];

impl Stage {
    async fn new() -> Self {
        let ca = CertificateAuthority::new("test CA");
        let reached = Reached::default();
        let certificate = ca.server(&["localhost", "orders.example", "*.test.example.com"]);
        let credentials = ServerCredentials::tls(identity(&certificate)).build();
        let incoming = credentials.expect("server credentials").bind("127.0.0.1:0").await;
        let server = serve(incoming.expect("bound"), greeter(&reached));
        Self { ca, server, reached }
    }

    fn tls(&self) -> ChannelCredentials {
        ChannelCredentials::tls(trusting(&self.ca))
    }

    async fn channel(&self, credentials: ChannelCredentials) -> Channel {
        connect(self.server.https("localhost"), credentials).await.expect("connected")
    }

    /// One call with these credentials, given in this way.
    async fn call(&self, way: Way, credentials: impl CallCredentials) -> Result<(), Status> {
        match way {
            Way::Channel => {
                let channel = self.channel(self.tls().with_call_credentials(credentials)).await;
                greet(&channel, hello()).await
            }
            Way::Call => {
                let channel = self.channel(self.tls()).await;
                greet(&channel, hello().call_credentials(credentials)).await
            }
        }
    }
}

fn hello() -> Request<HelloRequest> {
    Request::new(HelloRequest { name: "you".to_owned() })
}

async fn greet(channel: &Channel, request: Request<HelloRequest>) -> Result<(), Status> {
    GreeterClient::new(channel.clone()).say_hello(request).await.map(drop)
}

/// A greeter on a Unix socket, or on an address of this machine.
fn local(folder: &Path) -> (Served, Reached, String) {
    let path = folder.join("greeter.sock");
    let reached = Reached::default();
    let incoming = ServerCredentials::local().bind_unix(&path).expect("bound");
    (serve(incoming, greeter(&reached)), reached, format!("unix:{}", path.display()))
}

async fn plaintext(credentials: ServerCredentials, address: &str) -> (Served, Reached) {
    let reached = Reached::default();
    let incoming = credentials.bind(address).await.expect("bound");
    (serve(incoming, greeter(&reached)), reached)
}

fn is_insecure(status: &Status) -> bool {
    matches!(CallError::of(status), Some(CallError::Insecure { .. }))
}

fn details() -> (CallDetails, ChannelSecurityInfo) {
    let call = CallDetails::new("orders.example", SAY_HELLO);
    (call, ChannelSecurityInfo::new("tls", PrivacyAndIntegrity))
}

/// What credentials give by themselves, without a connection.
async fn given_by(
    credentials: &impl CallCredentials,
) -> Result<CallMetadata, CallCredentialsError> {
    keep_logs_awake();
    let (call, security) = details();
    let mut metadata = CallMetadata::default();
    if !credentials.get_metadata_now(&call, &security, &mut metadata)? {
        credentials.get_metadata(&call, &security, &mut metadata).await?;
    }
    Ok(metadata)
}
