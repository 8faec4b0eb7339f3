//! Which users changed version against the direction of a step.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
};

use super::stage::{V1, V2};
use crate::{http::Answer, load::Request};

/// The version that answered each user's newest connection.
pub(super) type Versions = HashMap<u32, String>;

/// How many users changed version against the direction of v2's share, or at all if it stood still.
///
/// `connections` are those of the step, in each user's own order.
pub(super) fn moved_back(
    direction: Ordering,
    before: &Versions,
    connections: &[(&Request, &Answer)],
) -> usize {
    let mut current: HashMap<u32, &str> = before
        .iter()
        .map(|(user, version)| (*user, version.as_str()))
        .collect();
    let mut moved = HashSet::new();
    for (request, answer) in connections {
        let previous = current.insert(request.user, &answer.version);
        if previous.is_some_and(|previous| is_against(direction, previous, &answer.version)) {
            moved.insert(request.user);
        }
    }
    moved.len()
}

/// How many users got both versions on connections that they began after the step's command had
/// returned. From then on a user's version is settled, be it old or new.
pub(super) fn undecided(returned_ns: u64, connections: &[(&Request, &Answer)]) -> usize {
    let mut settled: HashMap<u32, &str> = HashMap::new();
    let mut undecided = HashSet::new();
    for (request, answer) in connections {
        if request.began_ns > returned_ns {
            let version = settled.entry(request.user).or_insert(&answer.version);
            if *version != answer.version {
                undecided.insert(request.user);
            }
        }
    }
    undecided.len()
}

fn is_against(direction: Ordering, previous: &str, version: &str) -> bool {
    let forward = match direction {
        Ordering::Greater => (V1, V2),
        Ordering::Less => (V2, V1),
        Ordering::Equal => return previous != version,
    };
    previous != version && (previous, version) != forward
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::client_v4;

    fn connection(user: u32, version: &str, began_ns: u64) -> (Request, Answer) {
        let answer = Answer {
            version: version.to_owned(),
            backend: "b1".to_owned(),
            client: client_v4(user),
        };
        let request = Request {
            user,
            source: None,
            connection: 0,
            opened: true,
            keep_alive: false,
            began_ns,
            took_us: 0,
            outcome: Ok(answer.clone()),
        };
        (request, answer)
    }

    fn moved(direction: Ordering, before: &str, versions: &[&str]) -> usize {
        let before = [(7, before.to_owned())].into();
        let made: Vec<_> = versions
            .iter()
            .map(|version| connection(7, version, 0))
            .collect();
        let connections: Vec<_> = made
            .iter()
            .map(|(request, answer)| (request, answer))
            .collect();
        moved_back(direction, &before, &connections)
    }

    #[test]
    fn a_move_along_the_ramp_is_none_back() {
        assert_eq!(moved(Ordering::Greater, V1, &[V1, V2, V2]), 0);
        assert_eq!(moved(Ordering::Less, V2, &[V2, V1]), 0);
    }

    #[test]
    fn a_move_against_the_ramp_counts_its_user_once() {
        assert_eq!(moved(Ordering::Greater, V1, &[V2, V1, V2, V1]), 1);
        assert_eq!(moved(Ordering::Less, V1, &[V2]), 1);
    }

    #[test]
    fn any_move_counts_while_the_share_stands_still() {
        assert_eq!(moved(Ordering::Equal, V1, &[V2]), 1);
        assert_eq!(moved(Ordering::Equal, V2, &[V2]), 0);
    }

    #[test]
    fn both_versions_count_only_after_the_command() {
        let made = [
            connection(7, V1, 10),
            connection(7, V2, 20),
            connection(7, V2, 30),
        ];
        let connections: Vec<_> = made
            .iter()
            .map(|(request, answer)| (request, answer))
            .collect();

        assert_eq!(undecided(10, &connections), 0);
        assert_eq!(undecided(9, &connections), 1);
    }
}
