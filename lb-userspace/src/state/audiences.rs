//! The audiences of a service: what its configuration comes to in the maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use ipnet::IpNet;
use lb_common::{
    audience::{AudienceSet, RANGES, Range, Rule, condition},
    hash::BUCKETS,
    maps::{MAX_AUDIENCE_SETS, MAX_AUDIENCES},
    prefix::Prefixes,
};
use serde::{Deserialize, Serialize};

use super::{
    ServiceState, StateError,
    ids::{Ids, take},
};
use crate::{
    config::{Audience, Service, geography::common},
    dataplane::{
        Image,
        prefixes::{Block, compile},
    },
    release::Position,
};

/// Counters by name, and sets by number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Audiences {
    /// Number of each audience's counters: the same whatever becomes of the set.
    pub numbers: BTreeMap<String, u32>,
    /// The sets that the position names. The kernel's pinned maps are where they are kept over a
    /// restart.
    #[serde(skip)]
    pub sets: BTreeMap<u32, Compiled>,
}

/// A set of audiences, and the prefixes that it names.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// The set; its block's place is given when it gets a number.
    pub set: AudienceSet,
    /// Its block.
    pub block: Block,
}

impl Compiled {
    /// A set of a configured service's audiences, each with its number.
    fn new(audiences: &[&Audience], numbers: &BTreeMap<String, u32>) -> Self {
        let mut prefixes: Vec<(IpNet, u32)> = Vec::new();
        let mut rules = Vec::with_capacity(audiences.len());
        for (index, audience) in audiences.iter().enumerate() {
            let sources = sources(audience);
            rules.push((rule(audience, numbers[&audience.name]), sources.is_some()));
            let bit = 1 << index;
            prefixes.extend(sources.into_iter().flatten().map(|net| (net, bit)));
        }
        let (prefixes, block) = compile(prefixes);
        Self {
            set: AudienceSet::new(&rules, prefixes),
            block,
        }
    }

    /// Whether both say the same, wherever their blocks are.
    fn is_like(&self, other: &Self) -> bool {
        self.set.moved(0) == other.set.moved(0) && self.block == other.block
    }
}

/// The prefixes that an audience's clients come from; nothing for any.
fn sources(audience: &Audience) -> Option<Vec<IpNet>> {
    match (&audience.sources, &audience.located) {
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => Some(one.to_vec()),
        (Some(sources), Some(located)) => Some(common(sources, located)),
    }
}

fn rule(audience: &Audience, number: u32) -> Rule {
    let mut rule = Rule::new(number, audience.share_ppm);
    let mut needs = |there: bool, condition: u32| {
        rule.conditions |= if there { condition } else { 0 };
    };
    needs(!audience.source_ports.is_empty(), condition::PORTS);
    needs(!audience.vlan.is_empty(), condition::VLAN);
    needs(audience.dscp.is_some(), condition::DSCP);
    needs(audience.ttl.is_some(), condition::TTL);
    needs(audience.mss.is_some(), condition::MSS);
    rule.ports = ranges(&audience.source_ports);
    rule.vlan = ranges(&audience.vlan);
    rule.dscp = audience.dscp.unwrap_or(0);
    rule.ttl = audience.ttl.as_ref().map_or(Range::NONE, range);
    rule.mss = audience.mss.as_ref().map_or(Range::NONE, range);
    rule
}

fn ranges(given: &[RangeInclusive<u16>]) -> [Range; RANGES] {
    let mut ranges = [Range::NONE; RANGES];
    for (place, given) in ranges.iter_mut().zip(given) {
        *place = range(given);
    }
    ranges
}

const fn range(given: &RangeInclusive<u16>) -> Range {
    Range {
        low: *given.start(),
        high: *given.end(),
    }
}

impl ServiceState {
    /// Takes those of a service's audiences that are looked at: clients whose answer changes begin to
    /// move. A set that says the same as one that is there is that one.
    pub(super) fn judge_by(
        &mut self,
        service: &Service,
        open: &[&Audience],
        ids: &mut Ids,
        tick: u32,
    ) -> Result<(), StateError> {
        let number = self.set_of(open, ids)?;
        let before = self.position.now.audiences;
        let pinned = before != number && self.pins_at_rest();
        self.position = self.position.judged_by(number, tick);
        if pinned {
            // First packets have pinned connections also where the change moves nobody.
            self.position.touched_ppm = BUCKETS;
        }
        let audiences = service.audiences.iter();
        let names: BTreeSet<&String> = audiences.map(|audience| &audience.name).collect();
        let kept = &self.audiences.sets;
        let counted: BTreeSet<u32> = kept
            .values()
            .flat_map(|compiled| compiled.set.rules().map(|rule| rule.number))
            .collect();
        // Clients that are still on their way from the old set are still counted by it.
        let numbers = &mut self.audiences.numbers;
        numbers.retain(|name, number| names.contains(name) || counted.contains(number));
        Ok(())
    }

