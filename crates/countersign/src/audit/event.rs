use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::call_ids::{CallIds, TraceParent};
use super::text::{NAMES, STRANGERS, Text, clean};
use super::time::rfc3339;
use crate::authentication::Reason;
use crate::authorization::{Policy, PolicyHead};
use crate::identity::{PeerAddress, PeerIdentity, Principal};

/// What was decided of one call, and for whom.
///
/// Serialises as one JSON object. Fields that say nothing of a call are left out. New ones may
/// come; what is there keeps its name and meaning for as long as `schema` is 1.
///
/// | Field | Type | What it is |
/// |---|---|---|
/// | `schema` | number | [`AuditEvent::SCHEMA`] |
/// | `id` | text | the decision's ID, 16 hexadecimal digits; a refused caller got it in `ErrorInfo.metadata["decision"]` |
/// | `time` | text | when it was decided: RFC 3339 in UTC, nanoseconds |
/// | `outcome` | text | `allowed`, `refused`, or `ended`: let in earlier and stopped now |
/// | `method` | text | the `:path` without its query, whether or not there is such a method |
/// | `peer` | text | the peer's address: `192.0.2.7:51234`, `unix:uid=1000:pid=4711`; absent if the listener is not ours |
/// | `peer_certificate` | text | SHA-256 of the peer's verified certificate, `sha256:` and 64 hexadecimal digits |
/// | `peer_name` | text | its name: the first URI, else the first DNS name, else the subject (the order of gRFC A41) |
/// | `principal` | text | whom an authenticator proved and the decision is about |
/// | `authenticated_by` | text | the authenticator |
/// | `token_id` | text | the token's `jti`, or the public ID of an API key |
/// | `rule` | text | the rule that decided: its pattern, or its name in a policy |
/// | `policy` | text | the policy's name |
/// | `reason` | text | why not: a [`Reason`], as the caller got it |
/// | `detail` | text | why not, for the operator; never told to the caller |
/// | `status` | text | the gRPC status that the caller got; absent if the call went on to its handler |
/// | `request_id` | text | the header `x-request-id`, if it is of ASCII letters, digits and `-_.:/+=@~`, 128 at most |
/// | `trace_id` | text | of the header `traceparent` (W3C Trace Context), 32 hexadecimal digits |
/// | `span_id` | text | the same header's parent, 16 hexadecimal digits |
/// | `passed_as` | text | of an `ended` call: the `id` with which it was allowed |
/// | `latency_ns` | number | how long the decision took, in nanoseconds; absent if `ended` |
///
/// There is no credential in any of them. What a stranger can choose is cut after 256 characters
/// with an ellipsis, names after 2,048; control characters and those that no one sees stand as
/// `\u{a}`, so that no field reaches into another line.
///
/// Cheap to make: names and certificates are shared with the connection and the policy, and only
/// written out on the audit's own thread.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    pub(crate) id: [u8; 16],
    pub(crate) time: SystemTime,
    pub(crate) outcome: AuditOutcome,
    pub(crate) method: Text,
    pub(crate) peer: PeerIdentity,
    pub(crate) principal: Option<Principal>,
    /// Whether we know who it is, by whatever, and no limit refuses it: such events find room
    /// before others.
    pub(crate) is_known: bool,
    pub(crate) rule: Option<Arc<str>>,
    pub(crate) policy: Option<Arc<PolicyHead>>,
    pub(crate) refusal: Option<RefusalFacts>,
    pub(crate) call_ids: CallIds,
    pub(crate) passed_as: Option<[u8; 16]>,
    pub(crate) latency: Option<Duration>,
}

/// What a caller was told, and what it was not.
#[derive(Clone, Debug)]
pub(crate) struct RefusalFacts {
    pub(crate) reason: Option<Reason>,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) status: i32,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuditOutcome {
    /// It went on to its handler.
    Allowed,
    /// It did not.
    Refused,
    /// It had been allowed, and was stopped with its credential or by a new policy.
    Ended,
}

impl AuditOutcome {
    /// As in [`AuditEvent`]'s JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Ended => "ended",
        }
    }
}

/// A field's value as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditValue<'a> {
    /// Cut and escaped already.
    Text(Cow<'a, str>),
    /// A number.
    Number(u64),
}

impl AuditEvent {
    /// The version of the fields.
    pub const SCHEMA: u64 = 1;

