//! What comes to many releases at once is one commit: it costs as much as one of them.

use std::collections::BTreeSet;

use lb_common::maps::MAX_SERVICES;

use super::{
    super::{Control, ControlError},
    Turn,
};
use crate::{dataplane::Dataplane, release::engine::Event};

/// Releases that move by one commit, at most: all of a host, for which the audit log has room.
const TOGETHER: usize = MAX_SERVICES as usize;

/// What an event is for.
pub(super) type News = (String, Event);

/// What has become of several events.
#[derive(Default)]
pub(super) struct Fates {
    /// Those that their release can't take as it is, and why.
    pub refused: Vec<(News, ControlError)>,
    /// Those that are to be tried again.
    pub left: Vec<News>,
    /// Why they are.
    pub fault: Option<ControlError>,
}

impl<D: Dataplane> Control<D> {
    /// Carries out what has come to releases by itself. One that can't be moved holds up no other,
    /// and nobody waits who is to be taken back.
    pub(super) fn steer_all(&mut self, news: Vec<News>, tick: u32) -> Fates {
        let mut fates = Fates::default();
        let (back, onward) = news.into_iter().partition(|(service, event)| {
            let turn = self.weigh(service, event, "", tick);
            turn.is_ok_and(|turn| turn.back)
        });
        self.steer_each(back, tick, &mut fates);
        let mut onward: Vec<News> = onward;
        while !onward.is_empty() && fates.fault.is_none() {
            let rest = onward.split_off(onward.len().min(TOGETHER));
            let alone = self.steer_together(std::mem::replace(&mut onward, rest), tick, &mut fates);
            self.steer_each(alone, tick, &mut fates);
        }
        fates.left.extend(onward);
        fates
    }

    fn steer_each(&mut self, news: Vec<News>, tick: u32, fates: &mut Fates) {
        for (service, event) in news {
            if fates.fault.is_some() {
                fates.left.push((service, event));
                continue;
            }
            match self.steer(&service, &event, "", tick) {
                Ok(_) => {}
                Err(error @ ControlError::Unfinished(_)) => fates.fault = Some(error),
                Err(error @ ControlError::Unkept(_)) => {
                    fates.left.push((service, event));
                    fates.fault = Some(error);
                }
                Err(error) => fates.refused.push(((service, event), error)),
            }
        }
    }

    /// One commit for all; tells which are to be carried out by themselves.
    fn steer_together(&mut self, news: Vec<News>, tick: u32, fates: &mut Fates) -> Vec<News> {
        let (mut taken, mut alone) = (Vec::new(), Vec::new());
        let mut moved = BTreeSet::new();
        let mut whole = self.state.clone();
        for (service, event) in news {
            let turn = match self.weigh(&service, &event, "", tick) {
                Ok(turn) => turn,
                Err(error) => {
                    fates.refused.push(((service, event), error));
                    continue;
                }
            };
            let fits = !moved.contains(&service) && !self.waits(&service, &turn);
            if fits && self.take(&mut whole, &service, turn, tick).is_ok() {
                moved.insert(service.clone());
                taken.push((service, event));
            } else {
                alone.push((service, event));
            }
        }
        if taken.is_empty() {
            return alone;
        }
        match self.commit(whole) {
            Ok(_) => return alone,
            Err(error @ ControlError::Unfinished(_)) => fates.fault = Some(error),
            Err(error @ ControlError::Unkept(_)) => {
                fates.left.extend(taken);
                fates.fault = Some(error);
            }
            // One of them may be the cause.
            Err(_) => alone.extend(taken),
        }
        alone
    }

    /// Whether sessions have to be pinned before, or something waits for that.
    fn waits(&self, service: &str, turn: &Turn) -> bool {
        let state = self.state.services.get(service);
        let pending = state.is_some_and(|state| state.pending.is_some());
        pending || (turn.moves && turn.touched.is_some() && self.has_sessions(service))
    }
}
