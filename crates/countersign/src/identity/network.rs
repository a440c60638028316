use std::net::{IpAddr, Ipv6Addr};

use super::peer::PeerAddress;

/// Who an address is, for everything that counts by address.
///
/// IPv4 is what it is, also where IPv6 carries it (RFC 4291 §2.5.5.2). An IPv6 customer has a
/// whole /64 to call from, so its network is one. Over a Unix socket it is the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// An IPv4 address, or the first one of an IPv6 /64.
    Ip(IpAddr),
    /// A user of this machine.
    User(u32),
}

impl Source {
    /// `None`: it is not told, and may be everybody.
    pub(crate) fn of(address: &PeerAddress) -> Option<Self> {
        match address {
            PeerAddress::Tcp(address) => Some(Self::of_ip(address.ip())),
            PeerAddress::Unix(peer) => peer.uid.map(Self::User),
            PeerAddress::Unknown => None,
        }
    }

    pub(crate) fn of_ip(address: IpAddr) -> Self {
        Self::Ip(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            v4 => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::UnixPeer;

    fn tcp(ip: &str) -> Option<Source> {
        let ip: IpAddr = ip.parse().expect("an address");
        Source::of(&PeerAddress::Tcp((ip, 1).into()))
    }

    #[test]
    fn addresses_of_one_customer_are_one_and_others_are_not() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(tcp(one) == tcp(other), same, "{one} {other}");
        }
    }

    #[test]
    fn a_user_is_one_and_who_is_not_told_is_nobody() {
        let unix = |uid, pid| Source::of(&PeerAddress::Unix(UnixPeer { uid, gid: None, pid }));
        assert_eq!(unix(Some(7), Some(1)), unix(Some(7), Some(2)));
        assert_ne!(unix(Some(7), Some(1)), unix(Some(8), Some(1)));
        assert_eq!(unix(None, Some(1)), None);
        assert_eq!(Source::of(&PeerAddress::Unknown), None);
    }
}
