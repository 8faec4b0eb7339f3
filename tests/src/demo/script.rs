//! What happens, step by step.

/// A step and who must have v2 after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) action: Action,
    /// The share of v2 among users other than staff.
    pub(super) v2_ppm: u32,
    /// Whether staff have v2.
    pub(super) staff_on_v2: bool,
    /// If set, how much of v2's traffic the backend g1 must have.
    pub(super) g1_ppm: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// Only measure.
    Watch,
    /// A command of `serin` that moves users.
    Serin(&'static [&'static str]),
    /// One that does not, or waits for what does.
    Tell(&'static [&'static str]),
    /// The release comes to this step by itself.
    Reach(u32),
    /// The file has blue-green for a strategy, and is applied.
    Configure,
    /// SIGKILL to the daemon, which stays dead for this step.
    Kill,
    /// The daemon starts again, and must say what it said before.
    Start,
}

use Action::{Configure, Kill, Reach, Serin, Start, Tell, Watch};

/// blue runs v1 and is active; green runs v2. The crash comes in the middle of a ramp, when the
/// split, the pins and the weights are all there to be lost.
pub(super) const SCRIPT: &[Step] = &[
    step("before", Watch, 0),
    staff("start: staff first", Serin(&["start", "shop"]), 0),
    staff("by itself: 5%", Reach(2), 50_000),
    staff("by itself: 25%", Reach(3), 250_000),
    all("wait: promoted", Tell(&["wait", "shop", "--timeout", "1m"])),
    all("apply: blue-green", Configure),
    Step {
        staff_on_v2: false,
        ..all("start: preview", Serin(&["start", "shop"]))
    },
    all("toggle off", Serin(&["toggle", "staff-preview", "off"])),
    Step {
        staff_on_v2: false,
        ..all("toggle on", Serin(&["toggle", "staff-preview", "on"]))
    },
    step("cutover", Serin(&["cutover", "shop"]), 0),
    all("rollback", Serin(&["rollback", "shop"])),
    step(
        "cutover to blue",
        Serin(&["cutover", "shop", "--to", "blue"]),
        0,
    ),
    staff("share 30%", Serin(&["share", "shop", "30%"]), 300_000),
    Step {
        // Of 3 + 1 parts.
        g1_ppm: Some(750_000),
        ..staff(
            "weight g1 3",
            Serin(&["weight", "shop", "g1", "3"]),
            300_000,
        )
    },
    staff("kill -9 daemon", Kill, 300_000),
    staff("start daemon", Start, 300_000),
    staff("share 50%", Serin(&["share", "shop", "50%"]), 500_000),
];

const ALL: u32 = 1_000_000;

const fn step(name: &'static str, action: Action, v2_ppm: u32) -> Step {
    Step {
        name,
        action,
        v2_ppm,
        staff_on_v2: false,
        g1_ppm: None,
    }
}

const fn staff(name: &'static str, action: Action, v2_ppm: u32) -> Step {
    Step {
        staff_on_v2: true,
        ..step(name, action, v2_ppm)
    }
}

const fn all(name: &'static str, action: Action) -> Step {
    staff(name, action, ALL)
}
