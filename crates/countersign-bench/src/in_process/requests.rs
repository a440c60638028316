//! Requests as a tonic server hands them to its layers.

use countersign::ConnectionInfo;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use tonic::body::Body;

/// The method that most subjects call.
pub const METHOD: &str = "/orders.v1.Orders/Get";

/// A method that the gate's rules leave open to everybody.
pub const PUBLIC_METHOD: &str = "/grpc.health.v1.Health/Check";

/// Makes requests of one kind, going round the methods if there are several.
#[derive(Clone, Debug)]
pub struct Requests {
    uris: Vec<Uri>,
    next: usize,
    headers: HeaderMap,
    connection: ConnectionInfo,
}

impl Requests {
    /// Requests without credentials, over this connection.
    pub fn new(connection: &ConnectionInfo) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (TE, "trailers"),
            (CONTENT_TYPE, "application/grpc"),
            (USER_AGENT, "grpc-benchmark/1.0"),
            (HeaderName::from_static("grpc-accept-encoding"), "identity,gzip"),
            (HeaderName::from_static("grpc-timeout"), "5S"),
            (HeaderName::from_static("x-request-id"), "5f0c1e6a-7d7b-4a39-9a34-0f2f6d3c6c11"),
            (
                HeaderName::from_static("traceparent"),
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Self { uris: vec![uri(METHOD)], next: 0, headers, connection: connection.clone() }
    }

    /// With this `authorization`.
    #[must_use]
    pub fn with_authorization(mut self, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("visible ASCII");
        self.headers.insert(AUTHORIZATION, value);
        self
    }

    /// To these methods, one after the other.
    #[must_use]
    pub fn to(mut self, methods: impl IntoIterator<Item = String>) -> Self {
        self.uris = methods.into_iter().map(|method| uri(&method)).collect();
        self
    }

    /// The next request.
    pub fn make(&mut self) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uris[self.next].clone();
        *request.headers_mut() = self.headers.clone();
        request.extensions_mut().insert(self.connection.clone());
        self.next = (self.next + 1) % self.uris.len();
        request
    }
}

fn uri(method: &str) -> Uri {
    format!("https://orders.example{method}").parse().expect("a method path")
}
