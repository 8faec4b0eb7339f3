//! The table of one pool as the daemon keeps it.

use std::sync::Arc;

use lb_common::pool::{SLOT_COUNT, Slot};

/// The table of one pool.
///
/// Few values stand in its slots, one for each backend: each is kept once, and for each slot which of
/// them it has. That is a quarter of what the map takes, of which a host may have thousands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table(Arc<Form>);

/// One table has one form, so that equal tables are equal in theirs.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    /// Values in the order in which slots first have them, and the number of each slot's.
    Narrow { values: Vec<u32>, slots: Box<[u8]> },
    /// More values than a byte can number.
    Wide(Box<[u32]>),
}

impl Table {
    /// The table whose slot `i` is `slot(i)`.
    pub fn new(mut slot: impl FnMut(usize) -> Slot) -> Self {
        let bits: Vec<u32> = (0..SLOT_COUNT).map(|index| slot(index).bits()).collect();
        Self::of(bits)
    }

    /// A table in the map's layout; `None` if it has another length.
    pub fn from_bits(bits: Vec<u32>) -> Option<Self> {
        (bits.len() == SLOT_COUNT).then(|| Self::of(bits))
    }

    fn of(bits: Vec<u32>) -> Self {
        let form = narrow(&bits).unwrap_or_else(|| Form::Wide(bits.into()));
        Self(Arc::new(form))
    }

    /// All slots.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..SLOT_COUNT).map(|index| self.slot(index))
    }

    /// What slots there are, each of them at least once.
    pub fn kinds(&self) -> impl Iterator<Item = Slot> {
        let values = match &*self.0 {
            Form::Narrow { values, .. } => &values[..],
            Form::Wide(slots) => slots,
        };
        values.iter().copied().map(Slot::from_bits)
    }

    /// One slot.
    pub fn slot(&self, index: usize) -> Slot {
        Slot::from_bits(match &*self.0 {
            Form::Narrow { values, slots } => values[usize::from(slots[index])],
            Form::Wide(slots) => slots[index],
        })
    }

    /// The map's value.
    pub fn to_bits(&self) -> Vec<u32> {
        self.slots().map(Slot::bits).collect()
    }
}

/// The narrow form, if there is one.
fn narrow(bits: &[u32]) -> Option<Form> {
    let mut values: Vec<u32> = Vec::new();
    let number = |&value: &u32| {
        let known = values.iter().position(|&known| known == value);
        let number = known.unwrap_or_else(|| {
            values.push(value);
            values.len() - 1
        });
        u8::try_from(number).ok()
    };
    let slots = bits.iter().map(number).collect::<Option<_>>()?;
    Some(Form::Narrow { values, slots })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table whose slots have so many values.
    fn of(values: usize) -> (Table, Vec<u32>) {
        let bits = |slot: usize| Slot::settled(u16::try_from(slot % values).expect("small") + 1);
        let all = (0..SLOT_COUNT).map(|slot| bits(slot).bits()).collect();
        (Table::new(bits), all)
    }

    #[test]
    fn a_table_is_what_it_was_made_from_in_either_form() {
        for values in [1, 2, 256, 257, 4000] {
            let (table, bits) = of(values);
            assert_eq!(table.to_bits(), bits, "{values}");
            assert_eq!(Table::from_bits(bits), Some(table.clone()), "{values}");
            let wide = matches!(*table.0, Form::Wide(_));
            assert_eq!(wide, values > 256, "{values}");
        }
        assert_eq!(Table::from_bits(vec![0; SLOT_COUNT - 1]), None);
    }

    #[test]
    fn its_kinds_are_those_of_its_slots() {
        for values in [3, 300] {
            let (table, _) = of(values);
            let mut kinds: Vec<u32> = table.kinds().map(Slot::bits).collect();
            kinds.sort_unstable();
            kinds.dedup();
            assert_eq!(kinds.len(), values);
        }
    }
}
