//! The kernel, by the test's clock.
//!
//! The program stamps its pins by the kernel's clock, so a pin is shown to the core with the tick at
//! which the model last saw its flow.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use lb_common::{
    counters::AudienceCounters,
    flow::{FlowKey, Pin},
    signal::{self, Breaker},
    trace::Trace,
};
use lb_userspace::dataplane::{
    Counters, Cursor, Dataplane, Image, Write,
    kernel::{Kernel, KernelError},
    question::Question,
    signals::Signals,
};

/// The flow table of the kernel and what the core did to it.
#[derive(Default)]
pub struct Book {
    pub image: Image,
    pub seen: HashMap<FlowKey, u32>,
    /// Pins as the kernel has them, by their key and whether they are of half-open connections.
    pub undated: HashMap<(FlowKey, bool), Pin>,
    pub removed: Vec<FlowKey>,
}

/// The kernel, and the book that is kept of it.
pub struct Clocked {
    pub kernel: Kernel,
    pub book: Arc<Mutex<Book>>,
}

impl Dataplane for Clocked {
    fn write(&mut self, write: &Write) -> Result<Option<SystemTime>, KernelError> {
        let stored = self.kernel.write(write)?;
        book(&self.book).image.apply(write);
        Ok(stored)
    }

    fn wait_for_packets(&mut self) -> Result<(), KernelError> {
        self.kernel.wait_for_packets()
    }

    fn counters(&self, backends: &[u16], pools: &[u32]) -> Result<Counters, KernelError> {
        self.kernel.counters(backends, pools)
    }

    fn audience_counters(
        &self,
        numbers: &[u32],
    ) -> Result<BTreeMap<u32, AudienceCounters>, KernelError> {
        self.kernel.audience_counters(numbers)
    }

    fn signals(&self, service: u32) -> Result<Signals, KernelError> {
        self.kernel.signals(service)
    }

    fn backend_signals(
        &self,
        backends: &[u16],
    ) -> Result<BTreeMap<u16, signal::Tally>, KernelError> {
        self.kernel.backend_signals(backends)
    }

    fn breaker(&self, service: u32) -> Result<Breaker, KernelError> {
        self.kernel.breaker(service)
    }

    fn some_pins(
        &self,
        cursor: &mut Cursor,
        each: &mut dyn FnMut(FlowKey, Pin),
    ) -> Result<bool, KernelError> {
        let mut book = book(&self.book);
        self.kernel.some_pins(cursor, &mut |key, pin| {
            book.undated.insert((key, pin.is_half_open()), pin);
            let seen = book.seen.get(&key).copied().unwrap_or(0);
            let dated = Pin::new(pin.backend(), pin.generation(), seen);
            let dated = if pin.is_half_open() {
                dated.seen_half_open(seen, pin.is_closing())
            } else {
                dated.seen(seen, pin.is_closing())
            };
            each(key, dated);
        })
    }

    fn whois(&mut self, question: &Question) -> Result<Trace, KernelError> {
        self.kernel.whois(question)
    }

    fn unpin(&mut self, pins: &[(FlowKey, Pin)]) -> Result<(), KernelError> {
        let mut book = book(&self.book);
        book.removed.extend(pins.iter().map(|(key, _)| key));
        let undated = |&(key, pin): &(FlowKey, Pin)| {
            let undated = book.undated.get(&(key, pin.is_half_open()));
            (key, *undated.expect("it was told"))
        };
        let pins: Vec<_> = pins.iter().map(undated).collect();
        self.kernel.unpin(&pins)
    }
}

/// The book, whatever became of who had it last.
pub fn book(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
