//! Calls as tables write them.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use countersign::Principal;
use countersign::authorization::{CertificateFacts, PeerFacts, Policy, PolicyRequest};
use countersign::identity::MethodPath;
use http::{HeaderMap, HeaderName, HeaderValue};

/// One call, owned.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Peer,
    pub(crate) callers: Vec<Principal>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) now: SystemTime,
}

#[derive(Clone, Debug)]
pub(crate) enum Peer {
    Plain,
    Tls,
    Mtls { uris: Vec<String>, dns_names: Vec<String>, subject: String },
}

pub(crate) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

impl Peer {
    pub(crate) fn mtls(uris: &[&str], dns_names: &[&str], subject: &str) -> Self {
        let (uris, dns_names) = (strings(uris), strings(dns_names));
        Self::Mtls { uris, dns_names, subject: subject.to_owned() }
    }
}

impl Call {
    pub(crate) fn to(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            headers: HeaderMap::new(),
            peer: Peer::Plain,
            callers: Vec::new(),
            address: None,
            now: UNIX_EPOCH,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers.append(name, HeaderValue::from_str(value).expect("a header value"));
        self
    }

    pub(crate) fn over(mut self, peer: Peer) -> Self {
        self.peer = peer;
        self
    }

    pub(crate) fn by(mut self, caller: Principal) -> Self {
        self.callers.push(caller);
        self
    }

    pub(crate) fn from(mut self, address: &str) -> Self {
        self.address = Some(address.parse().expect("an address"));
        self
    }

    pub(crate) fn ask<T>(&self, ask: impl FnOnce(&PolicyRequest<'_>) -> T) -> T {
        let path = MethodPath::parse(&self.path).expect("canonical");
        let mut peer = match &self.peer {
            Peer::Plain => PeerFacts::plaintext(),
            Peer::Tls => PeerFacts::tls(None),
            Peer::Mtls { uris, dns_names, subject } => {
                PeerFacts::tls(Some(CertificateFacts { uris, dns_names, subject }))
            }
        };
        if let Some(address) = self.address {
            peer = peer.at(address);
        }
        let request = PolicyRequest::new(path, &self.headers, peer, self.now);
        ask(&request.with_assumed_callers(&self.callers))
    }

    /// Whether it passes, and by which rule.
    pub(crate) fn decided(&self, policy: &Policy) -> (bool, Option<String>) {
        self.ask(|request| {
            let decision = policy.decide(request);
            (decision.is_allowed(), decision.rule().map(ToString::to_string))
        })
    }
}

pub(crate) fn policy(text: &str) -> Policy {
    Policy::from_json(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}
