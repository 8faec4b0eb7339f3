//! What became of one packet, step by step: the answer of `serin whois`.

use bytemuck::{Pod, Zeroable};

/// Written by the telling program as the packet goes; zero before it. A field says something only
/// where its mark is among [`Trace::marks`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Trace {
    /// Number of the record.
    pub epoch: u64,
    /// Index of the record.
    pub record: u32,
    /// Number of the service.
    pub service: u32,
    /// Share of the clients that the candidate gets, in parts per million.
    pub share_ppm: u32,
    /// The client's place among a million.
    pub bucket: u32,
    /// The table by which new connections go.
    pub table: u32,
    /// The table by which connections of unknown past go.
    pub origin_table: u32,
    /// The flow's place in the table.
    pub slot: u32,
    /// Interface towards the next hop.
    pub ifindex: u32,
    /// The way out, by its number in [`crate::reason::Reason::ALL`].
    pub reason: u32,
    /// See the `Trace::` constants.
    pub marks: u32,
    /// Number of the audience, 0 for none.
    pub audience: u32,
    /// Number of the listener.
    pub listener: u16,
    /// The backend of a new connection.
    pub current: u16,
    /// The backend of a connection of unknown past.
    pub origin: u16,
    /// The backend of the connection's pin.
    pub pin: u16,
    /// The backend that the packet goes to.
    pub chosen: u16,
    /// Zero.
    pub reserved: u16,
}

const _: () = assert!(size_of::<Trace>() == 64);

impl Trace {
    /// The packet is a client's: `listener` and `service`.
    pub const LISTENER: u32 = 1;
    /// The service has a record: `record`, `epoch` and `share_ppm`.
    pub const RECORD: u32 = 1 << 1;
    /// `audience` and its share, `bucket`, `slot`, the tables, `current` and `origin`.
    pub const ANSWER: u32 = 1 << 2;
    /// A change under way concerns the flow.
    pub const MOVING: u32 = 1 << 3;
    /// A pin is looked for although the flow is not moving.
    pub const TOUCHED: u32 = 1 << 4;
    /// The connection has a pin that holds: `pin`.
    pub const PINNED: u32 = 1 << 5;
    /// The connection has a pin, to an earlier owner of the backend's number: `pin`.
    pub const VOID: u32 = 1 << 6;
    /// A backend was chosen: `chosen`.
    pub const CHOSEN: u32 = 1 << 7;
    /// The next hop is known: `ifindex`.
    pub const HOP: u32 = 1 << 8;
    /// It is through: `reason`.
    pub const EXIT: u32 = 1 << 9;
    /// Its connection id would tell its server: the listener's service has such ids.
    pub const CIDS: u32 = 1 << 10;
    /// The breaker has tripped, and the client is of the candidate's share.
    pub const DIVERTED: u32 = 1 << 11;

    /// Whether `mark` is set.
    pub const fn has(&self, mark: u32) -> bool {
        self.marks & mark != 0
    }

    /// Sets `mark`.
    #[inline(always)]
    pub const fn mark(&mut self, mark: u32) {
        self.marks |= mark;
    }
}
