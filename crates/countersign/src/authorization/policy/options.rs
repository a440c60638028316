use super::annotation::Annotations;

/// How a policy is read where gRFC A41, gRFC A43 and its readers disagree.
///
/// The defaults are what grpc-go does. A policy file may choose for itself, under its top-level
/// key `countersign`; what it says there goes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyOptions {
    pub(super) certificate_names: CertificateNames,
    pub(super) repeated_headers: RepeatedHeaders,
    pub(super) audit_loggers: Vec<String>,
    pub(super) annotations: Annotations,
}

/// Which names of a certificate a rule's `principals` are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateNames {
    /// `first-kind`: its URI names if it has some, else its DNS names if it has some, else its
    /// subject (gRFC A41, and the default).
    ///
    /// A rule that allows a DNS name does not let in a workload that is known by its URI.
    #[default]
    FirstKind,
    /// `any-kind`: all of them (the letter of gRFC A43). Rules match more callers, those that
    /// allow too.
    AnyKind,
    /// `strictest`: the first kind for rules that allow, all kinds for rules that deny; under
    /// `not` the other way round.
    Strictest,
}

/// What a rule's header values are compared with where a header is there several times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepeatedHeaders {
    /// `joined`: all its values with commas between, no spaces added, as one text (gRFC A41 and
    /// A43, and the default).
    ///
    /// A caller cannot add a second value to pass a rule that allows one. It can add one to
    /// escape a rule that denies one; `strictest` stops that.
    #[default]
    Joined,
    /// `any-value`: the joined text, or any one of its values.
    AnyValue,
    /// `strictest`: joined for rules that allow, any value for rules that deny; under `not` the
    /// other way round.
    Strictest,
}

impl CertificateNames {
    pub(super) const ALL: [(&'static str, Self); 3] = [
        ("first-kind", Self::FirstKind),
        ("any-kind", Self::AnyKind),
        ("strictest", Self::Strictest),
    ];
}

impl RepeatedHeaders {
    pub(super) const ALL: [(&'static str, Self); 3] =
        [("joined", Self::Joined), ("any-value", Self::AnyValue), ("strictest", Self::Strictest)];
}

impl Default for PolicyOptions {
    fn default() -> Self {
        Self {
            certificate_names: CertificateNames::default(),
            repeated_headers: RepeatedHeaders::default(),
            audit_loggers: vec!["stdout_logger".to_owned()],
            annotations: Annotations::default(),
        }
    }
}

impl PolicyOptions {
    /// The defaults: the first kind of names, repeated headers joined, and `stdout_logger` as
    /// the one audit logger.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses the names of certificates that `principals` are compared with.
    #[must_use]
    pub fn with_certificate_names(mut self, names: CertificateNames) -> Self {
        self.certificate_names = names;
        self
    }

    /// Chooses how repeated headers are read.
    #[must_use]
    pub fn with_repeated_headers(mut self, headers: RepeatedHeaders) -> Self {
        self.repeated_headers = headers;
        self
    }

    /// Lets methods say themselves who may call them where the policy file does not.
    ///
    /// Rules of the file that deny go first, then those that allow, then annotations. An allow rule
    /// whose `paths` match a method, other than by `*` alone, takes the place of the method's
    /// annotation, a denial too: the file has the last word. A rule for all methods stands beside
    /// the annotations, if it has no `paths` or has `*` among them. `/*` is no such rule, although
    /// it matches all methods too: it takes the place of *every* annotation. Groups that an annotation names are the file's. `allow_rules` may be left
    /// out where annotations allow something.
    #[must_use]
    pub fn with_annotations(mut self, annotations: Annotations) -> Self {
        self.annotations = annotations;
        self
    }

    /// Lets policies name another audit logger. One that nobody knows and that is not optional
    /// makes a policy invalid (gRFC A59).
    #[must_use]
    pub fn with_audit_logger(mut self, name: impl Into<String>) -> Self {
        self.audit_loggers.push(name.into());
        self
    }
}
