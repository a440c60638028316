//! What a client's credentials add to one call.

use std::hint::black_box;

use countersign::credentials::{CallDetails, CallMetadata, ChannelSecurityInfo};
use countersign::{BearerToken, CallCredentials as _, SecurityLevel};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::{Subject, consume};

/// Our bearer token, asked as the channel asks it.
pub fn bearer_token(token: &str) -> Box<dyn Subject> {
    let credentials = BearerToken::new(token.to_owned()).expect("a token");
    let call = CallDetails::new("orders.example", "/orders.v1.Orders/Get");
    let security = ChannelSecurityInfo::new("tls", SecurityLevel::PrivacyAndIntegrity);
    consume(CallMetadata::default, move |mut metadata| {
        let added = credentials.get_metadata_now(&call, &security, &mut metadata);
        assert!(matches!(added, Ok(true)), "a fixed token has nothing to wait for");
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
