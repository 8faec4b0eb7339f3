//! Delta debugging: what can be left out of a failing sequence is left out
//! (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", IEEE TSE 28, 2002).

use super::event::Event;

/// A part of `events` that still fails, and of which no single event can be left out.
pub fn shrink(events: &[Event], fails: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let mut events = orders(events, &fails).unwrap_or_else(|| one_client(events, &fails));
    let mut chunk = events.len().div_ceil(2);
    loop {
        let before = events.len();
        let mut start = 0;
        while start < events.len() {
            let end = (start + chunk).min(events.len());
            let without = [&events[..start], &events[end..]].concat();
            if !without.is_empty() && fails(&without) {
                events = without;
            } else {
                start = end;
            }
        }
        if chunk == 1 && events.len() == before {
            return events;
        }
        chunk = (chunk / 2).max(1);
    }
}

/// All events but packets, if these alone show it: packets are most of what there is.
fn orders(events: &[Event], fails: impl Fn(&[Event]) -> bool) -> Option<Vec<Event>> {
    let orders = events.iter().filter(|event| event.client().is_none());
    let orders: Vec<Event> = orders.cloned().collect();
    (!orders.is_empty() && fails(&orders)).then_some(orders)
}

/// Packets of other clients than the last one's seldom matter, and are most of what there is.
fn one_client(events: &[Event], fails: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let mut packets = events.iter().rev().filter_map(Event::client);
    let Some(last) = packets.next() else {
        return events.to_vec();
    };
    let of_last = |event: &&Event| event.client().is_none_or(|client| client == last);
    let few: Vec<Event> = events.iter().filter(of_last).cloned().collect();
    if fails(&few) { few } else { events.to_vec() }
}
