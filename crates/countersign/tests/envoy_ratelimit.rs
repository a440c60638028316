//! Envoy's rate limit service as a store of quotas, spoken to over our channel.

#[path = "support/ports.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod ports;
#[path = "support/reached.rs"]
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::quota::store::{
    Bucket, DecidedBy, QuotaStore, QuotaStoreErrorKind, SharedQuota, Verdict, WhenDown,
};
use countersign::quota::{Limit, Quota};
use countersign::{
    ChannelCredentials, EnvoyRateLimit, Gate, Rules, ServerCredentials, StaticTokens, connect_lazy,
};
use countersign_testkit::greeter::SAY_HELLO;
use ports::ClosedPort;
use prost::Message;
use support::{RawClient, Reached, Served, greeter, keep_logs_awake, reason_of, serve};
use tonic::codegen::BoxFuture;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;
use tower_layer::Layer;

const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

// The server's side of the messages, written from the published files and not from our client.

#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<Descriptor>,
    #[prost(uint32, tag = "3")]
    hits_addend: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
    /// `google.protobuf.UInt64Value`.
    #[prost(message, optional, tag = "3")]
    hits_addend: Option<Wrapped>,
}

#[derive(Clone, PartialEq, Message)]
struct Wrapped {
    #[prost(uint64, tag = "1")]
    value: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Said {
    #[prost(enumeration = "Decided", tag = "1")]
    overall_code: i32,
    #[prost(message, repeated, tag = "2")]
    statuses: Vec<DescriptorSaid>,
    /// What our client has no use for.
    #[prost(bytes = "vec", tag = "5")]
    raw_body: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct DescriptorSaid {
    #[prost(enumeration = "Decided", tag = "1")]
    code: i32,
    #[prost(message, optional, tag = "2")]
    current_limit: Option<CurrentLimit>,
    #[prost(uint32, tag = "3")]
    limit_remaining: u32,
    #[prost(message, optional, tag = "4")]
    duration_until_reset: Option<prost_types::Duration>,
}

#[derive(Clone, PartialEq, Message)]
struct CurrentLimit {
    #[prost(uint32, tag = "1")]
    requests_per_unit: u32,
    #[prost(int32, tag = "2")]
    unit: i32,
    #[prost(string, tag = "3")]
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
enum Decided {
    Unknown = 0,
    Ok = 1,
    OverLimit = 2,
}

/// A service with a limit for each descriptor, or that does something worse.
#[derive(Clone, Default)]
struct RateLimitService {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    mood: Mood,
    limit: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Mood {
    #[default]
    Counts,
    Hangs,
    Shrugs,
    Fails(Code),
}

impl RateLimitService {
    fn of(limit: u64) -> Self {
        let service = Self::default();
        service.state().limit = limit;
        service
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("sound")
    }

    fn answer(&self, asked: Asked) -> Said {
        let mut state = self.state();
        state.asked.push(asked.clone());
        let statuses: Vec<DescriptorSaid> = asked
            .descriptors
            .iter()
            .map(|descriptor| {
                let hits = |asked: &Asked, one: &Descriptor| {
                    one.hits_addend.as_ref().map_or(asked.hits_addend.into(), |own| own.value)
                };
                let same = |one: &&Descriptor| one.entries == descriptor.entries;
                let used: u64 = state
                    .asked
                    .iter()
                    .flat_map(|asked| {
                        asked.descriptors.iter().filter(same).map(|it| hits(asked, it))
                    })
                    .sum();
                let over = used > state.limit;
                DescriptorSaid {
                    code: if over { Decided::OverLimit } else { Decided::Ok }.into(),
                    current_limit: Some(CurrentLimit {
                        requests_per_unit: 9,
                        ..Default::default()
                    }),
                    limit_remaining: u32::try_from(state.limit.saturating_sub(used)).expect("few"),
                    duration_until_reset: Some(prost_types::Duration { seconds: 40, nanos: 5 }),
                }
            })
            .collect();
        let over = statuses.iter().any(|one| one.code() == Decided::OverLimit);
        let overall = if over { Decided::OverLimit } else { Decided::Ok };
        Said { overall_code: overall.into(), statuses, raw_body: b"too many".to_vec() }
    }
}

impl tonic::server::UnaryService<Asked> for RateLimitService {
    type Response = Said;
    type Future = BoxFuture<Response<Said>, Status>;

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let mood = service.state().mood;
            let said = match mood {
                Mood::Counts => service.answer(request.into_inner()),
                Mood::Hangs => std::future::pending().await,
                Mood::Shrugs => Said { overall_code: Decided::Unknown.into(), ..Said::default() },
                Mood::Fails(code) => return Err(Status::new(code, "no")),
            };
            Ok(Response::new(said))
        })
    }
}

/// Serves it, at nothing but its one path.
async fn served(service: RateLimitService) -> Served {
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let handler = tower_service_of(move |request: http::Request<tonic::body::Body>| {
        let service = service.clone();
        async move {
            assert_eq!(request.uri().path(), PATH);
            let codec = ProstCodec::<Said, Asked>::default();
            Ok(tonic::server::Grpc::new(codec).unary(service, request).await)
        }
    });
    serve(incoming, handler)
}

/// A function as a service.
#[derive(Clone)]
struct Handler<F>(F);

fn tower_service_of<F>(handle: F) -> Handler<F> {
    Handler(handle)
}

impl<F, R, Answer> tower_service::Service<http::Request<R>> for Handler<F>
where
    F: FnMut(http::Request<R>) -> Answer,
    Answer: Future<Output = Result<http::Response<tonic::body::Body>, std::convert::Infallible>>,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = Answer;

