//! What is measured.

use std::fmt;

use lb_common::bench::program;

/// How a packet is sent on, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// From the client, addresses and ports rewritten.
    Nat,
    /// From the client, the frame's addresses rewritten.
    L2,
    /// From the client, put into an IP packet of its own family.
    Ipip,
    /// From the client, put into a UDP datagram of its own family.
    Gue,
    /// From the backend, rewritten back, by the kernel's route.
    NatReply,
}

/// The IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// How many flows the packets belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// So many, a power of two, each amid its connection.
    Known(u32),
    /// Every packet starts another one.
    New,
}

/// Whether a change is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Rest,
    /// At rest, with an audience of a hundred thousand prefixes that changes nobody's answer.
    Audience,
    /// At rest, with a deny list of a hundred thousand prefixes that holds nobody, and a limit of
    /// SYNs that nobody reaches.
    Guarded,
    /// A cutover that has not settled, with the known flows pinned.
    Change,
    /// A settled release, with the known flows measured.
    Measured,
}

/// What begins a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The client's SYN.
    Call,
    /// The server's.
    Answer,
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub forward: Forward,
    pub family: Family,
    pub flows: Flows,
    pub state: State,
}

/// Each includes the ones before it; new flows fill the flow table, and so come last.
const FLOWS: [Flows; 5] = [
    Flows::Known(1),
    Flows::Known(1024),
    Flows::Known(65_536),
    Flows::Known(262_144),
    Flows::New,
];

/// All cases; those of a group may share a flow table.
pub fn groups() -> Vec<Vec<Case>> {
    use Family::{V4, V6};
    use State::{Change, Rest};
    let mut groups = Vec::new();
    for forward in [
        Forward::L2,
        Forward::Nat,
        Forward::Ipip,
        Forward::Gue,
        Forward::NatReply,
    ] {
        for (family, state) in [(V4, Rest), (V6, Rest), (V4, Change), (V6, Change)] {
            let group = FLOWS.map(|flows| Case {
                forward,
                family,
                flows,
                state,
            });
            groups.push(group.into_iter().filter(Case::is_real).collect());
        }
    }
    for state in [State::Audience, State::Guarded] {
        groups.extend([V4, V6].map(|family| {
            let group = FLOWS.map(|flows| Case {
                forward: Forward::L2,
                family,
                flows,
                state,
            });
            group.into()
        }));
    }
    groups.extend(measured());
    groups
}

/// As many as are measured at a time, and fewer.
fn measured() -> impl Iterator<Item = Vec<Case>> {
    let forwards = [Forward::L2, Forward::Nat, Forward::NatReply];
    let kinds = forwards.map(|forward| [Family::V4, Family::V6].map(|family| (forward, family)));
    kinds.into_iter().flatten().map(|(forward, family)| {
        let flows = [Flows::Known(1024), Flows::Known(16_384)];
        let group = flows.map(|flows| Case {
            forward,
            family,
            flows,
            state: State::Measured,
        });
        group.into()
    })
}

impl Case {
    /// A reply opens no connection, and a change does not touch it.
    fn is_real(&self) -> bool {
        self.forward != Forward::NatReply || (self.state == State::Rest && self.flows != Flows::New)
    }

    /// What has to come before, so that the flows are measured: their first packets, and the answers.
    pub fn beginnings(&self) -> Vec<(Self, First)> {
        if self.state != State::Measured {
            return Vec::new();
        }
        let reply = Self {
            forward: Forward::NatReply,
            ..*self
        };
        match self.forward {
            Forward::NatReply => {
                let request = Self {
                    forward: Forward::Nat,
                    ..*self
                };
                vec![(request, First::Call), (reply, First::Answer)]
            }
            Forward::Nat => vec![(*self, First::Call), (reply, First::Answer)],
            Forward::L2 | Forward::Ipip | Forward::Gue => vec![(*self, First::Call)],
        }
    }
}

impl Forward {
    /// Bytes that a packet is longer by.
    pub const fn overhead(self, family: Family) -> u32 {
        let ip = match family {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        match self {
            Self::Ipip => ip,
            Self::Gue => ip + 8,
            Self::Nat | Self::L2 | Self::NatReply => 0,
        }
    }

    /// The wrapper's program with the packet path, and the one without.
    pub const fn programs(self) -> [&'static str; 2] {
        match self {
            Self::Ipip | Self::Gue => [program::SERIN_OUTER, program::FLOOR_OUTER],
            Self::Nat | Self::L2 | Self::NatReply => [program::SERIN, program::FLOOR],
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nat => "nat",
            Self::L2 => "l2",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::NatReply => "nat-reply",
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rest => "rest",
            Self::Audience => "audience",
            Self::Guarded => "guarded",
            Self::Change => "change",
            Self::Measured => "measured",
        })
    }
}

impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(count) => f.pad(&count.to_string()),
            Self::New => f.pad("new"),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            forward,
            family,
            flows,
            state,
        } = self;
        f.pad(&format!("{forward}/{family}/{flows}/{state}"))
    }
}
