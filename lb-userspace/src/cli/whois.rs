//! `serin whois` for people: each decision in the order in which the packet met it.

use std::fmt::Write as _;

use lb_common::{hash::BUCKETS, pool::SLOTS};

use crate::api::model::{Change, Pinned, Server, Way, Whois};
use crate::share::Share;

/// The whole answer.
pub fn text(whois: &Whois) -> String {
    let mut text = format!("{}\n", packet(whois));
    let mut line = |step: &str, said: String| {
        writeln!(text, "  {step:<9} {said}").expect("a string takes everything");
    };
    if let Some(epoch) = whois.epoch {
        line("record", format!("epoch {epoch}"));
    }
    if let Some(audience) = &whois.audience {
        let share = Share {
            ppm: whois.share_ppm,
        };
        line("audience", format!("{audience}: {share} to the candidate"));
    }
    if let Some(way) = &whois.way {
        line("bucket", bucket(whois, way));
        line("slot", slot(way));
        line("change", change(way));
        // Of datagrams only those of sessions have pins, whoever makes them.
        let pinned = whois.packet != "datagram" || way.pin.is_some();
        if pinned && way.change != Change::None {
            line("pin", pin(whois, way));
        }
    }
    line("backend", backend(whois));
    line("exit", whois.reason.clone());
    if whois.any_port && whois.way.as_ref().is_some_and(|way| !way.by_client) {
        text.push_str("note: no port was named; another may get another backend of the pool\n");
    }
    if whois.cids {
        text.push_str(
            "note: a packet whose connection id tells a server (quic_lb) goes there instead\n",
        );
    }
    text
}

fn packet(whois: &Whois) -> String {
    let Whois {
        client,
        listener,
        service,
        ..
    } = whois;
    let does = match whois.packet.as_str() {
        "syn" => "opens a connection to",
        "initial" => "opens a QUIC connection to",
        "established" => "goes on with a connection to",
        _ => "sends a datagram to",
    };
    format!("{client} {does} {listener} of {service}")
}

fn bucket(whois: &Whois, way: &Way) -> String {
    let (bucket, of) = (grouped(way.bucket), grouped(BUCKETS));
    let share = Share {
        ppm: whois.share_ppm,
    };
    let pool = &way.pool;
    match (whois.share_ppm, way.below_share) {
        (0, _) if whois.audience.is_some() => {
            format!("{bucket} of {of}, and the audience has no share: active pool {pool}")
        }
        (0, _) => format!("{bucket} of {of}, and no share is out: active pool {pool}"),
        (ppm, true) => {
            let ppm = grouped(ppm);
            format!("{bucket} of {of}, below the share of {share} ({ppm}): candidate pool {pool}")
        }
        (ppm, false) => {
            let ppm = grouped(ppm);
            format!("{bucket} of {of}, not below the share of {share} ({ppm}): active pool {pool}")
        }
    }
}

fn slot(way: &Way) -> String {
    let by = if way.by_client {
        ", by the client alone"
    } else {
        ""
    };
    format!(
        "{} of {}{by}: {}",
        grouped(way.slot),
        grouped(SLOTS),
        name(way.current.as_ref())
    )
}

fn change(way: &Way) -> String {
    match way.change {
        Change::None => "none concerns it".to_owned(),
        Change::UnderWay => {
            let before = name(way.origin.as_ref());
            format!("under way; connections from before it belong to {before}")
        }
        Change::Settled => "settled, and older connections may still live elsewhere".to_owned(),
    }
}

/// What the flow table has to say, and what the packet would leave in it.
fn pin(whois: &Whois, way: &Way) -> String {
    let found = match &way.pin {
        Some(Pinned {
            backend,
            void: false,
        }) => return format!("to {}", name(backend.as_ref())),
        Some(Pinned { backend, .. }) => {
            let backend = name(backend.as_ref());
            format!("to {backend}, void: that is not what it was")
        }
        None if whois.packet == "syn" => "none is asked for".to_owned(),
        None => "none".to_owned(),
    };
    match &whois.backend {
        Some(backend) if way.change == Change::UnderWay => {
            format!("{found}; one to {} would be made", backend.name)
        }
        _ => found,
    }
}

fn backend(whois: &Whois) -> String {
    match &whois.backend {
        Some(Server {
            name,
            pool,
            address: Some(address),
        }) => format!("{name} of pool {pool} ({address})"),
        Some(Server { name, pool, .. }) => format!("{name} of pool {pool}"),
        None => "none".to_owned(),
    }
}

