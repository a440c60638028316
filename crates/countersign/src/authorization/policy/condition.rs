use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::HeaderName;

use super::cel::Expression;
use super::groups::GroupSet;
use super::pattern::TextSet;
use super::request::{CertificateFacts, PolicyRequest};
use super::tokens::TokenSet;
use crate::authentication::Anonymous;
use crate::identity::{Principal, TokenClaims};

/// What a rule asks for; all of a rule's conditions have to hold.
#[derive(Debug)]
pub(super) enum Condition {
    Paths(TextSet),
    Header {
        key: HeaderName,
        values: TextSet,
    },
    Principals(TextSet),
    Tokens(TokenSet),
    ApiKeyOwners(TextSet),
    Authenticators(TextSet),
    Addresses(Vec<Network>),
    Groups(GroupSet),
    /// Somebody is known, by an authenticator or by a verified certificate.
    Proven,
    Certificate,
    Token,
    Times(Vec<Window>),
    Expression(Expression),
    Not(Box<Condition>),
}

/// A call as one kind of rules sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) request: &'a PolicyRequest<'a>,
    /// Names of every kind count, and not of the first kind alone.
    pub(super) any_kind: bool,
    /// Each value of a repeated header counts, and not only all of them joined.
    pub(super) any_value: bool,
    /// For a rule that denies, or a part of another that must not hold: what cannot be decided
    /// holds.
    pub(super) denies: bool,
    /// A certificate came with evidence that was bad: whom it proves, nobody knows.
    pub(super) unsettled: bool,
    /// The same two for what must not hold.
    pub(super) any_kind_not: bool,
    pub(super) any_value_not: bool,
}

/// The authenticator that vouches for the owners of API keys.
pub(super) const API_KEYS: &str = "api-keys";

impl Condition {
    pub(super) fn holds(&self, seen: &Seen<'_>) -> bool {
        let request = seen.request;
        match self {
            Self::Paths(paths) => paths.matches(request.path.as_str()),
            Self::Header { key, values } => seen.header(key, |value| values.matches(value)),
            Self::Principals(names) => seen.any_name(|name| names.matches(name)),
            Self::Tokens(tokens) => request.any_caller(|caller| tokens.allow(caller)),
            Self::ApiKeyOwners(owners) => request
                .any_caller(|caller| owner(caller).is_some_and(|owner| owners.matches(owner))),
            Self::Authenticators(_) if seen.unsettled => seen.denies,
            Self::Authenticators(names) => {
                request.any_caller(|caller| names.matches(caller.authenticator()))
            }
            Self::Addresses(_) if request.peer.nowhere => seen.denies,
            Self::Addresses(networks) => {
                let address = request.peer.address;
                address.is_some_and(|address| networks.iter().any(|one| one.contains(address)))
            }
            Self::Groups(groups) => groups.holds(seen),
            Self::Proven => request.has_known_caller() || seen.has_certificate(),
            Self::Certificate => seen.has_certificate(),
            Self::Token => request.any_caller(|caller| token(caller).is_some()),
            Self::Times(windows) => windows.iter().any(|window| window.contains(request.now)),
            // What cannot be evaluated keeps callers out, whichever the rule.
            Self::Expression(one) if seen.unsettled && one.reads_callers() => seen.denies,
            Self::Expression(one) => one.evaluate(seen).unwrap_or(seen.denies),
            Self::Not(condition) => !condition.holds(&seen.negated()),
        }
    }

    pub(super) fn reads_headers(&self) -> bool {
        match self {
            Self::Header { .. } => true,
            Self::Expression(one) => one.reads_headers(),
            Self::Not(inner) => inner.reads_headers(),
            _ => false,
        }
    }

    /// Whether what it says may change between two calls of the same callers to the same method
    /// over the same connection.
    pub(super) fn is_volatile(&self) -> bool {
        match self {
            // What an expression reads is not looked into.
            Self::Header { .. } | Self::Times(_) | Self::Expression(_) => true,
            Self::Not(inner) => inner.is_volatile(),
            Self::Paths(_)
            | Self::Principals(_)
            | Self::Tokens(_)
            | Self::ApiKeyOwners(_)
            | Self::Authenticators(_)
            | Self::Addresses(_)
            | Self::Groups(_)
            | Self::Proven
            | Self::Certificate
            | Self::Token => false,
        }
    }

