//! A small configuration, and a state that follows it; for tests.

use super::{ServiceState, State, StateError, compose, reconcile};
use crate::{config::Config, dataplane::Image, neighbour::View, seed::Seed};

/// Two pools, of two backends and of one.
pub const SHOP: &str = r#"
[node]
interfaces = ["eth0"]
hash_seed = "sixteen-or-longer"
[[service]]
name = "shop"
listen = ["tcp://192.0.2.80:443"]
[[service.pool]]
name = "blue"
backends = [{ name = "b1", address = "10.0.1.1" }, { name = "b2", address = "10.0.1.2" }]
[[service.pool]]
name = "green"
backends = [{ name = "g1", address = "10.0.2.1" }]
"#;

/// A state under a configuration, and the image that follows from both.
pub struct Fixture {
    pub config: Config,
    pub state: State,
    pub image: Image,
    seed: Seed,
}

impl Fixture {
    pub fn new(text: &str) -> Self {
        let config = Config::parse(text).expect("valid");
        let mut fixture = Self {
            seed: Seed::new(&config.node.hash_seed),
            config,
            state: State::default(),
            image: Image::default(),
        };
        fixture.apply(text).expect("nothing to contradict");
        fixture
    }

    /// Follows another configuration, at tick 10.
    pub fn apply(&mut self, text: &str) -> Result<(), StateError> {
        let config = Config::parse(text).expect("valid");
        self.state = reconcile(&self.state, &self.image, &config, &self.seed, 10)?;
        self.config = config;
        self.compose();
        Ok(())
    }

    /// What the maps should hold.
    pub fn compose(&mut self) {
        self.image = compose::compose(&self.config, &self.state, &View::default());
    }

    pub fn service(&self, name: &str) -> &ServiceState {
        &self.state.services[name]
    }

    pub fn service_mut(&mut self, name: &str) -> &mut ServiceState {
        self.state.service_mut(name).expect("there")
    }

    /// Id of a backend that has not left.
    pub fn id(&self, backend: &str) -> u16 {
        let services = self.state.services.values();
        let mut backends = services.flat_map(|service| &service.backends);
        let found = backends.find(|(_, b)| b.name == backend && !b.leaving);
        *found.expect("there").0
    }
}
