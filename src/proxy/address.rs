//! Which addresses outbound calls may connect to. Pure.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// Returns whether a connection to the address is allowed. With `allow_private`, only unspecified,
/// multicast and broadcast addresses are refused.
pub(super) fn is_allowed(address: IpAddr, allow_private: bool) -> bool {
    if allow_private {
        let address = address.to_canonical();
        !address.is_unspecified() && !address.is_multicast() && address != Ipv4Addr::BROADCAST
    } else {
        match address {
            IpAddr::V4(address) => is_public_v4(address),
            IpAddr::V6(address) => is_public_v6(address),
        }
    }
}

/// Returns whether the address is neither multicast nor in IANA's registry of special-purpose IPv4
/// addresses.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

/// Returns whether the address is global unicast. An address that embeds an IPv4 address is checked
/// by that one.
fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        // NAT64 (RFC 6052).
        (0x64, 0xff9b) => (c, d, e, f) == (0, 0, 0, 0) && embedded(g, h),
        // 6to4.
        (0x2002, _) => embedded(b, c),
        // Protocol assignments (Teredo, ORCHID, benchmarks) and documentation.
        (0x2001, 0..=0x1ff | 0xdb8) | (0x3fff, 0..=0xfff) => false,
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    // Long: a table.
    fn only_public_addresses_are_allowed_by_default() {
        // address, allowed by default, allowed with allow_private
        for (address, public, private) in [
            ("1.1.1.1", true, true),
            ("100.63.255.255", true, true),
            ("100.128.0.1", true, true),
            ("172.15.0.1", true, true),
            ("172.32.0.1", true, true),
            ("192.0.1.1", true, true),
            ("198.20.0.1", true, true),
            ("223.255.255.255", true, true),
            ("0.0.0.0", false, false),
            ("0.1.2.3", false, true),
            ("10.0.0.1", false, true),
            ("100.64.0.1", false, true),
            ("100.127.255.255", false, true),
            ("127.0.0.1", false, true),
            ("127.255.255.254", false, true),
            ("169.254.169.254", false, true),
            ("172.16.0.1", false, true),
            ("172.31.255.255", false, true),
            ("192.0.0.1", false, true),
            ("192.0.2.1", false, true),
            ("192.88.99.1", false, true),
            ("192.168.1.1", false, true),
            ("198.18.0.1", false, true),
            ("198.19.255.255", false, true),
            ("198.51.100.7", false, true),
            ("203.0.113.7", false, true),
            ("224.0.0.1", false, false),
            ("239.255.255.255", false, false),
            ("240.0.0.1", false, true),
            ("255.255.255.255", false, false),
            ("2606:4700:4700::1111", true, true),
            ("2a00:1450:4001::1", true, true),
            ("2001:4860:4860::8888", true, true),
            ("::", false, false),
            ("::1", false, true),
            ("::127.0.0.1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("::ffff:10.0.0.1", false, true),
            ("::ffff:169.254.169.254", false, true),
            ("::ffff:0.0.0.0", false, false),
            ("::ffff:1.1.1.1", true, true),
            ("64:ff9b::127.0.0.1", false, true),
            ("64:ff9b::1.1.1.1", true, true),
            ("64:ff9b:1::1.1.1.1", false, true),
            ("100::1", false, true),
            ("2001::1", false, true),
            ("2001:1ff::1", false, true),
            ("2001:db8::1", false, true),
            ("2002:7f00:1::", false, true),
            ("2002:a00:1::", false, true),
            ("2002:101:101::", true, true),
            ("3fff::1", false, true),
            ("fc00::1", false, true),
            ("fd12:3456::1", false, true),
            ("fe80::1", false, true),
            ("fec0::1", false, true),
            ("ff02::1", false, false),
            ("4000::1", false, true),
        ] {
            let parsed: IpAddr = address.parse().unwrap();
            assert_eq!(is_allowed(parsed, false), public, "{address}, public");
            assert_eq!(is_allowed(parsed, true), private, "{address}, private");
        }
    }
}
