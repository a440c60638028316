use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::builder::GateBuilder;
use super::context::{AuthContext, put_tonics_own};
use super::denial::{self, Challenge, DecisionId, shortened};
use crate::authentication::{
    Authenticated, AuthenticationError, Authenticator, Evidence, EvidenceKinds, Malformed, Reason,
};
use crate::authorization::{Access, Denied, Rule, RuleSet};
use crate::credentials::API_KEY;
use crate::identity::{MethodPath, PeerIdentity};
use crate::transport::server::connection_info;
use crate::transport::warnings::Warnings;

/// Stands in front of a whole server and lets through what a rule allows.
///
/// A tower layer for `tonic::transport::Server::layer`, or any stack of `http` requests. It
/// decides on a call's headers, before the body is read and before routing, so that a stranger
/// cannot tell which methods exist. Credentials that its authenticators read are taken out of
/// the metadata; handlers ask [`ServerRequestExt`](super::ServerRequestExt) instead.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) authenticators: Vec<Arc<dyn Authenticator>>,
    pub(super) rules: RuleSet,
    pub(super) reads: EvidenceKinds,
    pub(super) challenge: Challenge,
    /// For refusals of callers whom nobody knows.
    pub(super) warnings: Warnings,
}

impl Gate {
    /// A gate that so far lets nobody through.
    pub fn builder() -> GateBuilder {
        GateBuilder::new()
    }

    pub(super) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("authenticators", &self.inner.authenticators).finish()
    }
}

impl<S> Layer<S> for Gate {
    type Service = GateService<S>;

    fn layer(&self, inner: S) -> GateService<S> {
        GateService { gate: Arc::clone(&self.inner), inner }
    }
}

/// The service of [`Gate`].
#[derive(Clone)]
pub struct GateService<S> {
    gate: Arc<Inner>,
    inner: S,
}

impl<S: fmt::Debug> fmt::Debug for GateService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Why a call does not pass.
struct Refusal {
    reason: Reason,
    detail: String,
    rule: Option<String>,
    caller: Option<String>,
}

/// What the authenticators made of a call's evidence, or that one of them has to wait.
enum Proven {
    Callers(Vec<Authenticated>),
    NotNow,
}

impl Inner {
    /// Decides without waiting; `None` when an authenticator has to.
    fn decide_now(
        &self,
        path: &MethodPath<'_>,
        headers: &HeaderMap,
        peer: &PeerIdentity,
    ) -> Option<Result<AuthContext, Refusal>> {
        let rule = self.rules.find(path);
        if let Some(pass) = rule.and_then(pass_public) {
            return Some(Ok(pass));
        }
        let evidence = match self.read(headers, peer) {
            Ok(evidence) => evidence,
            Err(refusal) => return Some(Err(refusal)),
        };
        match self.prove_now(&evidence) {
            Ok(Proven::NotNow) => None,
            Ok(Proven::Callers(callers)) => Some(authorize(rule, callers)),
            Err(error) => Some(Err(Refusal::evidence(&error))),
        }
    }

    /// Decides when [`decide_now`](Self::decide_now) could not.
    async fn decide(
        &self,
        path: &MethodPath<'_>,
        headers: &HeaderMap,
        peer: &PeerIdentity,
    ) -> Result<AuthContext, Refusal> {
        let evidence = self.read(headers, peer)?;
        let mut judged = Judged::default();
        for authenticator in &self.authenticators {
            let outcome = match authenticator.authenticate_now(&evidence) {
                Some(outcome) => outcome,
                None => authenticator.authenticate(&evidence).await,
            };
            judged.add(&**authenticator, &evidence, outcome);
        }
        let callers = judged.callers().map_err(|error| Refusal::evidence(&error))?;
        authorize(self.rules.find(path), callers)
    }

