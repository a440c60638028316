use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Request, Response};
use tower_layer::Layer;

use super::builder::GateBuilder;
use super::context::{AuthContext, put_tonics_own};
use super::decision::{Call, Refusal};
use super::denial::{DecisionId, DecisionIds, Denials, shortened};
use super::memory::GateMark;
use super::service::GateService;
use crate::authentication::{Authenticator, DPOP, EvidenceKinds};
use crate::authorization::RuleSet;
use crate::clock::Clock;
use crate::credentials::API_KEY;
use crate::transport::warnings::Warnings;

/// Stands in front of a whole server and lets through what a rule allows.
///
/// A tower layer for `tonic::transport::Server::layer`, or any stack of `http` requests. It
/// decides on a call's headers, before the body is read and before routing, so that a stranger
/// cannot tell which methods exist. Credentials that its authenticators read are taken out of
/// the metadata; handlers ask [`ServerRequestExt`](super::ServerRequestExt) instead.
///
/// # What is remembered
///
/// Over our own listener a connection remembers the last credential that was proven over it, and
/// for whom, while the [leases](crate::authentication::Lease) hold that the authenticators gave.
/// The same credential then costs a comparison in constant time. It stays in memory as it was
/// sent, for this connection alone, and is wiped when the next one takes its place or the
/// connection ends. Nothing is remembered where one of the gate's authenticators is not
/// [repeatable](Authenticator::is_repeatable).
#[derive(Clone)]
pub struct Gate {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) authenticators: Vec<Arc<dyn Authenticator>>,
    pub(super) rules: RuleSet,
    pub(super) reads: EvidenceKinds,
    pub(super) denials: Denials,
    pub(super) decisions: DecisionIds,
    /// For refusals of callers whom nobody knows.
    pub(super) warnings: Warnings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) mark: Arc<GateMark>,
    /// Whether all authenticators decide alike on the same connection and credential.
    pub(super) repeatable: bool,
    pub(super) tonic_connection_info: bool,
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
        GateService::new(Arc::clone(&self.inner), inner)
    }
}

impl Inner {
    /// Makes a request ready for its handler.
    pub(super) fn admit<B>(&self, request: &mut Request<B>, context: AuthContext) {
        self.strip(request.headers_mut());
        let extensions = request.extensions_mut();
        extensions.insert(context);
        put_tonics_own(extensions, self.tonic_connection_info);
    }

    /// A credential that somebody reads never reaches a handler.
    fn strip(&self, headers: &mut HeaderMap) {
        if self.reads.authorization {
            headers.remove(http::header::AUTHORIZATION);
            headers.remove(DPOP);
        }
        if self.reads.api_key {
            headers.remove(&API_KEY);
        }
    }

    /// Writes the reason where the operator finds it, and tells the caller the class.
    pub(super) fn refuse<B: Default>(&self, call: Call<'_>, refusal: &Refusal) -> Response<B> {
        let decision = self.decisions.next();
        self.tell(call, refusal, decision);
        self.denials.response(call.headers, refusal, decision)
    }

    fn tell(&self, call: Call<'_>, refusal: &Refusal, decision: DecisionId) {
        // Strangers may come as often as they like; their refusals are told as often as we like.
        let told = match refusal.caller {
            Some(_) => Some(0),
            None => self.warnings.allow(),
        };
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    %decision,
                    method = %shortened(call.uri.path()),
                    peer = %call.peer.address(),
                    reason = %refusal.reason,
                    rule = refusal.rule.as_deref(),
                    caller = refusal.caller.as_ref().map(|caller| shortened(caller.name())),
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
    }
}
