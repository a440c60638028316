use std::error::Error;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use countersign::authentication::Authenticator;
use countersign::{
    BearerToken, CallCredentials, Channel, ChannelCredentials, ClientCertificates,
    ClientRequestExt, ClientTls, Gate, Identity, RootCertificates, Rules, ServerCredentials,
    connect,
};
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{GREETER, GreeterClient, TestServer};
use countersign_testkit::pki::{CertificateAuthority, self_signed};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tonic::Request;
use tonic_types::StatusExt;

use crate::provider::Provider;

/// For whatever takes a moment where nothing else is to be done.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) type Failure = Box<dyn Error + Send + Sync>;
pub(crate) type Outcome = Result<(), Failure>;

/// One thing that has to hold.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(World) -> Pin<Box<dyn Future<Output = Outcome>>>,
}

/// Lists scenarios: `scenarios! { "name" => function, }`.
macro_rules! scenarios {
    ($($name:literal => $run:path,)*) => {
        vec![$(crate::world::Scenario { name: $name, run: |world| Box::pin($run(world)) }),*]
    };
}
pub(crate) use scenarios;

/// A provider, and the certificates that everybody uses.
pub(crate) struct World {
    pub(crate) provider: Provider,
    /// The grpc-go peer's program.
    pub(crate) grpc_go: PathBuf,
    certificates: PathBuf,
}

/// How a call shows its token.
pub(crate) enum Shown<'a> {
    Bearer(&'a str),
    /// With a proof for the call (RFC 9449).
    Dpop(&'a str, Option<String>),
}

impl World {
    pub(crate) async fn start(
        program: &Path,
        grpc_go: &Path,
        certificates: &Path,
    ) -> Result<Self, Failure> {
        std::fs::create_dir_all(certificates)?;
        let ca = CertificateAuthority::new("interop CA");
        std::fs::write(certificates.join("ca.pem"), ca.certificate_pem())?;
        ca.server(&["localhost", "127.0.0.1"]).write(certificates, "server")?;
        ca.client(&["spiffe://interop.test/client"]).write(certificates, "client")?;
        ca.client(&["spiffe://interop.test/other"]).write(certificates, "other-client")?;
        self_signed(&["job.test"]).write(certificates, "self-signed")?;
        let provider = Provider::start(program, certificates).await?;
        Ok(Self { provider, grpc_go: grpc_go.to_owned(), certificates: certificates.to_owned() })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.certificates.join(name)
    }

    /// The certificate of `client`, `other-client` or `self-signed`.
    pub(crate) fn identity(&self, name: &str) -> Identity {
        let file = |kind: &str| self.file(&format!("{name}.{kind}"));
        Identity::from_pem_files(file("pem"), file("key"))
    }

    pub(crate) fn roots(&self) -> RootCertificates {
        RootCertificates::from_pem_file(self.file("ca.pem"))
    }

    /// A greeter behind a gate that lets in whom the authenticator knows.
    pub(crate) async fn serve(&self, by: impl Authenticator) -> Result<TestServer, Failure> {
        let gate = Gate::builder()
            .authenticate(by)
            .authorize(Rules::new().authenticated(GREETER))
            .build()?;
        let incoming = ServerCredentials::tls(self.identity("server"))
            .client_certificates(ClientCertificates::optional(self.roots()))
            .build()?
            .bind("127.0.0.1:0")
            .await?;
        Ok(TestServer::start(incoming, Some(gate)))
    }

    /// Makes one call over a connection of its own: the principal that the handler saw, or the
    /// reason of the refusal.
    pub(crate) async fn call(
        &self,
        server: &TestServer,
        identity: Option<Identity>,
        shown: Shown<'_>,
    ) -> Result<String, Failure> {
        greet(&self.connect(server, identity).await?, shown).await
    }

    /// A connection, with a client certificate or without.
    pub(crate) async fn connect(
        &self,
        server: &TestServer,
        identity: Option<Identity>,
    ) -> Result<Channel, Failure> {
        let mut tls = ClientTls::only_roots(self.roots());
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        Ok(connect(server.https("localhost"), ChannelCredentials::tls(tls)).await?)
    }

    /// A connection that carries these call credentials, with a client certificate or without.
    pub(crate) async fn connect_with(
        &self,
        target: &str,
        identity: Option<Identity>,
        credentials: Arc<dyn CallCredentials>,
    ) -> Result<Channel, Failure> {
        let mut tls = ClientTls::only_roots(self.roots());
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        let credentials = ChannelCredentials::tls(tls).with_call_credentials(credentials);
        Ok(connect(target, credentials).await?)
    }

    /// The same with a bearer token and no certificate.
    pub(crate) async fn bearer(&self, server: &TestServer, token: &str) -> Result<String, Failure> {
        self.call(server, None, Shown::Bearer(token)).await
    }
}

/// Makes one call.
pub(crate) async fn greet(channel: &Channel, shown: Shown<'_>) -> Result<String, Failure> {
    let mut request = Request::new(HelloRequest { name: "interop".to_owned() });
    match shown {
        Shown::Bearer(token) => request = request.call_credentials(BearerToken::new(token)?),
        Shown::Dpop(token, proof) => {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", format!("DPoP {token}").parse()?);
            if let Some(proof) = proof {
                metadata.insert("dpop", proof.parse()?);
            }
        }
    }
    Ok(said(channel, request).await)
}

/// Makes one call with the channel's own credentials: the principal that the handler saw, or code
/// and reason of the failure.
pub(crate) async fn hello(channel: &Channel) -> String {
    said(channel, Request::new(HelloRequest { name: "interop".to_owned() })).await
}

async fn said(channel: &Channel, request: Request<HelloRequest>) -> String {
    match GreeterClient::new(channel.clone()).say_hello(request).await {
        Ok(reply) => reply.into_inner().principal,
        Err(status) => {
            let reason = status.get_details_error_info().map(|info| info.reason);
            format!("{:?} {}", status.code(), reason.unwrap_or_default())
        }
    }
}

/// What was told has to be what was wanted.
pub(crate) fn expect(what: &str, told: impl AsRef<str>, wanted: impl AsRef<str>) -> Outcome {
    match (told.as_ref(), wanted.as_ref()) {
        (told, wanted) if told == wanted => Ok(()),
        (told, wanted) => Err(format!("{what}: wanted `{wanted}`, found `{told}`").into()),
    }
}

/// What a program says first. It says it once it is ready.
pub(crate) async fn first_line(name: &str, process: &mut Child) -> Result<String, Failure> {
    let output = process.stdout.take().ok_or_else(|| format!("{name} has no output"))?;
    let mut lines = BufReader::new(output).lines();
    let first = async {
        match lines.next_line().await? {
            Some(line) => Ok(line),
            None => Err(format!("{name} ended with {}", process.wait().await?).into()),
        }
    };
    let late = |_| Err(format!("{name} did not start within {} s", PATIENCE.as_secs()).into());
    tokio::time::timeout(PATIENCE, first).await.unwrap_or_else(late)
}