    fn read<'a>(
        &self,
        headers: &'a HeaderMap,
        peer: &'a PeerIdentity,
    ) -> Result<Evidence<'a>, Refusal> {
        Evidence::read(headers, peer, self.reads).map_err(|malformed: Malformed| Refusal {
            reason: Reason::CredentialsMalformed,
            detail: malformed.to_string(),
            rule: None,
            caller: None,
        })
    }

    fn prove_now(&self, evidence: &Evidence<'_>) -> Result<Proven, AuthenticationError> {
        let mut judged = Judged::default();
        for authenticator in &self.authenticators {
            match authenticator.authenticate_now(evidence) {
                Some(outcome) => judged.add(&**authenticator, evidence, outcome),
                None => return Ok(Proven::NotNow),
            }
        }
        judged.callers().map(Proven::Callers)
    }

    /// A credential that somebody reads never reaches a handler.
    fn strip(&self, headers: &mut HeaderMap) {
        if self.reads.authorization {
            headers.remove(http::header::AUTHORIZATION);
        }
        if self.reads.api_key {
            headers.remove(&API_KEY);
        }
    }

    /// Writes the reason where the operator finds it, and tells the caller the class.
    fn refuse<B: Default>(
        &self,
        path: &str,
        headers: &HeaderMap,
        peer: &PeerIdentity,
        refusal: &Refusal,
    ) -> Response<B> {
        let decision = DecisionId::random();
        // Strangers may come as often as they like; their refusals are told as often as we like.
        let told = match refusal.caller {
            Some(_) => Some(0),
            None => self.warnings.allow(),
        };
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    %decision,
                    method = %shortened(path),
                    peer = %peer.address(),
                    reason = %refusal.reason,
                    rule = refusal.rule.as_deref(),
                    caller = refusal.caller.as_deref().map(shortened),
                    detail = %shortened(&refusal.detail),
                    withheld = told.unwrap_or(0),
                    "a call was refused"
                )
            };
        }
        match told {
            Some(_) => tell!(info),
            None => tell!(debug),
        }
        denial::response(headers, refusal.reason, &self.challenge, decision)
    }
}

/// A public method's evidence is not looked at.
fn pass_public(rule: &Arc<Rule>) -> Option<AuthContext> {
    if rule.access != Access::Public {
        return None;
    }
    rule.authorize(&[]).ok().map(|permit| AuthContext::new(permit, Vec::new()))
}

fn authorize(
    rule: Option<&Arc<Rule>>,
    callers: Vec<Authenticated>,
) -> Result<AuthContext, Refusal> {
    let denied = match rule.map(|rule| rule.authorize(&callers)) {
        Some(Ok(permit)) => return Ok(AuthContext::new(permit, callers)),
        Some(Err(denied)) => denied,
        None => Denied::default(),
    };
    // Whoever is nobody is told the same of every method, there or not.
    let (reason, detail) = match (callers.first(), denied.rule()) {
        (None, _) => (Reason::CredentialsMissing, "no credential was presented"),
        (Some(_), Some(_)) => (Reason::PolicyDenied, "the rule does not allow this caller"),
        (Some(_), None) => (Reason::PolicyDenied, "the method has no rule"),
    };
    Err(Refusal {
        reason,
        detail: detail.to_owned(),
        rule: denied.rule().map(str::to_owned),
        caller: callers.first().map(|caller| caller.principal().name().to_owned()),
    })
}

/// Outcomes so far.
///
/// A credential in the metadata has to be accepted by one of those who read its kind: evidence
/// that is bad never counts as evidence that is absent. A certificate was verified already, and
/// an authenticator may still refuse it.
#[derive(Default)]
struct Judged {
    by_call: Vec<Authenticated>,
    by_connection: Vec<Authenticated>,
    refused: Option<AuthenticationError>,
    refused_for_good: Option<AuthenticationError>,
}

impl Judged {
    fn add(
        &mut self,
        authenticator: &dyn Authenticator,
        evidence: &Evidence<'_>,
        outcome: Result<Option<Authenticated>, AuthenticationError>,
    ) {
        let about_call = evidence.call().is_read_by(authenticator.reads());
        // Rules ask for authenticators by name: none may vouch in another's.
        let outcome = outcome.and_then(|caller| match caller {
            Some(caller) if caller.principal().authenticator() != authenticator.name() => {
                Err(AuthenticationError::unavailable(format!(
                    "the authenticator {:?} vouches in the name of {:?}",
                    authenticator.name(),
                    caller.principal().authenticator()
                )))
            }
            caller => Ok(caller),
        });
        match outcome {
            Ok(Some(caller)) if about_call => self.by_call.push(caller),
            Ok(Some(caller)) => self.by_connection.push(caller),
            Ok(None) if about_call => {
                let error = AuthenticationError::new(
                    Reason::CredentialsMalformed,
                    "no authenticator knows this kind of credential",
                );
                keep_worse(&mut self.refused, error);
            }
            Ok(None) => {}
            Err(error) if about_call => keep_worse(&mut self.refused, error),
            Err(error) => keep_worse(&mut self.refused_for_good, error),
        }
    }

    fn callers(self) -> Result<Vec<Authenticated>, AuthenticationError> {
        if let Some(error) = self.refused_for_good {
            return Err(error);
        }
        match self.refused {
            Some(error) if self.by_call.is_empty() => Err(error),
            _ => Ok(self.by_call.into_iter().chain(self.by_connection).collect()),
        }
    }
}