    /// An authenticator that it asks for and that is none of these: a rule that allows would let
    /// nobody in, and one that denies would keep nobody out.
    pub(super) fn unknown_authenticator(&self, known: &[impl AsRef<str>]) -> Option<&str> {
        match self {
            Self::Authenticators(names) => names.matching_none_of(known),
            Self::Tokens(tokens) => tokens
                .rules()
                .iter()
                .filter_map(|token| token.authenticators.as_ref())
                .find_map(|names| names.matching_none_of(known)),
            Self::ApiKeyOwners(_) if known.iter().all(|name| name.as_ref() != API_KEYS) => {
                Some(API_KEYS)
            }
            Self::Groups(groups) => groups.parts().find_map(|part| {
                let tokens =
                    part.tokens.rules().iter().filter_map(|token| token.authenticators.as_ref());
                let unknown = tokens.clone().find_map(|names| names.matching_none_of(known));
                let no_keys = known.iter().all(|name| name.as_ref() != API_KEYS);
                unknown.or((no_keys && !part.owners.written().is_empty()).then_some(API_KEYS))
            }),
            Self::Not(inner) => inner.unknown_authenticator(known),
            _ => None,
        }
    }

    /// Whether it says anything about who calls, so that nobody meets it unproven.
    pub(super) fn proves_caller(&self) -> bool {
        match self {
            // Who shows nothing is known to this one too.
            Self::Authenticators(names) => !names.matches(Anonymous::NAME),
            // A peer over TLS without a certificate has the empty name.
            Self::Principals(names) => !names.matches(""),
            Self::Groups(groups) => !groups.parts().any(|part| part.principals.matches("")),
            Self::Tokens(_)
            | Self::ApiKeyOwners(_)
            | Self::Proven
            | Self::Certificate
            | Self::Token => true,
            Self::Paths(_)
            | Self::Header { .. }
            | Self::Addresses(_)
            | Self::Times(_)
            // Perhaps it does, and who reads a policy's coverage should rather think that not.
            | Self::Expression(_)
            | Self::Not(_) => false,
        }
    }
}

/// A principal proven by a token, and not by an API key.
pub(super) fn token(caller: &Principal) -> Option<&TokenClaims> {
    caller.token().filter(|_| caller.authenticator() != API_KEYS)
}

/// The owner of the API key that proved a principal.
pub(super) fn owner(caller: &Principal) -> Option<&str> {
    caller.token().filter(|_| caller.authenticator() == API_KEYS)?.subject()
}

impl<'a> Seen<'a> {
    /// The same call for a condition that must not hold: the reading that keeps more callers out
    /// is the other one there.
    fn negated(&self) -> Self {
        Self {
            any_kind: self.any_kind_not,
            any_value: self.any_value_not,
            any_kind_not: self.any_kind,
            any_value_not: self.any_value,
            denies: !self.denies,
            ..*self
        }
    }

