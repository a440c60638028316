use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A block of IP addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address (RFC 4632 §3.1, RFC 4291
/// §2.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// It is not a block of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a block of addresses: {problem}")]
pub struct InvalidNetwork {
    text: String,
    problem: &'static str,
}

impl Network {
    /// Whether the address is in it. An IPv4 address that is written as IPv6 (`::ffff:10.0.0.1`,
    /// as a dual-stack socket gives it) is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let mask = mask(self.prefix_bits, 32);
                u128::from(ours.to_bits()) == u128::from(theirs.to_bits()) & mask
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                ours.to_bits() == theirs.to_bits() & mask(self.prefix_bits, 128)
            }
            _ => false,
        }
    }
}

/// The upper `bits` of a number of `width` bits.
fn mask(bits: u8, width: u32) -> u128 {
    let ones = u128::MAX >> (128 - width);
    ones & !ones.checked_shr(u32::from(bits)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = |problem| {
            let text = text.chars().take(64).collect();
            InvalidNetwork { text, problem }
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| invalid("write 10.0.0.0/8 or 2001:db8::/32"))?;
        let width: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => width,
            Some(bits) => {
                let is_number = bits.bytes().all(|byte| byte.is_ascii_digit());
                let bits = bits.parse().ok().filter(|bits| is_number && *bits <= width);
                bits.ok_or_else(|| invalid("the length of the prefix is not one"))?
            }
        };
        if address.to_canonical() != address {
            return Err(invalid("write an IPv4 address as one"));
        }
        // Somebody who writes 10.1.2.3/8 may mean one address or sixteen million.
        let network = Self { address, prefix_bits };
        match network.contains(address) {
            true => Ok(network),
            false => Err(invalid("there are bits after the prefix")),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({self})")
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_contains_its_addresses_and_their_neighbours_are_outside() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "9.255.255.255", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::ffff:11.1.2.3", false),
            ("10.0.0.0/8", "::a00:1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("192.0.2.4/30", "192.0.2.7", true),
            ("192.0.2.4/30", "192.0.2.8", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.9", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("2001:db8::1/128", "2001:db8::1", true),
            ("2001:db8::1/128", "2001:db8::2", false),
        ] {
            let parsed: Network = network.parse().expect(network);
            let address = address.parse().expect("an address");
            assert_eq!(parsed.contains(address), inside, "{network} {address}");
        }
    }

    #[test]
    fn what_is_not_surely_a_block_is_refused() {
        for text in [
            "",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.1.0.0/8",
            "0.0.0.1/0",
            "::/129",
            "2001:db8::1/64",
            "::ffff:10.0.0.0/104",
            "010.0.0.0/8",
            "localhost",
            "10.0.0.0/256",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text:?}");
        }
    }
}
