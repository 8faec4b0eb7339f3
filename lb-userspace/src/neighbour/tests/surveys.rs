//! A look without a watch.

use super::{
    super::{Reach, survey},
    SECOND,
    follower::{addresses, next_hop_mac, parse, peer_mac},
    pair,
};

#[test]
fn survey_waits_for_neighbours_but_not_for_ever() {
    let Some((edge, _peer)) = pair() else { return };
    let targets = addresses(&["10.99.1.2", "fd99:1::2", "10.99.1.3"]);

    let (view, took) = edge.block_on(|| async {
        let begun = tokio::time::Instant::now();
        (survey(&targets, SECOND).await, begun.elapsed())
    });

    let view = view.expect("the kernel answers");
    assert_eq!(next_hop_mac(&view, parse("10.99.1.2")), Some(peer_mac(1)));
    assert_eq!(next_hop_mac(&view, parse("fd99:1::2")), Some(peer_mac(1)));
    assert!(matches!(
        view.reach[&parse("10.99.1.3")],
        Reach::Resolving { .. }
    ));
    assert!((SECOND..2 * SECOND).contains(&took), "{took:?}");
}

#[test]
fn survey_ends_as_soon_as_all_is_known() {
    let Some((edge, _peer)) = pair() else { return };
    let targets = addresses(&["10.99.1.2", "fd99:1::2", "10.99.1.1", "203.0.113.1"]);

    let view = edge.block_on(|| async {
        let survey = survey(&targets, 30 * SECOND);
        tokio::time::timeout(SECOND, survey)
            .await
            .expect("neighbours answer in a second")
    });

    let view = view.expect("the kernel answers");
    assert_eq!(next_hop_mac(&view, parse("fd99:1::2")), Some(peer_mac(1)));
    assert!(view.links["e0"].up);
}
