use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use countersign::authentication::{
    AuthenticationError, CallEvidence, Evidence, EvidenceKinds, Outcome, Reason,
};
use countersign::{Authenticator, Gate, GateBuilder, Principal, async_trait};
use tokio::sync::Notify;

use super::TOKEN;

/// Judges bearer tokens, when the test lets it.
#[derive(Debug)]
pub(crate) struct Scripted {
    name: &'static str,
    verdict: fn(&str) -> Result<&'static str, AuthenticationError>,
    /// Has it waited for before it judges.
    gate: Option<Notify>,
    asked: AtomicUsize,
    left: AtomicUsize,
}

impl Scripted {
    pub(crate) fn judging(
        name: &'static str,
        verdict: fn(&str) -> Result<&'static str, AuthenticationError>,
    ) -> Self {
        Self { name, verdict, gate: None, asked: AtomicUsize::new(0), left: AtomicUsize::new(0) }
    }

    pub(crate) fn accepting(name: &'static str) -> Self {
        Self::judging(name, |_| Ok("ci"))
    }

    pub(crate) fn waiting(mut self) -> Self {
        self.gate = Some(Notify::new());
        self
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }

    /// Lets one call be judged.
    pub(crate) fn release(&self) {
        self.gate.as_ref().expect("it waits").notify_one();
    }
}

/// Counts when it goes, whichever way.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Authenticator for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
    }

    async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let _leaving = Leaving(&self.left);
        let CallEvidence::Bearer(token) = evidence.call() else { return Ok(None) };
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        (self.verdict)(token).map(|name| Some(evidence.accept(Principal::new(name, self.name))))
    }

    fn challenges(&self) -> &[&'static str] {
        &["Bearer"]
    }
}

pub(crate) fn with(authenticator: &Arc<Scripted>) -> GateBuilder {
    Gate::builder().authenticate(Arc::clone(authenticator))
}

pub(crate) fn only_good(token: &str) -> Result<&'static str, AuthenticationError> {
    match token {
        TOKEN => Ok("ci"),
        _ => Err(AuthenticationError::new(Reason::TokenExpired, "it is stale")),
    }
}
