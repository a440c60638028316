//! `grpc-status-details-bin`, written without going through messages: a `google.rpc.Status` with
//! `ErrorInfo`, `RetryInfo` and `QuotaFailure`. Refusals are what strangers can have as many of as they like.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::HeaderValue;

use crate::quota::Exceeded;

/// `ErrorInfo.domain` of everything that the gate says.
pub(super) const DOMAIN: &str = "countersign";

/// The characters of a decision's ID.
pub(super) const ID_LENGTH: usize = 16;

/// The details of one reason, with room for the decision's ID.
#[derive(Debug)]
pub(super) struct Template {
    raw: Vec<u8>,
    encoded: Vec<u8>,
    /// Where the ID stands in `raw`.
    at: usize,
}

impl Template {
    pub(super) fn new(code: i32, message: &str, reason: &str) -> Self {
        let mut entry = Vec::new();
        text(&mut entry, 1, "decision");
        text(&mut entry, 2, &"0".repeat(ID_LENGTH));
        let mut info = Vec::new();
        text(&mut info, 1, reason);
        text(&mut info, 2, DOMAIN);
        field(&mut info, 3, &entry);
        let mut raw = vec![1 << 3];
        varint(&mut raw, u64::from(code.unsigned_abs()));
        text(&mut raw, 2, message);
        any(&mut raw, "type.googleapis.com/google.rpc.ErrorInfo", &info);
        // The ID is the last thing in the last field of all that it is in.
        let at = raw.len() - ID_LENGTH;
        let encoded = STANDARD_NO_PAD.encode(&raw).into_bytes();
        Self { raw, encoded, at }
    }

    /// The header's value for one decision.
    pub(super) fn fill(
        &self,
        id: &[u8; ID_LENGTH],
        retry: Option<Duration>,
        exceeded: Option<&Exceeded>,
    ) -> HeaderValue {
        let text = match (retry, exceeded) {
            (None, None) => self.patched(id),
            (retry, exceeded) => {
                let mut raw = self.raw.clone();
                raw[self.at..].copy_from_slice(id);
                if let Some(retry) = retry {
                    any(&mut raw, "type.googleapis.com/google.rpc.RetryInfo", &retry_info(retry));
                }
                if let Some(exceeded) = exceeded {
                    let failure = quota_failure(exceeded);
                    any(&mut raw, "type.googleapis.com/google.rpc.QuotaFailure", &failure);
                }
                STANDARD_NO_PAD.encode(&raw).into_bytes()
            }
        };
        HeaderValue::from_maybe_shared(Bytes::from(text)).expect("base64 fits a header")
    }

    /// Encodes the end alone: from the last whole group of three bytes before the ID.
    fn patched(&self, id: &[u8; ID_LENGTH]) -> Vec<u8> {
        let group = self.at / 3;
        let mut end = [0; ID_LENGTH + 2];
        let kept = self.at - group * 3;
        end[..kept].copy_from_slice(&self.raw[group * 3..self.at]);
        end[kept..kept + ID_LENGTH].copy_from_slice(id);
        let mut encoded = self.encoded.clone();
        let written = STANDARD_NO_PAD
            .encode_slice(&end[..kept + ID_LENGTH], &mut encoded[group * 4..])
            .expect("as long as before");
        debug_assert_eq!(written, encoded.len() - group * 4);
        encoded
    }
}

/// The longest that `google.protobuf.Duration` can say: 10,000 years. Stores may say more.
const LONGEST_DELAY: Duration = Duration::from_secs(315_576_000_000);

fn retry_info(delay: Duration) -> Vec<u8> {
    let delay = delay.min(LONGEST_DELAY);
    let mut duration = Vec::new();
    for (number, value) in [(1, delay.as_secs()), (2, u64::from(delay.subsec_nanos()))] {
        if value > 0 {
            duration.push(number << 3);
            varint(&mut duration, value);
        }
    }
    let mut info = Vec::new();
    field(&mut info, 1, &duration);
    info
}

/// One violation: the limit's name as its subject, and a sentence.
fn quota_failure(exceeded: &Exceeded) -> Vec<u8> {
    let mut violation = Vec::new();
    text(&mut violation, 1, exceeded.limit());
    text(&mut violation, 2, &exceeded.to_string());
    let mut failure = Vec::new();
    field(&mut failure, 1, &violation);
    failure
}

/// `Status.details`, one more.
fn any(out: &mut Vec<u8>, kind: &str, value: &[u8]) {
    let mut any = Vec::new();
    text(&mut any, 1, kind);
    field(&mut any, 2, value);
    field(out, 3, &any);
}

fn text(out: &mut Vec<u8>, number: u8, value: &str) {
    field(out, number, value.as_bytes());
}

/// A field of length-delimited wire type.
fn field(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    out.push((number << 3) | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use tonic::{Code, Status};
    use tonic_types::StatusExt;

    #[test]
    fn what_is_written_by_hand_is_read_by_tonic() {
        // Every offset of the ID modulo three, and lengths of one and of two bytes.
        for length in 1..200 {
            let reason = "R".repeat(length);
            let template = Template::new(16, "no", &reason);
            for retry in [None, Some(Duration::from_millis(4_321)), Some(Duration::ZERO)] {
                let mut headers = HeaderMap::new();
                headers.insert("grpc-status", HeaderValue::from_static("16"));
                let value = template.fill(b"0123456789abcdef", retry, None);
                headers.insert("grpc-status-details-bin", value);
                let status = Status::from_header_map(&headers).expect("a status");
                assert_eq!(status.code(), Code::Unauthenticated);
                let details = status.get_error_details();
                let info = details.error_info().expect("ErrorInfo");
                assert_eq!((&info.reason, &*info.domain), (&reason, DOMAIN));
                assert_eq!(info.metadata["decision"], "0123456789abcdef");
                let told = details.retry_info().and_then(|info| info.retry_delay);
                assert_eq!(told, retry, "{length}");
            }
        }
    }

    #[test]
    fn a_delay_is_one_that_protobuf_can_say() {
        let template = Template::new(8, "no", "RATE_LIMITED");
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static("8"));
        let value = template.fill(b"0123456789abcdef", Some(Duration::MAX), None);
        headers.insert("grpc-status-details-bin", value);
        let status = Status::from_header_map(&headers).expect("a status");
        let told = status.get_details_retry_info().and_then(|info| info.retry_delay);
        assert_eq!(told, Some(Duration::from_secs(315_576_000_000)));
    }
}