    /// The decision's ID, as the caller got it.
    pub fn id(&self) -> &str {
        digits(&self.id)
    }

    /// When it was decided, by the gate's clock.
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// What became of the call.
    pub fn outcome(&self) -> AuditOutcome {
        self.outcome
    }

    /// Whom an authenticator proved.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// The other end of the connection.
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// The rule that decided.
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// The policy's name.
    pub fn policy(&self) -> Option<&str> {
        self.policy.as_ref().map(|policy| &*policy.name)
    }

    /// Why not.
    pub fn reason(&self) -> Option<Reason> {
        self.refusal.as_ref()?.reason
    }

    /// One made up, for the tests of one's own sinks: the refusal in the book.
    pub fn example() -> Self {
        let address = PeerAddress::Tcp(([192, 0, 2, 7], 51_234).into());
        let policy = r#"{"name": "orders", "allow_rules": [{"name": "readers"}]}"#;
        Self {
            id: *b"5f0c9a7be21d4388",
            time: UNIX_EPOCH + Duration::new(1_795_951_207, 12_345_678),
            outcome: AuditOutcome::Refused,
            method: Text::new("/orders.v1.Orders/Purge"),
            peer: PeerIdentity::new(address, None, Default::default(), None, None),
            principal: Some(Principal::new("spiffe://prod.example/web", "mutual-tls")),
            is_known: true,
            rule: Some("no-purge".into()),
            policy: Policy::from_json(policy).ok().map(|policy| Arc::clone(policy.head())),
            refusal: Some(RefusalFacts {
                reason: Some(Reason::PolicyDenied),
                detail: Cow::Borrowed("a rule of the policy denies the call"),
                status: 7,
            }),
            call_ids: CallIds {
                request: Some(Text::new("6f1c9a52-7f0e-4f7e-9a51-0d8f2e7b6c11")),
                trace: Some(TraceParent { trace_id: [0x4b; 16], span_id: [0xb7; 8], flags: 1 }),
            },
            passed_as: None,
            latency: Some(Duration::from_nanos(4_321)),
        }
    }

    /// Every field that says something, in the order of the table, as it is written.
    pub fn fields(&self) -> Vec<(&'static str, AuditValue<'_>)> {
        let mut all = Vec::with_capacity(20);
        let Ok(()) = self.each(|name, value| -> Result<(), Infallible> {
            all.push((name, value));
            Ok(())
        });
        all
    }

    pub(super) fn each<'a, E>(
        &'a self,
        mut each: impl FnMut(&'static str, AuditValue<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        each("schema", AuditValue::Number(Self::SCHEMA))?;
        let mut text = |name, value: Option<Cow<'a, str>>| match value {
            Some(value) => each(name, AuditValue::Text(value)),
            None => Ok(()),
        };
        let cleaned = |value: &'a str| clean(value, NAMES);
        text("id", Some(self.id().into()))?;
        text("time", Some(rfc3339(self.time, 9).into()))?;
        text("outcome", Some(self.outcome.as_str().into()))?;
        text("method", Some(clean(self.method.as_str(), STRANGERS)))?;
        let address = match self.peer.address() {
            PeerAddress::Unknown => None,
            known => Some(known.to_string().into()),
        };
        text("peer", address)?;
        if let Some(certificate) = self.peer.certificate() {
            let thumbprint = "sha256:".to_owned() + &hex(certificate.thumbprint());
            text("peer_certificate", Some(thumbprint.into()))?;
        }
        text("peer_name", self.peer_name().map(cleaned))?;
        if let Some(principal) = &self.principal {
            text("principal", Some(cleaned(principal.name())))?;
            text("authenticated_by", Some(cleaned(principal.authenticator())))?;
            text("token_id", principal.token().and_then(|token| token.id()).map(cleaned))?;
        }
        text("rule", self.rule().map(cleaned))?;
        text("policy", self.policy().map(cleaned))?;
        if let Some(refusal) = &self.refusal {
            text("reason", refusal.reason.map(|reason| reason.as_str().into()))?;
            text("detail", Some(clean(&refusal.detail, STRANGERS)))?;
            text("status", Some(status_name(refusal.status).into()))?;
        }
        text("request_id", self.call_ids.request.as_ref().map(|id| id.as_str().into()))?;
        if let Some(trace) = &self.call_ids.trace {
            text("trace_id", Some(hex(&trace.trace_id).into()))?;
            text("span_id", Some(hex(&trace.span_id).into()))?;
        }
        text("passed_as", self.passed_as.as_ref().map(|id| digits(id).into()))?;
        match self.latency.map(|latency| u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX)) {
            Some(latency) => each("latency_ns", AuditValue::Number(latency)),
            None => Ok(()),
        }
    }

    /// The certificate's first name, in the order in which gRFC A41 looks for one.
    pub(super) fn peer_name(&self) -> Option<&str> {
        let certificate = self.peer.certificate()?;
        let names = certificate.uris().first().or_else(|| certificate.dns_names().first());
        Some(names.map_or(certificate.subject(), String::as_str))
    }

    #[cfg(feature = "opentelemetry")]
    pub(super) fn trace(&self) -> Option<TraceParent> {
        self.call_ids.trace
    }
}

