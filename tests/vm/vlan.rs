//! VLAN devices (802.1Q).

use anyhow::Result;
use serin_tests::{
    config::Attach,
    mac::Mac,
    netns::Namespace,
    topology::{FRONT, Lab, UPLINK},
    veth::{self, End},
};

use crate::stage::Stage;

/// The VLAN between clients and edge, as a device on it.
const TAGGED: &str = "front.7";

#[test]
fn a_release_over_a_vlan_device_goes_in_generic_mode_everywhere() -> Result<()> {
    let lab = Lab::routed(2)?;
    tag_the_front(&lab)?;
    let mut stage = Stage::prepare(lab, "nat", Attach::Auto)?;
    TAGGED.clone_into(&mut stage.daemon.config.node.interfaces[0]);

    stage.start()?;

    for interface in [TAGGED, "back0", "back1"] {
        assert_eq!(stage.interface(interface)?, "attached, generic");
    }
    let log = stage.daemon.log();
    assert!(
        log.contains("`front.7`: its driver has no native XDP; all interfaces"),
        "{log}"
    );
    stage.release(|| Ok(()))
}

/// Puts another link, with a VLAN on it, in the place of the one between clients and edge.
fn tag_the_front(lab: &Lab) -> Result<()> {
    lab.edge.ip(&format!("link del {FRONT}"))?;
    let end = |namespace, interface, mac| End {
        namespace,
        interface,
        mac,
        addresses: &[],
    };
    veth::connect(
        &end(&lab.edge, FRONT, Mac::local(5, 1)),
        &end(&lab.clients, UPLINK, Mac::local(6, 1)),
    )?;
    tag(&lab.edge, FRONT, ["10.70.0.1/24", "fd70::1/64"])?;
    tag(&lab.clients, UPLINK, ["10.70.0.2/24", "fd70::2/64"])?;
    lab.route_clients()
}

fn tag(namespace: &Namespace, interface: &str, [v4, v6]: [&str; 2]) -> Result<()> {
    namespace.ip(&format!(
        "link add link {interface} name {interface}.7 type vlan id 7\n\
         link set {interface}.7 up\n\
         address add {v4} dev {interface}.7\n\
         address add {v6} dev {interface}.7 nodad"
    ))
}
