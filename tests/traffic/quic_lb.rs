//! QUIC connections whose ids tell their server stay with it, wherever their clients go on from.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use serin_tests::{
    config::{Attach, Service},
    daemon::Daemon,
    deadline,
};
use tokio::runtime;

use crate::{
    quic::{Crowd, Identity, VIPS, serve},
    report,
    stage::Way,
};

in_both_modes!(
    connections_that_tell_their_server_outlast_rebinding_in_nat,
    connections_that_tell_their_server_outlast_rebinding_in_l2,
    without_such_ids_rebinding_in_a_cutover_loses_connections,
);

const LIMIT: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_secs(2);
const ROTATION: u8 = 3;
const NONCE: usize = 6;

fn connections_that_tell_their_server_outlast_rebinding_in_nat(attach: Attach) -> Result<()> {
    rebind_through_every_change(Way::Nat, attach, true)
}

fn connections_that_tell_their_server_outlast_rebinding_in_l2(attach: Attach) -> Result<()> {
    rebind_through_every_change(Way::L2, attach, true)
}

/// The same without `quic_lb`: what the others show is not what happens anyway.
fn without_such_ids_rebinding_in_a_cutover_loses_connections(attach: Attach) -> Result<()> {
    let lost = rebind_through_every_change(Way::Nat, attach, false);
    let Err(error) = lost else {
        anyhow::bail!("every connection has found its server by chance");
    };
    let error = format!("{error:#}");
    anyhow::ensure!(error.starts_with("cutover, from other ports"), "{error}");
    Ok(())
}

fn rebind_through_every_change(way: Way, attach: Attach, told: bool) -> Result<()> {
    let lab = way.lab(4)?;
    let port = match way {
        Way::Nat => 4433,
        Way::L2 | Way::Ipip | Way::Gue => 443,
    };
    let identity = Identity::new()?;
    let _servers = serve(&lab, port, &identity, Some(telling))?;
    let mut shop = Service::shop(&lab, way.word(), port);
    shop.listen = VIPS.map(|vip| format!("udp://{vip}?quic")).to_vec();
    shop.drain = format!("{}s", DRAIN.as_secs());
    if told {
        tell(&mut shop)?;
    }
    let mut daemon = Daemon::run(&lab, attach, vec![shop])?;
    let runtime = runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build()?;
    let _inside = lab.clients.enter()?;
    runtime.block_on(async {
        let mut crowd = Crowd::new(identity);
        crowd.grow('b').await?;
        for order in [
            "share shop 50%",
            "cutover shop",
            "rollback shop",
            "cutover shop",
        ] {
            daemon.serin(&order.split(' ').collect::<Vec<_>>())?;
            if order == "cutover shop" {
                crowd.rebind_all()?;
                crowd.ask_all().await.context("cutover, from other ports")?;
                crowd.grow('g').await.context(order)?;
            }
            crowd.ask_all().await.context(order)?;
        }
        deadline::until("the cutover to settle", LIMIT, || {
            let status = daemon.serin(&["status", "shop"])?;
            Ok((status["settled"] == true).then_some(()))
        })?;
        crowd.rebind_all()?;
        crowd.ask_all().await.context("settled, from other ports")?;
        // The pool is at rest, and nothing is pinned: what shows that b2 is still needed is its packets.
        daemon.config.service[0].pool[0].backends.remove(1);
        daemon.write_config()?;
        daemon.serin(&["apply"])?;
        let until = Instant::now() + 3 * DRAIN;
        while Instant::now() < until {
            crowd.rebind_all()?;
            crowd
                .ask_all()
                .await
                .context("b2 has left the configuration")?;
        }
        let status = daemon.serin(&["status", "shop"])?;
        let b2 = report::find(&status, "b2").context("b2 is gone")?;
        anyhow::ensure!(b2["leaving"] == true, "{b2}");
        anyhow::Ok(())
    })
}

/// Has the service know its servers by their ids.
fn tell(shop: &mut Service) -> Result<()> {
    let format = format!("rotation = {ROTATION}\nserver_id_length = 2");
    shop.quic_lb = Some(format.parse()?);
    for backend in shop.pool.iter_mut().flat_map(|pool| &mut pool.backends) {
        let octets = backend.name.bytes().map(|octet| format!("{octet:02x}"));
        backend.server_id = Some(octets.collect::<Vec<_>>().concat());
    }
    Ok(())
}

/// A server's connection ids, which tell it by its name: that has as many octets as an id.
fn telling(name: &str) -> EndpointConfig {
    let name = name.to_owned();
    let mut config = EndpointConfig::default();
    config.cid_generator(move || Box::new(Telling::new(&name)));
    config
}

struct Telling {
    head: Vec<u8>,
    made: u64,
    key: RandomState,
}

impl Telling {
    fn new(name: &str) -> Self {
        let length = u8::try_from(name.len() + NONCE).expect("short");
        Self {
            head: [&[ROTATION << 5 | length], name.as_bytes()].concat(),
            made: 0,
            key: RandomState::new(),
        }
    }
}

impl ConnectionIdGenerator for Telling {
    fn generate_cid(&mut self) -> ConnectionId {
        self.made += 1;
        let nonce = self.key.hash_one(self.made).to_be_bytes();
        ConnectionId::new(&[&self.head, &nonce[..NONCE]].concat())
    }

    fn cid_len(&self) -> usize {
        self.head.len() + NONCE
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
