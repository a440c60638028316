//! What a client's credentials add to one call.

use std::hint::black_box;

use countersign::credentials::{
    CachedToken, CallDetails, CallMetadata, ChannelSecurityInfo, FixedToken, TokenSource,
};
use countersign::{BearerToken, CallCredentials, SecurityLevel};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::signing::Key;
use super::{Subject, block_on, consume};

/// Our bearer token, asked as the channel asks it.
pub fn bearer_token(token: &str) -> Box<dyn Subject> {
    at_once(BearerToken::new(token.to_owned()).expect("a token"))
}

/// A cached token that is fresh, of a source that has one for all calls.
pub fn cached_token(token: &str) -> Box<dyn Subject> {
    cached(FixedToken::new(token.to_owned()))
}

/// A cached token that is fresh, of a source that has one for each host: a self-signed JWT. It is
/// signed once.
pub fn cached_self_signed() -> Box<dyn Subject> {
    cached(Key::p256().source())
}

fn cached(source: impl TokenSource) -> Box<dyn Subject> {
    let credentials = CachedToken::new(source);
    let (call, security) = call();
    let mut metadata = CallMetadata::default();
    block_on(credentials.get_metadata(&call, &security, &mut metadata)).expect("a token");
    let watched = credentials.clone();
    let mut subject = at_once(credentials);
    // However often it is handed out, it was fetched once.
    subject.prepare(1_000);
    subject.run();
    assert_eq!(watched.telemetry().refreshed, 1, "a fresh token is not fetched again");
    subject
}

fn call() -> (CallDetails, ChannelSecurityInfo) {
    let call = CallDetails::new("orders.example", "/orders.v1.Orders/Get");
    (call, ChannelSecurityInfo::new("tls", SecurityLevel::PrivacyAndIntegrity))
}

/// Asks credentials that have nothing to wait for.
fn at_once(credentials: impl CallCredentials) -> Box<dyn Subject> {
    let (call, security) = call();
    consume(CallMetadata::default, move |mut metadata| {
        let added = credentials.get_metadata_now(&call, &security, &mut metadata);
        assert!(matches!(added, Ok(true)), "nothing has to be waited for");
        black_box(&metadata).len()
    })
}

/// A hard-coded header: a value that is ready, put into a map that has room.
pub fn ready_header(token: &str) -> Box<dyn Subject> {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("visible ASCII");
    consume(map_with_room, move |mut headers| {
        headers.insert(AUTHORIZATION, value.clone());
        black_box(&headers).len()
    })
}

/// What an interceptor often does: the header's text made for each call.
pub fn formatted_header(token: &str) -> Box<dyn Subject> {
    let token = token.to_owned();
    consume(map_with_room, move |mut headers| {
        let value = HeaderValue::from_str(&format!("Bearer {}", black_box(&token)));
        headers.insert(AUTHORIZATION, value.expect("visible ASCII"));
        black_box(&headers).len()
    })
}

fn map_with_room() -> HeaderMap {
    HeaderMap::with_capacity(8)
}
