//! The data plane's twin in memory, for tests: the same image, no kernel.

use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use bytemuck::bytes_of;
use lb_common::{
    counters::AudienceCounters,
    flow::{FlowKey, Pin},
    signal::{Breaker, Tally},
    trace::Trace,
};

use super::{
    Counters, Cursor, Dataplane, Image, Write, kernel::KernelError, question::Question,
    signals::Signals,
};

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
    /// What [`Dataplane::signals`] answers, by service; nothing was counted of others.
    pub signals: BTreeMap<u32, Signals>,
    /// What [`Dataplane::backend_signals`] answers.
    pub backend_signals: BTreeMap<u16, Tally>,
    /// What [`Dataplane::breaker`] answers, by service.
    pub breakers: BTreeMap<u32, Breaker>,
    /// Fails the write with this number, counted from 0.
    pub fail_at: Option<usize>,
}

impl Memory {
    /// A walk over the pins takes as many slices.
    pub const SLICES: u32 = 8;

    /// In which of them a pin is.
    pub fn slice_of(key: &FlowKey) -> u32 {
        let sum = bytes_of(key).iter().map(|&byte| u32::from(byte));
        sum.sum::<u32>() % Self::SLICES
    }
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

    fn signals(&self, service: u32) -> Result<Signals, KernelError> {
        Ok(self.signals.get(&service).cloned().unwrap_or_default())
    }

    fn backend_signals(&self, backends: &[u16]) -> Result<BTreeMap<u16, Tally>, KernelError> {
        let counted = |&id| {
            (
                id,
                self.backend_signals.get(&id).copied().unwrap_or_default(),
            )
        };
        Ok(backends.iter().map(counted).collect())
    }

    fn breaker(&self, service: u32) -> Result<Breaker, KernelError> {
        Ok(self.breakers.get(&service).copied().unwrap_or_default())
    }

    fn some_pins(
        &self,
        cursor: &mut Cursor,
        each: &mut dyn FnMut(FlowKey, Pin),
    ) -> Result<bool, KernelError> {
        let slice = cursor.place.unwrap_or_default();
        let pins = self.pins.iter();
        pins.filter(|(key, _)| Self::slice_of(key) == slice)
            .for_each(|(&key, &pin)| each(key, pin));
        cursor.place = Some(slice + 1);
        Ok(slice + 1 == Self::SLICES)
    }

    /// It has no packet path to ask.
    fn whois(&mut self, _: &Question) -> Result<Trace, KernelError> {
        Ok(Trace::default())
    }

    fn unpin(&mut self, pins: &[(FlowKey, Pin)]) -> Result<(), KernelError> {
        self.pins.retain(|key, pin| !pins.contains(&(*key, *pin)));
        Ok(())
    }
}
