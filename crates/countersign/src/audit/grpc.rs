use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::event::{AuditEvent, AuditOutcome};
use super::text::{NAMES, STRANGERS, clean};
use super::time::rfc3339;

/// An event as gRFC A59 has it and grpc-go's `stdout_logger` writes it:
/// `{"grpc_audit_log":{"rpc_method":…}}`.
///
/// | gRFC A59 | is |
/// |---|---|
/// | `rpc_method` | `method` |
/// | `principal` | `principal`, else `peer_name`, else empty. grpc-go has it for SPIFFE IDs alone |
/// | `policy_name` | `policy`, else empty |
/// | `matched_rule` | `policy` and `rule` with `_` between, as grpc-go, Java and C++ name rules; empty where none matched. Without a policy, `rule` |
/// | `authorized` | whether `outcome` is `allowed` |
/// | `timestamp` | `time` |
#[derive(Clone, Copy, Debug)]
pub struct GrpcAuditLog<'a> {
    event: &'a AuditEvent,
}

impl AuditEvent {
    /// The same as gRFC A59 has it.
    pub fn as_grpc(&self) -> GrpcAuditLog<'_> {
        GrpcAuditLog { event: self }
    }
}

impl Serialize for GrpcAuditLog<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            rpc_method: &'a str,
            principal: &'a str,
            policy_name: &'a str,
            matched_rule: &'a str,
            authorized: bool,
            timestamp: &'a str,
        }
        let event = self.event;
        let principal = event.principal().map(|principal| principal.name());
        let name = clean(principal.or_else(|| event.peer_name()).unwrap_or_default(), NAMES);
        let policy = clean(event.policy().unwrap_or_default(), NAMES);
        let rule = clean(event.rule().unwrap_or_default(), NAMES);
        let matched = match (policy.is_empty(), rule.is_empty()) {
            (false, false) => format!("{policy}_{rule}"),
            _ => rule.into_owned(),
        };
        let body = Body {
            rpc_method: &clean(event.method.as_str(), STRANGERS),
            principal: &name,
            policy_name: &policy,
            matched_rule: &matched,
            authorized: event.outcome() == AuditOutcome::Allowed,
            timestamp: &rfc3339(event.time(), 9),
        };
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry("grpc_audit_log", &body)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_what_grpc_go_would_write() {
        assert_eq!(
            serde_json::to_string(&AuditEvent::example().as_grpc()).expect("JSON"),
            concat!(
                r#"{"grpc_audit_log":{"rpc_method":"/orders.v1.Orders/Purge","#,
                r#""principal":"spiffe://prod.example/web","policy_name":"orders","#,
                r#""matched_rule":"orders_no-purge","authorized":false,"#,
                r#""timestamp":"2026-11-29T11:20:07.012345678Z"}}"#
            )
        );
    }
}
