//! Whether a toggle is on for one client: what the packet path would do with it, worked out from what
//! the maps hold.

use std::net::IpAddr;

use lb_common::{
    address::Address,
    hash::{self, BUCKETS},
    release::Record,
};
use thiserror::Error;

use super::Control;
use crate::{
    config::{Audience, Service},
    dataplane::{Dataplane, choice::Candidate},
    release::{
        PoolId,
        engine::{Plan, Run, Stage},
    },
    state::ServiceState,
};

/// Who is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A client by its address.
    Address(IpAddr),
    /// Somebody by a name that the packet path does not know.
    Key(String),
    /// Nobody in particular.
    Nobody,
}

/// What a toggle is for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Whether it is on.
    pub value: bool,
    /// Why.
    pub because: Because,
}

/// Why a toggle is what it is for somebody; in the order in which one is told before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Because {
    /// Nothing that it guards concerns this client at the moment.
    Default,
    /// The client's bucket is, or is not, below the share.
    Split,
    /// An audience that the client is in has one answer for all.
    Audience,
    /// It is the same for everybody.
    Static,
    /// It is off.
    Off,
}

/// What can't be told of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Untold {
    /// There is no such toggle.
    #[error("toggle `{0}`: not configured; `serin toggle` lists those that are")]
    NoToggle(String),
    /// It depends on who it is.
    #[error("toggle `{0}` is on for some clients alone; give a `targetingKey`, or `clientIp`")]
    WhoIsIt(String),
    /// An audience is chosen by address.
    #[error(
        "service `{service}`: audience `{audience}` goes by the client's address; give it as \
         `clientIp`, or as `targetingKey`"
    )]
    NoAddress {
        /// The service.
        service: String,
        /// The audience.
        audience: String,
    },
    /// An audience is chosen by more than the address.
    #[error(
        "service `{service}`: audience `{audience}` goes by more of a packet than its source \
         address, which can't be told of a client; ask about a toggle that does not depend on it"
    )]
    MoreThanAddress {
        /// The service.
        service: String,
        /// The audience.
        audience: String,
    },
}

impl<D: Dataplane> Control<D> {
    /// What a toggle is for somebody. One that guards several parts is on for whoever gets the candidate
    /// by one of them.
    pub fn flag(&self, toggle: &str, who: &Who) -> Result<Flag, Untold> {
        let state = self.state.toggles.get(toggle);
        let state = state.ok_or_else(|| Untold::NoToggle(toggle.to_owned()))?;
        if !state.on {
            return Ok(flag(false, Because::Off));
        }
        let mut told: Vec<Result<Flag, Untold>> = Vec::new();
        for service in &self.config.services {
            let Some(state) = self.state.services.get(&service.name) else {
                continue;
            };
            let asked = Asked {
                core: self,
                service,
                state,
                toggle,
                who,
            };
            told.extend(asked.audiences().chain(asked.steps()));
        }
        if told.is_empty() {
            return Ok(flag(true, Because::Static));
        }
        let is_on = |told: &&Result<Flag, Untold>| matches!(told, Ok(Flag { value: true, .. }));
        if let Some(on) = told.iter().find(is_on) {
            return on.clone();
        }
        let all: Result<Vec<Flag>, Untold> = told.into_iter().collect();
        let because = all?.into_iter().map(|flag| flag.because).max();
        Ok(flag(false, because.unwrap_or(Because::Default)))
    }
}

const fn flag(value: bool, because: Because) -> Flag {
    Flag { value, because }
}

/// A question about what a toggle guards in one service.
struct Asked<'a, D> {
    core: &'a Control<D>,
    service: &'a Service,
    state: &'a ServiceState,
    toggle: &'a str,
    who: &'a Who,
}

