//! The checks that run: one task for each backend of each pool that has `health`.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use futures_util::future::try_join_all;
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{Condition, Failing, Name, Prober, Rhythm, Thresholds, Verdict, Verdicts};
use crate::{
    config::{Backend, Config, Health, Pool, Protocol, Service},
    state::State,
};

/// All checks; they end when this is dropped.
#[derive(Debug, Default)]
pub struct Checks {
    running: BTreeMap<Name, Running>,
    verdicts: watch::Sender<Verdicts>,
}

/// What is asked of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    name: Name,
    pool: String,
    health: Health,
    prober: Prober,
    /// All must answer.
    at: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Running {
    check: Check,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// What the checks say, and each change of it.
    pub fn verdicts(&self) -> watch::Receiver<Verdicts> {
        self.verdicts.subscribe()
    }

    /// Checks what `config` wants checked. What is as it was goes on; a new check begins with the
    /// backend's last known state. To be called in a tokio runtime.
    pub fn follow(&mut self, config: &Config, state: &State) {
        let mut wanted = wanted(config);
        self.running
            .retain(|name, running| wanted.get(name) == Some(&running.check));
        wanted.retain(|name, _| !self.running.contains_key(name));
        let running = &self.running;
        self.verdicts.send_if_modified(|verdicts| {
            verdicts.retain(|name, _| running.contains_key(name));
            false
        });
        for (name, check) in wanted {
            let up = state.is_up(&name);
            let task = tokio::spawn(run(check.clone(), up, self.verdicts.clone()));
            let task = task.abort_handle();
            self.running.insert(name, Running { check, task });
        }
    }
}

fn wanted(config: &Config) -> BTreeMap<Name, Check> {
    let services = config.services.iter();
    let pools = services.flat_map(|service| service.pools.iter().map(move |pool| (service, pool)));
    let checked = pools.filter_map(|(service, pool)| Some((service, pool, pool.health.as_ref()?)));
    let checks = checked.flat_map(|(service, pool, health)| {
        let prober = Prober::new(&health.probe);
        let backends = pool.backends.iter();
        backends.map(move |backend| Check::new(service, pool, health, prober.clone(), backend))
    });
    checks.map(|check| (check.name.clone(), check)).collect()
}

impl Check {
    fn new(
        service: &Service,
        pool: &Pool,
        health: &Health,
        prober: Prober,
        backend: &Backend,
    ) -> Self {
        let port = |own: Option<u16>| health.port.or(own).unwrap_or_else(|| serving_port(service));
        let places = backend.places();
        Self {
            name: Name {
                service: service.name.clone(),
                backend: backend.name.clone(),
            },
            pool: pool.name.clone(),
            health: health.clone(),
            prober,
            at: places
                .map(|place| SocketAddr::new(place.address, port(place.port)))
                .collect(),
        }
    }

    async fn ask(&self) -> Result<(), Failing> {
        let patience = self.health.timeout;
        let all = self.at.iter().map(|&at| self.prober.ask(at, patience));
        try_join_all(all).await.map(drop)
    }

    fn thresholds(&self) -> Thresholds {
        let Health {
            rise,
            fall,
            damping,
            interval,
            ..
        } = self.health;
        let most = damping.as_nanos() / interval.as_nanos().max(1);
        Thresholds {
            rise,
            fall,
            most: u32::try_from(most).unwrap_or(u32::MAX),
        }
    }

    fn verdict(
        &self,
        condition: &Condition,
        now: Duration,
        result: &Result<(), Failing>,
    ) -> Verdict {
        Verdict {
            up: condition.is_up(),
            against: condition.against(),
            needed: condition.needed(self.thresholds()),
            flapping: condition.is_flapping(now),
            why: result.as_ref().err().map(ToString::to_string),
        }
    }

    fn tell_change(&self, verdict: &Verdict) {
        let Name { service, backend } = &self.name;
        let probe = &self.health.probe;
        match &verdict.why {
            None => tracing::info!("service `{service}`: backend `{backend}` is up: {probe}"),
            Some(why) => tracing::warn!(
                "service `{service}`: backend `{backend}` is down: {probe} {why}; it is up again \
                 after {} good checks in a row",
                verdict.needed
            ),
        }
    }
}

