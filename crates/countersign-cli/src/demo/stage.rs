//! The demo's servers and everything that callers need.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::authentication::api_keys::{
    ApiKeys, KeyIssuer, KeyIssuerError, MemoryKeys, NewKey,
};
use countersign::quota::{Limit, Quota};
use countersign::{
    ClientCertificates, ClientTls, Drain, Gate, Identity, MutualTls, RootCertificates, Rules,
    Secret, ServerCredentials, StaticTokens, server_builder,
};
use countersign_testkit::greeter::{FILE_DESCRIPTOR_SET, GREETER, Greeter};
use countersign_testkit::pki::{Certificate, CertificateAuthority};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::tokens::Tokens;
use crate::output::Failure;

/// The token that the server knows, and as whom.
pub(super) const TOKEN: &str = "demo-token-alice-5d41402abc4b2a76";
pub(super) const TOKEN_PRINCIPAL: &str = "alice";
/// The token of somebody who calls too often.
pub(super) const BUSY_TOKEN: &str = "demo-token-dave-7c4a8d09ca3762af";
/// How often anybody may call within a minute.
pub(super) const QUOTA: u64 = 20;
/// The scope without which nobody gets a stream of greetings.
pub(super) const STREAM_SCOPE: &str = "greeter:stream";
/// Who has the API keys.
pub(super) const KEY_OWNER: &str = "ci";
/// The name in the client certificate.
pub(super) const CLIENT: &str = "spiffe://demo.example/bob";

/// Three servers: the greeter, one whose certificate is expired, and one without TLS.
pub(super) struct Stage {
    pub(super) greeter: Running,
    pub(super) expired: Running,
    pub(super) plaintext: Running,
    /// Requests that reached the server without TLS, whether it let them pass or not.
    pub(super) plaintext_requests: Arc<AtomicUsize>,
    pub(super) tokens: Tokens,
    pub(super) api_key: Secret<String>,
    /// Was good once.
    pub(super) revoked_api_key: Secret<String>,
    ca: CertificateAuthority,
    other_ca: CertificateAuthority,
    bob: Certificate,
    mallory: Certificate,
}

