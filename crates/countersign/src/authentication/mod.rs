//! Authenticators: evidence about a caller in, a proven principal out.
//!
//! An authenticator refuses by default. What it accepts leaves as an [`Authenticated`], which
//! nothing else can make.

pub mod api_keys;
mod combine;
mod error;
mod evidence;
pub(crate) mod introspection;
mod judged;
pub mod jwt;
mod lease;
mod mutual_tls;
mod naming;
mod presented;
mod static_tokens;

pub use combine::{AllOf, Anonymous, AnyOf, all_of, any_of};
pub use error::{AuthenticationError, Reason};
pub use evidence::{Authenticated, CallEvidence, CallTarget, Evidence, EvidenceKinds, Proof};
pub use introspection::{
    Introspection, IntrospectionBuilder, IntrospectionError, KnowsAudience, WantsAudience,
};
pub use lease::{Generation, Lease};
pub use mutual_tls::MutualTls;
pub use static_tokens::{StaticTokens, StaticTokensError};

pub(crate) use judged::Judged;
pub(crate) use lease::{Grant, Grants, are_current};

#[cfg(feature = "fuzzing")]
pub(crate) use presented::DPOP;
pub(crate) use presented::{Carried, Carrier, Malformed, Presented};

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

/// What an authenticator makes of a call: `Ok(None)` when there is no evidence of its kind.
pub type Outcome = Result<Option<Authenticated>, AuthenticationError>;

/// Whether somebody can do what they are there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They can.
    Ready,
    /// They cannot yet, or not any more.
    NotReady {
        /// What is missing, for the operator: a clause without the credential or the caller.
        why: String,
    },
}

impl Readiness {
    /// Whether it is [`Ready`](Self::Ready).
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}

/// Turns evidence of some kind into a proven principal.
///
/// The gate asks for every call to a method that is not public, before the body is read. Several
/// authenticators may read the same kind of evidence; one of them has to accept it.
#[async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync + 'static {
    /// What rules, logs and metrics call it, for instance `mutual-tls`. Unique in a gate.
    fn name(&self) -> &str;

    /// The kinds of evidence that it reads. A credential of a kind that nobody reads is left in
    /// the metadata, and one that somebody reads never reaches a handler.
    fn reads(&self) -> EvidenceKinds;

    /// Decides at once if nothing has to be waited for; `None`, the default, otherwise.
    ///
    /// Must not block. May be asked several times for one call, so what counts once, as a proof
    /// does, belongs into [`authenticate`](Self::authenticate).
    fn authenticate_now(&self, _evidence: &Evidence<'_>) -> Option<Outcome> {
        None
    }

    /// Decides. Asked when [`authenticate_now`](Self::authenticate_now) did not.
    ///
    /// May wait, under the call's deadline; it is dropped when the call ends first.
    ///
    /// # Errors
    ///
    /// Evidence that is not acceptable, or that nobody can judge now; the [`Reason`] decides
    /// which status the caller sees.
    async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
        self.authenticate_now(evidence).unwrap_or(Ok(None))
    }

    /// Whether its outcome depends on the connection and the call's one credential alone, so that
    /// the gate may remember it for the connection while the [`Lease`] of what it accepted
    /// holds; `Ok(None)` then is remembered as well. Default: `false`.
    fn is_repeatable(&self) -> bool {
        false
    }

    /// Whether it can judge evidence at all by now. A gate is ready when all of its
    /// authenticators are ([`Gate::readiness`](crate::Gate::readiness)). Default: ready.
    ///
    /// Asked once a second at most, and must not block.
    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }

    /// The `www-authenticate` schemes that a caller without credentials is told, such as
    /// `Bearer` and `DPoP`; none, the default, where metadata cannot help.
    fn challenges(&self) -> &[&'static str] {
        &[]
    }
}

#[async_trait]
impl<A: Authenticator + ?Sized> Authenticator for Arc<A> {
    fn name(&self) -> &str {
        A::name(self)
    }

    fn reads(&self) -> EvidenceKinds {
        A::reads(self)
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        A::authenticate_now(self, evidence)
    }

    async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
        A::authenticate(self, evidence).await
    }

    fn is_repeatable(&self) -> bool {
        A::is_repeatable(self)
    }

    fn readiness(&self) -> Readiness {
        A::readiness(self)
    }

    fn challenges(&self) -> &[&'static str] {
        A::challenges(self)
    }
}
