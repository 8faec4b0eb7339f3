//! The pools of a service that is released, side by side: users of one must find as much in the
//! other.

use serde::Serialize;

use super::{
    model::{Pool, Service},
    outline::outline_health,
};
use crate::release::engine::Strategy;

/// One pool, as far as users feel it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Colour {
    pool: String,
    backends: usize,
    weight: u64,
    /// How it is checked; null if it is not.
    health: Option<String>,
}

/// The pools of a service, in the order of the file.
pub(super) fn colours(service: &Service) -> Vec<Colour> {
    service.pools.iter().map(Colour::of).collect()
}

impl Colour {
    fn of(pool: &Pool) -> Self {
        Self {
            pool: pool.name.clone(),
            backends: pool.backends.len(),
            weight: pool.weight(),
            health: pool.health.as_ref().map(outline_health),
        }
    }
}

impl std::fmt::Display for Colour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let health = self.health.as_deref().unwrap_or("not checked");
        let Self {
            pool,
            backends,
            weight,
            ..
        } = self;
        write!(
            f,
            "{pool} has {backends} backends, weight {weight}, {health}"
        )
    }
}

/// In what the pools of a service differ that is released. A canary's candidate may be smaller, as
/// it gets its users part after part.
pub(super) fn differences(service: &Service) -> Vec<String> {
    let Some(plan) = &service.release else {
        return Vec::new();
    };
    let sizes = (plan.strategy == Strategy::BlueGreen).then(|| sized_otherwise(service));
    let sizes = sizes.flatten().into_iter();
    sizes.chain(checked_otherwise(service)).collect()
}

fn sized_otherwise(service: &Service) -> Option<String> {
    let size = |pool: &Pool| (pool.backends.len(), pool.weight());
    let (first, others) = service.pools.split_first()?;
    let other = others.iter().find(|pool| size(pool) != size(first))?;
    let ((count, weight), (others, heavier)) = (size(first), size(other));
    Some(format!(
        "pool `{}` has {count} backends with a weight of {weight} in all and pool `{}` {others} with \
         {heavier}, and a cutover moves all users from one to the other; make them alike",
        first.name, other.name
    ))
}

/// That one is not checked at all is said of that pool.
fn checked_otherwise(service: &Service) -> Option<String> {
    let mut checked = service.pools.iter().filter(|pool| pool.health.is_some());
    let first = checked.next()?;
    let other = checked.find(|pool| pool.health != first.health)?;
    Some(format!(
        "pools `{}` and `{}` are checked by different `health`, so that what is down in one may be \
         up in the other; make them alike",
        first.name, other.name
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, samples::shop};
    use super::*;

    fn found(release: &str, change: impl Fn(String) -> String) -> Vec<String> {
        let text = format!("{}[service.release]\n{release}\n", shop(""));
        let config = Config::parse(&change(text)).expect("valid");
        differences(&config.services[0])
    }

    const CANARY: &str = "steps = [{ share = \"5%\", hold = \"5m\" }]";
    const BLUE_GREEN: &str = "strategy = \"blue-green\"";

    #[test]
    fn colours_that_are_alike_are_no_finding() {
        for release in [CANARY, BLUE_GREEN] {
            assert_eq!(found(release, |text| text), Vec::<String>::new());
        }
    }

    #[test]
    fn a_colour_with_another_number_of_backends_is_found_before_a_cutover() {
        let larger = |text: String| {
            let more = "name = \"g2\", address = \"10.0.2.99\" }, { name = \"g1\"";
            text.replace("name = \"g1\"", more)
        };
        let both = found(BLUE_GREEN, larger);
        assert_eq!(both.len(), 1, "{both:?}");
        let expected =
            "pool `blue` has 1 backends with a weight of 100 in all and pool `green` 2 with";
        assert!(both[0].starts_with(expected), "{both:?}");
        assert_eq!(found(CANARY, larger), Vec::<String>::new());
    }

    #[test]
    fn colours_that_are_checked_differently_are_found_in_both_strategies() {
        let checks = |text: String| {
            let text = text.replacen("backends =", "health = { tcp = true }\nbackends =", 1);
            let at = text.rfind("backends =").expect("there");
            let (before, after) = text.split_at(at);
            format!("{before}health = {{ http = \"/\" }}\n{after}")
        };
        for release in [CANARY, BLUE_GREEN] {
            let found = found(release, checks);
            assert!(
                found[0].contains("pools `blue` and `green` are checked by different"),
                "{found:?}"
            );
        }
    }
}
