//! Quotas kept by Envoy's rate limit service.

mod messages;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use self::messages::{
    DescriptorStatus, Entry, OK, OVER_LIMIT, RateLimitDescriptor, RateLimitRequest,
    RateLimitResponse, SHOULD_RATE_LIMIT,
};
use super::channel::Channel;
use crate::quota::Allowance;
use crate::quota::store::{Bucket, QuotaStore, QuotaStoreError, QuotaStoreErrorKind};

/// Quotas kept by Envoy's rate limit service
/// (`envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`). Needs the feature
/// `envoy-ratelimit`.
///
/// Each bucket is a descriptor, with the bucket's entries in their order: `caller`, `method`,
/// `tenant`, `address`. A bucket without entries is `generic_key=all`. A value that is empty, has
/// more than 160 bytes or begins with `sha256=` becomes `sha256=` and its hash. The cost is `hits_addend`; where buckets have different
/// ones, that of each descriptor, which services know since 2025.
///
/// How much is allowed says the service, by its own configuration. The limits that are given here
/// count only for [`WhenDown::Share`](crate::quota::store::WhenDown). The service counts a call
/// for all descriptors, even where it refuses it for one of them.
///
/// ```no_run
/// use countersign::quota::store::{SharedQuota, WhenDown};
/// use countersign::{ChannelCredentials, ClientTls, EnvoyRateLimit, connect_lazy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let credentials = ChannelCredentials::tls(ClientTls::system_roots());
/// let channel = connect_lazy("https://ratelimit.example:8081", credentials)?;
/// let quota = SharedQuota::new(EnvoyRateLimit::new(channel, "orders"), WhenDown::Allow);
/// # drop(quota);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct EnvoyRateLimit {
    channel: Channel,
    domain: Arc<str>,
}

impl EnvoyRateLimit {
    /// An answer is small: some numbers for each descriptor.
    const MAX_ANSWER_BYTES: usize = 64 * 1024;
    const MAX_VALUE_BYTES: usize = 160;

    /// The service that a channel leads to, and the domain that its configuration names.
    pub fn new(channel: Channel, domain: impl Into<Arc<str>>) -> Self {
        Self { channel, domain: domain.into() }
    }

    fn request(&self, buckets: &[Bucket<'_>]) -> RateLimitRequest {
        // One cost for all is what every service understands; 0 would mean 1 there.
        let cost = buckets.first().map_or(1, Bucket::taken);
        let same = buckets.iter().all(|bucket| bucket.taken() == cost);
        let hits_addend = u32::try_from(cost).ok().filter(|cost| same && *cost > 0);
        let descriptor = |bucket: &Bucket<'_>| RateLimitDescriptor {
            entries: entries(bucket),
            hits_addend: hits_addend.is_none().then(|| bucket.taken()),
        };
        RateLimitRequest {
            domain: self.domain.to_string(),
            descriptors: buckets.iter().map(descriptor).collect(),
            hits_addend: hits_addend.unwrap_or(0),
        }
    }
}

#[async_trait]
impl QuotaStore for EnvoyRateLimit {
    async fn take(&self, buckets: &[Bucket<'_>]) -> Result<Vec<Allowance>, QuotaStoreError> {
        let mut client =
            Grpc::new(self.channel.clone()).max_decoding_message_size(Self::MAX_ANSWER_BYTES);
        let path = PathAndQuery::from_static(SHOULD_RATE_LIMIT);
        let codec = ProstCodec::<RateLimitRequest, RateLimitResponse>::default();
        // Our channel is always ready: a call waits for its connection itself.
        client.ready().await.map_err(failed)?;
        let request = Request::new(self.request(buckets));
        let response = client.unary(request, path, codec).await.map_err(failed)?;
        answer(response.get_ref(), buckets)
    }
}

fn entries(bucket: &Bucket<'_>) -> Vec<Entry> {
    let entry = |key: &str, value: Cow<'_, str>| Entry { key: key.into(), value: value.into() };
    if bucket.entries().len() == 0 {
        return vec![entry("generic_key", "all".into())];
    }
    bucket.entries().map(|(key, value)| entry(key, shortened(value))).collect()
}

/// The service's contract has no empty values. Nobody may choose what stands for another's value.
fn shortened(value: &str) -> Cow<'_, str> {
    let fits = (1..=EnvoyRateLimit::MAX_VALUE_BYTES).contains(&value.len());
    if fits && !value.starts_with("sha256=") {
        return value.into();
    }
    let hash = digest(&SHA256, value.as_bytes());
    format!("sha256={}", URL_SAFE_NO_PAD.encode(hash)).into()
}

