//! What a person reads of it.

use super::{Plan, Story};

/// Prints the story.
pub fn print(story: &Story) {
    let Plan {
        old,
        new,
        table,
        drain_s,
    } = story.plan;
    println!("a cutover under {old} live connections; {new} new ones after it");
    println!("nat, IPv4, native XDP on veth; node.connections = {table}, drain = {drain_s}s\n");
    let line = |what: &str, value: String| println!("{what:<44} {value}");
    line(
        "old connections that left their backend",
        story.broken.to_string(),
    );
    line(
        "new connections that were not green's",
        story.misled.to_string(),
    );
    line(
        "`serin cutover`, order to answer",
        format!("{:.1?}", story.cutover),
    );
    line("flow table's peak", format!("{} entries", story.peak));
    line("order to settled", format!("{:.1?}", story.settled));
    line(
        "last FIN to swept and at rest",
        format!("{:.1?}", story.swept),
    );
    line("entries left", story.left.to_string());
    line(
        "daemon's CPU time, cutover to rest",
        format!("{:.2?}", story.usage.cpu),
    );
    line(
        "daemon's peak memory",
        format!("{} MiB", story.usage.peak_kib >> 10),
    );
    line(
        "slowest `serin status` meanwhile",
        format!("{:.0?}", story.slowest_status),
    );
    for (turn, took) in story.turns.iter().enumerate() {
        let per_s = f64::from(old) / took.took.as_secs_f64() / 1e6;
        line(
            &format!("turn {turn} of all old connections"),
            format!(
                "{:.1?}, {per_s:.2} M/s, {} lost and sent again",
                took.took, took.again
            ),
        );
    }
}
