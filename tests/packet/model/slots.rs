//! Who may own which slot of a pool: rules that hold however the daemon deals them.

use std::collections::BTreeMap;

use lb_common::pool::SLOT_COUNT;

use super::reference::NONE;

/// A backend of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub weight: u32,
    /// It may be given new connections.
    pub serves: bool,
}

/// A pool, its backends by id, and the owners of its slots.
#[derive(Clone, Debug)]
pub struct Dealt {
    pub members: BTreeMap<u16, Member>,
    pub owners: Vec<u16>,
}

impl Dealt {
    fn serves(&self, id: u16) -> bool {
        self.members.get(&id).is_some_and(|member| member.serves)
    }

    /// Whether it has a backend that may be given connections.
    pub fn can_serve(&self) -> bool {
        self.members.values().any(|member| member.serves)
    }

    /// Whether a pool was dealt by the rules, given how it was `before`.
    pub fn check(&self, before: Option<&Self>) -> Result<(), String> {
        if !self.can_serve() {
            return Ok(());
        }
        self.shares()?;
        let before = before.filter(|before| before.can_serve());
        before.map_or(Ok(()), |before| self.follows(before))
    }

    /// How many slots have other owners than `before`.
    pub fn moved(&self, before: &Self) -> u64 {
        let owners = self.owners.iter().zip(&before.owners);
        owners.filter(|(owner, before)| owner != before).count() as u64
    }

    /// Whether a pool that serves by itself has dealt all slots among those that serve, each its part
    /// by weight but for one slot.
    fn shares(&self) -> Result<(), String> {
        let mut parts: BTreeMap<u16, usize> = BTreeMap::new();
        for &owner in &self.owners {
            *parts.entry(owner).or_default() += 1;
        }
        if let Some(stranger) = parts.keys().find(|&&id| !self.serves(id)) {
            return Err(format!(
                "backend {stranger} has slots, and does not serve here"
            ));
        }
        let serving = self.members.iter().filter(|(_, member)| member.serves);
        let total: u64 = serving
            .clone()
            .map(|(_, member)| u64::from(member.weight))
            .sum();
        for (id, member) in serving {
            let part = parts.get(id).copied().unwrap_or(0) as u64;
            let exact = u64::from(member.weight) * SLOT_COUNT as u64;
            if (part * total).abs_diff(exact) >= total {
                return Err(format!(
                    "backend {id} has {part} slots for a weight of {} in {total}",
                    member.weight
                ));
            }
        }
        Ok(())
    }

    /// Whether no slot has moved between two backends of a pool that neither left nor came: those of
    /// one that serves no more are the others', and those of one that serves again its own.
    fn follows(&self, before: &Self) -> Result<(), String> {
        let weights = |dealt: &Self| -> Vec<(u16, u32)> {
            let members = dealt.members.iter();
            members.map(|(&id, member)| (id, member.weight)).collect()
        };
        if weights(self) != weights(before) {
            return Ok(());
        }
        let mut moves = before
            .owners
            .iter()
            .zip(&self.owners)
            .filter(|(a, b)| a != b);
        let lateral = moves.find(|&(&from, &to)| self.serves(from) && before.serves(to));
        lateral.map_or(Ok(()), |(from, to)| {
            Err(format!(
                "a slot went from backend {from} to {to}, which both served all the time"
            ))
        })
    }

    /// Whether its slots are those of the pool that stands in for it, or nobody's without one.
    pub fn is_stood_in(&self, other: Option<&Self>) -> bool {
        match other {
            Some(other) => self.owners == other.owners,
            None => self.owners.iter().all(|&owner| owner == NONE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two backends of one weight, and slots dealt among those of these that serve.
    fn dealt(serves: [bool; 2], owner: impl Fn(usize) -> u16) -> Dealt {
        let members = (1..).zip(serves);
        let member = |(id, serves)| (id, Member { weight: 1, serves });
        Dealt {
            members: members.map(member).collect(),
            owners: (0..SLOT_COUNT).map(owner).collect(),
        }
    }

    fn in_turn(slot: usize) -> u16 {
        if slot.is_multiple_of(2) { 1 } else { 2 }
    }

    #[test]
    fn slots_of_who_does_not_serve_are_refused_and_so_are_parts_that_are_no_weights() {
        let good = dealt([true, true], in_turn);
        assert_eq!(good.check(None), Ok(()));
        let of_dead = dealt([true, false], in_turn).check(None);
        assert!(of_dead.is_err_and(|said| said.contains("backend 2 has slots")));
        let uneven = dealt([true, true], |slot| if slot < 32_770 { 1 } else { 2 });
        let said = uneven.check(None).expect_err("32 770 and 32 767");
        assert!(
            said.contains("has 32770 slots for a weight of 1 in 2"),
            "{said}"
        );
    }

    #[test]
    fn a_slot_goes_from_one_that_serves_to_another_only_where_that_one_has_come() {
        let good = dealt([true, true], in_turn);
        let other = dealt([true, true], |slot| 3 - in_turn(slot));
        let said = other.check(Some(&good)).expect_err("all have moved");
        assert!(said.contains("which both served all the time"), "{said}");
        let alone = dealt([true, false], |_| 1);
        assert_eq!(
            (alone.check(Some(&good)), good.check(Some(&alone))),
            (Ok(()), Ok(()))
        );
        assert_eq!(alone.moved(&good), 32_768);
    }

    #[test]
    fn a_pool_that_can_not_serve_has_the_others_slots_or_nobodys() {
        let (other, dead) = (dealt([true, true], in_turn), dealt([false; 2], in_turn));
        let empty = dealt([false; 2], |_| NONE);
        assert!(!dead.can_serve() && dead.is_stood_in(Some(&other)) && empty.is_stood_in(None));
        assert!(!empty.is_stood_in(Some(&other)) && !dead.is_stood_in(None));
    }
}
