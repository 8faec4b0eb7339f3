//! Toggles under load, and an application that asks for them.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use serin_tests::{
    client,
    config::Attach,
    deadline,
    real::{Asked, Evaluated, evaluate},
    server::Server,
};

use crate::{
    audience::{assert_staff_alone, audience, staff, table},
    crowd::Crowd,
    stage::{HTTP, Stage, VIPS, Way, user},
};

in_both_modes!(
    an_audience_comes_and_goes_with_its_toggle_and_nobody_notices,
    a_listener_comes_and_goes_with_its_toggle_and_the_others_stay,
);

/// Longer than all holds.
const PATIENCE: Duration = Duration::from_secs(30);

fn toggle(name: &str, on: bool) -> toml::Table {
    table([("name", name.into()), ("on", on.into())])
}

fn guarded(mut guarded: toml::Table, toggle: &str) -> toml::Table {
    guarded.insert("toggle".to_owned(), toggle.into());
    guarded
}

fn an_audience_comes_and_goes_with_its_toggle_and_nobody_notices(attach: Attach) -> Result<()> {
    let mut stage = Stage::configured(Way::Nat, attach, 4, |config| {
        config.toggle = vec![toggle("preview", false)];
        config.service[0].audience = vec![guarded(audience(&staff()), "preview")];
    })?;
    stage.serin("share shop 0%")?;
    let crowd = Crowd::gather(&stage.lab)?;
    assert_eq!(crowd.round()?.on("v2"), BTreeSet::new());

    let turned = stage.serin("toggle preview on --reason demo")?;
    println!("a turn took {} us in the daemon", turned["took_us"]);
    assert_eq!(
        (&turned["changed"], &turned["services"][0]),
        (&true.into(), &"shop".into())
    );
    assert_staff_alone(&crowd.round()?);
    stage.serin("toggle preview off")?;
    assert_eq!(crowd.round()?.on("v2"), BTreeSet::new());
    stage.serin("toggle preview on")?;
    assert_staff_alone(&crowd.round()?);

    stage.daemon.kill()?;
    assert_staff_alone(&crowd.round()?);
    stage.daemon.start(&stage.lab)?;
    assert_staff_alone(&crowd.round()?);
    assert_eq!(stage.serin("toggle")?[0]["on"], true, "kept");
    stage.serin("toggle preview off")?;
    assert_eq!(crowd.round()?.on("v2"), BTreeSet::new());
    // Kept connections began at either version.
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

fn a_listener_comes_and_goes_with_its_toggle_and_the_others_stay(attach: Attach) -> Result<()> {
    let [v4, v6] = VIPS;
    let mut at_door = v4;
    at_door.set_port(81);
    // Another port of the backends: replies tell the listener by it.
    let stage = Stage::configured(Way::Nat, attach, 4, |config| {
        config.toggle = vec![toggle("door", true)];
        let shop = &mut config.service[0];
        let door = format!("tcp://{at_door}?to=8081&toggle=door");
        let others = [v4, v6].map(|vip| format!("tcp://{vip}?to=8080"));
        shop.listen = [&others[..], &[door]].concat();
        for backend in shop.pool.iter_mut().flat_map(|pool| &mut pool.backends) {
            backend.address = backend.address.iter().map(|at| without_port(at)).collect();
        }
    })?;
    let _behind = servers_behind(&stage)?;
    let crowd = Crowd::gather(&stage.lab)?;
    let knock = |stage: &Stage| client::get(&stage.lab.clients, user(7, v4), at_door);
    assert!(knock(&stage).is_ok());

    for _ in 0..3 {
        stage.serin("toggle door off")?;
        crowd.round()?;
        assert!(knock(&stage).is_err(), "its packets are the kernel's");
        stage.serin("toggle door on")?;
        crowd.round()?;
        assert!(knock(&stage).is_ok());
    }
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// An address alone.
fn without_port(place: &str) -> String {
    let socket = place.parse::<std::net::SocketAddr>();
    socket.map_or_else(|_| place.to_owned(), |socket| socket.ip().to_string())
}

/// Servers for the listener that is guarded.
fn servers_behind(stage: &Stage) -> Result<Vec<Server>> {
    let backends = stage.lab.backends.iter();
    let started = backends.map(|backend| Server::start(backend, "v1", "behind", 8081));
    started.collect()
}

/// Staff, 1% while `slow` is on, 25% while `ramp` is, and all: each for as long as it takes.
fn canary(hold: &str) -> Result<Stage> {
    let share = |share: &str, toggle: &str| {
        guarded(
            table([("share", share.into()), ("hold", hold.into())]),
            toggle,
        )
    };
    let first = table([("audience", "staff".into()), ("hold", hold.into())]);
    let last = table([("share", "50%".into()), ("hold", hold.into())]);
    let steps = vec![first, share("1%", "slow"), share("25%", "ramp"), last];
    Stage::configured(Way::Nat, Attach::Native, 4, |config| {
        let shop = &mut config.service[0];
        shop.release = Some(table([("steps", steps.into())]));
        shop.audience = vec![guarded(audience(&staff()), "preview")];
        let names = [("preview", true), ("slow", false), ("ramp", true)];
        config.toggle = names.map(|(name, on)| toggle(name, on)).to_vec();
        config.api.http = Some(HTTP.to_owned());
    })
}

#[test]
fn a_canary_passes_over_the_step_whose_toggle_is_off() -> Result<()> {
    let stage = canary("2s")?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("start shop")?;
    assert_staff_alone(&crowd.round()?);
    let ended = stage.serin("wait shop --timeout 60s")?;
    assert_eq!(ended["state"], "promoted");
    assert_eq!(crowd.round()?.on("v1"), BTreeSet::new());
    let history = stage.serin("history shop")?;
    let entries = history.as_array().context("a list")?;
    let shares: Vec<_> = entries
        .iter()
        .filter_map(|e| e["share_ppm"].as_u64())
        .collect();
    assert_eq!(shares, [0, 250_000, 500_000, 0]);
    let cause = entries[1]["cause"].as_str().unwrap_or_default();
    let expected = "held for 2s; step 2 is passed over, since toggle `slow` is off";
    assert_eq!(cause, expected);
    let story = crowd.disperse()?;
    story.assert_unharmed();
    assert_eq!(story.moved_back_to("v1"), BTreeSet::new());
    Ok(())
}

/// Addresses all over both families, and of staff.
fn clients() -> Vec<IpAddr> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut clients: Vec<IpAddr> = Vec::new();
    for number in 0..150 {
        let bytes = random().to_be_bytes();
        // Unicast, and not a network that no packet comes from.
        let first = 20 + bytes[0] % 80;
        clients.push(Ipv4Addr::new(first, bytes[1], bytes[2], bytes[3]).into());
        let [high, low] = [4, 6].map(|at| u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let first = 0x2400 + (high & 0xff);
        clients.push(Ipv6Addr::new(first, high, low, 7, 0, 0, 0, 9).into());
        clients.extend(VIPS.map(|vip| user(number, vip)));
    }
    clients
}

#[test]
fn an_application_gets_what_the_packet_path_does() -> Result<()> {
    let stage = canary("10m")?;
    stage.serin("start shop")?;
    stage.serin("promote shop")?;
    deadline::until("25%", PATIENCE, || {
        Ok((stage.status()?["release"]["step"] == 3).then_some(()))
    })?;
    let clients = clients();
    let asked = |flag: &str| -> Vec<Asked> {
        let clients = clients.iter().map(ToString::to_string);
        clients.map(|client| Asked::client(flag, &client)).collect()
    };
    let url = format!("http://{HTTP}");
    let ask = |asked: &[Asked]| evaluate(&stage.lab.edge, &url, asked);
    let (ramp, preview) = (ask(&asked("ramp"))?, ask(&asked("preview"))?);

    let mut gets = 0;
    for (client, (ramp, preview)) in clients.iter().zip(ramp.iter().zip(&preview)) {
        let whois = whois(&stage, client)?;
        let candidate = whois["way"]["pool"] == "green";
        let is_staff = whois["audience"] == "staff";
        gets += usize::from(candidate);
        let reason = if is_staff { "TARGETING_MATCH" } else { "SPLIT" };
        assert_eq!(*ramp, told(candidate, reason), "{client}: {whois}");
        let reason = if is_staff {
            "TARGETING_MATCH"
        } else {
            "DEFAULT"
        };
        assert_eq!(*preview, told(is_staff, reason), "{client}: {whois}");
    }
    println!("{gets} of {} clients get the candidate", clients.len());
    assert!((100..350).contains(&gets), "{gets}");

    let off = ask(&[Asked::user("slow", "ann"), Asked::user("nope", "ann")])?;
    assert_eq!(off[0], told(false, "DISABLED"));
    let fails = |code: &str| Evaluated {
        error: Some(code.to_owned()),
        variant: None,
        ..told(false, "ERROR")
    };
    assert_eq!(off[1], fails("FLAG_NOT_FOUND"));
    let nobody = Asked {
        targeting_key: None,
        ..Asked::user("ramp", "")
    };
    let failures = ask(&[
        nobody,
        Asked::user("preview", "ann"),
        Asked::client("ramp", "ann"),
    ])?;
    let codes = [
        "TARGETING_KEY_MISSING",
        "INVALID_CONTEXT",
        "INVALID_CONTEXT",
    ];
    assert_eq!(failures, codes.map(fails));

    let users: Vec<_> = (0..1000)
        .map(|n| Asked::user("ramp", &format!("user-{n}")))
        .collect();
    let drawn = ask(&users)?.into_iter().filter(|user| user.value).count();
    // 250 are expected; five standard deviations either way.
    assert!((182..318).contains(&drawn), "{drawn} of 1000 users at 25%");
    Ok(())
}

fn told(value: bool, reason: &str) -> Evaluated {
    Evaluated {
        value,
        reason: reason.to_owned(),
        variant: Some(if value { "on" } else { "off" }.to_owned()),
        error: None,
    }
}

/// What the loaded program would do with a client's packet, asked over TCP.
fn whois(stage: &Stage, client: &IpAddr) -> Result<Value> {
    let _inside = stage.lab.edge.enter()?;
    let mut stream = TcpStream::connect(HTTP)?;
    let path = format!("/v1/services/shop/whois?client={client}");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: serin\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok(serde_json::from_str(body)?)
}
