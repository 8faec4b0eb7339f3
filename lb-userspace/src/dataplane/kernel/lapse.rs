//! Calls that nobody answers: no packet comes that would tell of them, so they are looked for, and
//! counted by the packet path's own code.

use std::{collections::BTreeMap, os::fd::AsFd as _, path::Path};

use aya::{Ebpf, maps::MapData};
use lb_common::{
    flow::FlowKey,
    maps::{LAPSE, name},
    signal::{Asked, Watched},
};

use super::{KernelError, batch, clock_ms, maps};
use crate::dataplane::Listening;

const MILLISECOND_NS: u64 = 1_000_000;

/// The measured connections.
pub struct Lapses(MapData);

impl Lapses {
    /// Loads the program; nothing if the object has none, as the benchmark's.
    pub fn load(object: &mut Ebpf, directory: &Path) -> Result<Option<Self>, KernelError> {
        if object.program(LAPSE).is_none() {
            return Ok(None);
        }
        maps::load(maps::program(object, LAPSE)?)?;
        maps::pinned(directory, name::WATCHED).map(|map| Some(Self(map)))
    }

    /// Has calls counted as failed to which nobody has answered, of these listeners; tells how many.
    pub fn count(
        &self,
        object: &mut Ebpf,
        listeners: &BTreeMap<u16, Listening>,
    ) -> Result<usize, KernelError> {
        let unanswered = self.unanswered(listeners)?;
        let program = maps::program(object, LAPSE)?;
        for asked in &unanswered {
            maps::test_run(program, bytemuck::bytes_of(asked))?;
        }
        Ok(unanswered.len())
    }

    fn unanswered(&self, listeners: &BTreeMap<u16, Listening>) -> Result<Vec<Asked>, KernelError> {
        let now_ns = clock_ms() * MILLISECOND_NS;
        let (mut place, mut unanswered) = (None, Vec::new());
        loop {
            let map = self.0.fd().as_fd();
            place = batch::some(
                map,
                name::WATCHED,
                place,
                &mut |key: FlowKey, watched: Watched| {
                    let listening = listeners.get(&key.listener());
                    let listening = listening.filter(|_| watched.is_unanswered(now_ns));
                    unanswered.extend(listening.map(|&Listening { service, v6 }| Asked {
                        key,
                        service,
                        v6: v6.into(),
                    }));
                },
            )?;
            if place.is_none() {
                return Ok(unanswered);
            }
        }
    }
}