    /// Whether clients are judged by these audiences, and by no others, at a position.
    pub(super) fn looks_at(&self, open: &[&Audience], position: &Position) -> bool {
        let set = self.audiences.sets.get(&position.now.audiences);
        let rules = set.into_iter().flat_map(|compiled| compiled.set.rules());
        let open = open.iter();
        let open = open.map(|audience| self.audiences.numbers.get(&audience.name).copied());
        open.eq(rules.map(|rule| Some(rule.number)))
    }

    fn set_of(&mut self, audiences: &[&Audience], ids: &mut Ids) -> Result<u32, StateError> {
        if audiences.is_empty() {
            return Ok(0);
        }
        for audience in audiences {
            if !self.audiences.numbers.contains_key(&audience.name) {
                let number = take(&mut ids.audiences, 1, MAX_AUDIENCES, "audiences")?;
                self.audiences.numbers.insert(audience.name.clone(), number);
            }
        }
        let mut next = Compiled::new(audiences, &self.audiences.numbers);
        let known = self.audiences.sets.iter();
        if let Some((&number, _)) = known.clone().find(|(_, set)| set.is_like(&next)) {
            return Ok(number);
        }
        let same_block = known
            .map(|(_, known)| known)
            .find(|known| known.block == next.block && known.set.prefixes().length() > 0);
        let base = match same_block {
            Some(known) => known.set.prefixes().base(),
            None => ids.space.take(next.set.prefixes().length())?,
        };
        next.set = next.set.moved(base);
        let number = take(&mut ids.sets, 1, MAX_AUDIENCE_SETS, "sets of audiences")?;
        self.audiences.sets.insert(number, next);
        Ok(number)
    }

    /// Forgets the sets that the position does not name.
    pub fn keep_named_sets(&mut self) {
        let named = self.position.audience_sets();
        self.audiences
            .sets
            .retain(|number, _| named.contains(number));
    }

    /// Whether the set that clients were judged by at the last settled state is there.
    pub(super) fn knows_origin_set(&self) -> bool {
        let number = self.position.origin.audiences;
        number == 0 || self.audiences.sets.contains_key(&number)
    }

    /// Takes the sets that its position names from what the maps hold.
    pub fn adopt_sets(&mut self, image: &Image) {
        for number in self.position.audience_sets() {
            if let Some(compiled) = image.compiled(number) {
                self.audiences.sets.insert(number, compiled);
            }
        }
    }
}

impl Image {
    fn compiled(&self, number: u32) -> Option<Compiled> {
        let set = *self.audiences.get(&number)?;
        let block = self.block_of(set.prefixes())?;
        Some(Compiled { set, block })
    }

