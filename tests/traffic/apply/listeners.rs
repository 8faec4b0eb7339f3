//! Listeners and whole services come and go, and the others don't notice.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use serin_tests::{
    client,
    config::{Attach, Service},
    failure::Failure,
    server::Server,
    topology::{Lab, client_v4},
};

use crate::{
    crowd::Crowd,
    stage::{Stage, VIPS, Way, names, user},
};

/// Where the newcomers' servers listen.
const OTHER_PORT: u16 = 8081;
const WIKI: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 81));

#[test]
fn a_listener_comes_and_goes_beside_the_others() -> Result<()> {
    let mut stage = Stage::with(Way::Nat, Attach::Native, 4, listen_with_port_of_listener)?;
    let _others = other_servers(&stage.lab)?;
    let crowd = Crowd::gather(&stage.lab)?;
    let news = VIPS.map(|vip| SocketAddr::new(vip.ip(), 81));
    let ask = |lab: &Lab| news.map(|vip| client::get(&lab.clients, user(3, vip), vip));
    let before = ask(&stage.lab);

    let added = news.map(|vip| format!("tcp://{vip}?to={OTHER_PORT}"));
    stage.shop().listen.extend(added);
    stage.apply()?;
    let during = ask(&stage.lab);
    crowd.round()?;
    stage.shop().listen.truncate(4);
    stage.apply()?;
    let after = ask(&stage.lab);
    crowd.round()?;

    assert_eq!(
        before,
        [Err(Failure::Unreachable), Err(Failure::Unreachable)]
    );
    for answer in during {
        assert_eq!(
            answer.map(|answer| answer.version),
            Ok("other-v1".to_owned())
        );
    }
    assert_eq!(after, before);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

#[test]
fn a_service_comes_and_goes_beside_the_others() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let _others = other_servers(&stage.lab)?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("share shop 30%")?;
    let users = crowd.round()?;
    let ask = |lab: &Lab| client::get(&lab.clients, client_v4(3), SocketAddr::new(WIKI, 80));
    let before = ask(&stage.lab);

    let wiki = wiki(&stage.lab);
    stage.daemon.config.service.insert(0, wiki);
    stage.apply()?;
    let during = ask(&stage.lab);
    stage.serin("cutover wiki")?;
    let cut_over = ask(&stage.lab);
    let neighbour = crowd.round()?;
    stage.daemon.config.service.remove(0);
    stage.apply()?;
    let after = ask(&stage.lab);

    assert_eq!(before, Err(Failure::Unreachable));
    assert_eq!(
        during.map(|answer| answer.version),
        Ok("other-v1".to_owned())
    );
    assert_eq!(
        cut_over.map(|answer| answer.version),
        Ok("other-v2".to_owned())
    );
    assert_eq!(after, before);
    assert_eq!(neighbour, users);
    assert_eq!(crowd.round()?, users);
    assert_eq!(stage.serin("list")?.as_array().map(Vec::len), Some(1));
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// Backends without ports, so that listeners may tell where they go.
fn listen_with_port_of_listener(shop: &mut Service) {
    for listener in &mut shop.listen {
        *listener = format!("{listener}?to={}", Way::Nat.port());
    }
    for pool in &mut shop.pool {
        for backend in &mut pool.backends {
            let bare = |address: &String| {
                address
                    .parse()
                    .map(|full: SocketAddr| full.ip().to_string())
            };
            let addresses: Result<Vec<_>, _> = backend.address.iter().map(bare).collect();
            backend.address = addresses.expect("the harness writes addresses with ports");
        }
    }
}

/// A second server on each backend.
fn other_servers(lab: &Lab) -> Result<Vec<Server>> {
    let named = lab.backends.iter().zip(names(lab.backends.len()));
    let servers = named.map(|(backend, (version, name))| {
        Server::start(backend, &format!("other-{version}"), &name, OTHER_PORT)
    });
    servers.collect()
}

fn wiki(lab: &Lab) -> Service {
    let mut wiki = Service::shop(lab, "nat", OTHER_PORT);
    "wiki".clone_into(&mut wiki.name);
    wiki.listen = vec![format!("tcp://{WIKI}:80")];
    for backend in wiki.pool.iter_mut().flat_map(|pool| &mut pool.backends) {
        backend.address.truncate(1);
    }
    wiki
}
