//! Very many live connections through a cutover, by live frames.

use anyhow::Result;
use serin_tests::connections::{self, Plan};

#[test]
fn each_of_a_hundred_thousand_connections_stays_through_cutover_settlement_and_sweep() -> Result<()>
{
    let story = connections::play(Plan {
        old: 100_000,
        new: 10_000,
        table: 262_144,
        drain_s: 5,
    })?;

    assert_eq!((story.broken, story.misled), (0, 0), "{story:?}");
    assert!((100_000..=110_000).contains(&story.peak), "{story:?}");
    assert_eq!(story.left, 0, "{story:?}");
    Ok(())
}

/// The harness sees what breaks: the same with a table that has no room.
#[test]
fn connections_that_a_table_has_no_room_for_are_seen_to_break() -> Result<()> {
    let story = connections::play(Plan {
        old: 30_000,
        new: 1_000,
        table: 16_384,
        drain_s: 5,
    })?;

    assert!(story.broken > 10_000, "{story:?}");
    Ok(())
}
