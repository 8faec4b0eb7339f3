//! Ethernet addresses.

use std::fmt;

/// An Ethernet address, in wire order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The `number`th locally administered address of a group. Labs are alike on every run, so that
    /// captures compare.
    pub const fn local(group: u8, number: u8) -> Self {
        Self([0x02, 0x5e, 0x00, 0x00, group, number])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = self.0.map(|octet| format!("{octet:02x}"));
        f.write_str(&octets.join(":"))
    }
}
