use std::path::Path;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use countersign::async_trait;
use countersign::fetch::{FetchError, FetchLimits, HttpClient, HttpsClient};
use countersign::{ClientTls, Identity, RootCertificates};
use http::{Method, Request, Response};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::world::{Failure, PATIENCE, first_line};

/// The provider, in a process that ends with this value.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    control: String,
    roots: RootCertificates,
    _process: Child,
}

/// What a client asks the token endpoint for.
pub(crate) struct TokenRequest {
    client: (&'static str, &'static str),
    resource: &'static str,
    dpop: Option<String>,
    identity: Option<Identity>,
}

impl TokenRequest {
    /// An opaque token for the audience `orders`.
    pub(crate) const OPAQUE: &'static str = "https://orders.test/opaque";
    /// The same, for the audience `billing`.
    pub(crate) const OPAQUE_FOR_ANOTHER: &'static str = "https://orders.test/opaque/billing";
    /// A JWT (RFC 9068) for the audience `orders`.
    pub(crate) const JWT: &'static str = "https://orders.test/jwt";
    /// The same, for the audience `billing`.
    pub(crate) const JWT_FOR_ANOTHER: &'static str = "https://orders.test/jwt/billing";

    pub(crate) fn new(resource: &'static str) -> Self {
        Self { client: ("job", "job-secret"), resource, dpop: None, identity: None }
    }

    /// Bound to the certificate that the client shows.
    pub(crate) fn bound_to(mut self, identity: Identity) -> Self {
        self.client = ("job-bound", "job-bound-secret");
        self.identity = Some(identity);
        self
    }

    /// Bound to the key that made the proof.
    pub(crate) fn proven_by(mut self, proof: String) -> Self {
        self.dpop = Some(proof);
        self
    }
}

impl Provider {
    pub(crate) async fn start(program: &Path, certificates: &Path) -> Result<Self, Failure> {
        let mut process = Command::new("node")
            .arg(program)
            .arg(certificates)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start node: {error}"))?;
        let line = first_line("the provider", &mut process).await?;
        let told: Value = serde_json::from_str(&line)?;
        let text = |name: &str| told[name].as_str().map(str::to_owned).ok_or("not an address");
        Ok(Self {
            issuer: text("issuer")?,
            control: text("control")?,
            roots: RootCertificates::from_pem_file(certificates.join("ca.pem")),
            _process: process,
        })
    }

    /// What asks the provider as we do.
    pub(crate) fn http(&self) -> Patient {
        Patient(HttpsClient::new(self.tls()))
    }

    fn tls(&self) -> ClientTls {
        ClientTls::only_roots(self.roots.clone())
    }

    /// The same with a client certificate.
    pub(crate) fn http_as(&self, identity: Identity) -> Patient {
        Patient(HttpsClient::new(self.tls().identity(identity)))
    }

    pub(crate) fn introspection_endpoint(&self) -> String {
        format!("{}/token/introspection", self.issuer)
    }

    pub(crate) fn token_endpoint(&self) -> String {
        format!("{}/token", self.issuer)
    }

    pub(crate) async fn token(&self, asked: TokenRequest) -> Result<String, Failure> {
        let body = format!(
            "grant_type=client_credentials&scope=read&resource={}",
            asked.resource.replace(':', "%3A").replace('/', "%2F")
        );
        let mut request = self.form("/token", asked.client, body)?;
        if let Some(proof) = asked.dpop {
            request.headers_mut().insert("dpop", proof.parse()?);
        }
        let client = match asked.identity {
            Some(identity) => self.http_as(identity),
            None => self.http(),
        };
        let answer = sent(&client, request).await?;
        let told: Value = serde_json::from_slice(answer.body())?;
        let token = told["access_token"].as_str();
        token.map(str::to_owned).ok_or_else(|| format!("no token: {told}").into())
    }

    /// Takes a token back (RFC 7009).
    pub(crate) async fn revoke(&self, token: &str) -> Result<(), Failure> {
        let body = format!("token={token}");
        let request = self.form("/token/revocation", ("job", "job-secret"), body)?;
        let answer = sent(&self.http(), request).await?;
        match answer.status().as_u16() {
            200 => Ok(()),
            status => Err(format!("the provider does not revoke: {status}").into()),
        }
    }

    /// The key set as it is now.
    pub(crate) async fn keys(&self) -> Result<String, Failure> {
        let request = Request::get(format!("{}/jwks", self.issuer)).body(Bytes::new())?;
        let answer = sent(&self.http(), request).await?;
        Ok(String::from_utf8(answer.body().to_vec())?)
    }

    /// Goes through the provider's second door.
    pub(crate) async fn steer(&self, method: Method, path: &str) -> Result<Value, Failure> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.control));
        let answer = sent(&self.http(), request.body(Bytes::new())?).await?;
        Ok(serde_json::from_slice(answer.body())?)
    }

    /// How often a path was asked for.
    pub(crate) async fn asked(&self, path: &str) -> Result<u64, Failure> {
        let counts = self.steer(Method::GET, "/counts").await?;
        Ok(counts[path].as_u64().unwrap_or(0))
    }

    fn form(
        &self,
        path: &str,
        (id, secret): (&str, &str),
        body: String,
    ) -> Result<Request<Bytes>, Failure> {
        let basic = STANDARD.encode(format!("{id}:{secret}"));
        let request = Request::post(format!("{}{path}", self.issuer))
            .header("authorization", format!("Basic {basic}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(body))?;
        Ok(request)
    }
}

async fn sent(client: &Patient, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
    Ok(client.send(request, FetchLimits::default()).await?)
}

/// Gives the provider all the time that a busy machine needs. What happens to those who ask for
/// too long is tested elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Patient(HttpsClient);

#[async_trait]
impl HttpClient for Patient {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: FetchLimits,
    ) -> Result<Response<Bytes>, FetchError> {
        self.0.send(request, FetchLimits { timeout: PATIENCE, ..limits }).await
    }
}
