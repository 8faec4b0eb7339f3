//! Whose client somebody is: the loaded program's own answer, with names for its numbers.

use std::net::{IpAddr, SocketAddr};

use lb_common::{backend::NONE, maps::TABLES_PER_POOL, reason::Reason, trace::Trace};

use super::{Control, ControlError, orders::list};
use crate::{
    api::model::{Change, Pinned, Server, Way, Whois, WhoisQuery},
    config::{Listen, Protocol, VLANS, code_points},
    dataplane::{Dataplane, question::Question},
    state::{ServiceState, compose},
};

/// The port of a client that names none: the first of those that clients take by themselves
/// (RFC 6335, section 6).
const SOME_PORT: u16 = 49_152;

impl<D: Dataplane> Control<D> {
    /// What becomes of a packet of a client, and why. The packet is made up, and nothing comes of it.
    pub fn whois(&mut self, service: &str, query: &WhoisQuery) -> Result<Whois, ControlError> {
        let unfit = |why| ControlError::Unfit {
            service: service.to_owned(),
            why,
        };
        let (client, any_port) = client(&query.client).map_err(ControlError::Usage)?;
        let state = self.state.service(service)?;
        let (text, listen) = listener(state, client, query.listener.as_deref()).map_err(unfit)?;
        let question = question(client, &listen, query).map_err(ControlError::Usage)?;
        let trace = self.dataplane.whois(&question)?;
        let state = self.state.service(service)?;
        Ok(Whois {
            service: service.to_owned(),
            listener: text,
            client: client.to_string(),
            any_port,
            packet: match (listen.protocol, query.established) {
                (Protocol::Udp, _) if !listen.quic => "datagram",
                (_, true) => "established",
                (Protocol::Udp, false) => "initial",
                (Protocol::Tcp, false) => "syn",
            }
            .to_owned(),
            epoch: trace.has(Trace::RECORD).then_some(trace.epoch),
            share_ppm: trace.share_ppm,
            audience: audience(state, &trace),
            way: trace
                .has(Trace::ANSWER)
                .then(|| way(state, &listen, &trace)),
            cids: trace.has(Trace::CIDS),
            backend: trace
                .has(Trace::CHOSEN)
                .then(|| server(state, &listen, trace.chosen))
                .flatten(),
            reason: reason(&trace).to_owned(),
        })
    }
}

/// The packet that is asked about.
fn question(client: SocketAddr, listen: &Listen, query: &WhoisQuery) -> Result<Question, String> {
    let plain = Question::new(client, compose::endpoint(listen), !query.established);
    if let Some(id) = query.vlan.filter(|id| !VLANS.contains(id)) {
        return Err(format!("vlan {id}: no VLAN id; choose one from 1 to 4094"));
    }
    if query.mss.is_some() && (listen.protocol != Protocol::Tcp || query.established) {
        return Err(
            "mss: only the first packet of a TCP connection announces one; leave it out".to_owned(),
        );
    }
    Ok(Question {
        dscp: query.dscp.as_deref().map_or(Ok(plain.dscp), code_point)?,
        hops: query.ttl.unwrap_or(plain.hops),
        vlan: query.vlan,
        mss: query.mss,
        ..plain
    })
}

fn code_point(text: &str) -> Result<u8, String> {
    let unfit = |why| format!("dscp `{}`: {why}", text.escape_debug());
    let points = code_points(text).map_err(|error| unfit(error.to_string()))?;
    match u8::try_from(*points.start()) {
        Ok(point) if points.start() == points.end() => Ok(point),
        _ => Err(unfit("a packet has one code point; name one".to_owned())),
    }
}

/// An address, or an address and a port; and whether the port had to be made up.
fn client(text: &str) -> Result<(SocketAddr, bool), String> {
    if let Ok(client) = text.parse::<SocketAddr>() {
        return Ok((client, false));
    }
    match text.parse::<IpAddr>() {
        Ok(address) => Ok((SocketAddr::new(address, SOME_PORT), true)),
        Err(_) => Err(format!(
            "client `{}`: no address; write it as 198.51.100.7, 198.51.100.7:40000, 2001:db8::7 \
             or [2001:db8::7]:40000",
            text.escape_debug()
        )),
    }
}

/// The listener that was named, or else the service's first one of the client's family.
fn listener(
    state: &ServiceState,
    client: SocketAddr,
    named: Option<&str>,
) -> Result<(String, Listen), String> {
    let known = || {
        let texts = state.listeners.keys();
        texts.filter_map(|text| Some((text.clone(), text.parse::<Listen>().ok()?)))
    };
    let all = || list(state.listeners.keys());
    let of_family = |listen: &Listen| listen.address.is_ipv6() == client.is_ipv6();
    let Some(named) = named else {
        let mut fitting = known().filter(|(_, listen)| of_family(listen));
        let why = || {
            format!(
                "no listener of the family of {}; it has {}",
                client.ip(),
                all()
            )
        };
        return fitting.next().ok_or_else(why);
    };
    let wanted: Listen = named
        .parse()
        .map_err(|error| format!("listener `{}`: {error}", named.escape_debug()))?;
    let place = |listen: &Listen| (listen.protocol, listen.address, listen.port);
    let found = known().find(|(_, listen)| place(listen) == place(&wanted));
    match found {
        None => Err(format!("no listener `{wanted}`; it has {}", all())),
        Some((text, listen)) if !of_family(&listen) => Err(format!(
            "listener `{text}`: {} is of the other family; name another listener",
            client.ip()
        )),
        Some(found) => Ok(found),
    }
}

