//! OpenMetrics in Prometheus' own older text format, 0.0.4.

use std::collections::HashSet;

const TYPE: &str = "# TYPE ";
const HELP: &str = "# HELP ";

/// There the name of a counter has its `_total` in the lines about it too, and nothing marks the end.
pub fn text(open: &str) -> String {
    let typed = open.lines().filter_map(|line| line.strip_prefix(TYPE));
    let counters: HashSet<&str> = typed
        .filter_map(|typed| typed.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines().filter(|line| *line != "# EOF") {
        let about = [TYPE, HELP].into_iter().find_map(|word| {
            let (name, rest) = line.strip_prefix(word)?.split_once(' ')?;
            counters.contains(name).then_some((word, name, rest))
        });
        match about {
            Some((word, name, rest)) => text.extend([word, name, "_total ", rest]),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}