impl<D: Dataplane> Asked<'_, D> {
    /// What each audience that is guarded says.
    fn audiences(&self) -> impl Iterator<Item = Result<Flag, Untold>> {
        let audiences = self.service.audiences.iter();
        let mine = audiences.filter(|audience| audience.toggle.as_deref() == Some(self.toggle));
        mine.map(|audience| self.audience(audience))
    }

    /// What the first step that is guarded says, if one is. A release that was taken back counts no
    /// more, and to the steps of the file nobody has come who goes by a plan without the toggle.
    fn steps(&self) -> Option<Result<Flag, Untold>> {
        let run = self.state.position.run.as_ref().filter(|run| stands(run));
        if let Some((run, step)) = run.and_then(|run| Some((run, self.first(&run.plan)?))) {
            return Some(self.step(run, step));
        }
        self.first(self.service.release.as_ref()?)
            .map(|_| Ok(flag(false, Because::Default)))
    }

    /// The first step of a plan that is guarded.
    fn first(&self, plan: &Plan) -> Option<usize> {
        let mut steps = plan.steps.iter();
        steps.position(|step| step.toggle.as_deref() == Some(self.toggle))
    }

    /// Whether the client gets the candidate by an audience; once all users have its release, by that.
    fn audience(&self, audience: &Audience) -> Result<Flag, Untold> {
        let Some(record) = self.releasing() else {
            let run = self.state.position.run.as_ref().filter(|run| stands(run));
            return run.map_or_else(
                || Ok(flag(false, Because::Default)),
                |run| self.gets(run.candidate),
            );
        };
        let client = self.client(audience)?;
        let number = self.state.audiences.numbers.get(&audience.name);
        let candidates = self.core.image.candidates(record, &client);
        let upto = candidates.iter().position(|c| Some(&c.number) == number);
        let Some(upto) = upto else {
            return Ok(flag(false, Because::Default));
        };
        match candidates[..=upto].iter().find(|c| !c.plain) {
            Some(more) => Err(self.more_than_address(more)),
            // An earlier one answers.
            None if upto > 0 => Ok(flag(false, Because::Default)),
            None => Ok(self.by_audience(record, candidates[0], &client)),
        }
    }

    /// Whether the client gets the candidate of a release that has come to a step.
    fn step(&self, run: &Run, step: usize) -> Result<Flag, Untold> {
        if run.step().is_some_and(|at| at < step) || run.stage == Stage::Waiting {
            return Ok(flag(false, Because::Default));
        }
        self.gets(run.candidate)
    }

    /// Whether the client gets a pool.
    fn gets(&self, pool: PoolId) -> Result<Flag, Untold> {
        let now = &self.state.position.now;
        let Some(record) = self.releasing() else {
            return Ok(if now.active == pool {
                flag(true, Because::Static)
            } else {
                flag(false, Because::Default)
            });
        };
        if now.candidate == pool {
            return self.gets_candidate(record);
        }
        if now.active != pool {
            return Ok(flag(false, Because::Default));
        }
        let told = self.gets_candidate(record)?;
        Ok(flag(!told.value, told.because))
    }

    /// Whether the client gets the candidate, be it by an audience or by the share.
    fn gets_candidate(&self, record: &Record) -> Result<Flag, Untold> {
        let client = match self.who {
            Who::Address(address) => Address::from(*address),
            Who::Key(key) => {
                let hash = self.core.node.key().text(key.as_bytes());
                return Ok(below(hash, record, record.share_ppm));
            }
            Who::Nobody => return Err(Untold::WhoIsIt(self.toggle.to_owned())),
        };
        match self.core.image.candidates(record, &client).first() {
            Some(first) if !first.plain => Err(self.more_than_address(first)),
            Some(first) => Ok(self.by_audience(record, *first, &client)),
            None => Ok(below(self.hash(&client), record, record.share_ppm)),
        }
    }

    /// The live record, if there is a candidate that somebody may get.
    fn releasing(&self) -> Option<&Record> {
        let sends = self.state.position.now.sends_to_candidate();
        let record = self.core.image.records.get(&self.state.id);
        record.filter(|_| sends)
    }

    fn client(&self, audience: &Audience) -> Result<Address, Untold> {
        match self.who {
            Who::Address(address) => Ok(Address::from(*address)),
            Who::Nobody => Err(Untold::WhoIsIt(self.toggle.to_owned())),
            Who::Key(_) => Err(Untold::NoAddress {
                service: self.service.name.clone(),
                audience: audience.name.clone(),
            }),
        }
    }

    fn by_audience(&self, record: &Record, audience: Candidate, client: &Address) -> Flag {
        let told = below(self.hash(client), record, audience.share_ppm);
        match audience.share_ppm {
            0 | BUCKETS => flag(told.value, Because::Audience),
            _ => told,
        }
    }

    fn hash(&self, client: &Address) -> u64 {
        self.core.node.client_hash(client, !client.is_v4())
    }

    fn more_than_address(&self, audience: &Candidate) -> Untold {
        let mut numbers = self.state.audiences.numbers.iter();
        let found = numbers.find(|(_, number)| **number == audience.number);
        Untold::MoreThanAddress {
            service: self.service.name.clone(),
            audience: found.map_or_else(String::new, |(name, _)| name.clone()),
        }
    }
}

/// Whether what a release has given its users is still theirs, or is about to be.
const fn stands(run: &Run) -> bool {
    match run.stage {
        Stage::Waiting | Stage::Step(_) | Stage::Bake | Stage::Promoted | Stage::TakenOver => true,
        Stage::Aborted { .. } | Stage::RolledBack => false,
    }
}

/// The packet path's arithmetic: a client's bucket against a share.
const fn below(hash: u64, record: &Record, share_ppm: u32) -> Flag {
    flag(hash::bucket(hash, record.salt) < share_ppm, Because::Split)
}
