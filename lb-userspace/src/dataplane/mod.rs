//! The data plane as the daemon sees it: what the maps hold, and how they come to hold something else.
//!
//! [`Image`] says what should be there, [`plan::plan`] makes an ordered list of [`Write`]s out of
//! two of them, and a [`Dataplane`] carries those out: [`kernel`] for real, [`memory`] in tests.

pub mod choice;
pub mod kernel;
pub mod maglev;
pub mod memory;
pub mod plan;
pub mod prefixes;
pub mod question;
pub mod signals;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use lb_common::{
    audience::AudienceSet,
    backend::Backend,
    counters::{AudienceCounters, BackendCounters},
    flow::{FlowKey, Pin},
    listener::{Endpoint, Listener, Reply},
    protect::Protect,
    quic_lb::{Server, ServerKey},
    reason::{FlowEvent, Reason},
    release::Record,
    signal::{Breaker, Tally},
    trace::Trace,
};

pub use self::table::Table;
use self::{prefixes::Block, question::Question, signals::Signals};

/// Everything that the daemon writes into the maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Interfaces that the program may send on, by index.
    pub ports: BTreeSet<u32>,
    /// By `lb_common::backend::index`.
    pub backends: BTreeMap<u32, Backend>,
    /// By backend endpoint.
    pub replies: BTreeMap<Endpoint, Reply>,
    /// By what connection ids tell of a server.
    pub servers: BTreeMap<ServerKey, Server>,
    /// Tables that a live record names, by index.
    pub tables: BTreeMap<u32, Table>,
    /// Blocks of source prefixes that something names, by where they begin.
    pub blocks: BTreeMap<u32, Block>,
    /// Sets of audiences that a live record names, by number.
    pub audiences: BTreeMap<u32, AudienceSet>,
    /// What is kept from all services, if anything is.
    pub protect: Option<Protect>,
    /// The live record, by service.
    pub records: BTreeMap<u32, Record>,
    /// By VIP endpoint.
    pub listeners: BTreeMap<Endpoint, Listener>,
}

/// One change of the maps. After each, every packet still meets a whole state.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Allow sending on an interface.
    AddPort(u32),
    /// Write a backend's entry. An address never changes under one id; a next hop does, and a packet
    /// takes all of the old one or all of the new one.
    SetBackend(u32, Backend),
    /// Write whose reply a backend's packet is.
    SetReply(Endpoint, Reply),
    /// Write which backend's server has an id.
    SetServer(ServerKey, Server),
    /// Write a table that no live record names.
    SetTable(u32, Table),
    /// Write source prefixes where nothing names them.
    SetBlock(u32, Block),
    /// Write a set of audiences that no live record names.
    SetAudiences(u32, Box<AudienceSet>),
    /// Write the protection's settings aside and make them the live ones; nothing for none.
    SetProtect(Option<Protect>),
    /// Write a service's record aside, so that its store takes no longer than that.
    PutRecord(u32, Record),
    /// Write a service's record aside and make it the live one: the store.
    SetRecord(u32, Record),
    /// Let a VIP in.
    SetListener(Endpoint, Listener),
    /// Leave a VIP to the kernel.
    RemoveListener(Endpoint),
    /// Drop a service's record.
    RemoveRecord(u32),
    /// No live record names the table any more; it may be written.
    RemoveTable(u32),
    /// No live record names the set of audiences any more; it may be written.
    RemoveAudiences(u32),
    /// Nothing names the block of source prefixes any more; its words may be written.
    RemoveBlock(u32),
    /// Clear an audience's counters.
    ForgetAudience(u32),
    /// No server has this id any more.
    RemoveServer(ServerKey),
    /// A backend's packets are not replies any more.
    RemoveReply(Endpoint),
    /// Clear a backend's entry and counters.
    RemoveBackend(u32),
    /// No longer send on an interface.
    RemovePort(u32),
}

/// What the packet path has counted, summed over all CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Exits, by reason.
    pub reasons: Vec<(Reason, u64)>,
    /// What happened to the flow table.
    pub flow_events: Vec<(FlowEvent, u64)>,
    /// By backend id.
    pub backends: BTreeMap<u16, BackendCounters>,
    /// Packets dropped for want of a backend, by pool.
    pub pool_drops: BTreeMap<u32, u64>,
}

