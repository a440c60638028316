use std::error::Error;
use std::net::IpAddr;

use bytes::Bytes;
use http::{Request, Response};

use super::*;
use crate::async_trait;
use crate::authentication::{
    AuthenticationError, Authenticator, CallEvidence, Evidence, Introspection, Reason,
};
use crate::credentials::oauth::ClientAuthentication;
use crate::fetch::{FetchError, FetchLimits, HttpClient};
use crate::identity::{PeerAddress, PeerIdentity, SecurityLevel};

/// An endpoint that knows no token, and answers one request for each permit.
#[derive(Clone, Debug)]
struct Slow(Arc<Semaphore>);

#[async_trait]
impl HttpClient for Slow {
    async fn send(
        &self,
        _request: Request<Bytes>,
        _limits: FetchLimits,
    ) -> Result<Response<Bytes>, FetchError> {
        self.0.acquire().await.expect("never closed").forget();
        let answer = Response::builder().header("content-type", "application/json");
        Ok(answer.body(Bytes::from_static(br#"{"active":false}"#)).expect("an answer"))
    }
}

fn tokens(endpoint: &Slow, concurrency: usize) -> Introspection {
    Introspection::new("https://id.example/introspect")
        .authenticated_by(ClientAuthentication::basic("orders", "hidden"))
        .http_client(endpoint.clone())
        .max_concurrent_requests(concurrency)
        .audience("orders")
        .build()
        .expect("settings")
}

fn peer(ip: &str) -> PeerIdentity {
    let ip: IpAddr = ip.parse().expect("an address");
    let address = PeerAddress::Tcp((ip, 1).into());
    PeerIdentity::new(address, None, SecurityLevel::NoSecurity, None, None)
}

async fn asks(tokens: &Introspection, peer: &PeerIdentity, token: &str) -> AuthenticationError {
    let evidence = Evidence::new(peer, CallEvidence::Bearer(token));
    tokens.authenticate(&evidence).await.expect_err("no token is good")
}

/// Begins a question and leaves it.
async fn leaves(tokens: &Introspection, peer: &PeerIdentity, token: &str) {
    tokio::select! {
        biased;
        _ = asks(tokens, peer, token) => {}
        () = std::future::ready(()) => {}
    }
}

fn is_busy(error: &AuthenticationError) -> bool {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    error.reason() == Reason::VerifierUnavailable && cause.contains("too many introspections")
}

#[tokio::test(start_paused = true)]
async fn one_source_takes_its_share_of_the_endpoint_and_not_that_of_others() {
    let endpoint = Slow(Arc::new(Semaphore::new(0)));
    let tokens = tokens(&endpoint, 4);
    let (bad, good) = (peer("2001:db8::1"), peer("2001:db8:0:1::1"));
    for number in 0..2_000 {
        leaves(&tokens, &bad, &format!("t{number}")).await;
    }
    let neighbour = peer("2001:db8::2");
    assert!(is_busy(&asks(&tokens, &bad, "one-more").await));
    assert!(is_busy(&asks(&tokens, &neighbour, "one-more").await), "of the same network");
    // Eight of its own are before it, and it is asked for all the same.
    endpoint.0.add_permits(9);
    assert_eq!(asks(&tokens, &good, "another").await.reason(), Reason::TokenInvalid);
    assert_eq!(endpoint.0.available_permits(), 0, "eight were asked for, and the other");
    // Who waited for its answers may ask again.
    endpoint.0.add_permits(1);
    assert_eq!(asks(&tokens, &bad, "one-more").await.reason(), Reason::TokenInvalid);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_not_told_has_the_room_of_all() {
    let endpoint = Slow(Arc::new(Semaphore::new(0)));
    let tokens = tokens(&endpoint, 4);
    let nobody = PeerIdentity::unknown();
    for number in 0..9 {
        leaves(&tokens, &nobody, &format!("t{number}")).await;
    }
    endpoint.0.add_permits(10);
    assert_eq!(asks(&tokens, &nobody, "one-more").await.reason(), Reason::TokenInvalid);
}

#[test]
fn what_is_counted_is_what_is_under_way() {
    let mut flights = Flights::default();
    let source = Some(Source::of_ip([192, 0, 2, 1].into()));
    let (_known, entry) = watch::channel(None);
    let (first, second) = (key_of("first"), key_of("second"));
    let number = flights.begin(first, source, entry.clone());
    assert!(flights.have_room(source, 2));
    flights.begin(second, source, entry.clone());
    assert!(!flights.have_room(source, 2));
    assert!(flights.have_room(None, 2));
    flights.end(first, number);
    flights.end(first, number);
    assert!(flights.have_room(source, 2));
    assert_eq!(flights.by_source.get(&source), Some(&1), "ended once");
    // After everything was forgotten, one that was under way takes nothing from a new one.
    flights.clear();
    flights.begin(first, source, entry);
    flights.end(first, number);
    assert_eq!((flights.by_token.len(), flights.by_source.get(&source)), (1, Some(&1)));
    flights.clear();
    assert!(flights.by_source.is_empty());
}
