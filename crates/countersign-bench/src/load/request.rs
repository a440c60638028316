//! Requests made beforehand, and the check of their replies.

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::{Method, Request, StatusCode};

use super::LoadError;
use crate::serve::PATH;

/// Of the payload, as many as a small call has.
pub(crate) const PAYLOAD_BYTES: usize = 100;

const RESOURCE_EXHAUSTED: u32 = 8;
const UNAUTHENTICATED: u32 = 16;

/// What a reply has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The payload, and status `OK`.
    Echo,
    /// This status and no payload.
    Refusal(u8),
    /// Not proven, or refused unseen after too many such: `UNAUTHENTICATED` or
    /// `RESOURCE_EXHAUSTED`, and no payload.
    Denied,
}

/// One caller's request, ready to be sent any number of times.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    headers: HeaderMap,
    uri: http::Uri,
    body: Bytes,
    expect: Expect,
    /// Whether it comes from another address, over a connection of its own.
    pub(super) stranger: bool,
}

impl Prepared {
    /// Comes from a stranger's address, over connections of its own, and is denied.
    #[must_use]
    pub(crate) fn by_stranger(mut self) -> Self {
        (self.stranger, self.expect) = (true, Expect::Denied);
        self
    }

    /// Whether it comes from a stranger.
    #[cfg(test)]
    pub(crate) fn is_from_stranger(&self) -> bool {
        self.stranger
    }

    /// The gRPC frame that is sent.
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }
}

/// A request for the echo, with a bearer token if there is one.
///
/// # Panics
///
/// On a token that no header can hold.
pub(crate) fn prepare(tls: bool, token: Option<&str>, expect: Expect) -> Prepared {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.expect("tokens are base64 or hexadecimal");
        // As our channel and grpc-go do: never in an index that others could probe.
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let scheme = if tls { "https" } else { "http" };
    let uri = format!("{scheme}://localhost{PATH}").parse().expect("a constant");
    let body = frame(&echo_message());
    Prepared { headers, uri, body, expect, stranger: false }
}

/// The message that is echoed.
pub(crate) fn echo_message() -> Bytes {
    payload(&[b'c'; PAYLOAD_BYTES])
}

/// `Payload { data }` in protobuf's encoding: field 1, length-delimited.
fn payload(data: &[u8]) -> Bytes {
    const FIELD_1_BYTES: u8 = 0x0a;
    let mut message = BytesMut::new();
    message.put_u8(FIELD_1_BYTES);
    let mut length = data.len();
    while length >= 0x80 {
        message.put_u8(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
        length >>= 7;
    }
    message.put_u8(u8::try_from(length).unwrap_or(0));
    message.put_slice(data);
    message.freeze()
}

/// gRPC's frame around a message: not compressed, four bytes of length.
fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// Sends a request, and checks the reply's status and body. Whether it was a refusal.
pub(super) async fn exchange(
    connection: &mut SendRequest<Bytes>,
    prepared: &Prepared,
) -> Result<bool, LoadError> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = prepared.uri.clone();
    *request.headers_mut() = prepared.headers.clone();
    let (response, mut body) = connection.send_request(request, false)?;
    // A server that refuses at the headers may close the stream before it has the body.
    let sent = body.send_data(prepared.body.clone(), true);
    let response = response.await?;
    if prepared.expect == Expect::Echo {
        sent?;
    }

    let (parts, mut body) = response.into_parts();
    let mut received = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        received.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?;
    let seen = Seen {
        http: parts.status,
        headers: &parts.headers,
        trailers: trailers.as_ref(),
        body: &received,
    };
    seen.check(&prepared.body, prepared.expect)
}

/// A reply.
struct Seen<'a> {
    http: StatusCode,
    headers: &'a HeaderMap,
    trailers: Option<&'a HeaderMap>,
    body: &'a [u8],
}

