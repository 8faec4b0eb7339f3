//! Real namespaces, veth pairs and routes; a watcher in one of them.

mod follower;
mod links;
mod namespace;
mod neighbours;
mod routes;
mod scale;
mod surveys;

use std::time::Duration;

use self::namespace::{Namespace, may_run};

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(15);

/// An edge host `e0` and a peer `p0` on 10.99.1.0/24 and `fd99:1::/64`.
fn pair() -> Option<(Namespace, Namespace)> {
    if !may_run() {
        return None;
    }
    let (edge, peer) = (Namespace::create("edge"), Namespace::create("peer"));
    edge.connect("e0", &peer, "p0", 1);
    Some((edge, peer))
}
