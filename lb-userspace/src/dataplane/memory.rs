//! The data plane's twin in memory, for tests: the same image, no kernel.

use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use lb_common::{
    counters::AudienceCounters,
    flow::{FlowKey, Pin},
    trace::Trace,
};

use super::{Counters, Dataplane, Image, Write, kernel::KernelError, question::Question};

/// An image, the writes that made it, and pins put there by a test.
#[derive(Debug, Default)]
pub struct Memory {
    /// What the maps would hold.
    pub image: Image,
    /// All writes so far.
    pub writes: Vec<Write>,
    /// The flow table.
    pub pins: HashMap<FlowKey, Pin>,
    /// What [`Dataplane::counters`] answers.
    pub counters: Counters,
    /// Fails the write with this number, counted from 0.
    pub fail_at: Option<usize>,
}

impl Dataplane for Memory {
    fn write(&mut self, write: &Write) -> Result<Option<SystemTime>, KernelError> {
        if self.fail_at == Some(self.writes.len()) {
            self.fail_at = None;
            return Err(KernelError::Injected);
        }
        self.image.apply(write);
        self.writes.push(write.clone());
        Ok(matches!(write, Write::SetRecord(..)).then(SystemTime::now))
    }

    fn wait_for_packets(&mut self) -> Result<(), KernelError> {
        Ok(())
    }

    fn counters(&self, _: &[u16], _: &[u32]) -> Result<Counters, KernelError> {
        Ok(self.counters.clone())
    }

    fn audience_counters(
        &self,
        numbers: &[u32],
    ) -> Result<BTreeMap<u32, AudienceCounters>, KernelError> {
        let counted = |&number| (number, AudienceCounters::default());
        Ok(numbers.iter().map(counted).collect())
    }

    fn each_pin(&self, each: &mut dyn FnMut(FlowKey, Pin)) -> Result<(), KernelError> {
        self.pins.iter().for_each(|(&key, &pin)| each(key, pin));
        Ok(())
    }

    /// It has no packet path to ask.
    fn whois(&mut self, _: &Question) -> Result<Trace, KernelError> {
        Ok(Trace::default())
    }

    fn unpin(&mut self, keys: &[FlowKey]) -> Result<(), KernelError> {
        self.pins.retain(|key, _| !keys.contains(key));
        Ok(())
    }
}
