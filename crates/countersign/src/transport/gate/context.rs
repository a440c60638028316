use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use crate::authentication::{Authenticated, Lease};
use crate::authorization::{Permit, PolicyHead};
use crate::identity::{PeerIdentity, Principal};
use crate::transport::server::{ConnectionInfo, connection_info};

/// What the gate found out about a call that it let pass. In the request's extensions.
///
/// Cloning is one atomic increment.
#[derive(Clone, Debug)]
pub struct AuthContext {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    permit: Permit,
    callers: Arc<[Authenticated]>,
    /// Whether anything of what proved them can end while a call goes on.
    may_end: bool,
    /// When the first of them ends.
    ends: Option<SystemTime>,
    /// When the first of them or of their leases ends by itself.
    steady_until: Option<SystemTime>,
    /// Which of the policies that followed each other decided.
    generation: u64,
    /// That policy, where it is put on record.
    policy: Option<Arc<PolicyHead>>,
}

impl AuthContext {
    pub(super) fn new(permit: Permit, callers: Arc<[Authenticated]>) -> Self {
        Self::decided_by(0, None, permit, callers)
    }

    /// By one of the policies that followed each other.
    pub(super) fn decided_by(
        generation: u64,
        policy: Option<Arc<PolicyHead>>,
        permit: Permit,
        callers: Arc<[Authenticated]>,
    ) -> Self {
        let may_end = callers.iter().any(|caller| {
            caller.expires_at().is_some() || caller.lease_of_call().is_some_and(Lease::may_end)
        });
        let (ends, steady_until) = match may_end {
            true => ends_of(&callers),
            false => (None, None),
        };
        Self {
            inner: Arc::new(Inner {
                permit,
                callers,
                may_end,
                ends,
                steady_until,
                generation,
                policy,
            }),
        }
    }

    /// What the answer's `dpop-nonce` says, if anything (RFC 9449 §8.2).
    pub(super) fn next_nonce(&self) -> Option<&str> {
        self.inner.callers.iter().find_map(Authenticated::next_nonce)
    }

    /// Which of the policies decided.
    pub(super) fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// The policy that decided, where there is an audit.
    pub(super) fn policy(&self) -> Option<&Arc<PolicyHead>> {
        self.inner.policy.as_ref()
    }

    /// The rule, shared.
    pub(super) fn shared_rule(&self) -> &Arc<str> {
        self.inner.permit.shared_rule()
    }

    /// Whether the call has to be watched.
    pub(super) fn may_end(&self) -> bool {
        self.inner.may_end
    }

    /// When the first of those ends who were proven.
    pub(super) fn ends(&self) -> Option<SystemTime> {
        self.inner.ends
    }

    /// Whether neither time nor a change has ended anything of what proved them. The clock is read
    /// only where time can.
    #[inline]
    pub(super) fn holds(&self, now: impl FnOnce() -> SystemTime) -> bool {
        let is_current = |one: &Authenticated| one.lease_of_call().is_none_or(Lease::is_current);
        self.inner.steady_until.is_none_or(|end| now() < end)
            && self.inner.callers.iter().all(is_current)
    }

    /// Whether it is about these callers, as they were proven then.
    pub(super) fn is_about(&self, callers: &Arc<[Authenticated]>) -> bool {
        Arc::ptr_eq(&self.inner.callers, callers)
    }

    /// Who calls; `None` on a public method, and where a policy let in somebody of whom no
    /// authenticator knows.
    pub fn caller(&self) -> Option<&Authenticated> {
        self.inner.permit.caller()
    }

    /// Everyone who was proven: with a token over a connection with a client certificate, the
    /// token's principal and then the certificate's.
    pub fn callers(&self) -> &[Authenticated] {
        &self.inner.callers
    }

    /// Whether anybody in particular was proven, by an authenticator or by a verified certificate.
    pub(super) fn is_of_somebody(&self, peer: &PeerIdentity) -> bool {
        self.inner.callers.iter().any(|one| !one.is_anonymous()) || peer.certificate().is_some()
    }

    /// The rule that let the call pass: its pattern, or its name in a policy.
    pub fn rule(&self) -> &str {
        self.inner.permit.rule()
    }
}

/// When the first of them ends, and when the first of them or of their leases does.
fn ends_of(callers: &[Authenticated]) -> (Option<SystemTime>, Option<SystemTime>) {
    let ends = callers.iter().filter_map(Authenticated::expires_at).min();
    let leases = callers.iter().filter_map(Authenticated::lease_of_call);
    (ends, leases.filter_map(Lease::ends_at).chain(ends).min())
}

/// What a handler may ask of the request that reached it.
pub trait ServerRequestExt {
    /// Who calls.
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` when nobody was proven, as on a public method; `INTERNAL` when there is
    /// no gate in front of the handler. Both can be returned as they are.
    fn principal(&self) -> Result<&Principal, Status>;

    /// What the gate found out.
    ///
    /// # Errors
    ///
    /// `INTERNAL` when there is no gate in front of the handler.
    fn auth_context(&self) -> Result<&AuthContext, Status>;

    /// Who is at the other end of the connection.
    ///
    /// # Errors
    ///
    /// `INTERNAL` when the connection is not one of our listener's.
    fn peer_identity(&self) -> Result<&PeerIdentity, Status>;
}

impl<T> ServerRequestExt for tonic::Request<T> {
    fn principal(&self) -> Result<&Principal, Status> {
        self.auth_context()?
            .caller()
            .map(Authenticated::principal)
            .ok_or_else(|| Status::unauthenticated("the caller is not identified"))
    }

    fn auth_context(&self) -> Result<&AuthContext, Status> {
        let context = self.extensions().get();
        context.ok_or_else(|| Status::internal("there is no gate in front of this handler"))
    }

    fn peer_identity(&self) -> Result<&PeerIdentity, Status> {
        connection_info(self.extensions())
            .map(ConnectionInfo::peer)
            .ok_or_else(|| Status::internal("the connection has no peer identity"))
    }
}

/// Lets tonic's `remote_addr()` and `peer_certs()` work where there is no [`Gate`](super::Gate),
/// which does the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerInfoLayer;

impl<S> Layer<S> for PeerInfoLayer {
    type Service = PeerInfoService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PeerInfoService { inner }
    }
}

/// The service of [`PeerInfoLayer`].
#[derive(Clone, Debug)]
pub struct PeerInfoService<S> {
    inner: S,
}

impl<S, B> Service<http::Request<B>> for PeerInfoService<S>
where
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> S::Future {
        if let Some(info) = connection_info(request.extensions()).cloned() {
            // No authenticator is asked here, and a certificate was verified in the handshake.
            info.let_through(|| info.peer().certificate().is_some());
            info.put_tonics_own_into(request.extensions_mut());
        }
        self.inner.call(request)
    }
}
