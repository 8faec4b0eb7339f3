//! Where blocks of prefixes are in the map of words.

use std::collections::BTreeMap;

use lb_common::maps::MAX_WORDS;

use super::{State, StateError};
use crate::dataplane::Image;

/// Words in use: the end of each block, by its beginning.
#[derive(Debug, Default)]
pub struct Space(BTreeMap<u32, u32>);

impl Space {
    /// Blocks of what is there: those are not written over by the same change.
    pub fn of(state: &State, image: &Image) -> Self {
        let mut space = Self::default();
        for (&base, block) in &image.blocks {
            space.hold(
                base,
                u32::try_from(block.words().len()).unwrap_or(MAX_WORDS),
            );
        }
        let services = state.services.values();
        for compiled in services.flat_map(|service| service.audiences.sets.values()) {
            let prefixes = compiled.set.prefixes();
            space.hold(prefixes.base(), prefixes.length());
        }
        if let Some(denied) = state.protect.as_ref().map(|kept| kept.settings.denied()) {
            space.hold(denied.base(), denied.length());
        }
        space
    }

    fn hold(&mut self, base: u32, length: u32) {
        if length > 0 {
            let end = self.0.entry(base).or_default();
            *end = (*end).max(base.saturating_add(length));
        }
    }

    /// The first gap that is long enough.
    pub fn take(&mut self, length: u32) -> Result<u32, StateError> {
        let mut base = 0;
        for (&begin, &end) in &self.0 {
            if begin >= base && begin - base >= length {
                break;
            }
            base = base.max(end);
        }
        if MAX_WORDS.saturating_sub(base) < length {
            return Err(StateError::Full {
                what: "words of source prefixes",
                limit: MAX_WORDS,
            });
        }
        self.hold(base, length);
        Ok(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_put_into_the_first_gap_that_has_room() {
        let mut space = Space::default();
        let all = [10, 20, 10].map(|length| space.take(length));
        assert_eq!(all, [Ok(0), Ok(10), Ok(30)]);
        space.0.remove(&10);
        assert_eq!(
            [5, 16, 15].map(|length| space.take(length)),
            [Ok(10), Ok(40), Ok(15)]
        );
        assert_eq!(space.take(0), Ok(0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut space = Space::default();
        assert_eq!(space.take(MAX_WORDS), Ok(0));
        let full = space.take(1).expect_err("none is left").to_string();
        assert!(full.contains("words of source prefixes"), "{full}");
    }
}
