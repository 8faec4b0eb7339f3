//! Another configuration.

use super::{Control, ControlError, backends::is_emptied, commit::is_in_force};
use crate::{
    config::Config,
    dataplane::Dataplane,
    neighbour::View,
    release::engine::Run,
    seed::Seed,
    state::{State, reconcile},
};

impl<D: Dataplane> Control<D> {
    /// Takes another configuration and the next hops that it needs, all of it or nothing; tells
    /// the writes. `dry_run` only tells them.
    pub fn apply(
        &mut self,
        config: Config,
        view: View,
        dry_run: bool,
        tick: u32,
    ) -> Result<Vec<String>, ControlError> {
        self.check_fixed(&config)?;
        let seed = Seed::new(&config.node.hash_seed);
        let next = reconcile(&self.state, &self.image, &config, &seed, tick)?;
        refuse_emptied(&self.state, &next)?;
        self.refuse_drift(&config)?;
        let prepared = self.prepare(&config, &view, next);
        let writes = prepared.writes.iter().map(ToString::to_string).collect();
        if !dry_run {
            let done = self.carry_out(prepared);
            if is_in_force(&done) {
                self.config = config;
                self.view = view;
            }
            done?;
        }
        Ok(writes)
    }

    /// A configuration may not take away the audience that a release is shown to.
    fn refuse_drift(&self, config: &Config) -> Result<(), ControlError> {
        for (name, state) in &self.state.services {
            let step = state.position.run.as_ref().and_then(Run::present);
            let audience = step.and_then(|step| step.audience.as_ref());
            let (Some(audience), Some(service)) = (audience, config.service(name)) else {
                continue;
            };
            let mut audiences = service.audiences.iter();
            if !audiences.any(|known| known.name == *audience && known.share_ppm > 0) {
                let why = format!(
                    "the release under way is shown to audience `{audience}`; leave that one as it \
                     is until the release has gone on (`serin promote {name}`), or end it first \
                     (`serin abort {name}`)"
                );
                return Err(ControlError::Unfit {
                    service: name.clone(),
                    why,
                });
            }
        }
        Ok(())
    }

    /// Reads the daemon's own configuration file again, or another.
    pub fn read_config(&self, file: Option<&std::path::Path>) -> Result<Config, ControlError> {
        Ok(Config::load(file.unwrap_or(&self.source))?)
    }

    fn check_fixed(&self, config: &Config) -> Result<(), ControlError> {
        let (now, next) = (&self.config.node, &config.node);
        let fixed = [
            (now.hash_seed != next.hash_seed, "node.hash_seed"),
            (
                now.client_prefix != next.client_prefix,
                "node.client_prefix",
            ),
            (now.answer_echo != next.answer_echo, "node.answer_echo"),
            (now.encap != next.encap, "node.encap"),
            (
                now.too_big_per_second != next.too_big_per_second,
                "node.too_big_per_second",
            ),
            (now.connections != next.connections, "node.connections"),
            (now.pins != next.pins, "node.pins"),
            (now.state != next.state, "node.state"),
            (now.attach != next.attach, "node.attach"),
            (self.config.api != config.api, "api.socket"),
        ];
        match fixed.iter().find(|(differs, _)| *differs) {
            Some((_, key)) => Err(ControlError::Fixed(key)),
            None => Ok(()),
        }
    }
}

/// A configuration may not take away the last backends that users are on.
fn refuse_emptied(before: &State, next: &State) -> Result<(), ControlError> {
    let kept = next.services.iter().filter_map(|(name, next)| {
        let before = before.services.get(name)?;
        Some((name, before, next))
    });
    for (service, before, next) in kept {
        let mut pools = next.pools.keys();
        if let Some(pool) = pools.find(|pool| is_emptied(before, next, pool)) {
            let why = format!(
                "pool `{pool}` would have no backend that takes connections, and users are on it; \
                 make one of those that stay ready, or give one a weight, with `serin ready` or \
                 `serin weight`"
            );
            return Err(ControlError::Unfit {
                service: service.clone(),
                why,
            });
        }
    }
    Ok(())
}