/// A server in a task of its own.
pub(super) struct Running {
    address: SocketAddr,
    drain: Drain,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Stage {
    pub(super) async fn build() -> Result<Self, Failure> {
        let tokens = Tokens::new()?;
        let store = MemoryKeys::new();
        let (api_key, revoked_api_key) = api_keys(&store).await?;
        let gate = || gate(&tokens, &store);
        let ca = CertificateAuthority::new("demo CA");
        let other_ca = CertificateAuthority::new("somebody else's CA");
        let bob = ca.client(&[CLIENT]);
        let mallory = other_ca.client(&[CLIENT]);
        let names = ["localhost", "127.0.0.1"];
        let expired = names
            .iter()
            .fold(ca.issue(), |leaf, name| leaf.name(name))
            .for_server()
            .expired()
            .build();

        let greeter = start(tls(&ca.server(&names), &ca)?, gate()?, None).await?;
        let expired = start(tls(&expired, &ca)?, gate()?, None).await?;
        let plaintext_requests = Arc::new(AtomicUsize::new(0));
        let counted = Some(Arc::clone(&plaintext_requests));
        let plaintext = start(ServerCredentials::insecure(), gate()?, counted).await?;
        Ok(Self {
            greeter,
            expired,
            plaintext,
            plaintext_requests,
            tokens,
            api_key,
            revoked_api_key,
            ca,
            other_ca,
            bob,
            mallory,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.greeter.address
    }

    /// What a client needs to trust the greeter.
    pub(super) fn trusting(&self) -> ClientTls {
        ClientTls::only_roots(RootCertificates::from_pem(self.ca.certificate_pem()))
    }

    /// A client that trusts somebody else.
    pub(super) fn trusting_others(&self) -> ClientTls {
        ClientTls::only_roots(RootCertificates::from_pem(self.other_ca.certificate_pem()))
    }

    pub(super) fn bob(&self) -> Identity {
        identity(&self.bob)
    }

    /// A token that is worth something only with Bob's certificate.
    pub(super) fn token_bound_to_bob(&self) -> Result<String, Failure> {
        self.tokens.bound_to(&self.bob.chain_der()[0])
    }

    /// Says that it is Bob, and somebody else's CA signed it.
    pub(super) fn mallory(&self) -> Identity {
        identity(&self.mallory)
    }

    /// Writes what command-line tools need into a folder that goes away with its value.
    pub(super) fn write_certificates(&self) -> Result<tempfile::TempDir, Failure> {
        let unwritten =
            |error: std::io::Error| Failure::config("cannot write certificates").because(&error);
        let folder = tempfile::tempdir().map_err(unwritten)?;
        std::fs::write(folder.path().join("ca.pem"), self.ca.certificate_pem())
            .map_err(unwritten)?;
        self.bob.write(folder.path(), "bob").map_err(unwritten)?;
        Ok(folder)
    }

    pub(super) async fn clear(self) {
        for server in [self.greeter, self.expired, self.plaintext] {
            server.drain.start(Duration::from_millis(100));
            drop(server.stop);
            // However it ended, it has ended.
            let _ = server.served.await;
        }
    }
}

impl Running {
    pub(super) fn target(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}", self.address.port())
    }
}

fn identity(certificate: &Certificate) -> Identity {
    Identity::from_pem(certificate.chain_pem(), certificate.key_pem())
}

fn tls(
    certificate: &Certificate,
    clients: &CertificateAuthority,
) -> Result<ServerCredentials, Failure> {
    let roots = RootCertificates::from_pem(clients.certificate_pem());
    ServerCredentials::tls(identity(certificate))
        .client_certificates(ClientCertificates::optional(roots))
        .build()
        .map_err(|error| Failure::config("cannot use the demo's certificates").because(&error))
}

/// Two API keys, the second of them revoked.
async fn api_keys(store: &MemoryKeys) -> Result<(Secret<String>, Secret<String>), Failure> {
    let failed =
        |error: KeyIssuerError| Failure::config("cannot make the demo's API keys").because(&error);
    let issuer = KeyIssuer::new(store.clone());
    let good = issuer.create(NewKey::new(KEY_OWNER).scope("greeter")).await.map_err(failed)?;
    let revoked = issuer.create(NewKey::new(KEY_OWNER).scope("greeter")).await.map_err(failed)?;
    issuer.revoke(&revoked.record().id, "it was found in a log").await.map_err(failed)?;
    Ok((good.key().clone(), revoked.key().clone()))
}

fn gate(tokens: &Tokens, keys: &MemoryKeys) -> Result<Gate, Failure> {
    let rules = Rules::new()
        .health_is_public()
        .reflection_is_authenticated()
        .authenticated(GREETER)
        .with_scopes("/countersign.demo.v1.Greeter/SayHelloStream", [STREAM_SCOPE])
        .denied("/countersign.demo.v1.Greeter/Reset");
    let tokens_of_people =
        StaticTokens::new().with_token(TOKEN_PRINCIPAL, TOKEN).with_token("dave", BUSY_TOKEN);
    Gate::builder()
        .authenticate(tokens_of_people)
        .authenticate(tokens.authenticator()?)
        .authenticate(ApiKeys::from_store(keys.clone()))
        .authenticate(MutualTls::new())
        .authorize(rules)
        .quota(quota()?)
        .build()
        .map_err(|error| Failure::config("cannot build the demo's gate").because(&error))
}

fn quota() -> Result<Quota, Failure> {
    let unusable = "cannot use the demo's quota";
    let limit = Limit::new(QUOTA, Duration::from_secs(60))
        .map_err(|error| Failure::config(unusable).because(&error))?;
    Quota::new().per_caller(limit).map_err(|error| Failure::config(unusable).because(&error))
}

async fn start(
    credentials: ServerCredentials,
    gate: Gate,
    requests: Option<Arc<AtomicUsize>>,
) -> Result<Running, Failure> {
    let incoming = credentials
        .bind("127.0.0.1:0")
        .await
        .map_err(|error| Failure::config("cannot listen on this machine").because(&error))?;
    let address = incoming.local_addr().expect("a TCP listener");
    let drain = incoming.drain();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = drain.after(
        async {
            // Dropped means to stop.
            let _ = stopped.await;
        },
        Duration::from_secs(1),
    );
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| Failure::config("cannot describe the greeter").because(&error))?;
    let count = move |request: http::Request<tonic::body::Body>| {
        if let Some(requests) = &requests {
            requests.fetch_add(1, Ordering::Relaxed);
        }
        request
    };
    let served = server_builder()
        .layer(tower::util::MapRequestLayer::new(count))
        .layer(gate)
        .add_service(health)
        .add_service(reflection)
        .add_service(Greeter.service())
        .serve_with_incoming_shutdown(incoming, shutdown);
    Ok(Running { address, drain, stop, served: tokio::spawn(served) })
}
