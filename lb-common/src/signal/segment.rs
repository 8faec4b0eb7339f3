//! What a TCP segment says of its connection.

/// One segment (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Of its first byte.
    pub sequence: u32,
    /// Bytes behind the header.
    pub payload: u32,
    /// As they lie in the header.
    pub flags: u8,
}

/// What a segment brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brings {
    /// Something that was not seen before.
    New,
    /// Something that was.
    Again,
    /// Nothing that counts.
    Nothing,
}

impl Segment {
    /// The flag of a sender that is done.
    pub const FIN: u8 = 1;
    /// The flag of a sender that begins.
    pub const SYN: u8 = 1 << 1;
    /// The flag of a sender that gives up.
    pub const RST: u8 = 1 << 2;
    /// The flag of a sender that has heard something.
    pub const ACK: u8 = 1 << 4;

    /// Whether `flag` is set.
    #[inline(always)]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Compares with the highest `end` that was seen of this sender, which moves on. What tells nothing
    /// new may have overtaken something on the way; that is the same for all connections. Probes for
    /// life or a window (RFC 9293, section 3.8) have no byte or one, which is old.
    #[inline(always)]
    pub const fn brings(&self, end: &mut u32) -> Brings {
        let fin = self.has(Self::FIN) as u32;
        let length = self.payload + fin;
        if length == 0 {
            return Brings::Nothing;
        }
        let next = self.sequence.wrapping_add(length);
        // A distance of less than half of the circle is forward (RFC 9293, section 3.4).
        let ahead = next.wrapping_sub(*end);
        if ahead != 0 && ahead < 1 << 31 {
            *end = next;
            return Brings::New;
        }
        if length > 1 || fin != 0 {
            Brings::Again
        } else {
            Brings::Nothing
        }
    }
}
