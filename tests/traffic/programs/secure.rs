//! TLS through nginx, by curl and by h2load over HTTP/2, while releases go on.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context, Result};
use serin_tests::{
    certificate::{Certificate, HOST},
    config::{Attach, Service},
    daemon::Daemon,
    deadline,
    real::{self, H2Loaded, Nginx},
    topology::{Lab, VIP_V4, VIP_V6},
};

use crate::{
    report::of_backend,
    stage::{names, user, words},
};

const HTTPS: u16 = 443;
const VIPS: [SocketAddr; 2] = [
    SocketAddr::new(VIP_V4, HTTPS),
    SocketAddr::new(VIP_V6, HTTPS),
];
/// Each makes a new pool answer, and which one.
const RELEASES: [(&str, &str); 3] = [
    ("cutover shop --to green", "v2"),
    ("cutover shop --to blue", "v1"),
    ("share shop 100%", "v2"),
];

in_both_modes!(
    curl_verifies_the_certificate_of_every_release,
    h2load_sees_no_error_through_three_releases,
);

/// Dropped from the top: no daemon in a lab that is gone.
struct Secure {
    daemon: Daemon,
    _servers: Vec<Nginx>,
    certificate: Certificate,
    lab: Lab,
}

impl Secure {
    fn with(attach: Attach) -> Result<Self> {
        let lab = Lab::routed(4)?;
        let certificate = Certificate::new()?;
        let named = lab.backends.iter().zip(names(lab.backends.len()));
        let servers = named.map(|(backend, (version, name))| {
            Nginx::start_tls(backend, (version, &name), 8443, &certificate)
        });
        let servers = servers.collect::<Result<_>>()?;
        let mut shop = Service::shop(&lab, "nat", 8443);
        shop.listen = VIPS.map(|vip| format!("tcp://{vip}")).into();
        Ok(Self {
            daemon: Daemon::run(&lab, attach, vec![shop])?,
            _servers: servers,
            certificate,
            lab,
        })
    }

    /// Connections that a version's backends have got so far.
    fn connections(&self, version: &str) -> Result<u64> {
        let status = self.daemon.serin(&["status", "shop"])?;
        let of_version = names(4).filter(|(of, _)| *of == version);
        Ok(of_version
            .map(|(_, name)| of_backend(&status, &name, "connections"))
            .sum())
    }

    fn fetch(&self, number: u32, vip: SocketAddr) -> Result<String> {
        let authority = self.certificate.path().display().to_string();
        let resolve = format!("{HOST}:{HTTPS}:{}", vip.ip());
        let options = ["--http2", "--cacert", &authority, "--resolve", &resolve];
        let url = format!("https://{HOST}/");
        let from = user(number, vip);
        let fetched = real::curl(&self.lab.clients, from, &url, &options)?;
        let answer = fetched.answer().context("an answer")?;
        assert_eq!((fetched.status, answer.client), (200, from));
        Ok(answer.version)
    }
}

fn curl_verifies_the_certificate_of_every_release(attach: Attach) -> Result<()> {
    let secure = Secure::with(attach)?;
    for vip in VIPS {
        assert_eq!(secure.fetch(0, vip)?, "v1");
    }
    for (order, version) in RELEASES {
        secure.daemon.serin(&words(order))?;
        for (number, vip) in (1..).zip(VIPS) {
            assert_eq!(secure.fetch(number, vip)?, version, "{order}");
        }
    }
    Ok(())
}

/// One load whose connections live through all of it, and a short one after each release.
fn h2load_sees_no_error_through_three_releases(attach: Attach) -> Result<()> {
    let secure = Secure::with(attach)?;
    let url = format!("https://{}/", VIPS[0]);
    let load = |connections, seconds| real::h2load(&secure.lab.clients, &url, connections, seconds);

    let (kept, short) = thread::scope(|scope| {
        let kept = scope.spawn(|| load(8, 7));
        let short = (|| {
            deadline::until(
                "the long load's connections",
                Duration::from_secs(5),
                || Ok((secure.connections("v1")? >= 8).then_some(())),
            )?;
            RELEASES
                .map(|release| release_under_load(&secure, release, &load))
                .into_iter()
                .collect::<Result<Vec<_>>>()
        })();
        (kept.join().expect("no panic"), short)
    });

    let all = [vec![kept?], short?].concat();
    eprintln!("{attach:?}: {all:?}");
    for loaded in all {
        assert!(loaded.succeeded > 50 && loaded.failed == 0, "{loaded:?}");
    }
    Ok(())
}

/// All connections of a load that begins after a release go to the new pool.
fn release_under_load(
    secure: &Secure,
    (order, version): (&str, &str),
    load: &impl Fn(u32, u32) -> Result<H2Loaded>,
) -> Result<H2Loaded> {
    let count = || anyhow::Ok((secure.connections("v1")?, secure.connections("v2")?));
    secure.daemon.serin(&words(order))?;
    let before = count()?;
    let loaded = load(4, 1)?;
    let after = count()?;
    let new = (after.0 - before.0, after.1 - before.1);
    let expected = if version == "v1" { (4, 0) } else { (0, 4) };
    assert_eq!(new, expected, "{order}");
    Ok(loaded)
}
