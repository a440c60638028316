//! An authenticator that does as the test says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use countersign::authentication::{
    AuthenticationError, CallEvidence, Evidence, EvidenceKinds, Generation, Lease, Outcome,
    Readiness, Reason,
};
use countersign::{Authenticator, Clock, Principal, async_trait};

pub(crate) const START: SystemTime = SystemTime::UNIX_EPOCH;

pub(crate) fn after(seconds: u64) -> SystemTime {
    START + Duration::from_secs(seconds)
}

/// What the authenticator says about every credential but `bad`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) lease: Option<Lease>,
    /// Granted within [`Scripted::generation`].
    pub(crate) withdrawable: bool,
    pub(crate) expires: Option<SystemTime>,
    pub(crate) refuses: Option<Reason>,
    /// The principal's name, where it is not the token.
    pub(crate) name: Option<&'static str>,
}

#[derive(Debug)]
pub(crate) struct Scripted {
    asked: AtomicUsize,
    pub(crate) generation: Generation,
    script: Mutex<Script>,
    repeatable: bool,
    waits: bool,
    takes: Duration,
    readiness: Mutex<Readiness>,
}

impl Scripted {
    pub(crate) fn new(script: Script) -> Self {
        Self {
            asked: AtomicUsize::new(0),
            generation: Generation::new(),
            script: Mutex::new(script),
            repeatable: true,
            waits: false,
            takes: Duration::ZERO,
            readiness: Mutex::new(Readiness::Ready),
        }
    }

    pub(crate) fn not_repeatable(mut self) -> Self {
        self.repeatable = false;
        self
    }

    /// Never decides at once.
    pub(crate) fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Never decides at once: its answer is known when it is asked, and told so much later.
    pub(crate) fn taking(mut self, takes: Duration) -> Self {
        (self.waits, self.takes) = (true, takes);
        self
    }

    pub(crate) fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn now_says(&self, script: Script) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }

    pub(crate) fn is(&self, readiness: Readiness) {
        *self.readiness.lock().unwrap_or_else(PoisonError::into_inner) = readiness;
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Outcome {
        let (CallEvidence::Bearer(token) | CallEvidence::ApiKey(token)) = evidence.call() else {
            return Ok(None);
        };
        self.asked.fetch_add(1, Ordering::SeqCst);
        let seen = self.generation.now();
        let script = self.script.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if token == "bad" {
            return Err(AuthenticationError::new(Reason::TokenInvalid, "it is bad"));
        }
        if let Some(reason) = script.refuses {
            return Err(AuthenticationError::new(reason, "as the script says"));
        }
        let principal = Principal::new(script.name.unwrap_or(token), "scripted");
        let mut caller = evidence.accept(principal);
        if let Some(lease) = script.lease {
            caller = caller.leased(match script.withdrawable {
                true => lease.within(&self.generation, seen),
                false => lease,
            });
        }
        Ok(Some(match script.expires {
            Some(end) => caller.expiring_at(end),
            None => caller,
        }))
    }
}

#[async_trait]
impl Authenticator for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { authorization: true, api_key: true, ..EvidenceKinds::default() }
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        (!self.waits).then(|| self.judge(evidence))
    }

    async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
        if !self.takes.is_zero() {
            let outcome = self.judge(evidence);
            tokio::time::sleep(self.takes).await;
            return outcome;
        }
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        self.judge(evidence)
    }

    fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    fn readiness(&self) -> Readiness {
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn challenges(&self) -> &[&'static str] {
        &["Bearer"]
    }
}

/// Wall-clock time that goes with tokio's, which a test may pause.
#[derive(Debug)]
pub(crate) struct RuntimeClock {
    began: tokio::time::Instant,
}

impl RuntimeClock {
    pub(crate) fn new() -> Self {
        Self { began: tokio::time::Instant::now() }
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> SystemTime {
        START + self.began.elapsed()
    }
}
