use std::sync::Arc;
use std::time::Duration;

use super::authorizer::Authorizer;
use super::challenge::Challenge;
use super::denial::{DecisionIds, Denials};
use super::interface::Interface;
use super::layer::{Gate, Inner};
use super::memory::GateMark;
use super::watching::{StreamExpiry, Watching};
use crate::audit::Audit;
use crate::authentication::{Authenticator, EvidenceKinds};
use crate::authorization::{
    Authorization, InvalidDescriptorSet, InvalidPattern, RulesError, shortened,
};
use crate::clock::{Clock, SystemClock};
use crate::quota::Quota;
use crate::transport::warnings::Warnings;

/// Makes a [`Gate`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct GateBuilder {
    authenticators: Vec<Arc<dyn Authenticator>>,
    authorization: Authorization,
    realm: String,
    clock: Arc<dyn Clock>,
    tonic_connection_info: bool,
    modes: Vec<(String, StreamExpiry)>,
    recheck_every: Duration,
    quota: Option<Quota>,
    audit: Option<Audit>,
    pub(super) interface: Interface,
}

/// Why a gate cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// The rules cannot be used.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A pattern of [`GateBuilder::when_credentials_end`] cannot be read.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// Two authenticators have the same name, and rules could not tell them apart.
    #[error("two authenticators are named {name:?}")]
    DuplicateAuthenticator {
        /// The name.
        name: String,
    },
    /// A rule of the policy asks for an authenticator that the gate has not got: if it allows, it
    /// would let nobody in; if it denies, it would keep nobody out.
    #[error(
        "the policy's rule {rule:?} asks for the authenticator {name:?}, and the gate has {known:?}"
    )]
    UnknownAuthenticator {
        /// The rule.
        rule: String,
        /// The authenticator that is missing.
        name: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// The policy wants decisions to be logged by somebody whom the gate's audit has not got.
    #[error(
        "the policy wants its decisions logged by {name:?}, and the gate's audit has {known:?}"
    )]
    UnknownAuditLogger {
        /// The logger that is missing.
        name: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// What an authenticator challenges with is not a scheme, and no header could say it.
    #[error("the authenticator {name:?} challenges with {scheme:?}, which is not a scheme")]
    Challenge {
        /// The authenticator.
        name: String,
        /// What it challenges with.
        scheme: String,
    },
    /// What [`GateBuilder::methods_of`] was given is no descriptor set.
    #[error(transparent)]
    DescriptorSet(#[from] InvalidDescriptorSet),
    /// The gate is strict and was not told of any method.
    #[error("a strict gate has to know the server's methods")]
    NoMethods,
    /// The gate is strict, and methods have no rule.
    #[error("no rule is for {}, and the gate is strict", shortened(.methods.iter().map(String::as_str)))]
    Uncovered {
        /// The methods without a rule, as paths.
        methods: Vec<String>,
    },
    /// The realm cannot be put into a header.
    #[error("the realm {realm:?} has a character that a quoted header value cannot have")]
    Realm {
        /// The realm.
        realm: String,
    },
}

impl GateBuilder {
    pub(super) fn new() -> Self {
        Self {
            authenticators: Vec::new(),
            authorization: Authorization::default(),
            realm: "grpc".to_owned(),
            clock: Arc::new(SystemClock),
            tonic_connection_info: true,
            modes: Vec::new(),
            recheck_every: Watching::EVERY,
            quota: None,
            audit: None,
            interface: Interface::default(),
        }
    }

    /// Adds a way to prove callers. A credential that one or more of them read has to be
    /// accepted by one of them.
    pub fn authenticate(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticators.push(Arc::new(authenticator));
        self
    }

    /// Who may call what: [`Rules`](crate::Rules), a [`Policy`](crate::authorization::Policy) or
    /// a [`PolicyFile`](crate::authorization::PolicyFile). Said twice, the last counts. Default:
    /// nobody anything.
    ///
    /// A policy is asked with the metadata as it came, credentials included, with the names in
    /// the peer's verified certificate and with everyone whom the authenticators proved. The
    /// first of these, the token's principal before the certificate's, is the call's caller. A
    /// denied caller is told `PERMISSION_DENIED`, somebody without token and certificate
    /// `UNAUTHENTICATED`, and neither which rule it was; the log says that under the decision's
    /// ID.
    ///
    /// Evidence that is bad is refused before a policy's rules could allow the call, except by a
    /// rule that asks for none: who may come without credentials may come with an expired one,
    /// and is nobody to the handler.
    ///
    /// ```
    /// use countersign::authorization::Policy;
    /// use countersign::{Gate, MutualTls};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let policy = Policy::from_json(
    ///     r#"{
    ///         "name": "orders",
    ///         "allow_rules": [
    ///             {"name": "health", "request": {"paths": ["/grpc.health.v1.Health/*"]}},
    ///             {"name": "web", "source": {"principals": ["spiffe://prod.example/web"]}}
    ///         ]
    ///     }"#,
    /// )?;
    /// let gate = Gate::builder().authenticate(MutualTls::new()).authorize(policy).build()?;
    /// # drop(gate);
    /// # Ok(())
    /// # }
    /// ```
    pub fn authorize(mut self, authorization: impl Into<Authorization>) -> Self {
        self.authorization = authorization.into();
        self
    }

    /// The realm in `www-authenticate`. Default: `grpc`.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// The clock that tells when what proved a caller has ended. Default: the system's. Where
    /// authenticators were given another clock, as in a test, the gate needs the same one.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Whether requests carry tonic's own connection info too, for its `remote_addr()`,
    /// `local_addr()` and `peer_certs()`. Default: `true`.
    ///
    /// It costs one allocation for each call, and three over a connection with a client
    /// certificate. Handlers that ask
    /// [`peer_identity()`](super::ServerRequestExt::peer_identity) instead have no use for it.
    pub fn tonic_connection_info(mut self, wanted: bool) -> Self {
        self.tonic_connection_info = wanted;
        self
    }

    /// What becomes of calls to these methods that still go on when what proved their caller
    /// ends. Default: [`StreamExpiry::Terminate`].
    ///
    /// Patterns are as in [`Rules`](crate::Rules); an exact one goes first, and then the one with
    /// the most characters given.
    pub fn when_credentials_end(mut self, pattern: &str, then: StreamExpiry) -> Self {
        self.modes.push((pattern.to_owned(), then));
        self
    }

    /// How long an idle stream may go on after its credential was taken back, or after the clock
    /// was set forward beyond its end. Default: 30 s; between 100 ms and an hour.
    ///
    /// What an authenticator granted a [lease](crate::authentication::Lease) for is looked at
    /// again when the lease has ended or was ended, with the credential that the call came with,
    /// and no more often than this. Where nobody can tell ten times in a row, the stream ends.
    pub fn recheck_streams_every(mut self, interval: Duration) -> Self {
        self.recheck_every = interval;
        self
    }

    /// How much callers may ask for. Default: as much as they like.
    ///
    /// Each call of a proven caller counts, allowed or denied; where nobody is proven, as on
    /// public methods, only limits [by address](Quota::per_address) and
    /// [by method](Quota::per_method) do. A call too many is told `RESOURCE_EXHAUSTED`, reason
    /// `RATE_LIMITED`, with `RetryInfo` where waiting helps, a `QuotaFailure` that names the
    /// limit, and the `ratelimit` fields. A quota may be given to several gates, which then share
    /// it.
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quota = Some(quota);
        self
    }

    /// What each decision is told to. Default: nothing but the log.
    ///
    /// Each call that passes, each that is refused, and each that is ended later makes one
    /// [event](crate::audit::AuditEvent). A policy's `audit_logging_options` choose which of the
    /// audit's sinks get what (gRFC A59); its loggers have to be among them, or be optional.
    pub fn audit(mut self, audit: impl Into<Audit>) -> Self {
        self.audit = Some(audit.into());
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    ///
    /// The first setting that cannot hold.
    pub fn build(self) -> Result<Gate, GateError> {
        let names: Vec<&str> = self.authenticators.iter().map(|one| one.name()).collect();
        if let Some(at) = (1..names.len()).find(|&at| names[..at].contains(&names[at])) {
            return Err(GateError::DuplicateAuthenticator { name: names[at].to_owned() });
        }
        for one in &self.authenticators {
            if let Some(scheme) = one.challenges().iter().find(|scheme| !is_scheme(scheme)) {
                let (name, scheme) = (one.name().to_owned(), (*scheme).to_owned());
                return Err(GateError::Challenge { name, scheme });
            }
        }
        self.interface.check()?;
        let authorizer =
            Authorizer::new(self.authorization.kind, &names, &self.interface, self.audit.as_ref())?;
        let quotable = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if !self.realm.bytes().all(quotable) {
            return Err(GateError::Realm { realm: self.realm });
        }
        let reads = self
            .authenticators
            .iter()
            .fold(EvidenceKinds::default(), |kinds, one| kinds.or(one.reads()));
        let denials = Denials::new(Challenge::new(&self.authenticators, &self.realm));
        let gate = Gate::new(Inner {
            repeatable: self.authenticators.iter().all(|one| one.is_repeatable()),
            authenticators: self.authenticators,
            authorizer,
            reads,
            denials,
            decisions: DecisionIds::default(),
            warnings: Warnings::new(),
            warnings_of_the_known: Warnings::of_the_known(),
            clock: self.clock,
            mark: Arc::new(GateMark::default()),
            nobody: Arc::new([]),
            tonic_connection_info: self.tonic_connection_info,
            watching: Watching::new(self.modes, self.recheck_every)?,
            quota: self.quota,
            audit: self.audit,
            methods: self.interface.methods(),
        });
        gate.tell_coverage();
        Ok(gate)
    }
}

/// A token of RFC 9110 §5.6.2.
fn is_scheme(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
