//! What is said to Envoy's rate limit service and what it says, as far as it matters here.
//!
//! `envoy.service.ratelimit.v3` and `envoy.extensions.common.ratelimit.v3`. The numbers are those
//! of the published files; what has none here is skipped by whoever reads it.
//!
//! ```proto
//! message RateLimitRequest {
//!   string domain = 1;
//!   repeated RateLimitDescriptor descriptors = 2;
//!   uint32 hits_addend = 3;
//! }
//! message RateLimitDescriptor {
//!   message Entry { string key = 1; string value = 2; }
//!   repeated Entry entries = 1;
//!   google.protobuf.UInt64Value hits_addend = 3;
//! }
//! message RateLimitResponse {
//!   enum Code { UNKNOWN = 0; OK = 1; OVER_LIMIT = 2; }
//!   message DescriptorStatus {
//!     Code code = 1;
//!     RateLimit current_limit = 2;
//!     uint32 limit_remaining = 3;
//!     google.protobuf.Duration duration_until_reset = 4;
//!   }
//!   Code overall_code = 1;
//!   repeated DescriptorStatus statuses = 2;
//! }
//! ```

use std::time::Duration;

use prost::Message;

/// The method.
pub(super) const SHOULD_RATE_LIMIT: &str =
    "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// `RateLimitResponse.Code`.
pub(super) const OK: i32 = 1;
/// `RateLimitResponse.Code`.
pub(super) const OVER_LIMIT: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub(super) struct RateLimitRequest {
    #[prost(string, tag = "1")]
    pub(super) domain: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) descriptors: Vec<RateLimitDescriptor>,
    #[prost(uint32, tag = "3")]
    pub(super) hits_addend: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RateLimitDescriptor {
    #[prost(message, repeated, tag = "1")]
    pub(super) entries: Vec<Entry>,
    #[prost(message, optional, tag = "3")]
    pub(super) hits_addend: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RateLimitResponse {
    #[prost(int32, tag = "1")]
    pub(super) overall_code: i32,
    #[prost(message, repeated, tag = "2")]
    pub(super) statuses: Vec<DescriptorStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DescriptorStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    /// Absent where the service has no limit for the descriptor.
    #[prost(message, optional, tag = "2")]
    pub(super) current_limit: Option<RateLimit>,
    #[prost(uint32, tag = "3")]
    pub(super) limit_remaining: u32,
    #[prost(message, optional, tag = "4")]
    pub(super) duration_until_reset: Option<Length>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RateLimit {
    #[prost(uint32, tag = "1")]
    pub(super) requests_per_unit: u32,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Length {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl Length {
    /// What is less than nothing is nothing.
    pub(super) fn duration(&self) -> Duration {
        match (u64::try_from(self.seconds), u32::try_from(self.nanos)) {
            (Ok(seconds), Ok(nanos)) => Duration::new(seconds, nanos.min(999_999_999)),
            _ => Duration::ZERO,
        }
    }
}
