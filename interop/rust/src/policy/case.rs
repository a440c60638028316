//! A question to both sides, and their answers.

use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A policy, and a call that is put to it; without one, only the policy is judged.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) policy: String,
    pub(crate) request: Option<Request>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) socket: Socket,
    pub(crate) tls: bool,
    pub(crate) certificate: Option<Certificate>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Socket {
    #[default]
    Tcp,
    Unix,
    Memory,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) uris: Vec<String>,
    pub(crate) dns_names: Vec<String>,
    pub(crate) subject: String,
    /// The server asked for a certificate and did not look at its chain.
    pub(crate) unverified: bool,
}

impl Case {
    /// The line for `countersign conformance policy`: the call as our server hands it over, which
    /// says nothing of the kind of socket, and of a certificate only if its chain was verified.
    pub(crate) fn for_us(&self) -> String {
        self.line(|request| {
            let verified = request.certificate.as_ref().filter(|one| !one.unverified);
            json!({"transport": request.transport(), "certificate": verified.map(Certificate::json)})
        })
    }

    /// The line for grpc-go.
    pub(crate) fn for_them(&self) -> String {
        self.line(|request| {
            let certificate = request.certificate.as_ref().map(|one| {
                let mut written = one.json();
                written["unverified"] = json!(one.unverified);
                written
            });
            let socket = match request.socket {
                Socket::Tcp => "tcp",
                Socket::Unix => "unix",
                Socket::Memory => "memory",
            };
            json!({"transport": request.transport(), "socket": socket, "certificate": certificate})
        })
    }

    fn line(&self, peer: impl Fn(&Request) -> Value) -> String {
        let request = self.request.as_ref().map(|request| {
            json!({"path": request.path, "headers": request.headers, "peer": peer(request)})
        });
        // A text of one line that is JSON may stand for itself, and every other one does.
        let inline = self.policy.len().is_multiple_of(2)
            && !self.policy.contains(['\n', '\r'])
            && serde_json::from_str::<&RawValue>(&self.policy).is_ok()
            && self.policy.trim() != "null";
        let (key, policy) = match inline {
            true => ("policy", self.policy.clone()),
            false => ("policy_text", json!(self.policy).to_string()),
        };
        format!(r#"{{"{key}":{policy},"request":{}}}"#, request.unwrap_or_default())
    }
}

impl Request {
    fn transport(&self) -> &'static str {
        if self.tls { "tls" } else { "insecure" }
    }
}

impl Certificate {
    fn json(&self) -> Value {
        json!({"uri_sans": self.uris, "dns_sans": self.dns_names, "subject": self.subject})
    }
}

/// What one side says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) decision: Decision,
    pub(crate) rule: Option<String>,
    pub(crate) error: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow,
    Deny,
    Valid,
    InvalidPolicy,
}

impl Verdict {
    pub(crate) fn read(line: &str) -> Option<Self> {
        let read: Value = serde_json::from_str(line).ok()?;
        let decision = match read["decision"].as_str()? {
            "allow" => Decision::Allow,
            "deny" => Decision::Deny,
            "valid" => Decision::Valid,
            "invalid-policy" => Decision::InvalidPolicy,
            _ => return None,
        };
        let text = |key: &str| read[key].as_str().map(str::to_owned);
        Some(Self { decision, rule: text("rule"), error: text("error").unwrap_or_default() })
    }

    pub(crate) fn is_invalid(&self) -> bool {
        self.decision == Decision::InvalidPolicy
    }

    /// Whether a rule denied, and not the lack of one.
    pub(crate) fn is_denied_by_rule(&self) -> bool {
        self.decision == Decision::Deny && self.rule.is_some()
    }

    /// Whether both say the same, but for the words of an error.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        self.decision == other.decision && self.rule == other.rule
    }
}
