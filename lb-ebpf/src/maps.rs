//! The maps. Names and sizes are `lb_common::maps`'; only the daemon writes, except where said.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, DevMapHash, HashMap, LruHashMap, PerCpuArray, ProgramArray},
    macros::btf_map,
};
use lb_common::{
    address::Address,
    audience::AudienceSet,
    backend::{Backend, ENTRIES},
    counters::{AudienceCounters, BackendCounters},
    decap::{EXITS, Settings},
    flow::{FlowKey, Pin},
    fragment::{FragmentKey, Pieces},
    listener::{Endpoint, Listener, Remembered, Reply},
    maps::{
        DEFAULT_FLOWS, DEFAULT_HALF_OPEN, LISTENER_KEYS, MAX_AUDIENCE_SETS, MAX_AUDIENCES,
        MAX_BACKENDS, MAX_CLIENTS, MAX_FRAGMENTS, MAX_POOLS, MAX_PORTS, MAX_RECORDS, MAX_ROWS,
        MAX_SERVICES, MAX_SOURCES, MAX_TABLES, MAX_TALLIES, MAX_WATCHED, MAX_WORDS,
        REMEMBERED as PLACES, REPLY_KEYS, SERVER_KEYS, aside,
    },
    node::Node,
    pool::SLOT_COUNT,
    protect::{PROTECTS, Protect},
    quic_lb::{Server, ServerKey},
    reason::{COUNTERS as COUNTER_ENTRIES, Reason},
    release::Record,
    signal::{Breaker, Tally, Told, Watched, histogram::Row},
    trace::Trace,
};

/// The host's settings; one entry, written before the program is attached.
#[btf_map]
pub static NODE: Array<Node, 1> = Array::new();

/// {VIP, port, protocol} to listener. Full: the daemon refuses the configuration.
#[btf_map]
pub static LISTENERS: HashMap<Endpoint, Listener, { LISTENER_KEYS as usize }> = HashMap::new();

/// Place to the listener that was looked up there last. Written here. Not pinned: a program that is
/// loaded anew remembers nothing.
#[btf_map]
pub static REMEMBERED: PerCpuArray<Remembered, { PLACES as usize }> = PerCpuArray::new();

/// Service to the index of its live record. The store that makes a release step.
#[btf_map]
pub static ACTIVE: Array<u32, { MAX_SERVICES as usize }> = Array::new();

/// Release records, several for each service; only those that are not live are ever written.
#[btf_map]
pub static RECORDS: Array<Record, { MAX_RECORDS as usize }> = Array::new();

/// Tables, two for each pool; a table is one element, so that one system call writes it. Only
/// tables that no live record names are ever written.
#[btf_map]
pub static TABLES: ArrayOfMaps<Array<[u32; SLOT_COUNT], 1>, { MAX_TABLES as usize }> =
    ArrayOfMaps::new();

/// `backend::index` to where the backend is.
#[btf_map]
pub static BACKENDS: Array<Backend, { ENTRIES as usize }> = Array::new();

/// {backend, port, protocol} to the listener that its replies come from (`nat`).
#[btf_map]
pub static REPLIES: HashMap<Endpoint, Reply, { REPLY_KEYS as usize }> = HashMap::new();

/// A server's id in a service's connection ids to its backend. Full: the daemon refuses the
/// configuration.
#[btf_map]
pub static SERVERS: HashMap<ServerKey, Server, { SERVER_KEYS as usize }> = HashMap::new();

/// Pins. Written here; swept by the daemon. Full: the least recently used pin goes, and its
/// connection is taken for one of the last settled state.
#[btf_map]
pub static FLOWS: LruHashMap<FlowKey, Pin, { DEFAULT_FLOWS as usize }> = LruHashMap::new();

/// Packets that are under way in pieces, to where those go. Written here only. Full: the least
/// recently used goes, and its later pieces go where the client's slot says.
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, Pieces, { MAX_FRAGMENTS as usize }> =
    LruHashMap::new();

/// Pins of connections of which only the first packet was seen. Written here; swept by the daemon.
/// Full: the least recently used one goes, so that a flood of first packets costs no pin of a
/// connection that lives.
#[btf_map]
pub static HALF_OPEN: LruHashMap<FlowKey, Pin, { DEFAULT_HALF_OPEN as usize }> = LruHashMap::new();
/// The programs for what few packets have. Written by the daemon before it attaches the main one.
#[btf_map]
pub static PROGRAMS: ProgramArray<{ aside::COUNT as usize }> = ProgramArray::new();

