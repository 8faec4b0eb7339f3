//! Programs that people really use, through the VIP.

mod lasting;
mod names;
mod secure;

use std::{fs, net::SocketAddr};

use anyhow::Result;
use serin_tests::{
    config::{Attach, Service},
    daemon::Daemon,
    real::{self, IperfServer, Stream, WrkPlan},
    topology::Lab,
    unique,
};

use crate::{
    hosted::Hosted,
    stage::{VIPS, Way, user},
};

in_both_modes!(
    mebibytes_go_through_nat_in_both_directions,
    mebibytes_go_through_l2_in_both_directions,
    wrk_sees_no_error_over_two_seconds,
    iperf_streams_arrive_with_affinity_by_client,
);

fn mebibytes_go_through_nat_in_both_directions(attach: Attach) -> Result<()> {
    bodies_go_both_ways(Way::Nat, attach)
}

fn mebibytes_go_through_l2_in_both_directions(attach: Attach) -> Result<()> {
    bodies_go_both_ways(Way::L2, attach)
}

fn bodies_go_both_ways(way: Way, attach: Attach) -> Result<()> {
    let hosted = Hosted::by(way, attach, 2)?;
    let directory = unique::directory()?;
    let file = directory.path().join("upload");
    fs::write(&file, vec![b'y'; 1 << 20])?;
    let upload = format!("@{}", file.display());

    for vip in VIPS {
        let from = user(1, vip);
        let down = real::curl(&hosted.lab.clients, from, &format!("http://{vip}/big"), &[])?;
        let post = ["--data-binary", upload.as_str()];
        let up = real::curl(&hosted.lab.clients, from, &format!("http://{vip}/"), &post)?;

        assert_eq!((down.status, down.body.len()), (200, 4 << 20));
        assert!(down.body.bytes().all(|byte| byte == b'x'));
        assert_eq!(up.status, 200);
        assert_eq!(up.answer().map(|answer| answer.client), Some(from));
        // A frame that is lost costs at least 200 ms; many of them show a path that drops.
        assert!(
            down.took_s + up.took_s < 5.0,
            "{} s down, {} s up",
            down.took_s,
            up.took_s
        );
    }
    Ok(())
}

fn wrk_sees_no_error_over_two_seconds(attach: Attach) -> Result<()> {
    let hosted = Hosted::by(Way::Nat, attach, 2)?;
    let plan = WrkPlan {
        connections: 32,
        seconds: 2,
        short: false,
    };

    let kept = real::wrk(&hosted.lab.clients, &format!("http://{}/", VIPS[0]), plan)?;
    let short = WrkPlan {
        short: true,
        seconds: 1,
        ..plan
    };
    let short = real::wrk(&hosted.lab.clients, &format!("http://{}/", VIPS[1]), short)?;

    eprintln!("{kept:?}\n{short:?}");
    for wrked in [kept, short] {
        assert!(wrked.requests > 500, "{wrked:?}");
        assert_eq!((wrked.socket_errors, wrked.bad_statuses), (0, 0));
    }
    Ok(())
}

fn iperf_streams_arrive_with_affinity_by_client(attach: Attach) -> Result<()> {
    const PORT: u16 = 5201;
    let lab = Lab::routed(4)?;
    let servers = lab
        .backends
        .iter()
        .map(|backend| IperfServer::start(backend, PORT));
    let _servers: Vec<_> = servers.collect::<Result<_>>()?;
    let mut shop = Service::shop(&lab, "nat", PORT);
    "client".clone_into(&mut shop.affinity);
    let listen = |vip: &SocketAddr| {
        let address = SocketAddr::new(vip.ip(), PORT);
        [format!("tcp://{address}"), format!("udp://{address}")]
    };
    shop.listen = VIPS.iter().flat_map(listen).collect();
    let _daemon = Daemon::run(&lab, attach, vec![shop])?;

    for vip in VIPS {
        let (from, target) = (user(2, vip), SocketAddr::new(vip.ip(), PORT));
        let tcp = real::iperf(&lab.clients, from, target, Stream::Tcp, 1)?;
        let udp = Stream::Udp {
            bits_per_s: 5_000_000,
        };
        let udp = real::iperf(&lab.clients, from, target, udp, 1)?;

        eprintln!("{attach:?} {vip}: {tcp:?} {udp:?}");
        assert!(tcp.bits_per_s > 1e7, "{tcp:?}");
        assert!(udp.packets > 100, "{udp:?}");
        assert!(udp.lost_packets * 100 <= udp.packets, "{udp:?}");
    }
    Ok(())
}
