//! The demo in words, for people.

use std::time::Duration;

use super::{Row, USERS, finale::Caught, release::STAFF_USERS, row::Summary, stage::plan};

pub(super) fn introduce() {
    let plan = plan();
    println!(
        "\
Serin demo: a new version goes live under load, and nobody notices.

Building, in network namespaces of this machine:
  clients   {USERS} users with an address each, {STAFF_USERS} of them staff: {} new connections a second,
            and {} connections kept open with {} requests a second over them
  edge      `serin run`, XDP in native mode; the service is http://192.0.2.80, forward = \"nat\"
  backends  blue runs v1 on b1 and b2, green runs v2 on g1 and g2
",
        thousands(plan.short_per_s as usize),
        plan.keep_alive,
        thousands(plan.keep_alive_per_s as usize),
    );
}

pub(super) fn legend() {
    println!(
        "\
staff            the version that the audience `staff` has
asked, measured  share of all other users whose newest connection v2 answers
sigma            how far apart the two are, in standard deviations of pure chance
moved back       users that changed version against the direction of the step
last old packet  from the kernel's one store to the last connection that a moved user
                 still started at its old version; - where no user was to move

step                staff    asked  measured  sigma  requests  failed  moved back  last old packet"
    );
}

pub(super) fn row(row: &Row) {
    println!(
        "{:<18}  {:>5}  {:>7}  {:>8}  {:>5.1}  {:>8}  {:>6}  {:>10}  {:>15}",
        row.step,
        row.staff,
        percent(row.asked_ppm),
        percent(row.measured_ppm),
        row.sigma,
        thousands(row.requests),
        row.failed,
        row.moved_back,
        row.store_to_last_old_packet_us
            .map_or_else(|| "-".to_owned(), |us| format!("{us} µs")),
    );
}

pub(super) fn announce() {
    println!(
        "
And a bad one, in a lab of its own: v2 resets one connection of five. `serin start shop` gives it a
quarter of all users, and the judge looks at what the kernel has counted."
    );
}

pub(super) fn caught(caught: &Caught) {
    println!(
        "{} after {} connections and {} ms; {} of {} users saw it.\n  {}",
        if caught.rolled_back {
            "Caught and rolled back by itself"
        } else {
            "NOT rolled back"
        },
        caught.connections,
        caught.took_ms,
        caught.harmed,
        caught.users,
        caught.reason,
    );
}

pub(super) fn verdict(summary: &Summary, problems: &[String], took: Duration) {
    println!();
    if problems.is_empty() {
        println!(
            "\
PASSED in {} s: {} requests before the bad release, none failed; nobody moved back; every share
is within chance (99.9%) of the asked one; {} kept connections stayed with their server through the
canary, cutovers, the rollback and the crash of the daemon.",
            took.as_secs(),
            thousands(summary.requests),
            plan().keep_alive,
        );
    } else {
        println!("FAILED after {} s:", took.as_secs());
        for problem in problems {
            println!("  {problem}");
        }
    }
}

fn percent(ppm: u32) -> String {
    format!("{}.{:02}%", ppm / 10_000, ppm / 100 % 100)
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(1_234_567), "1 234 567");
        assert_eq!(percent(1_000_000), "100.00%");
        assert_eq!(percent(12_300), "1.23%");
    }
}