    /// The block that prefixes are in, if it is as long as they say.
    pub fn block_of(&self, prefixes: &Prefixes) -> Option<Block> {
        if prefixes.length() == 0 {
            return Some(Block::default());
        }
        let block = self.blocks.get(&prefixes.base())?;
        (block.words().len() == prefixes.length() as usize).then(|| block.clone())
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{address::Address, hash::BUCKETS, listener::Endpoint, protocol};

    use super::super::fixture::{Fixture, SHOP};
    use crate::{control::node, dataplane::choice::Choice};

    const STAFF: &str = "[[service.audience]]\nname = \"staff\"\npool = \"candidate\"\n\
                         sources = [\"10.9.0.0/24\", \"2001:db8:9::/48\"]\n";

    fn with(audience: &str) -> String {
        format!("{SHOP}{audience}")
    }

    /// A fixture with these audiences, and green as candidate with no share.
    fn previewing(audience: &str) -> Fixture {
        let mut fixture = Fixture::new(&with(audience));
        let salts = |_: u64| 1;
        let shop = fixture.service_mut("shop");
        let green = shop.pools["green"].id;
        let shared = shop.position.share(green, 0, 1, &salts).expect("a preview");
        shop.position = shared.settled().swept();
        fixture.compose();
        fixture
    }

    fn choose(fixture: &Fixture, client: [u8; 4]) -> Choice {
        let vip = Endpoint::new(
            Address::v4([192, 0, 2, 80]),
            443_u16.to_be_bytes(),
            protocol::TCP,
        );
        let node = node(&fixture.config);
        let choice = fixture
            .image
            .choose(&node, &vip, Address::v4(client), [1, 1]);
        choice.expect("the image is whole")
    }

    #[test]
    fn staff_get_the_candidate_that_has_no_share() {
        let fixture = previewing(STAFF);
        let green = fixture.id("g1");
        assert_eq!(choose(&fixture, [10, 9, 0, 7]).current, green);
        assert_ne!(choose(&fixture, [10, 9, 1, 7]).current, green);
    }

    #[test]
    fn without_a_candidate_an_audience_changes_nothing() {
        let mut fixture = Fixture::new(SHOP);
        fixture.apply(&with(STAFF)).expect("added");
        let shop = fixture.service("shop");
        assert!(!shop.is_moving() && shop.position.touched_ppm == 0);
        assert_eq!(shop.position.audience_sets(), [1, 1]);
    }

    #[test]
    fn one_more_prefix_is_a_transition_for_all_and_the_origin_stays_the_settled_set() {
        let mut fixture = previewing(STAFF);
        let before = fixture.image.clone();
        let wider = with(&STAFF.replace("\"10.9.0.0/24\"", "\"10.9.0.0/24\", \"10.8.0.0/24\""));
        fixture.apply(&wider).expect("wider");
        let widest = wider.replace("10.8.0.0/24", "10.8.0.0/16");
        fixture
            .apply(&widest)
            .expect("and once more in the same window");

        let shop = fixture.service("shop");
        assert_eq!(shop.position.audience_sets(), [3, 1]);
        assert_eq!(shop.position.touched_ppm, BUCKETS);
        let added = choose(&fixture, [10, 8, 7, 7]);
        let green = fixture.id("g1");
        assert!(added.moving && added.current == green && added.origin != green);
        let member = choose(&fixture, [10, 9, 0, 7]);
        assert!(!member.moving && member.touched && member.current == green);
        let old = &before.audiences[&1];
        assert_eq!(fixture.image.audiences[&1], *old, "its set is as it was");
        let base = old.prefixes().base();
        assert_eq!(fixture.image.blocks[&base], before.blocks[&base]);
    }

    #[test]
    fn going_back_to_the_settled_set_is_no_other_set() {
        let mut fixture = previewing(STAFF);
        fixture.apply(&with("")).expect("gone");
        assert_eq!(fixture.service("shop").position.audience_sets(), [0, 1]);
        fixture.apply(&with(STAFF)).expect("back");
        let shop = fixture.service("shop");
        assert_eq!(shop.position.audience_sets(), [1, 1]);
        assert!(!shop.is_moving());
        assert_eq!(
            shop.position.touched_ppm, BUCKETS,
            "pins may have been made"
        );
    }

    #[test]
    fn another_answer_for_the_same_sources_shares_their_block() {
        let mut fixture = previewing(STAFF);
        let half = STAFF.replace("pool = \"candidate\"", "share = \"50%\"");
        fixture.apply(&with(&half)).expect("another answer");
        assert_eq!(fixture.image.audiences.len(), 2);
        assert_eq!(fixture.image.blocks.len(), 1);
    }

    #[test]
    fn an_audience_keeps_its_number_whatever_becomes_of_the_set() {
        let mut fixture = previewing(STAFF);
        let guests = STAFF.replace("staff", "guests").replace("10.9", "10.7");
        fixture
            .apply(&with(&format!("{guests}{STAFF}")))
            .expect("guests first");
        let numbers = &fixture.service("shop").audiences.numbers;
        assert_eq!((numbers["staff"], numbers["guests"]), (1, 2));
    }

    #[test]
    fn what_the_maps_hold_is_taken_over_by_a_restart() {
        let fixture = previewing(STAFF);
        let text = serde_json::to_string(&fixture.state).expect("JSON");
        let mut saved: super::super::State = serde_json::from_str(&text).expect("JSON");
        assert!(saved.services["shop"].audiences.sets.is_empty());
        saved
            .services
            .get_mut("shop")
            .expect("there")
            .adopt_sets(&fixture.image);
        let adopted = &saved.services["shop"].audiences;
        assert_eq!(adopted, &fixture.service("shop").audiences);
    }

    #[test]
    fn a_first_packet_condition_is_told_apart() {
        let shop = |audience| Fixture::new(&with(audience)).service("shop").pins_at_rest();
        assert!(!shop(STAFF));
        assert!(shop(&format!("{STAFF}mss = \"1-1400\"\n")));
    }
}
