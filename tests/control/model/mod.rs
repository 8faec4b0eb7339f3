//! Random orders, restarts, faults and time against what must always hold.

mod expect;
mod order;
mod run;

use proptest::{prelude::*, test_runner::Config};

use self::{
    order::{Step, steps},
    run::Run,
};

/// More with `PROPTEST_CASES`.
const CASES: u32 = 24;

fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok();
    Config {
        cases: cases.and_then(|cases| cases.parse().ok()).unwrap_or(CASES),
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_is_ordered_nothing_breaks_and_nothing_is_half_done(steps in steps(1..40)) {
        let mut run = Run::new();
        for (number, step) in steps.iter().enumerate() {
            run.step(step)
                .map_err(|problem| failure(&steps, number, &problem))?;
        }
        run.end()
            .map_err(|problem| failure(&steps, steps.len(), &problem))?;
    }
}

fn failure(steps: &[Step], number: usize, problem: &str) -> TestCaseError {
    let done: Vec<String> = steps
        .iter()
        .take(number + 1)
        .map(|step| format!("{step:?}"))
        .collect();
    TestCaseError::fail(format!("{problem}\nafter:\n  {}", done.join("\n  ")))
}