impl Serialize for AuditEvent {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        self.each(|name, value| match value {
            AuditValue::Text(text) => map.serialize_entry(name, &*text),
            AuditValue::Number(number) => map.serialize_entry(name, &number),
        })?;
        map.end()
    }
}

fn digits(id: &[u8; 16]) -> &str {
    std::str::from_utf8(id).expect("hexadecimal digits")
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// The names of gRPC's status codes, by number.
fn status_name(code: i32) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(code).ok().and_then(|code| NAMES.get(code)).copied().unwrap_or("UNKNOWN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_the_one_in_the_book() {
        let page = include_str!("../../../../docs/book/src/audit.md");
        let (_, rest) = page.split_once("```json\n").expect("an example");
        let (shown, _) = rest.split_once("```").expect("its end");
        let shown: serde_json::Value = serde_json::from_str(shown).expect("JSON");
        let event = serde_json::to_value(AuditEvent::example()).expect("JSON");
        assert_eq!(event, shown);
    }

    #[test]
    fn every_field_is_in_the_table_and_in_the_books() {
        let mut event = AuditEvent::example();
        event.passed_as = Some(event.id);
        let page = include_str!("../../../../docs/book/src/audit.md");
        let table = include_str!("event.rs");
        for (name, _) in event.fields() {
            assert!(page.contains(&format!("| `{name}` |")), "{name} is not in the book");
            assert!(table.contains(&format!("/// | `{name}` |")), "{name} is not in the table");
        }
    }

    #[test]
    fn fields_that_say_nothing_are_left_out() {
        let mut event = AuditEvent::example();
        event.outcome = AuditOutcome::Allowed;
        event.peer = PeerIdentity::unknown();
        event.call_ids = CallIds::default();
        (event.principal, event.rule, event.policy, event.refusal) = (None, None, None, None);
        let names: Vec<_> = event.fields().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["schema", "id", "time", "outcome", "method", "latency_ns"]);
    }

    #[test]
    fn no_text_reaches_into_another_field_or_line() {
        let evil = "x\"}\n{\"schema\":1,\"outcome\":\"allowed\u{1b}[2K\u{2028}";
        let mut event = AuditEvent::example();
        event.method = Text::new(&format!("{evil}{}", "y".repeat(100_000)));
        event.principal = Some(Principal::new(evil, evil));
        event.rule = Some(evil.into());
        if let Some(refusal) = &mut event.refusal {
            refusal.detail = Cow::Borrowed(evil);
        }
        let line = serde_json::to_string(&event).expect("JSON");
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{2028}'), "{line}");
        assert!(line.len() < 3_000, "{}", line.len());
        let read: serde_json::Value = serde_json::from_str(&line).expect("one object");
        assert_eq!(read["outcome"], "refused");
        let escaped = "x\"}\\u{a}{\"schema\":1,\"outcome\":\"allowed\\u{1b}[2K\\u{2028}";
        for field in ["principal", "authenticated_by", "rule", "detail"] {
            assert_eq!(read[field], escaped, "{field}");
        }
    }

    #[test]
    fn status_names_are_tonics() {
        for code in 0..17 {
            let name = status_name(code).replace('_', "").to_lowercase();
            let tonic = format!("{:?}", tonic::Code::from_i32(code)).to_lowercase();
            assert_eq!(name, tonic, "{code}");
        }
        assert_eq!(status_name(99), "UNKNOWN");
    }
}
