//! Addresses as the file writes them: `10.0.1.11`, `10.0.1.11:8443`, `fd00::11`,
//! `[fd00::11]:8443`.

use std::net::{IpAddr, SocketAddr};

use super::model::Place;

/// Why a text is no address, or one that can't carry traffic over the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither an address nor an address and port.
    #[error(
        "no IP address; write it as \"10.0.1.11\", \"10.0.1.11:8443\", \"fd00::11\" or \
         \"[fd00::11]:8443\""
    )]
    Unreadable,
    /// `[fe80::1%2]:80`.
    #[error("an address with a zone can't be routed; write one without `%`")]
    Zone,
    /// Port 0.
    #[error("port 0 can't be used; choose one from 1 to 65535")]
    PortZero,
    /// `0.0.0.0` or `::`.
    #[error("the unspecified address is no server's; write the real one")]
    Unspecified,
    /// 127.0.0.0/8 or `::1`.
    #[error("packets to a loopback address never pass an interface; write a reachable one")]
    Loopback,
    /// 224.0.0.0/4 or `ff00::/8`.
    #[error("a multicast address can't be balanced; write a unicast one")]
    Multicast,
    /// 255.255.255.255.
    #[error("the broadcast address can't be balanced; write a unicast one")]
    Broadcast,
    /// `::ffff:0:0/96` (RFC 4291, section 2.5.5.2).
    #[error("an IPv4-mapped address is never on the wire; write it as IPv4")]
    Mapped,
}

/// Reads an address and, where there is one, its port.
pub(super) fn parse_place(text: &str) -> Result<Place<IpAddr>, AddressError> {
    let place = match text.parse::<IpAddr>() {
        Ok(address) => Place {
            address,
            port: None,
        },
        Err(_) => with_port(text)?,
    };
    check(place.address)?;
    Ok(place)
}

fn with_port(text: &str) -> Result<Place<IpAddr>, AddressError> {
    let socket: SocketAddr = text.parse().map_err(|_| AddressError::Unreadable)?;
    check_socket(&socket)?;
    Ok(Place {
        address: socket.ip(),
        port: Some(socket.port()),
    })
}

/// Refuses what no packet over the host can be addressed to.
pub(super) fn check_socket(socket: &SocketAddr) -> Result<(), AddressError> {
    if matches!(socket, SocketAddr::V6(v6) if v6.scope_id() != 0) {
        return Err(AddressError::Zone);
    }
    if socket.port() == 0 {
        return Err(AddressError::PortZero);
    }
    check(socket.ip())
}

fn check(address: IpAddr) -> Result<(), AddressError> {
    let refused = [
        (address.is_unspecified(), AddressError::Unspecified),
        (address.is_loopback(), AddressError::Loopback),
        (address.is_multicast(), AddressError::Multicast),
        (is_broadcast(address), AddressError::Broadcast),
        (is_mapped(address), AddressError::Mapped),
    ];
    match refused.into_iter().find(|(is, _)| *is) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_forms_are_read() {
        let all = [
            ("10.0.1.11", "10.0.1.11", None),
            ("10.0.1.11:8443", "10.0.1.11", Some(8443)),
            ("fd00::11", "fd00::11", None),
            ("[fd00::11]:8443", "fd00::11", Some(8443)),
        ];
        for (text, address, port) in all {
            let address = address.parse().expect("an address");
            assert_eq!(parse_place(text), Ok(Place { address, port }), "{text}");
        }
    }

    #[test]
    fn addresses_that_carry_no_traffic_are_refused() {
        let all = [
            ("0.0.0.0", AddressError::Unspecified),
            ("[::]:80", AddressError::Unspecified),
            ("127.8.9.10", AddressError::Loopback),
            ("::1", AddressError::Loopback),
            ("239.1.2.3:80", AddressError::Multicast),
            ("ff02::1", AddressError::Multicast),
            ("255.255.255.255", AddressError::Broadcast),
            ("::ffff:10.0.1.11", AddressError::Mapped),
            ("[::ffff:127.0.0.1]:80", AddressError::Mapped),
            ("10.0.1.11:0", AddressError::PortZero),
            ("[fe80::1%2]:80", AddressError::Zone),
        ];
        for (text, error) in all {
            assert_eq!(parse_place(text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let all = [
            "",
            "b1.example.net",
            "10.0.1",
            "10.0.1.256",
            "10.0.1.11:",
            "10.0.1.11:65536",
            " 10.0.1.11",
            "10.0.1.0/24",
        ];
        for text in all {
            assert_eq!(parse_place(text), Err(AddressError::Unreadable), "{text}");
        }
    }
}
