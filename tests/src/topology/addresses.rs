//! Who is where. Client prefixes are wide enough that every user of IPv6 has a /64 of its own,
//! because that is what a bucket is taken from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 address of the service, routed to the edge and assigned to nobody there.
pub const VIP_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 80));
/// The IPv6 address of the service.
pub const VIP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80));

/// What all users' IPv4 addresses lie in.
pub(super) const CLIENTS_V4: &str = "10.71.0.0/16";
/// What all users' IPv6 addresses lie in.
pub(super) const CLIENTS_V6: &str = "fd71::/48";

/// How many users the prefixes have room for.
pub const MOST_USERS: u32 = 250 * 250;

/// The IPv4 address of a user.
///
/// # Panics
/// If the user's number is not below [`MOST_USERS`].
pub fn client_v4(user: u32) -> IpAddr {
    assert!(user < MOST_USERS, "the lab has {MOST_USERS} users");
    let [_, _, high, low] = (user / 250 * 256 + user % 250 + 257).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 71, high, low))
}

/// The IPv6 address of a user, in a /64 of its own.
///
/// # Panics
/// If the user's number is not below [`MOST_USERS`].
pub fn client_v6(user: u32) -> IpAddr {
    assert!(user < MOST_USERS, "the lab has {MOST_USERS} users");
    let subnet = u16::try_from(user + 1).expect("below 65536");
    IpAddr::V6(Ipv6Addr::new(0xfd71, 0, 0, subnet, 0, 0, 0, 1))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_user_has_an_address_of_each_family_inside_the_routed_prefixes() {
        let v4: HashSet<_> = (0..MOST_USERS).map(client_v4).collect();
        let v6: HashSet<_> = (0..MOST_USERS).map(client_v6).collect();

        assert_eq!(v4.len(), 62_500);
        assert_eq!(v6.len(), 62_500);
        assert_eq!(client_v4(0).to_string(), "10.71.1.1");
        assert_eq!(client_v4(MOST_USERS - 1).to_string(), "10.71.250.250");
        assert_eq!(client_v6(0).to_string(), "fd71:0:0:1::1");
    }
}