    fn poll_ready(
        &mut self,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<R>) -> Answer {
        (self.0)(request)
    }
}

fn client(address: &str) -> EnvoyRateLimit {
    let channel = connect_lazy(address, ChannelCredentials::insecure()).expect("a channel");
    EnvoyRateLimit::new(channel, "orders")
}

/// Of which one gate of a thousand has one an hour.
fn limit() -> Limit {
    Limit::new(1_000, Duration::from_secs(3_600)).expect("a limit")
}

fn of(caller: &'static str) -> Bucket<'static> {
    Bucket::new(limit()).entry("authenticator", "tokens").entry("caller", caller)
}

fn patient(store: EnvoyRateLimit, when_down: WhenDown) -> SharedQuota {
    SharedQuota::new(store, when_down).deadline(Duration::from_secs(30))
}

fn told(verdict: &Verdict) -> (bool, DecidedBy) {
    (verdict.is_allowed(), verdict.by())
}

#[tokio::test]
async fn what_the_service_allows_passes_and_what_it_refuses_waits_for_its_reset() {
    let service = RateLimitService::of(5);
    let server = served(service.clone()).await;
    let quota = patient(client(&server.http("127.0.0.1")), WhenDown::Refuse);
    for left in [3, 1] {
        let verdict = quota.take(&[of("alice").cost(2)]).await;
        assert_eq!(told(&verdict), (true, DecidedBy::Store));
        assert_eq!(verdict.allowances()[0].remaining, left);
    }
    let refused = quota.take(&[of("alice").cost(2)]).await;
    assert_eq!(told(&refused), (false, DecidedBy::Store));
    assert_eq!(refused.retry_after(), Some(Duration::new(40, 5)));
    assert_eq!(told(&quota.take(&[of("alice").cost(2)]).await), (false, DecidedBy::Known));
    assert_eq!(told(&quota.take(&[of("bob").cost(2)]).await), (true, DecidedBy::Store));

    let asked = service.state().asked.clone();
    assert_eq!(asked.len(), 4, "what is known is not asked for");
    let entry = |key: &str, value: &str| Entry { key: key.into(), value: value.into() };
    assert_eq!((&*asked[0].domain, asked[0].hits_addend), ("orders", 2));
    let [descriptor] = &asked[0].descriptors[..] else { panic!("one") };
    let entries = [entry("authenticator", "tokens"), entry("caller", "alice")];
    assert_eq!((&descriptor.entries[..], &descriptor.hits_addend), (&entries[..], &None));
}

#[tokio::test]
async fn several_descriptors_go_in_one_question_each_with_its_cost() {
    let service = RateLimitService::of(10);
    let server = served(service.clone()).await;
    let quota = patient(client(&server.http("127.0.0.1")), WhenDown::Refuse);
    let verdict = quota.take(&[of("alice").cost(11), of("bob").cost(1)]).await;
    let allowed: Vec<bool> = verdict.allowances().iter().map(|said| said.allowed).collect();
    assert_eq!(allowed, [false, true]);
    let asked = service.state().asked.clone();
    let [asked] = &asked[..] else { panic!("once") };
    let costs: Vec<_> =
        asked.descriptors.iter().map(|one| one.hits_addend.as_ref().map(|own| own.value)).collect();
    assert_eq!(costs, [Some(11), Some(1)]);
}

#[tokio::test]
async fn when_the_service_cannot_tell_the_choice_does() {
    let gates = std::num::NonZeroU32::new(1_000).expect("some");
    for (mood, kind) in [
        (Mood::Shrugs, QuotaStoreErrorKind::Answer),
        (Mood::Fails(Code::Unavailable), QuotaStoreErrorKind::Unreachable),
        (Mood::Fails(Code::PermissionDenied), QuotaStoreErrorKind::NotAllowed),
        (Mood::Fails(Code::DeadlineExceeded), QuotaStoreErrorKind::TimedOut),
        (Mood::Fails(Code::Unimplemented), QuotaStoreErrorKind::Answer),
        (Mood::Fails(Code::ResourceExhausted), QuotaStoreErrorKind::Answer),
    ] {
        let service = RateLimitService::of(10);
        service.state().mood = mood;
        let server = served(service).await;
        let client = client(&server.http("127.0.0.1"));
        let error = client.take(&[of("alice")]).await.expect_err("it cannot tell");
        assert_eq!(error.kind(), kind, "{error}");
        for (when_down, expected) in [
            (WhenDown::Allow, [true, true]),
            (WhenDown::Refuse, [false, false]),
            (WhenDown::Share { gates }, [true, false]),
        ] {
            let quota = patient(client.clone(), when_down);
            for expected in expected {
                let verdict = quota.take(&[of("alice")]).await;
                assert_eq!(told(&verdict), (expected, DecidedBy::WhenDown), "{when_down:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_service_that_hangs_or_is_not_there_costs_one_deadline() {
    let service = RateLimitService::of(10);
    service.state().mood = Mood::Hangs;
    let server = served(service.clone()).await;
    let nobody = ClosedPort::new();
    let brief = Duration::from_millis(50);
    for (address, when_down, allowed) in [
        (server.http("127.0.0.1"), WhenDown::Allow, true),
        (server.http("127.0.0.1"), WhenDown::Refuse, false),
        (format!("http://{}", nobody.address()), WhenDown::Refuse, false),
    ] {
        let quota = SharedQuota::new(client(&address), when_down).deadline(brief);
        let begin = std::time::Instant::now();
        for _ in 0..20 {
            assert_eq!(told(&quota.take(&[of("alice")]).await), (allowed, DecidedBy::WhenDown));
        }
        let counters = quota.counters();
        // It is left alone for 80 ms at least, and then for longer, however long this took.
        let most = 2 + begin.elapsed().as_millis() / 80;
        assert!(u128::from(counters.asked()) <= most, "{counters:?}");
        assert_eq!(counters.in_fallback(), 20);
    }
    // It comes to itself, and is heard of.
    service.state().mood = Mood::Counts;
    let quota = patient(client(&server.http("127.0.0.1")), WhenDown::Refuse);
    assert_eq!(told(&quota.take(&[of("alice")]).await), (true, DecidedBy::Store));
}

#[tokio::test]
async fn a_gate_asks_it_by_the_names_of_its_limits() {
    keep_logs_awake();
    let service = RateLimitService::of(1);
    let server = served(service.clone()).await;
    let store = patient(client(&server.http("127.0.0.1")), WhenDown::Refuse);
    let quota = Quota::new().per_caller(limit()).expect("a limit");
    let quota = quota.shared(store).expect("a quota");
    let tokens = StaticTokens::new().with_token("alice", "alice-has-a-long-token".to_owned());
    let rules = Rules::new().authenticated(SAY_HELLO);
    let gate = Gate::builder().authenticate(tokens).authorize(rules).quota(quota);
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let reached = Reached::default();
    let gated = serve(incoming, gate.build().expect("a gate").layer(greeter(&reached)));
    let mut caller = RawClient::connect(&gated).await;
    for expected in ["Ok ", "ResourceExhausted RATE_LIMITED"] {
        let answer = caller.call(SAY_HELLO, &[("authorization", "Bearer alice-has-a-long-token")]);
        let status = answer.await.grpc();
        assert_eq!(format!("{:?} {}", status.code(), reason_of(&status)), expected);
        let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let seconds = retry.map(|wait| wait.as_secs());
        assert_eq!(seconds, expected.starts_with('R').then_some(40));
    }
    let asked = service.state().asked.clone();
    let keys: Vec<_> = asked[0].descriptors[0]
        .entries
        .iter()
        .map(|entry| format!("{}={}", entry.key, entry.value))
        .collect();
    assert_eq!(keys, ["limit=caller", "authenticator=static-tokens", "caller=alice"]);
}
