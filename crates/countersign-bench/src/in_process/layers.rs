//! One call through tower layers to a service that does nothing: the gate, and what it is
//! compared with.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use countersign::authentication::{CallEvidence, Evidence, EvidenceKinds, Lease, Outcome};
use countersign::authorization::Policy;
use countersign::quota::{Limit, Quota};
use countersign::{
    Authenticator, Clock as _, Gate, GateBuilder, Jwt, MutualTls, Principal, Rules, StaticTokens,
    SystemClock,
};
use http::header::AUTHORIZATION;
use http::{Request, Response};
use tonic::body::Body;
use tonic::service::interceptor::InterceptedService;
use tower_layer::Layer as _;
use tower_service::Service;

use super::audit::{Records, Running, recorded};
use super::jwt::Token;
use super::requests::Requests;
use super::{Subject, consume};

/// Answers at once, with nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl<B> Service<Request<B>> for Nothing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        drop(black_box(request));
        ready(Ok(Response::new(Body::empty())))
    }
}

/// A layer that hands everything on.
#[derive(Clone, Copy, Debug)]
struct PassThrough<S>(S);

impl<S: Service<Request<Body>>> Service<Request<Body>> for PassThrough<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.0.call(request)
    }
}

/// The service by itself: the floor of all layers.
pub fn nothing(requests: Requests) -> Box<dyn Subject> {
    calls(Nothing, requests)
}

/// A layer that does nothing.
pub fn pass_through(requests: Requests) -> Box<dyn Subject> {
    calls(PassThrough(Nothing), requests)
}

/// tonic's interceptor, doing nothing.
pub fn empty_interceptor(requests: Requests) -> Box<dyn Subject> {
    calls(InterceptedService::new(Nothing, Ok::<tonic::Request<()>, _>), requests)
}

/// tonic's interceptor as many are written: it reads `authorization` and keeps a copy of the
/// metadata.
pub fn reading_interceptor(requests: Requests) -> Box<dyn Subject> {
    let intercept = |request: tonic::Request<()>| {
        let token = request.metadata().get(AUTHORIZATION.as_str());
        if token.is_none_or(|token| token.is_empty()) {
            return Err(tonic::Status::unauthenticated("the call has no token"));
        }
        black_box(request.metadata().clone());
        Ok(request)
    };
    calls(InterceptedService::new(Nothing, intercept), requests)
}

/// A gate that leaves tonic's own connection info out.
pub fn gate_without_tonics_own(token: &str) -> Gate {
    Gate::builder()
        .authenticate(StaticTokens::new().with_token("orders", token.to_owned()))
        .authorize(Rules::new().health_is_public().authenticated("/orders.v1.Orders/*"))
        .tonic_connection_info(false)
        .build()
        .expect("rules that can hold")
}

/// A gate whose callers end, so that their calls have to be watched: a day is as good as any
/// token's life here.
pub fn gate_with_ending_token(token: &'static str) -> Gate {
    let ends = SystemClock.now() + Duration::from_secs(86_400);
    Gate::builder()
        .authenticate(Ending { token, ends })
        .authorize(Rules::new().authenticated("/orders.v1.Orders/*"))
        .tonic_connection_info(false)
        .build()
        .expect("rules that can hold")
}

/// Knows one token, which ends.
#[derive(Debug)]
struct Ending {
    token: &'static str,
    ends: SystemTime,
}

impl Authenticator for Ending {
    fn name(&self) -> &str {
        "ending"
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        Some(Ok(match evidence.call() {
            CallEvidence::Bearer(token) if token == self.token => {
                let caller = evidence.accept(Principal::new("orders", "ending"));
                Some(caller.expiring_at(self.ends).leased(Lease::until(self.ends)))
            }
            _ => None,
        }))
    }

    fn is_repeatable(&self) -> bool {
        true
    }
}

/// Our gate.
pub fn gate(gate: &Gate, requests: Requests) -> Box<dyn Subject> {
    calls(gate.layer(Nothing), requests)
}

/// A gate that knows this token, and health checks as public.
pub fn gate_with_token(token: &str) -> Gate {
    Gate::builder()
        .authenticate(StaticTokens::new().with_token("orders", token.to_owned()))
        .authorize(Rules::new().health_is_public().authenticated("/orders.v1.Orders/*"))
        .build()
        .expect("rules that can hold")
}

/// A gate that verifies this token's issuer's.
pub fn gate_with_issuer(token: &Token) -> Gate {
    Gate::builder()
        .authenticate(token.authenticator())
        .authorize(Rules::new().health_is_public().authenticated("/orders.v1.Orders/*"))
        .build()
        .expect("rules that can hold")
}

/// What a gate may have besides somebody who proves callers and rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Besides {
    /// A policy of ten rules in the place of one rule in code.
    pub policy: bool,
    /// A limit for each caller, which is never used up.
    pub quota: bool,
}

impl Besides {
    /// Policy and quota.
    pub const BOTH: Self = Self { policy: true, quota: true };

    fn added_to(self, gate: GateBuilder, authenticator: &str) -> GateBuilder {
        let gate = match self.policy {
            true => gate.authorize(policy_of_ten(authenticator)),
            false => gate.authorize(Rules::new().authenticated("/orders.v1.Orders/*")),
        };
        match self.quota {
            true => gate.quota(generous()),
            false => gate,
        }
    }
}

/// The gate of [`gate_with_token`] with more to do.
pub fn gate_with_token_and(token: &str, besides: Besides) -> Gate {
    let tokens = StaticTokens::new().with_token("orders", token.to_owned());
    let gate = besides.added_to(Gate::builder().authenticate(tokens), StaticTokens::NAME);
    gate.build().expect("rules that can hold")
}

