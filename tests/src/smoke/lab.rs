//! What a lab is made of, and that it goes away.

use std::{net::SocketAddr, path::Path, process::Command};

use anyhow::Result;

use super::PORT;
use crate::{
    client,
    command::run,
    failure::Failure,
    server::Server,
    topology::{Lab, UPLINK, VIP_V4, VIP_V6, client_v4, client_v6},
    unique,
};

#[test]
fn vips_go_to_the_edge_which_knows_no_way() -> Result<()> {
    let lab = Lab::routed(1)?;

    for (source, vip) in [(client_v4(0), VIP_V4), (client_v6(0), VIP_V6)] {
        let answer = client::get(&lab.clients, source, SocketAddr::new(vip, 80));

        assert_eq!(answer, Err(Failure::Unreachable));
    }
    Ok(())
}

#[test]
fn peers_of_the_edge_run_a_pass_program_natively() -> Result<()> {
    let lab = Lab::routed(1)?;

    for namespace in [&lab.clients, &lab.backends[0].namespace] {
        let text = run(namespace.command("ip").args(["link", "show", UPLINK]))?;
        assert!(text.contains("prog/xdp"), "{text}");
        // Not `xdpgeneric`.
        assert!(text.contains(" xdp "), "{text}");
    }
    Ok(())
}

#[test]
fn a_lab_leaves_nothing_behind_even_on_panic() {
    let names = std::thread::spawn(|| {
        let lab = Lab::routed(1).expect("a lab");
        let _server = Server::start(&lab.backends[0], "v1", "b1", PORT).expect("a server");
        let names = [&lab.clients, &lab.edge].map(|namespace| namespace.name().to_owned());
        assert!(names.iter().all(|name| exists(name)));
        std::panic::panic_any(names);
    })
    .join()
    .expect_err("it panicked");

    let names = names.downcast::<[String; 2]>().expect("the names");
    assert!(!names.iter().any(|name| exists(name)), "{names:?}");
}

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

#[test]
fn what_a_killed_process_left_is_swept_by_the_next_lab() -> Result<()> {
    let mut child = Command::new("true").spawn()?;
    let gone = child.id();
    child.wait()?;
    let orphan = format!("{}{gone}-0-edge", unique::PREFIX);
    run(Command::new("ip").args(["netns", "add", &orphan]))?;

    let _lab = Lab::routed(0)?;

    assert!(!exists(&orphan));
    Ok(())
}