/// Where a walk over the pins stands; at the beginning by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Which table of pins.
    pub table: usize,
    /// Where in it: a place of the table's own numbering. Nothing at its beginning.
    pub place: Option<u32>,
}

/// What a listener is, as far as its connections are to be told by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Number of its service.
    pub service: u32,
    /// It has an address of IPv6.
    pub v6: bool,
}

/// Something that holds an image and forwards packets by it.
pub trait Dataplane: Send {
    /// Makes room for these writes, which come next. It may be dear, and is less so for many at once.
    fn prepare(&mut self, _: &[Write]) -> Result<(), kernel::KernelError> {
        Ok(())
    }

    /// Carries out one write; for [`Write::SetRecord`], tells when the store was done.
    fn write(&mut self, write: &Write) -> Result<Option<SystemTime>, kernel::KernelError>;

    /// Returns when no packet is any more on its way through by what was there before.
    fn wait_for_packets(&mut self) -> Result<(), kernel::KernelError>;

    /// The counters of these backends and pools, and all the others.
    fn counters(&self, backends: &[u16], pools: &[u32]) -> Result<Counters, kernel::KernelError>;

    /// The counters of these audiences, summed over all CPUs.
    fn audience_counters(
        &self,
        numbers: &[u32],
    ) -> Result<BTreeMap<u32, AudienceCounters>, kernel::KernelError>;

    /// How often the program has run, and how long in all, where that is counted.
    fn runs(&self) -> Option<(u64, Duration)> {
        None
    }

    /// What is counted of a service's measured connections.
    fn signals(&self, service: u32) -> Result<Signals, kernel::KernelError>;

    /// The same by backend, for these.
    fn backend_signals(
        &self,
        backends: &[u16],
    ) -> Result<BTreeMap<u16, Tally>, kernel::KernelError>;

    /// Has calls counted as failed that nobody has answered in their time, of the connections of these
    /// listeners, by their numbers; tells how many.
    fn lapse(&mut self, _: &BTreeMap<u16, Listening>) -> Result<usize, kernel::KernelError> {
        Ok(0)
    }

    /// A service's breaker.
    fn breaker(&self, service: u32) -> Result<Breaker, kernel::KernelError>;

    /// Shows the next slice of the pins to `each`, and moves the cursor on; true if it was the last.
    /// Pins that come or go meanwhile may be missed.
    fn some_pins(
        &self,
        cursor: &mut Cursor,
        each: &mut dyn FnMut(FlowKey, Pin),
    ) -> Result<bool, kernel::KernelError>;

    /// Shows every pin to `each`.
    fn each_pin(&self, each: &mut dyn FnMut(FlowKey, Pin)) -> Result<(), kernel::KernelError> {
        let mut cursor = Cursor::default();
        while !self.some_pins(&mut cursor, each)? {}
        Ok(())
    }

    /// As [`Dataplane::some_pins`]; after the last slice [`FlowEvent::Evicted`] is up to date.
    fn sweep_pins(
        &mut self,
        cursor: &mut Cursor,
        each: &mut dyn FnMut(FlowKey, Pin),
    ) -> Result<bool, kernel::KernelError> {
        self.some_pins(cursor, each)
    }

    /// What the packet path would do with a packet. Nothing comes of the question.
    fn whois(&mut self, question: &Question) -> Result<Trace, kernel::KernelError>;

    /// Milliseconds of the clock that ticks are counted by: it goes on while the host runs, whatever
    /// becomes of the time of day.
    fn clock_ms(&self) -> u64 {
        kernel::clock_ms()
    }

    /// Milliseconds since the epoch, by the time of day, which may jump.
    fn time_of_day_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
    }

    /// Removes pins that are still what they were found to be: a client may have called again meanwhile,
    /// from the same port. Those that are gone already don't matter.
    fn unpin(&mut self, pins: &[(FlowKey, Pin)]) -> Result<(), kernel::KernelError>;
}
