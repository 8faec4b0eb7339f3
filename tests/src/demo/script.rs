//! What happens, step by step.

/// A step and the share of users that v2 must have after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) action: Action,
    pub(super) v2_ppm: u32,
    /// If set, how much of v2's traffic the backend g1 must have.
    pub(super) g1_ppm: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// Only measure.
    Watch,
    /// A command of `serin`.
    Serin(&'static [&'static str]),
    /// SIGKILL to the daemon, which stays dead for this step.
    Kill,
    /// The daemon starts again, and must say what it said before.
    Start,
}

use Action::{Kill, Serin, Start, Watch};

/// blue runs v1 and is active; green runs v2. The crash comes in the middle of a ramp, when the
/// split, the pins and the weights are all there to be lost.
pub(super) const SCRIPT: &[Step] = &[
    step("before", Watch, 0),
    step("share 1%", Serin(&["share", "shop", "1%"]), 10_000),
    step("share 5%", Serin(&["share", "shop", "5%"]), 50_000),
    step("share 25%", Serin(&["share", "shop", "25%"]), 250_000),
    step("share 100%", Serin(&["share", "shop", "100%"]), ALL),
    step("promote", Serin(&["cutover", "shop"]), ALL),
    step(
        "cutover to blue",
        Serin(&["cutover", "shop", "--to", "blue"]),
        0,
    ),
    step(
        "cutover to green",
        Serin(&["cutover", "shop", "--to", "green"]),
        ALL,
    ),
    step("rollback", Serin(&["rollback", "shop"]), 0),
    step("share 30%", Serin(&["share", "shop", "30%"]), 300_000),
    Step {
        // Of 3 + 1 parts.
        g1_ppm: Some(750_000),
        ..step(
            "weight g1 3",
            Serin(&["weight", "shop", "g1", "3"]),
            300_000,
        )
    },
    step("kill -9 daemon", Kill, 300_000),
    step("start daemon", Start, 300_000),
    step("share 50%", Serin(&["share", "shop", "50%"]), 500_000),
];

const ALL: u32 = 1_000_000;

const fn step(name: &'static str, action: Action, v2_ppm: u32) -> Step {
    Step {
        name,
        action,
        v2_ppm,
        g1_ppm: None,
    }
}
