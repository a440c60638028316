use std::fmt;
use std::sync::Arc;

use http::uri::Uri;
use http::{Extensions, Response};
use tower_layer::Layer;

use super::authorizer::Authorizer;
use super::builder::GateBuilder;
use super::context::AuthContext;
use super::decision::{Call, Refusal};
use super::denial::{DecisionId, DecisionIds, Denials, shortened};
use super::memory::GateMark;
use super::service::GateService;
use super::watching::Watching;
use crate::audit::Audit;
use crate::authentication::{Authenticated, Authenticator, EvidenceKinds, Reason};
use crate::authorization::Methods;
use crate::clock::Clock;
use crate::identity::PeerIdentity;
use crate::quota::Quota;
use crate::transport::server::ConnectionInfo;
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
/// Over our own listener a connection remembers one credential that was proven over it, and for
/// whom, while the [leases](crate::authentication::Lease) hold that the authenticators gave.
/// The same credential then costs a comparison in constant time. It stays in memory as it was
/// sent, for this connection alone, and is wiped when another one takes its place or the
/// connection ends. Where it still holds, one in 16 calls with others changes places with it: a
/// proxy's connection has many callers, and would do nothing but remember and forget. Nothing is
/// remembered where one of the gate's authenticators is not
/// [repeatable](Authenticator::is_repeatable).
///
/// What a rule said of the same callers and the same method is remembered with it. A
/// [policy](crate::authorization::Policy) is asked again once another one takes its place, and
/// for each call where a rule has to be looked at that reads metadata or the time of day, or that
/// has an expression.
///
/// # How long a call may go on
///
/// No longer than what proved its callers: when the first of them ends
/// ([`expires_at`](crate::authentication::Authenticated::expires_at)), so does the call, in both
/// directions, with `UNAUTHENTICATED` and `TOKEN_EXPIRED`. What was granted with a lease that has
/// been ended since is looked at again. The gate's [clock](GateBuilder::clock) decides and the
/// runtime's timer waits, which only an idle stream needs; see
/// [`GateBuilder::when_credentials_end`]. Where a
/// [`PolicyFile`](crate::authorization::PolicyFile) is the policy, a call that the next policy
/// denies ends in the same way, with what the policy would say to a new one; so does a call of
/// which the next policy has to see metadata that no policy before it read, and that was not kept.
/// Bodies are [`GateBody`](super::GateBody)s for this.
#[derive(Clone)]
pub struct Gate {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) authenticators: Vec<Arc<dyn Authenticator>>,
    pub(super) authorizer: Authorizer,
    pub(super) reads: EvidenceKinds,
    pub(super) denials: Denials,
    pub(super) decisions: DecisionIds,
    /// For refusals of callers whom nobody knows, or who come too often.
    pub(super) warnings: Warnings,
    /// For refusals of all others.
    pub(super) warnings_of_the_known: Warnings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) mark: Arc<GateMark>,
    /// The callers of a public method.
    pub(super) nobody: Arc<[Authenticated]>,
    /// Whether all authenticators decide alike on the same connection and credential.
    pub(super) repeatable: bool,
    pub(super) tonic_connection_info: bool,
    pub(super) watching: Watching,
    pub(super) quota: Option<Quota>,
    pub(super) audit: Option<Audit>,
    /// The server's methods, where it was told.
    pub(super) methods: Option<Methods>,
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
    #[inline]
    pub(super) fn admit(
        &self,
        extensions: &mut Extensions,
        info: Option<&ConnectionInfo>,
        context: AuthContext,
    ) {
        if let Some(info) = info {
            info.let_through(|| context.is_of_somebody(info.peer()));
            // tonic puts the listener's own type into a request and nothing else.
            if self.tonic_connection_info {
                info.put_tonics_own_into(extensions);
            }
        }
        extensions.insert(context);
    }

    /// Writes the reason where the operator finds it, and tells the caller the class.
    pub(super) fn refuse(&self, call: Call<'_>, refusal: &Refusal) -> Response<()> {
        let decision = refusal.decision.unwrap_or_else(|| self.decisions.next());
        self.tell(call, refusal, decision);
        self.denials.response(call.headers, refusal, decision)
    }

    /// The same for a call that had been let pass.
    pub(super) fn tell_ended(
        &self,
        uri: &Uri,
        peer: &PeerIdentity,
        refusal: &Refusal,
        decision: DecisionId,
    ) {
        let message = match refusal.reason {
            Reason::PolicyDenied => "a call was ended by a new policy",
            _ => "a call was ended with its credential",
        };
        tracing::info!(
            %decision,
            method = %shortened(uri.path()),
            peer = %peer.address(),
            reason = %refusal.reason,
            rule = refusal.rule.as_deref(),
            caller = refusal.caller.as_ref().map(|caller| shortened(caller.name())),
            detail = %shortened(&refusal.detail),
            "{message}"
        );
    }

    fn tell(&self, call: Call<'_>, refusal: &Refusal, decision: DecisionId) {
        // They may come as often as they like; their refusals are told as often as we like. No
        // stranger takes anything from what is told of the known, nor does who comes too often.
        let told = match refusal.caller {
            Some(_) if refusal.reason != Reason::RateLimited => self.warnings_of_the_known.allow(),
            Some(_) | None => self.warnings.allow(),
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