/// Interface index to interface: those that this program may send on.
#[btf_map]
pub static PORTS: DevMapHash<{ MAX_PORTS as usize }> = DevMapHash::new();

/// Reasons, then flow events, to how often. Written here.
#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { COUNTER_ENTRIES as usize }> = PerCpuArray::new();

/// Backend to its traffic. Written here.
#[btf_map]
pub static BACKEND_COUNTERS: PerCpuArray<BackendCounters, { MAX_BACKENDS as usize }> =
    PerCpuArray::new();

/// Pool to packets dropped because it had no backend. Written here.
#[btf_map]
pub static POOL_DROPS: PerCpuArray<u64, { MAX_POOLS as usize }> = PerCpuArray::new();

/// When the next answer to a packet that is too big is due (`lb_common::limit`). Written here.
#[btf_map]
pub static TOO_BIG: PerCpuArray<u64, 1> = PerCpuArray::new();

/// What the answer to a packet that is too big says; from the program that refuses it to the one
/// that answers. Not pinned.
#[btf_map]
pub static MTU: PerCpuArray<u32, 1> = PerCpuArray::new();

/// What the decapsulator takes out; one entry, written before it is attached.
#[btf_map]
pub static DECAP: Array<Settings, 1> = Array::new();

/// The decapsulator's ways out, to how often. Written here.
#[btf_map]
pub static DECAP_COUNTERS: PerCpuArray<u64, { EXITS as usize }> = PerCpuArray::new();

/// What became of the packet that was asked about. Written here, by the telling program only.
#[btf_map]
pub static TRACE: Array<Trace, 1> = Array::new();

/// Sets of audiences; number 0 is none. Only sets that no live record names are ever written.
#[btf_map]
pub static AUDIENCE_SETS: Array<AudienceSet, { MAX_AUDIENCE_SETS as usize }> = Array::new();

/// Source prefixes in blocks, of audience sets and of the deny list. Only blocks that nothing names
/// are ever written. Full: the daemon refuses the configuration.
#[btf_map]
pub static PREFIXES: Array<u64, { MAX_WORDS as usize }> = Array::new();

/// Audience to its traffic. Written here.
#[btf_map]
pub static AUDIENCE_COUNTERS: PerCpuArray<AudienceCounters, { MAX_AUDIENCES as usize }> =
    PerCpuArray::new();

/// Copies of the protection's settings; the node names the live one.
#[btf_map]
pub static PROTECT: Array<Protect, { PROTECTS as usize }> = Array::new();

/// A source (masked) to the time until which its new connections are paid for. Written here. Full:
/// the source that was quiet for longest begins anew.
#[btf_map]
pub static SOURCES: LruHashMap<Address, u64, { MAX_SOURCES as usize }> = LruHashMap::new();

/// Connections that are measured. Written here. Full: the one that was quiet for longest is measured no
/// further.
#[btf_map]
pub static WATCHED: LruHashMap<FlowKey, Watched, { MAX_WATCHED as usize }> = LruHashMap::new();

/// `signal::client::place` to what clients have told there already, so that each counts once. Written
/// here, and never cleared: what is of an earlier draw is written over. Clients that share a place count
/// as one.
#[btf_map]
pub static CLIENTS: Array<Told, { MAX_CLIENTS as usize }> = Array::new();

/// `signal::tally_index` to the counts of a cohort. Written here, by all CPUs: events are rare.
#[btf_map]
pub static SIGNALS: Array<Tally, { MAX_TALLIES as usize }> = Array::new();

/// `signal::histogram::first_row` and a power of two to that part of a histogram. Written here.
#[btf_map]
pub static HISTOGRAMS: Array<Row, { MAX_ROWS as usize }> = Array::new();

/// Backend to the counts of its measured connections. Written here.
#[btf_map]
pub static BACKEND_SIGNALS: Array<Tally, { MAX_BACKENDS as usize }> = Array::new();

/// What a packet has decided of its connection, from the function that tells it to the one that counts
/// it; packets and `serin_lapse` have a place each. Not pinned.
#[btf_map]
pub static NOTED: PerCpuArray<[u64; 6], 2> = PerCpuArray::new();

/// Service to its breaker. Written here.
#[btf_map]
pub static BREAKERS: Array<Breaker, { MAX_SERVICES as usize }> = Array::new();

/// The host's settings.
#[inline(always)]
pub fn node() -> Result<&'static Node, Reason> {
    NODE.get(0).ok_or(Reason::NoRecord)
}
