//! From a client to a pool: its audience, or else its bucket.

use std::net::IpAddr;

use lb_common::hash;

use super::{
    super::audience::{Audience, Marks},
    Flow,
};

/// Which pool a client gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    pub active: u32,
    pub candidate: u32,
    pub share_ppm: u32,
    pub salt: u64,
    /// Those that are looked at, in their order.
    pub audiences: Vec<Audience>,
}

/// What a mapping makes of a packet.
pub struct Judged {
    pub pool: u32,
    /// Number of the audience that the packet is in, if it is in one.
    pub audience: Option<usize>,
    /// It is in one that only the first packet of its connection is sure to show.
    pub pins: bool,
    /// An earlier packet may have been in such a one: where new connections go is not known of this one.
    pub opened: bool,
}

impl Mapping {
    /// The pool of a packet's client (by its hash); `first` is what a packet shows that decides for its
    /// connection.
    pub fn judge(&self, flow: &Flow, client: u64, first: Option<&Marks>) -> Judged {
        let from = IpAddr::from(flow.client);
        let mut opened = false;
        let audiences = self.audiences.iter().enumerate();
        for (number, audience) in audiences.filter(|(_, one)| one.is_from(from)) {
            opened |= audience.asks_the_first();
            let shown = !audience.asks_the_first() || first.is_some_and(|&it| audience.admits(it));
            if shown && audience.has(flow.port, flow.vlan) {
                return Judged {
                    pool: self.pool(client, audience.share_ppm),
                    audience: Some(number),
                    pins: audience.asks_the_first(),
                    opened,
                };
            }
        }
        Judged {
            pool: self.pool(client, self.share_ppm),
            audience: None,
            pins: false,
            opened,
        }
    }

    /// The same buckets for every share: they are nested.
    fn pool(&self, client: u64, share_ppm: u32) -> u32 {
        if hash::bucket(client, self.salt) < share_ppm {
            self.candidate
        } else {
            self.active
        }
    }

    /// Whether every client gets the same from both.
    pub fn answers_like(&self, other: &Self) -> bool {
        match (self.single(), other.single()) {
            (Some(one), Some(another)) => one == another,
            (None, None) => self == other,
            _ => false,
        }
    }

    fn single(&self) -> Option<u32> {
        match self.share_ppm {
            _ if self.candidate == self.active => Some(self.active),
            0 if self.audiences.is_empty() => Some(self.active),
            1_000_000 if self.audiences.is_empty() => Some(self.candidate),
            _ => None,
        }
    }

    /// Whether somebody may be sent to a pool.
    pub const fn names(&self, pool: u32) -> bool {
        self.active == pool || self.candidate == pool
    }

    /// Whether some clients are sent to a pool.
    pub const fn serves(&self, pool: u32) -> bool {
        let sends = self.share_ppm > 0 || !self.audiences.is_empty();
        self.active == pool || (self.candidate == pool && sends)
    }
}