/// The gate of [`gate_with_issuer`] with more to do.
pub fn gate_with_issuer_and(token: &Token, besides: Besides) -> Gate {
    let gate = Gate::builder().authenticate(token.authenticator());
    besides.added_to(gate, Jwt::NAME).build().expect("rules that can hold")
}

/// Calls through the gate of [`gate_with_issuer_and`] with policy and quota, and every decision
/// on record.
pub fn gate_with_records(token: &Token, records: Records, requests: Requests) -> Box<dyn Subject> {
    let running = Running::new(records);
    let built = Gate::builder().authenticate(token.authenticator());
    let built = running.of(Besides::BOTH.added_to(built, Jwt::NAME));
    recorded(gate(&built.build().expect("rules that can hold"), requests), running)
}

/// Nine rules for other services, and one for every proven caller of this one.
fn policy_of_ten(authenticator: &str) -> Policy {
    let others = (0..9).map(|n| {
        serde_json::json!({ "name": format!("other-{n}"),
            "request": { "paths": [format!("/other{n}.v1.Other/*")] } })
    });
    let ours = serde_json::json!({ "name": "orders",
        "source": { "countersign": { "authenticators": [authenticator] } },
        "request": { "paths": ["/orders.v1.Orders/*"] } });
    let rules: Vec<_> = others.chain([ours]).collect();
    let text = serde_json::json!({ "name": "bench", "allow_rules": rules }).to_string();
    Policy::from_json(&text).expect("a policy")
}

fn generous() -> Quota {
    let limit = Limit::new(1_000_000_000, Duration::from_secs(1)).expect("a rate");
    Quota::new().per_caller(limit).expect("a pace in range")
}

/// A gate that knows client certificates.
pub fn gate_with_certificates() -> Gate {
    Gate::builder()
        .authenticate(MutualTls::new())
        .authorize(Rules::new().health_is_public().authenticated("/orders.v1.Orders/*"))
        .build()
        .expect("rules that can hold")
}

/// A gate with so many rules, each for one public method, and calls to up to 256 of them spread
/// over all.
pub fn gate_with_exact_rules(count: usize, requests: Requests) -> Box<dyn Subject> {
    let method = |n: usize| format!("/pkg{n:05}.v1.Service/Get");
    gate_with_rules(count, method, method, requests)
}

/// The same with a glob for each rule.
pub fn gate_with_globs(count: usize, requests: Requests) -> Box<dyn Subject> {
    let pattern = |n: usize| format!("/pkg{n:05}.*/Get*");
    let method = |n: usize| format!("/pkg{n:05}.v1.Service/Get");
    gate_with_rules(count, pattern, method, requests)
}

fn gate_with_rules(
    count: usize,
    pattern: impl Fn(usize) -> String,
    method: impl Fn(usize) -> String,
    requests: Requests,
) -> Box<dyn Subject> {
    let rules = (0..count).fold(Rules::new(), |rules, n| rules.public(&pattern(n)));
    let built = Gate::builder().authorize(rules).build().expect("rules that can hold");
    let called = count.min(256);
    gate(&built, requests.to((0..called).map(|n| method(n * count / called))))
}

fn calls<S, B>(service: S, mut requests: Requests) -> Box<dyn Subject>
where
    S: Service<Request<Body>, Response = Response<B>> + 'static,
    B: 'static,
{
    let mut service = service;
    consume(
        move || requests.make(),
        move |request| {
            let answer = pin!(service.call(request));
            match answer.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(answer) => drop(black_box(answer)),
                Poll::Pending => unreachable!("nothing has to be waited for"),
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_process::peer::mutual_tls_connection;
    use crate::in_process::requests::PUBLIC_METHOD;

    fn status(gate: &Gate, mut requests: Requests) -> String {
        let mut service = gate.layer(Nothing);
        let answer = pin!(service.call(requests.make()));
        match answer.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(answer)) => answer
                .headers()
                .get("grpc-status")
                .map_or("passed", |code| code.to_str().expect("a number"))
                .to_owned(),
            Poll::Pending => "waits".to_owned(),
        }
    }

    #[test]
    fn what_is_measured_as_passing_passes_and_as_refused_is_refused() {
        let connection = mutual_tls_connection();
        let requests = || Requests::new(&connection);
        let gate = gate_with_token("the-token");
        let public = requests().to([PUBLIC_METHOD.to_owned()]);
        assert_eq!(status(&gate, public), "passed");
        assert_eq!(status(&gate, requests().with_authorization("Bearer the-token")), "passed");
        for (name, refused) in [
            ("missing", requests()),
            ("malformed", requests().with_authorization("Bearer")),
            ("wrong", requests().with_authorization("Bearer another-token")),
        ] {
            assert_eq!(status(&gate, refused), "16", "{name}");
        }
        for besides in [Besides::default(), Besides::BOTH] {
            let gate = gate_with_token_and("the-token", besides);
            assert_eq!(status(&gate, requests().with_authorization("Bearer the-token")), "passed");
            assert_eq!(status(&gate, requests().with_authorization("Bearer another")), "16");
            let other = requests().with_authorization("Bearer the-token");
            assert_eq!(status(&gate, other.to(["/orders.v2.Orders/Get".to_owned()])), "7");
        }
        assert_eq!(status(&gate_with_certificates(), requests()), "passed");
        let ending = requests().with_authorization("Bearer the-token");
        assert_eq!(status(&gate_with_ending_token("the-token"), ending), "passed");
        let another = requests().with_authorization("Bearer another-token");
        assert_eq!(status(&gate_with_ending_token("the-token"), another), "16");
    }
}
