//! What a person reads of it, and what it has to reach.

use std::time::Duration;

use super::{Story, Times};

/// At rest, in parts of a core.
const REST: f64 = 0.02;
/// Commands that only look.
const LOOK: Duration = Duration::from_millis(50);
/// A step may come so late.
const LATE: Duration = Duration::from_secs(1);
/// From the order to the store, each of them.
const ABORT: Duration = Duration::from_millis(1);

/// Prints the story; tells whether it is what it has to be.
pub fn print(story: &Story) -> bool {
    println!(
        "{} services of two pools of two backends, a canary under way in each\n",
        story.services
    );
    let mut good = true;
    let mut line = |what: &str, value: String, limit: Option<(String, bool)>| {
        let verdict = limit.map(|(limit, holds)| {
            good &= holds;
            let word = if holds { "ok" } else { "MISSED" };
            format!("   under {limit}: {word}")
        });
        println!("{what:<52} {value}{}", verdict.unwrap_or_default());
    };
    let percent = |part: f64| format!("{:.2}% of a core", part * 100.0);
    line(
        "at rest",
        percent(story.rest),
        Some((percent(REST), story.rest < REST)),
    );
    line(
        "`serin list`, the first after the rest",
        show(story.first),
        None,
    );
    for (what, times) in [
        ("serin list", story.list),
        ("serin status SERVICE", story.status),
    ] {
        let holds = times.max < LOOK;
        line(
            &format!("`{what}`, median and max of 20"),
            both(times),
            Some((show(LOOK), holds)),
        );
    }
    let steps = [
        ("all begin in one moment: late by", story.begun),
        ("all step within 30 s: late by", story.stepped),
    ];
    for (what, late) in steps {
        line(what, both(late), Some((show(LATE), late.max < LATE)));
    }
    let holds = story.aborts.max < ABORT;
    line(
        "abort, order to store, median and max of 50",
        both(story.aborts),
        Some((show(ABORT), holds)),
    );
    line(
        "`serin start --at`, order to answer",
        both(story.orders),
        None,
    );
    line("first start", show(story.first_start), None);
    line(
        "start with all releases under way",
        show(story.second_start),
        None,
    );
    line(
        "state file",
        format!("{} KiB", story.state_file >> 10),
        None,
    );
    line(
        "daemon's memory at rest",
        format!("{} MiB", story.resident_kib >> 10),
        None,
    );
    good
}

fn both(times: Times) -> String {
    format!("{}, {}", show(times.median), show(times.max))
}

fn show(time: Duration) -> String {
    format!("{time:.1?}")
}