fn name(server: Option<&Server>) -> String {
    match server {
        Some(Server { name, pool, .. }) => format!("{name} of pool {pool}"),
        None => "no backend".to_owned(),
    }
}

/// Digits in groups of three.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, pool: &str, address: &str) -> Server {
        Server {
            name: name.to_owned(),
            pool: pool.to_owned(),
            address: Some(address.to_owned()),
        }
    }

    fn ramping() -> Whois {
        Whois {
            service: "shop".to_owned(),
            listener: "tcp://192.0.2.80:443".to_owned(),
            client: "198.51.100.7:49152".to_owned(),
            any_port: true,
            packet: "syn".to_owned(),
            epoch: Some(12),
            share_ppm: 50_000,
            audience: None,
            way: Some(Way {
                bucket: 8123,
                below_share: true,
                pool: "green".to_owned(),
                origin_pool: "blue".to_owned(),
                slot: 512,
                by_client: false,
                current: Some(server("g1", "green", "10.0.2.11:8443")),
                origin: Some(server("b1", "blue", "10.0.1.11:8443")),
                change: Change::UnderWay,
                pin: None,
            }),
            cids: false,
            backend: Some(server("g1", "green", "10.0.2.11:8443")),
            reason: "transmitted".to_owned(),
        }
    }

    #[test]
    fn a_new_connection_in_a_ramp_reads_from_client_to_backend() {
        assert_eq!(
            text(&ramping()),
            "198.51.100.7:49152 opens a connection to tcp://192.0.2.80:443 of shop\n  \
             record    epoch 12\n  \
             bucket    8 123 of 1 000 000, below the share of 5% (50 000): candidate pool green\n  \
             slot      512 of 65 537: g1 of pool green\n  \
             change    under way; connections from before it belong to b1 of pool blue\n  \
             pin       none is asked for; one to g1 would be made\n  \
             backend   g1 of pool green (10.0.2.11:8443)\n  \
             exit      transmitted\n\
             note: no port was named; another may get another backend of the pool\n"
        );
    }

    #[test]
    fn an_audience_is_told_with_its_share() {
        let whois = Whois {
            audience: Some("staff".to_owned()),
            ..ramping()
        };
        let said = text(&whois);
        let lines = "  record    epoch 12\n  audience  staff: 5% to the candidate\n  bucket    ";
        assert!(said.contains(lines), "{said}");
        let barred = Whois {
            share_ppm: 0,
            ..whois
        };
        let said = text(&barred);
        assert!(
            said.contains("  audience  staff: 0% to the candidate\n")
                && said.contains("and the audience has no share: active pool"),
            "{said}"
        );
    }

    #[test]
    fn what_did_not_come_far_says_only_how_it_ended() {
        let whois = Whois {
            way: None,
            epoch: None,
            backend: None,
            reason: "no_record".to_owned(),
            packet: "datagram".to_owned(),
            ..ramping()
        };
        assert_eq!(
            text(&whois),
            "198.51.100.7:49152 sends a datagram to tcp://192.0.2.80:443 of shop\n  \
             backend   none\n  exit      no_record\n"
        );
    }

    #[test]
    fn an_answer_that_a_connection_id_would_overrule_says_so() {
        let note = "goes there instead\n";
        assert!(!text(&ramping()).contains(note));
        let whois = Whois {
            cids: true,
            ..ramping()
        };
        assert!(text(&whois).ends_with(note));
    }

    #[test]
    fn a_pin_is_told_with_its_backend_and_whether_it_holds() {
        let whois = Whois {
            packet: "established".to_owned(),
            ..ramping()
        };
        let to = |void| Pinned {
            backend: Some(server("b1", "blue", "10.0.1.11:8443")),
            void,
        };
        let way = Way {
            pin: Some(to(false)),
            ..whois.way.clone().expect("there")
        };
        assert_eq!(pin(&whois, &way), "to b1 of pool blue");
        let way = Way {
            pin: Some(to(true)),
            change: Change::Settled,
            ..way
        };
        let void = "to b1 of pool blue, void: that is not what it was";
        assert_eq!(pin(&whois, &way), void);
        let way = Way { pin: None, ..way };
        assert_eq!(pin(&whois, &way), "none");
    }
}