/// The port of backends that name none: that of the first TCP listener, since checks speak TCP.
fn serving_port(service: &Service) -> u16 {
    let mut listeners = service.listeners.iter();
    let tcp = listeners.find(|listener| listener.protocol == Protocol::Tcp);
    let listener = tcp.or(service.listeners.first());
    listener.map_or(0, crate::config::Listen::backend_port)
}

/// Asks until it is aborted.
async fn run(check: Check, up: bool, verdicts: watch::Sender<Verdicts>) {
    let mut rhythm = Rhythm::of(check.health.interval, &check.name);
    let mut condition = Condition::new(up);
    let began = Instant::now();
    sleep(rhythm.first()).await;
    loop {
        let next = Instant::now() + rhythm.pause();
        let result = check.ask().await;
        let (before, now) = (condition.is_up(), began.elapsed());
        condition = condition.after(result.is_ok(), now, check.thresholds());
        let verdict = check.verdict(&condition, now, &result);
        if verdict.up != before {
            check.tell_change(&verdict);
        }
        verdicts.send_if_modified(|all| {
            let differs = all.get(&check.name) != Some(&verdict);
            if differs {
                all.insert(check.name.clone(), verdict);
            }
            differs
        });
        sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{net::TcpListener, time::timeout};

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text).expect("valid")
    }

    fn shop(address: &str, health: &str) -> String {
        format!(
            r#"
[node]
interfaces = ["eth0"]
hash_seed = "sixteen-or-longer"
[[service]]
name = "shop"
listen = ["udp://192.0.2.80:53", "tcp://192.0.2.80:443?to=8443"]
[[service.pool]]
name = "blue"
health = {health}
backends = [{{ name = "b1", address = "{address}" }}]
[[service.pool]]
name = "green"
backends = [{{ name = "g1", address = "10.0.1.21" }}]
"#
        )
    }

    fn asked(text: &str) -> Vec<String> {
        let checks = wanted(&config(text));
        let at = checks.values().flat_map(|check| &check.at);
        at.map(ToString::to_string).collect()
    }

    #[test]
    fn a_check_goes_to_its_own_port_else_the_backends_else_the_first_tcp_listeners() {
        let own = "{ tcp = true, port = 81 }";
        assert_eq!(asked(&shop("10.0.1.11:9000", own)), ["10.0.1.11:81"]);
        let tcp = "{ tcp = true }";
        assert_eq!(asked(&shop("10.0.1.11:9000", tcp)), ["10.0.1.11:9000"]);
        assert_eq!(asked(&shop("10.0.1.11", tcp)), ["10.0.1.11:8443"]);
    }

    /// The configuration with its backend at an address that a configuration can't have.
    fn at_loopback(port: u16) -> Config {
        let health = "{ tcp = true, interval = \"100ms\", timeout = \"50ms\" }";
        let mut config = config(&shop(&format!("10.0.1.11:{port}"), health));
        let backend = &mut config.services[0].pools[0].backends[0];
        if let Some(place) = &mut backend.v4 {
            place.address = [127, 0, 0, 1].into();
        }
        config
    }

    #[tokio::test]
    async fn a_backend_goes_down_with_its_server_and_is_forgotten_with_its_check() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = server.local_addr().expect("bound").port();
        let mut checks = Checks::default();
        let mut verdicts = checks.verdicts();
        let mut config = at_loopback(port);
        checks.follow(&config, &State::default());

        let patience = Duration::from_secs(5);
        let up = verdicts.wait_for(|all| all.values().map(|verdict| verdict.up).eq([true]));
        timeout(patience, up).await.expect("in time").expect("runs");
        drop(server);
        let down = verdicts.wait_for(|all| all.values().map(|verdict| verdict.up).eq([false]));
        timeout(patience, down)
            .await
            .expect("in time")
            .expect("runs");
        let why = |all: &Verdicts| all.values().next().and_then(|verdict| verdict.why.clone());
        let why = why(&verdicts.borrow()).expect("a reason");
        assert!(why.contains("refused"), "{why}");
        checks.follow(&config, &State::default());
        assert_eq!(verdicts.borrow().len(), 1, "what is as it was goes on");
        config.services[0].pools[0].health = None;
        checks.follow(&config, &State::default());
        assert!(verdicts.borrow().is_empty() && checks.running.is_empty());
    }
}
