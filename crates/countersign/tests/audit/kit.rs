//! Sinks that a test can look into, stop and break, and a gate before them.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use countersign::audit::{Audit, AuditEvent, AuditSink, AuditWriter, SinkError};
use countersign::authentication::{
    AuthenticationError, CallEvidence, Evidence, EvidenceKinds, Outcome, Reason,
};
use countersign::{
    Authenticator, Gate, GateBuilder, Principal, Rules, ServerCredentials, async_trait,
};
use countersign_testkit::greeter::SAY_HELLO;
use serde_json::Value;
use tower_layer::Layer;

use super::support::{Answer, Reached, Served, greeter, keep_logs_awake, reason_of, serve};

pub(crate) const OPEN: &str = "/countersign.demo.v1.Greeter/Open";
pub(crate) const RESET: &str = "/countersign.demo.v1.Greeter/Reset";
pub(crate) const ALICE: (&str, &str) = ("authorization", "Bearer alice-token");
pub(crate) const BAD: (&str, &str) = ("authorization", "Bearer nobodys-token");

/// Long enough for anything that happens at all.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Knows `<name>-token`, but for nobody's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) waits: bool,
    pub(crate) until: Option<SystemTime>,
}

impl Tokens {
    fn judge(&self, evidence: &Evidence<'_>) -> Outcome {
        let CallEvidence::Bearer(token) = evidence.call() else { return Ok(None) };
        match token.strip_suffix("-token").filter(|name| *name != "nobodys") {
            Some(name) => {
                let caller = evidence.accept(Principal::new(name, self.name()));
                Ok(Some(match self.until {
                    Some(until) => caller.expiring_at(until),
                    None => caller,
                }))
            }
            None => Err(AuthenticationError::new(Reason::TokenInvalid, "nobody knows it")),
        }
    }
}

#[async_trait]
impl Authenticator for Tokens {
    fn name(&self) -> &str {
        "tokens"
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        (!self.waits).then(|| self.judge(evidence))
    }

    async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
        tokio::task::yield_now().await;
        self.judge(evidence)
    }
}

/// What a sink is told to do, and what it has.
#[derive(Clone, Default)]
pub(crate) struct Sink {
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    events: Vec<Value>,
    hangs: bool,
    /// Says *again*.
    fails: bool,
    /// How often it said so.
    failed: u64,
    loses: bool,
    panics: bool,
}

impl Sink {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.state.1.notify_all();
    }

    pub(crate) fn hanging() -> Self {
        let sink = Self::default();
        sink.hang();
        sink
    }

    pub(crate) fn hang(&self) {
        self.change(|state| state.hangs = true);
    }

    pub(crate) fn let_go(&self) {
        self.change(|state| state.hangs = false);
    }

    pub(crate) fn fails(&self, fails: bool) {
        self.change(|state| state.fails = fails);
    }

    pub(crate) fn failed(&self) -> u64 {
        self.lock().failed
    }

    pub(crate) fn loses(&self, loses: bool) {
        self.change(|state| state.loses = loses);
    }

    pub(crate) fn panics(&self) {
        self.change(|state| state.panics = true);
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.lock().events.clone()
    }

    /// One field of each event; nothing where it is left out.
    pub(crate) fn all(&self, field: &str) -> Vec<String> {
        let text = |event: &Value| event[field].as_str().unwrap_or_default().to_owned();
        self.events().iter().map(text).collect()
    }
}

impl AuditSink for Sink {
    fn write(&mut self, event: &AuditEvent) -> Result<(), SinkError> {
        let mut state = self.lock();
        while state.hangs {
            state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.fails {
            state.failed += 1;
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        }
        if state.loses {
            return Err(SinkError::Lost(io::ErrorKind::InvalidData.into()));
        }
        if state.panics {
            drop(state);
            panic!("on purpose");
        }
        state.events.push(serde_json::to_value(event).expect("JSON"));
        Ok(())
    }
}

pub(crate) fn rules() -> Rules {
    Rules::new().authenticated(SAY_HELLO).public(OPEN)
}

pub(crate) fn builder() -> GateBuilder {
    keep_logs_awake();
    Gate::builder().authenticate(Tokens::default()).authorize(rules())
}

/// An audit with one sink, which gets everything.
pub(crate) fn one(sink: &Sink) -> (Audit, AuditWriter) {
    let when_full = countersign::audit::WhenFull::DropAndCount;
    let audit = Audit::builder().sink("one", sink.clone(), when_full).build().expect("an audit");
    let writer = audit.start().expect("threads");
    (audit, writer)
}

pub(crate) async fn behind(gate: GateBuilder) -> (Served, Reached) {
    let reached = Reached::default();
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    (serve(incoming, gate.build().expect("a gate").layer(greeter(&reached))), reached)
}

/// The code, and the reason if there is one.
pub(crate) fn told(answer: &Answer) -> String {
    let status = answer.grpc();
    format!("{:?} {}", status.code(), reason_of(&status)).trim_end().to_owned()
}
