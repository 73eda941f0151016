//! `cidr {network}`: an IP address of a network.
//!
//! check: the argument is a string, an IPv4 address in dotted decimal or an IPv6 address (RFC 4291 §2.2) without a
//! zone, of the network's family and within it. An IPv4-mapped IPv6 address is an IPv6 address. subsumes: same
//! family, and the child's network within the parent's.

use std::fmt;
use std::net::IpAddr;

use super::ConstraintError;

/// A network: its first address and how many leading bits are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    first: IpAddr,
    prefix: u8,
}

impl Cidr {
    pub(super) fn parse(network: &str) -> Result<Self, ConstraintError> {
        Self::read(network)
            .ok_or(ConstraintError::Malformed { reason: "`network` is not `<first address>/<prefix length>`" })
    }

    fn read(network: &str) -> Option<Self> {
        let (address, prefix) = network.split_once('/')?;
        let canonical = !prefix.is_empty()
            && prefix.bytes().all(|c| c.is_ascii_digit())
            && (prefix == "0" || !prefix.starts_with('0'));
        let first: IpAddr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|_| canonical)?;
        let cidr = Self { first, prefix };
        let (bits, width) = bits(first);
        // The host bits must be zero, so that a network has one spelling of its size.
        (u32::from(prefix) <= width && mask(bits, width, prefix) == bits).then_some(cidr)
    }

    /// Whether an address lies in the network.
    pub fn admits(&self, address: &str) -> bool {
        address.parse().is_ok_and(|address| self.holds(address))
    }

    pub(super) fn subsumes(&self, child: &Self) -> bool {
        child.prefix >= self.prefix && self.holds(child.first)
    }

    fn holds(&self, address: IpAddr) -> bool {
        let ((own, width), (other, other_width)) = (bits(self.first), bits(address));
        width == other_width && mask(other, width, self.prefix) == own
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

fn mask(bits: u128, width: u32, prefix: u8) -> u128 {
    let host_bits = width - u32::from(prefix).min(width);
    bits.checked_shr(host_bits).and_then(|kept| kept.checked_shl(host_bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_addresses_of_the_network() {
        for (network, address, held) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "10.0.0.1", false),
            ("::/0", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "::ffff:10.0.0.1", false),
            ("2001:db8::/32", "2001:db8:1::", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("192.0.2.1/32", "192.0.2.1", true),
            ("10.0.0.0/8", "010.0.0.1", false),
            ("10.0.0.0/8", "10.0.0.1/32", false),
            ("10.0.0.0/8", "0x0a.0.0.1", false),
            ("fe80::/10", "fe80::1%eth0", false),
        ] {
            assert_eq!(Cidr::parse(network).unwrap().admits(address), held, "{network} {address}");
        }
    }

    #[test]
    fn rejects_a_network_that_is_not_canonical() {
        for network in [
            "",
            "10.0.0.0",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/-1",
            "a/8",
            "/8",
            "10.0.0.0/8/8",
        ] {
            assert!(Cidr::parse(network).is_err(), "{network}");
        }
    }

    #[test]
    fn subsumes_networks_within() {
        let cidr = |text| Cidr::parse(text).unwrap();
        assert!(cidr("10.0.0.0/8").subsumes(&cidr("10.1.0.0/16")) && cidr("10.0.0.0/8").subsumes(&cidr("10.0.0.0/8")));
        assert!(!cidr("10.1.0.0/16").subsumes(&cidr("10.0.0.0/8")) && !cidr("0.0.0.0/0").subsumes(&cidr("::/0")));
        assert!(!cidr("10.0.0.0/8").subsumes(&cidr("11.0.0.0/16")));
    }
}