/// The audience's name; one that has left the configuration may still have clients on their way.
fn audience(state: &ServiceState, trace: &Trace) -> Option<String> {
    let mut numbers = state.audiences.numbers.iter();
    let found = numbers.find(|&(_, &number)| trace.has(Trace::ANSWER) && number == trace.audience);
    found.map(|(name, _)| name.clone())
}

fn way(state: &ServiceState, listen: &Listen, trace: &Trace) -> Way {
    let pool = |table: u32| state.pool_name(table / TABLES_PER_POOL).to_owned();
    let pin = trace.has(Trace::PINNED) || trace.has(Trace::VOID);
    Way {
        bucket: trace.bucket,
        below_share: trace.bucket < trace.share_ppm,
        pool: pool(trace.table),
        origin_pool: pool(trace.origin_table),
        slot: trace.slot,
        by_client: state.by_client,
        current: server(state, listen, trace.current),
        origin: server(state, listen, trace.origin),
        change: match (trace.has(Trace::MOVING), trace.has(Trace::TOUCHED)) {
            (true, _) => Change::UnderWay,
            (false, true) => Change::Settled,
            (false, false) => Change::None,
        },
        pin: pin.then(|| Pinned {
            backend: server(state, listen, trace.pin),
            void: trace.has(Trace::VOID),
        }),
    }
}

/// A backend by name; nothing for one that is not there, or is gone.
fn server(state: &ServiceState, listen: &Listen, id: u16) -> Option<Server> {
    let backend = state.backends.get(&id).filter(|_| id != NONE)?;
    let address = backend.endpoints(listen).next().map(|at| at.to_string());
    Some(Server {
        name: backend.name.clone(),
        pool: backend.pool.clone(),
        address: address.or_else(|| Some(backend.places.first()?.0.to_string())),
    })
}

/// The way out, by its name.
fn reason(trace: &Trace) -> &'static str {
    let reason = Reason::ALL.get(trace.reason as usize);
    match reason.filter(|_| trace.has(Trace::EXIT)) {
        Some(reason) => reason.name(),
        None => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::fixture::{Fixture, SHOP};

    fn shop() -> ServiceState {
        let texts = [
            "tcp://192.0.2.80:443?to=8443",
            "udp://192.0.2.80:53",
            "tcp://[2001:db8::80]:443",
        ];
        let listeners = texts.map(str::to_owned).into_iter().zip(0..);
        ServiceState {
            listeners: listeners.collect(),
            ..Fixture::new(SHOP).service("shop").clone()
        }
    }

    fn choose(who: &str, named: Option<&str>) -> Result<String, String> {
        let (client, _) = client(who)?;
        listener(&shop(), client, named).map(|(text, _)| text)
    }

    #[test]
    fn a_client_may_name_its_port() {
        let some = |text: &str| client(text).map(|(at, any)| (at.to_string(), any));
        let read = |at: &str, any| Ok((at.to_owned(), any));
        assert_eq!(some("198.51.100.7"), read("198.51.100.7:49152", true));
        assert_eq!(some("198.51.100.7:80"), read("198.51.100.7:80", false));
        assert_eq!(some("2001:db8::7"), read("[2001:db8::7]:49152", true));
        assert_eq!(some("[2001:db8::7]:1"), read("[2001:db8::7]:1", false));
        let error = some("example.net").expect_err("a name");
        assert!(
            error.starts_with("client `example.net`: no address; write it as"),
            "{error}"
        );
    }

    #[test]
    fn the_listener_is_the_one_named_or_the_first_of_the_family() {
        let tcp = "tcp://192.0.2.80:443?to=8443";
        assert_eq!(choose("198.51.100.7", None).as_deref(), Ok(tcp));
        assert_eq!(
            choose("2001:db8::7", None).as_deref(),
            Ok("tcp://[2001:db8::80]:443")
        );
        let named = |text| choose("198.51.100.7", Some(text));
        assert_eq!(named("tcp://192.0.2.80:443").as_deref(), Ok(tcp));
        assert_eq!(
            named("udp://192.0.2.80:53").as_deref(),
            Ok("udp://192.0.2.80:53")
        );
        for (text, error) in [
            (
                "tcp://192.0.2.80:444",
                "no listener `tcp://192.0.2.80:444`; it has `tcp://192.0",
            ),
            ("tcp://[2001:db8::80]:443", "is of the other family"),
            ("192.0.2.80:443", "listener `192.0.2.80:443`: no protocol"),
        ] {
            let said = named(text).expect_err("refused");
            assert!(said.contains(error), "{said}");
        }
    }
}