    /// Asks for each name that the peer goes by. Without TLS it has none, over TLS without a
    /// certificate the empty one (gRFC A43).
    pub(super) fn any_name(&self, mut wanted: impl FnMut(&'a str) -> bool) -> bool {
        let peer = &self.request.peer;
        let Some(CertificateFacts { uris, dns_names, subject }) = peer.certificate else {
            return peer.tls && wanted("");
        };
        if !peer.tls {
            return false;
        }
        let mut any = |names: &'a [String]| names.iter().any(|name| wanted(name));
        if self.any_kind {
            // An empty subject is no name beside others: the empty name is for who has none.
            let is_name = !subject.is_empty() || (uris.is_empty() && dns_names.is_empty());
            return any(uris) || any(dns_names) || (is_name && wanted(subject));
        }
        match (uris, dns_names) {
            ([], []) => wanted(subject),
            ([], names) | (names, _) => any(names),
        }
    }

    fn has_certificate(&self) -> bool {
        self.request.peer.tls && self.request.peer.certificate.is_some()
    }

    fn header(&self, key: &HeaderName, mut wanted: impl FnMut(&[u8]) -> bool) -> bool {
        let mut values = self.request.headers.get_all(key).iter();
        match (values.next(), values.next()) {
            (None, _) => false,
            (Some(one), None) => wanted(one.as_bytes()),
            (Some(_), Some(_)) => {
                let all = || self.request.headers.get_all(key).iter().map(|one| one.as_bytes());
                let joined = all().collect::<Vec<_>>().join(&b","[..]);
                wanted(&joined) || (self.any_value && all().any(wanted))
            }
        }
    }
}

/// A range of addresses, `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `address/prefix`, or an address alone.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| "it is not an IP address")?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= longest && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or("the prefix length is not a number in its range")?,
        };
        let network = Self { address, prefix };
        if network.bits(address) != bits(address) {
            return Err("the address has bits set behind the prefix");
        }
        Ok(network)
    }

    /// The address's bits within the prefix.
    fn bits(&self, address: IpAddr) -> u128 {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let host = longest - u32::from(self.prefix).min(longest);
        let kept = u128::MAX.checked_shl(host).unwrap_or(0);
        bits(address) & kept
    }

    /// An IPv4 address is the same one when it comes over an IPv6 socket.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && self.bits(address) == bits(self.address)
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A part of the week in UTC, from a minute of the day to another, exclusive. One that ends
/// before it begins runs into the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Monday first; the days on which it begins.
    pub(super) days: [bool; 7],
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Window {
    pub(super) const MINUTES: u32 = 24 * 60;

    pub(super) fn contains(&self, now: SystemTime) -> bool {
        let minutes = match now.duration_since(UNIX_EPOCH) {
            Ok(since) => i128::from(since.as_secs() / 60),
            // Rounded down, as it is after 1970.
            Err(before) => -i128::from(before.duration().as_secs().div_ceil(60)),
        };
        let day_minutes = i128::from(Self::MINUTES);
        let minute = u32::try_from(minutes.rem_euclid(day_minutes)).unwrap_or(0);
        // 1970 began on a Thursday.
        let day = usize::try_from((minutes.div_euclid(day_minutes) + 3).rem_euclid(7)).unwrap_or(0);
        let yesterday = (day + 6) % 7;
        if self.from < self.to {
            self.days[day] && (self.from..self.to).contains(&minute)
        } else {
            (self.days[day] && minute >= self.from) || (self.days[yesterday] && minute < self.to)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_network_contains_its_addresses() {
        for (network, address, contains) in [
            ("0.0.0.0/10", "0.0.0.0", true),
            ("0.0.0.0/10", "10.0.0.0", false),
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
            ("2001:db8::/32", "2001:db8:ffff::", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
        ] {
            let parsed = Network::parse(network).expect(network);
            assert_eq!(
                parsed.contains(address.parse().expect("IP")),
                contains,
                "{network} {address}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10.0.0.1/8", "a/8", "10.0/8"]
        {
            Network::parse(text).expect_err(text);
        }
    }

    #[test]
    fn a_window_is_in_utc_and_may_run_past_midnight() {
        let mut days = [false; 7];
        days[0] = true;
        let at = |day: u64, hour: u64, minute: u64| {
            // 5 January 1970 was a Monday.
            UNIX_EPOCH + Duration::from_secs(((4 + day) * 24 + hour) * 3600 + minute * 60)
        };
        let office = Window { days, from: 8 * 60, to: 18 * 60 };
        for (day, hour, minute, contains) in [
            (0, 8, 0, true),
            (0, 7, 59, false),
            (0, 17, 59, true),
            (0, 18, 0, false),
            (1, 9, 0, false),
        ] {
            assert_eq!(office.contains(at(day, hour, minute)), contains, "{day} {hour}:{minute}");
        }
        let night = Window { days, from: 22 * 60, to: 6 * 60 };
        for (day, hour, contains) in
            [(0, 22, true), (1, 5, true), (1, 6, false), (0, 5, false), (1, 22, false)]
        {
            assert_eq!(night.contains(at(day, hour, 0)), contains, "{day} {hour}");
        }
        let whole = Window { days: [true; 7], from: 0, to: Window::MINUTES };
        assert!(whole.contains(UNIX_EPOCH - Duration::from_secs(1)));
        let sunday_before = UNIX_EPOCH - Duration::from_secs(4 * 24 * 3600);
        let mut days = [false; 7];
        days[6] = true;
        assert!(Window { days, from: 0, to: 1 }.contains(sunday_before));
    }
}
