use std::borrow::Cow;
use std::net::IpAddr;

use crate::identity::{Principal, Source};

/// Whose bucket it is. In memory it is found by a keyed hash of this, in a shared store by its
/// entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject<'a> {
    /// All callers of what the limit is for.
    Everybody,
    /// One caller: its name, and who proved it.
    Caller(&'a Principal),
    /// One tenant; `None`: all callers that have none.
    Tenant(Option<Cow<'a, str>>),
    /// One address; `None`: all that are not told.
    Address(Option<Source>),
}

impl<'a> Subject<'a> {
    /// The subject in words, the same in every process of a fleet, from the widest to the
    /// narrowest: `authenticator` and `caller`, `tenant`, `address` or `user`. Two subjects of
    /// one limit have other entries. Other processes may be of another build, so these words
    /// must never change.
    pub(crate) fn entries(&self) -> Vec<(&'static str, Cow<'a, str>)> {
        match self {
            Self::Everybody => Vec::new(),
            Self::Caller(caller) => vec![
                ("authenticator", caller.authenticator().into()),
                ("caller", caller.name().into()),
            ],
            Self::Tenant(Some(tenant)) => vec![("tenant", tenant.clone())],
            Self::Tenant(None) => vec![("without", "tenant".into())],
            Self::Address(Some(Source::Ip(IpAddr::V4(ip)))) => {
                vec![("address", ip.to_string().into())]
            }
            Self::Address(Some(Source::Ip(IpAddr::V6(ip)))) => {
                vec![("address", format!("{ip}/64").into())]
            }
            Self::Address(Some(Source::User(uid))) => vec![("user", uid.to_string().into())],
            Self::Address(None) => vec![("without", "address".into())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_its_own_words_and_always_the_same() {
        let alice = Principal::new("alice", "tokens");
        let ip = |text: &str| Some(Source::of_ip(text.parse().expect("an address")));
        for (subject, words) in [
            (Subject::Everybody, ""),
            (Subject::Caller(&alice), "authenticator=tokens caller=alice "),
            (Subject::Tenant(Some("acme".into())), "tenant=acme "),
            (Subject::Tenant(Some("".into())), "tenant= "),
            (Subject::Tenant(None), "without=tenant "),
            (Subject::Address(ip("192.0.2.1")), "address=192.0.2.1 "),
            (Subject::Address(ip("::ffff:192.0.2.1")), "address=192.0.2.1 "),
            (Subject::Address(ip("2001:db8::1")), "address=2001:db8::/64 "),
            (Subject::Address(Some(Source::User(1000))), "user=1000 "),
            (Subject::Address(None), "without=address "),
        ] {
            let told: String =
                subject.entries().iter().map(|(key, value)| format!("{key}={value} ")).collect();
            assert_eq!(told, words, "{subject:?}");
        }
    }
}