/// Of two refusals the one that says more: first that it cannot be told, then what is wrong
/// with the credential, and last that its kind is unknown.
fn keep_worse(known: &mut Option<AuthenticationError>, error: AuthenticationError) {
    let weight = |error: &AuthenticationError| match error.reason() {
        Reason::VerifierUnavailable => 3,
        Reason::CredentialsMalformed => 0,
        Reason::TokenInvalid => 1,
        _ => 2,
    };
    if known.as_ref().is_none_or(|known| weight(&error) > weight(known)) {
        *known = Some(error);
    }
}

impl Refusal {
    fn evidence(error: &AuthenticationError) -> Self {
        let mut detail = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            detail.push_str(": ");
            detail.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { reason: error.reason(), detail, rule: None, caller: None }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for GateService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    ReqBody: Send + 'static,
    ResBody: Default,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = GateFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let known = connection_info(request.extensions()).map(|info| info.peer().clone());
        let peer = known.unwrap_or_else(PeerIdentity::unknown);
        let decision = match canonical(&request) {
            None => return GateFuture::refused(denial::not_canonical(request.headers())),
            Some(path) => self.gate.decide_now(&path, request.headers(), &peer),
        };
        match decision {
            Some(Ok(context)) => {
                admit(&self.gate, &mut request, context);
                GateFuture { state: State::Inner { future: self.inner.call(request) } }
            }
            Some(Err(refusal)) => {
                let path = request.uri().path();
                let response = self.gate.refuse(path, request.headers(), &peer, &refusal);
                GateFuture::refused(response)
            }
            None => {
                // The clone that was polled ready is the one to call.
                let clone = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, clone);
                let gate = Arc::clone(&self.gate);
                let future = Box::pin(async move {
                    // Parts and not the request: a body need not be shared between threads.
                    let (parts, body) = request.into_parts();
                    let path = parts.uri.path();
                    let decision = match MethodPath::parse(path) {
                        Ok(method) => gate.decide(&method, &parts.headers, &peer).await,
                        Err(_) => return Err(denial::not_canonical(&parts.headers)),
                    };
                    match decision {
                        Ok(context) => {
                            let mut request = Request::from_parts(parts, body);
                            admit(&gate, &mut request, context);
                            Ok(inner.call(request))
                        }
                        Err(refusal) => Err(gate.refuse(path, &parts.headers, &peer, &refusal)),
                    }
                });
                GateFuture { state: State::Deciding { future } }
            }
        }
    }
}

fn canonical<B>(request: &Request<B>) -> Option<MethodPath<'_>> {
    match request.uri().query() {
        Some(_) => None,
        None => MethodPath::parse(request.uri().path()).ok(),
    }
}

fn admit<B>(gate: &Inner, request: &mut Request<B>, context: AuthContext) {
    gate.strip(request.headers_mut());
    put_tonics_own(request.extensions_mut());
    request.extensions_mut().insert(context);
}

pin_project! {
    /// The future of [`GateService`].
    pub struct GateFuture<F, B, E> {
        #[pin]
        state: State<F, B, E>,
    }
}

type Deciding<F, B> = Pin<Box<dyn Future<Output = Result<F, Response<B>>> + Send>>;

pin_project! {
    #[project = StateProjection]
    enum State<F, B, E> {
        Inner { #[pin] future: F },
        Deciding { future: Deciding<F, B> },
        Refused { response: Option<Response<B>>, error: std::marker::PhantomData<fn() -> E> },
    }
}

impl<F, B, E> GateFuture<F, B, E> {
    fn refused(response: Response<B>) -> Self {
        let error = std::marker::PhantomData;
        Self { state: State::Refused { response: Some(response), error } }
    }
}

impl<F, B, E> Future for GateFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            let next = match this.state.as_mut().project() {
                StateProjection::Inner { future } => return future.poll(cx),
                StateProjection::Refused { response, .. } => {
                    let response = response.take().expect("polled once after it was ready");
                    return Poll::Ready(Ok(response));
                }
                StateProjection::Deciding { future } => {
                    match std::task::ready!(future.as_mut().poll(cx)) {
                        Ok(future) => State::Inner { future },
                        Err(response) => return Poll::Ready(Ok(response)),
                    }
                }
            };
            this.state.set(next);
        }
    }
}

impl<F, B, E> fmt::Debug for GateFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GateFuture")
    }
}