/// The overall code decides; the statuses say which descriptor it was, and until when.
fn answer(
    response: &RateLimitResponse,
    buckets: &[Bucket<'_>],
) -> Result<Vec<Allowance>, QuotaStoreError> {
    let over = match response.overall_code {
        OK => false,
        OVER_LIMIT => true,
        code => {
            let what = format!("the rate limit service answered with the code {code}");
            return Err(QuotaStoreError::new(QuotaStoreErrorKind::Answer, what));
        }
    };
    let statuses = &response.statuses;
    let fits = statuses.len() == buckets.len();
    let named = fits && statuses.iter().any(|status| status.code == OVER_LIMIT);
    let said = |(at, bucket): (usize, &Bucket<'_>)| {
        let status = statuses.get(at).filter(|_| fits);
        let allowed = !over || (named && status.is_some_and(|status| status.code != OVER_LIMIT));
        Allowance {
            allowed,
            remaining: if allowed { remaining(status, bucket) } else { 0 },
            // Where it does not say when, nobody knows.
            retry_after_ns: Some(if allowed { 0 } else { wait(status) }),
        }
    };
    Ok(buckets.iter().enumerate().map(said).collect())
}

/// Where the service has no limit, our own is the most that can be said.
fn remaining(status: Option<&DescriptorStatus>, bucket: &Bucket<'_>) -> u64 {
    match status {
        Some(status) if status.current_limit.is_some() => status.limit_remaining.into(),
        _ => bucket.limit().burst(),
    }
}

fn wait(status: Option<&DescriptorStatus>) -> u128 {
    let status = status.filter(|status| status.code == OVER_LIMIT);
    let until = status.and_then(|status| status.duration_until_reset.as_ref());
    until.map_or(0, |until| until.duration().as_nanos())
}

fn failed(status: Status) -> QuotaStoreError {
    let (kind, what) = match status.code() {
        Code::Unavailable => {
            (QuotaStoreErrorKind::Unreachable, "the rate limit service cannot be reached")
        }
        Code::DeadlineExceeded => {
            (QuotaStoreErrorKind::TimedOut, "the rate limit service did not answer in time")
        }
        Code::Unauthenticated | Code::PermissionDenied => {
            (QuotaStoreErrorKind::NotAllowed, "the rate limit service does not let us ask")
        }
        _ => (QuotaStoreErrorKind::Answer, "the rate limit service answered with an error"),
    };
    QuotaStoreError::new(kind, what).with_source(status)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::messages::{Length, RateLimit};
    use super::*;
    use crate::quota::Limit;
    use crate::{ChannelCredentials, connect_lazy};

    fn bucket(caller: &'static str) -> Bucket<'static> {
        let limit = Limit::new(7, Duration::from_secs(1)).expect("a limit");
        Bucket::new(limit).entry("caller", caller)
    }

    fn status(code: i32, remaining: u32, seconds: i64) -> DescriptorStatus {
        DescriptorStatus {
            code,
            current_limit: Some(RateLimit { requests_per_unit: 9 }),
            limit_remaining: remaining,
            duration_until_reset: Some(Length::of(seconds)),
        }
    }

    impl Length {
        fn of(seconds: i64) -> Self {
            let mut length = Self::default();
            prost::Message::merge(&mut length, &*encoded(seconds)).expect("a length");
            length
        }
    }

    /// `google.protobuf.Duration` as it is on the wire.
    fn encoded(seconds: i64) -> Vec<u8> {
        let mut bytes = vec![0x08];
        prost::encoding::encode_varint(seconds.cast_unsigned(), &mut bytes);
        bytes
    }

    #[tokio::test]
    async fn costs_are_said_as_every_service_understands_where_that_can_be() {
        let channel = connect_lazy("http://127.0.0.1:1", ChannelCredentials::insecure());
        let service = EnvoyRateLimit::new(channel.expect("a channel"), "orders");
        for (costs, whole, each) in [
            (&[1, 1][..], 1, None),
            (&[5, 5], 5, None),
            (&[1, 5], 0, Some([1, 5])),
            (&[0, 0], 0, Some([0, 0])),
            (&[u64::MAX, u64::MAX], 0, Some([u64::MAX, u64::MAX])),
        ] {
            let buckets: Vec<_> = costs.iter().map(|cost| bucket("alice").cost(*cost)).collect();
            let request = service.request(&buckets);
            assert_eq!(request.hits_addend, whole, "{costs:?}");
            let told: Vec<_> = request.descriptors.iter().map(|one| one.hits_addend).collect();
            let expected = each.map_or(vec![None; 2], |each| each.map(Some).to_vec());
            assert_eq!(told, expected, "{costs:?}");
        }
        let long: &'static str = "x".repeat(1_000).leak();
        let anybody = Bucket::new(bucket("").limit());
        let request = service.request(&[bucket(long), anybody]);
        let [first, second] = &request.descriptors[..] else { panic!("two") };
        assert!(first.entries[0].value.starts_with("sha256="));
        assert!(first.entries[0].value.len() < 60);
        assert_eq!((&*second.entries[0].key, &*second.entries[0].value), ("generic_key", "all"));
    }

    #[test]
    fn every_value_is_one_that_the_service_takes_and_nobody_elses() {
        let long: &'static str = "x".repeat(1_000).leak();
        let [long, empty] = [long, ""].map(|name| entries(&bucket(name))[0].value.clone());
        // The service's contract asks for one byte at least.
        assert!(!empty.is_empty());
        for hashed in [long, empty] {
            assert!(hashed.starts_with("sha256="), "{hashed}");
            let pretended = &entries(&bucket(hashed.clone().leak()))[0].value;
            assert_ne!(*pretended, hashed, "a name that is another one's hash");
        }
        assert_eq!(entries(&bucket("alice"))[0].value, "alice");
    }

    #[test]
    fn the_overall_code_decides_and_what_is_unknown_is_no_answer() {
        let buckets = [bucket("alice"), bucket("bob")];
        let told = |overall_code, statuses: &[DescriptorStatus]| {
            let response = RateLimitResponse { overall_code, statuses: statuses.to_vec() };
            answer(&response, &buckets).map(|said| {
                let one = |it: &Allowance| (it.allowed, it.remaining, it.retry_after_ns);
                [one(&said[0]), one(&said[1])]
            })
        };
        let second = 1_000_000_000;
        for (name, code, statuses, expected) in [
            (
                "both pass",
                OK,
                &[status(OK, 3, 1), status(OK, 4, 1)][..],
                [(true, 3, Some(0)), (true, 4, Some(0))],
            ),
            (
                "one does not",
                OVER_LIMIT,
                &[status(OVER_LIMIT, 0, 30), status(OK, 4, 1)],
                [(false, 0, Some(30 * second)), (true, 4, Some(0))],
            ),
            (
                "only in the shadow",
                OK,
                &[status(OVER_LIMIT, 0, 30), status(OK, 4, 1)],
                [(true, 0, Some(0)), (true, 4, Some(0))],
            ),
            ("passes, and no more is said", OK, &[], [(true, 7, Some(0)), (true, 7, Some(0))]),
            ("does not, and no more", OVER_LIMIT, &[], [(false, 0, Some(0)), (false, 0, Some(0))]),
            (
                "does not, by none of them",
                OVER_LIMIT,
                &[status(OK, 3, 1), status(OK, 4, 1)],
                [(false, 0, Some(0)), (false, 0, Some(0))],
            ),
            (
                "until before now",
                OVER_LIMIT,
                &[status(OVER_LIMIT, 0, -5), status(OK, 4, 1)],
                [(false, 0, Some(0)), (true, 4, Some(0))],
            ),
        ] {
            assert_eq!(told(code, statuses).expect(name), expected, "{name}");
        }
        for code in [0, 3, -1] {
            let error = told(code, &[]).expect_err("unknown");
            assert_eq!(error.kind(), QuotaStoreErrorKind::Answer);
        }
    }
}
