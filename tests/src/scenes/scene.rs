//! The scenes: what is wrong, and what has to become of the release.

use super::Ending::{self, Promoted, RolledBack, Waits};
use crate::manner::Manner;

/// The usual time of an answer, and one that is 20% longer.
const USUAL_US: u32 = 10_000;
const SLOWER_US: u32 = 12_000;

/// One kind of release.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// In words.
    pub name: &'static str,
    /// How it has to end.
    pub ends: Ending,
    /// What is wrong with the candidate.
    pub(super) fault: Fault,
    /// Who asks.
    pub(super) crowd: Crowd,
    /// What else happens.
    pub(super) trouble: Trouble,
    /// How the release goes.
    pub(super) plan: Plan,
}

/// What is wrong with the candidate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// All its backends have this manner.
    All(fn(Manner) -> Manner),
    /// The first has; the others serve well.
    One(fn(Manner) -> Manner),
    /// Nobody listens.
    Refuses,
    /// Nothing that it is sent is answered.
    Silent,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowd {
    /// Users of both families.
    Users,
    /// Nobody.
    Nobody,
    /// Very many behind one address, and nobody else.
    Gateway,
}

/// What else happens while the release goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing.
    None,
    /// A flood of SYNs.
    Flood,
    /// Many look for open ports.
    Scan,
    /// One client of the candidate's resets all its connections, as fast as it can.
    Pest,
    /// Very many users of the candidate's are behind one address.
    Gateway,
}

/// How the release goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// A quarter of all users until it is no worse.
    Quarter,
    /// The same, for a second at most.
    Briefly,
    /// A twentieth for two seconds, then a quarter for long.
    Ramp,
}

/// All of them.
pub const ALL: &[Scene] = &[
    good("serves well"),
    bad("refuses", Fault::Refuses),
    bad("is silent", Fault::Silent),
    bad(
        "resets 20%",
        Fault::All(|usual| Manner {
            resets_v4: 200,
            resets_v6: 200,
            ..usual
        }),
    ),
    bad(
        "resets all",
        Fault::All(|usual| Manner {
            resets_v4: 1000,
            resets_v6: 1000,
            ..usual
        }),
    ),
    bad(
        "is 20% slower",
        Fault::All(|usual| Manner {
            takes_us: SLOWER_US,
            ..usual
        }),
    ),
    Scene {
        plan: Plan::Ramp,
        ..bad(
            "leaks, dies at 25%",
            Fault::All(|usual| Manner {
                dies_after: Some(LEAK),
                ..usual
            }),
        )
    },
    bad(
        "resets 30% of IPv6",
        Fault::All(|usual| Manner {
            resets_v6: 300,
            ..usual
        }),
    ),
    bad(
        "one of 3 resets 50%",
        Fault::One(|usual| Manner {
            resets_v4: 500,
            resets_v6: 500,
            ..usual
        }),
    ),
    in_trouble("good, SYN flood", Trouble::Flood),
    in_trouble("good, port scan", Trouble::Scan),
    in_trouble("good, one bad client", Trouble::Pest),
    in_trouble("good, NAT gateway", Trouble::Gateway),
    Scene {
        trouble: Trouble::Gateway,
        ..bad(
            "resets 20%, gateway",
            Fault::All(|usual| Manner {
                resets_v4: 200,
                resets_v6: 200,
                ..usual
            }),
        )
    },
    waits("one address alone", Crowd::Gateway),
    waits("no traffic", Crowd::Nobody),
];

/// Connections that a backend of a leaking version takes: more than it gets at a twentieth of all users.
const LEAK: u64 = 150;

/// The scene with this name.
///
/// # Panics
/// If there is none.
pub fn named(name: &str) -> &'static Scene {
    let found = ALL.iter().find(|scene| scene.name == name);
    found.expect("a scene's name")
}

impl Scene {
    /// Whether what is wrong, if anything is, can be seen where servers answer past the edge: only what
    /// clients send is.
    pub fn shows_in_dsr(&self) -> bool {
        self.ends != RolledBack || matches!(self.fault, Fault::Silent)
    }

    /// How each backend of the candidate behaves, by its place in the pool; nothing where it does not
    /// listen.
    pub(super) fn manner(&self, place: usize, usual: Manner) -> Option<Manner> {
        match self.fault {
            Fault::All(manner) => Some(manner(usual)),
            Fault::One(manner) if place == 0 => Some(manner(usual)),
            Fault::One(_) | Fault::Silent => Some(usual),
            Fault::Refuses => None,
        }
    }
}

/// How a server behaves that nothing is wrong with.
pub(super) const fn usual(seed: u64) -> Manner {
    Manner {
        seed,
        takes_us: USUAL_US,
        resets_v4: 0,
        resets_v6: 0,
        dies_after: None,
    }
}

const fn good(name: &'static str) -> Scene {
    Scene {
        name,
        ends: Promoted,
        fault: Fault::All(|usual| usual),
        crowd: Crowd::Users,
        trouble: Trouble::None,
        plan: Plan::Quarter,
    }
}

const fn bad(name: &'static str, fault: Fault) -> Scene {
    Scene {
        ends: RolledBack,
        fault,
        ..good(name)
    }
}

const fn in_trouble(name: &'static str, trouble: Trouble) -> Scene {
    Scene {
        trouble,
        ..good(name)
    }
}

const fn waits(name: &'static str, crowd: Crowd) -> Scene {
    Scene {
        ends: Waits,
        crowd,
        plan: Plan::Briefly,
        ..good(name)
    }
}
