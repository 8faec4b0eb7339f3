//! Weighted Maglev: which backend owns which slot.
//!
//! Backends take turns at their own permutations of the slots (Eisenbud et al., "Maglev: A Fast
//! and Reliable Software Network Load Balancer", NSDI 2016, section 3.4); one of less than the
//! highest weight takes a turn each time that its accumulated weight reaches the maximum (Envoy's
//! variant). Here a turn is also refused once a backend owns its exact part of the table (largest
//! remainder), so that every backend gets its weight within one slot, whatever the weights.

use lb_common::pool::SLOT_COUNT;

/// What the builder needs to know of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Where its permutation starts, and how far it steps: any two hashes of its name.
    pub hashes: (u64, u64),
    /// Its weight; 0 owns nothing.
    pub weight: u32,
}

/// The table of [`SLOT_COUNT`] slots: for each, the index of its owner in `backends`.
///
/// `preferred` backends (by index) own what they would if all were up; slots of the others are
/// dealt among the preferred ones, and no slot moves between two of those.
pub fn build(backends: &[Share], up: &[bool]) -> Vec<Option<usize>> {
    build_sized(backends, up, SLOT_COUNT)
}

/// [`build`] for a table of `size` slots, which must be a prime.
pub fn build_sized(backends: &[Share], up: &[bool], size: usize) -> Vec<Option<usize>> {
    let mut slots = vec![None; size];
    fill(&mut slots, backends);
    if up.iter().all(|&up| up) {
        return slots;
    }
    for slot in &mut slots {
        *slot = slot.filter(|&owner| up[owner]);
    }
    let mut left = backends.to_vec();
    for (share, up) in left.iter_mut().zip(up) {
        if !up {
            share.weight = 0;
        }
    }
    fill(&mut slots, &left);
    slots
}

/// Deals the free slots, until every backend has its part of the whole table.
fn fill(slots: &mut [Option<usize>], backends: &[Share]) {
    let size = slots.len();
    let mut turns: Vec<Turn> = quotas(backends, size)
        .into_iter()
        .zip(backends)
        .map(|(quota, share)| Turn::new(share, quota, size))
        .collect();
    let mut free = size;
    for owner in slots.iter().flatten() {
        turns[*owner].wanted = turns[*owner].wanted.saturating_sub(1);
        free -= 1;
    }
    let heaviest = u64::from(backends.iter().map(|share| share.weight).max().unwrap_or(0));
    for round in 1.. {
        if turns.iter().all(|turn| turn.wanted == 0) || free == 0 {
            break;
        }
        for (owner, turn) in turns.iter_mut().enumerate() {
            if turn.wanted == 0 || free == 0 || !turn.is_due(round, heaviest) {
                continue;
            }
            let slot = turn.next_free(slots);
            slots[slot] = Some(owner);
            turn.wanted -= 1;
            free -= 1;
        }
    }
}

/// Slots for each backend, by largest remainder; ties go to the one named first.
fn quotas(backends: &[Share], size: usize) -> Vec<usize> {
    let total: u64 = backends.iter().map(|share| u64::from(share.weight)).sum();
    if total == 0 {
        return vec![0; backends.len()];
    }
    let exact = |share: &Share| u64::from(share.weight) * size as u64;
    let mut quotas: Vec<usize> = backends
        .iter()
        .map(|share| narrow(exact(share) / total))
        .collect();
    let mut by_remainder: Vec<usize> = (0..backends.len()).collect();
    by_remainder.sort_by_key(|&i| std::cmp::Reverse(exact(&backends[i]) % total));
    let missing = size - quotas.iter().sum::<usize>();
    for &i in by_remainder.iter().take(missing) {
        quotas[i] += 1;
    }
    quotas
}

/// One backend's progress.
struct Turn {
    next: usize,
    skip: usize,
    weight: u64,
    target: u64,
    wanted: usize,
}

impl Turn {
    fn new(share: &Share, quota: usize, size: usize) -> Self {
        let (offset, skip) = share.hashes;
        Self {
            next: narrow(offset % size as u64),
            skip: narrow(skip % (size as u64 - 1)) + 1,
            weight: u64::from(share.weight),
            target: 0,
            wanted: quota,
        }
    }

    /// Whether the accumulated weight has reached the next multiple of the heaviest.
    fn is_due(&mut self, round: u64, heaviest: u64) -> bool {
        if round * self.weight < self.target {
            return false;
        }
        self.target += heaviest;
        true
    }

    /// The next free slot of the permutation; there is one while any slot is free.
    fn next_free(&mut self, slots: &[Option<usize>]) -> usize {
        loop {
            let slot = self.next;
            self.next += self.skip;
            if self.next >= slots.len() {
                self.next -= slots.len();
            }
            if slots[slot].is_none() {
                return slot;
            }
        }
    }
}

/// A number that is below the table's size.
fn narrow(number: u64) -> usize {
    usize::try_from(number).expect("tables are smaller than memory")
}

#[cfg(test)]
mod tests;
