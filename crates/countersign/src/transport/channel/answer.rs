//! What became of a call that has no answer of gRPC's: another answer, or none.

use std::error::Error;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use tonic::{Code, Status};

use super::body::Awaited;
use super::error::CallError;

/// An answer that only HTTP knows: from a proxy, perhaps, or a server of another kind. Its body
/// is not for us (gRPC's "HTTP to gRPC Status Code Mapping"), and what it is not called is not
/// read as messages.
pub(super) fn refuse_other_answers(
    head: &http::response::Parts,
    address: &str,
) -> Result<(), CallError> {
    let kind = head.headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    let is_grpc = kind.get(..16).is_some_and(|it| it.eq_ignore_ascii_case(b"application/grpc"));
    let is_answer = head.status == StatusCode::OK && is_grpc;
    if is_answer || head.headers.contains_key(Status::GRPC_STATUS) {
        return Ok(());
    }
    let code = match head.status {
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    };
    // Whoever answered chose it.
    let kind = String::from_utf8_lossy(&kind[..kind.len().min(64)]);
    let detail = match is_grpc {
        true => format!("HTTP status {}", head.status),
        false => format!("HTTP status {}, content-type {kind:?}", head.status),
    };
    Err(CallError::Transport {
        sentence: format!("the answer is not one of gRPC's ({address}: {detail})"),
        code: code as i32,
        source: detail.into(),
    })
}

/// A call that was sent, at least in part, and did not come back.
pub(super) fn transport_error(error: hyper::Error, address: &str, request: &Awaited) -> CallError {
    // Then nobody else is to blame, and the stream was reset by us.
    if let Some(status) = request.broke_off() {
        return CallError::Request(status);
    }
    let (code, what) = match stream_error(&error) {
        // Found out here and not said by the server.
        Some(error) if error.is_library() => {
            (Code::Internal, "the answer breaks the rules of HTTP/2, or our limits")
        }
        // The table of the gRPC-over-HTTP/2 specification, "Errors".
        Some(error) => match error.reason() {
            Some(h2::Reason::REFUSED_STREAM) => {
                (Code::Unavailable, "the server refused the stream")
            }
            Some(h2::Reason::CANCEL) => (Code::Cancelled, "the server cancelled the stream"),
            Some(h2::Reason::ENHANCE_YOUR_CALM | h2::Reason::FLOW_CONTROL_ERROR) => {
                (Code::ResourceExhausted, "the server asks for less")
            }
            Some(h2::Reason::INADEQUATE_SECURITY) => {
                (Code::PermissionDenied, "the server asks for more security")
            }
            _ => (Code::Internal, "the server broke off the stream"),
        },
        None => (Code::Unavailable, "the connection was lost"),
    };
    let detail = deepest(&error);
    CallError::Transport {
        sentence: format!("{what} ({address}: {detail})"),
        code: code as i32,
        source: Box::new(error),
    }
}

/// What ended the stream alone, and not the whole connection.
fn stream_error(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            return h2.reason().is_some_and(|_| !h2.is_go_away()).then_some(h2);
        }
        source = cause.source();
    }
    None
}

fn deepest(error: &dyn Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