impl Seen<'_> {
    /// Whether it is a refusal; an error when it is anything but what is expected.
    fn check(&self, sent: &[u8], expect: Expect) -> Result<bool, LoadError> {
        let wrong = |what: String| Err(LoadError::Reply(what));
        if self.http != StatusCode::OK {
            return wrong(format!("HTTP status {}", self.http.as_u16()));
        }
        let Some(status) = self.status() else {
            return wrong("no grpc-status".to_owned());
        };
        match expect {
            Expect::Echo if status != 0 => {
                wrong(format!("grpc-status {status}, expected 0; {}", self.message()))
            }
            Expect::Echo if self.body != sent => {
                wrong(format!("{} bytes that are not those that were sent", self.body.len()))
            }
            Expect::Echo => Ok(false),
            Expect::Refusal(code) if status != u32::from(code) => {
                wrong(format!("grpc-status {status}, expected {code}"))
            }
            Expect::Denied if !matches!(status, UNAUTHENTICATED | RESOURCE_EXHAUSTED) => {
                wrong(format!("grpc-status {status}, expected 16 or 8"))
            }
            Expect::Refusal(_) | Expect::Denied if !self.body.is_empty() => {
                wrong("a refusal with a message".to_owned())
            }
            Expect::Refusal(_) | Expect::Denied => Ok(true),
        }
    }

    /// In the trailers, or in the headers when there is nothing else.
    fn status(&self) -> Option<u32> {
        let of = |headers: &HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
        match self.trailers {
            Some(trailers) => of(trailers),
            None => of(self.headers),
        }
    }

    fn message(&self) -> String {
        let headers = self.trailers.unwrap_or(self.headers);
        let message = headers.get("grpc-message").and_then(|message| message.to_str().ok());
        message.unwrap_or("no grpc-message").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static(code),
        )])
    }

    fn checked(trailers: &HeaderMap, body: &[u8], expect: Expect) -> Option<bool> {
        let headers = HeaderMap::new();
        let seen = Seen { http: StatusCode::OK, headers: &headers, trailers: Some(trailers), body };
        seen.check(b"sent", expect).ok()
    }

    #[test]
    fn a_frame_is_a_flag_a_length_and_the_message() {
        assert_eq!(frame(b"abc").as_ref(), b"\0\0\0\0\x03abc");
        assert_eq!(frame(b"").as_ref(), b"\0\0\0\0\0");
    }

    #[test]
    fn a_payload_is_one_length_delimited_field() {
        assert_eq!(payload(b"abc").as_ref(), b"\x0a\x03abc");
        assert_eq!(payload(&[7; 300])[..3], [0x0a, 0xac, 0x02]);
    }

    #[test]
    fn a_prepared_request_carries_its_token_and_the_echo_is_100_bytes() {
        let prepared = prepare(true, Some("abc"), Expect::Echo);
        assert_eq!(prepared.headers[AUTHORIZATION], "Bearer abc");
        assert_eq!(prepared.uri, "https://localhost/countersign.bench.v1.Echo/Call");
        assert_eq!(prepared.body.len(), 5 + 2 + PAYLOAD_BYTES);
        assert!(prepare(false, None, Expect::Echo).headers.get(AUTHORIZATION).is_none());
    }

    #[test]
    fn an_echo_is_right_only_with_its_status_and_its_body() {
        assert_eq!(checked(&status("0"), b"sent", Expect::Echo), Some(false));
        assert_eq!(checked(&status("0"), b"else", Expect::Echo), None);
        assert_eq!(checked(&status("16"), b"sent", Expect::Echo), None);
        assert_eq!(checked(&HeaderMap::new(), b"sent", Expect::Echo), None);
    }

    #[test]
    fn a_refusal_is_right_only_with_its_status_and_nothing_else() {
        assert_eq!(checked(&status("16"), b"", Expect::Refusal(16)), Some(true));
        assert_eq!(checked(&status("7"), b"", Expect::Refusal(16)), None);
        assert_eq!(checked(&status("0"), b"", Expect::Refusal(16)), None);
        assert_eq!(checked(&status("16"), b"sent", Expect::Refusal(16)), None);
    }

    #[test]
    fn a_stranger_is_denied_in_either_of_two_ways_and_never_let_in() {
        assert!(prepare(true, None, Expect::Echo).by_stranger().expect == Expect::Denied);
        for (code, told) in [("16", Some(true)), ("8", Some(true)), ("7", None), ("0", None)] {
            assert_eq!(checked(&status(code), b"", Expect::Denied), told, "{code}");
        }
        assert_eq!(checked(&status("16"), b"sent", Expect::Denied), None);
    }

    #[test]
    fn a_status_in_the_headers_counts_when_there_are_no_trailers() {
        let headers = status("16");
        let seen = Seen { http: StatusCode::OK, headers: &headers, trailers: None, body: b"" };
        assert!(seen.check(b"sent", Expect::Refusal(16)).expect("as expected"));
    }
}
