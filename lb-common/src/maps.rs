//! Names and sizes of the pinned objects, in one place.

use crate::signal::{
    cohort,
    histogram::{HISTOGRAMS, ROWS},
};

/// Changes with the layout or meaning of any map; part of the pin path.
pub const ABI_VERSION: u32 = 7;

/// Name of the XDP program in the object.
pub const PROGRAM: &str = "serin_xdp";
/// Name of the program that tells what the first one would do.
pub const WHOIS: &str = "serin_whois";
/// Name of the program that counts calls which nobody has answered.
pub const LAPSE: &str = "serin_lapse";

/// Name of the program that backends run to take packets out of others.
pub const DECAP_PROGRAM: &str = "serin_decap";
/// Programs that the main one gives few packets to, by tail calls.
pub mod aside {
    /// Index of the one for pieces of packets.
    pub const FRAGMENT: u32 = 0;
    /// Index of the one for what is neither TCP nor UDP.
    pub const ICMP: u32 = 1;
    /// Index of the one that tells clients that their connection is cut.
    pub const RESET: u32 = 2;
    /// Index of the one that tells senders that their packet is too big.
    pub const TOO_BIG: u32 = 3;
    /// Index of the one for listeners whose connection ids tell their server.
    pub const SERVER: u32 = 4;
    /// How many there are.
    pub const COUNT: u32 = 5;
    /// Their names in the object, by index.
    pub const PROGRAMS: [&str; COUNT as usize] = [
        "serin_fragment",
        "serin_icmp",
        "serin_reset",
        "serin_too_big",
        "serin_server",
    ];
}

/// Services on one host.
pub const MAX_SERVICES: u32 = 1024;
/// Copies of a service's record; one is live, the others may be written.
pub const RECORDS_PER_SERVICE: u32 = 4;
/// Entries of the records' array.
pub const MAX_RECORDS: u32 = MAX_SERVICES * RECORDS_PER_SERVICE;
/// Pools on one host: four for each service, of which most have two.
pub const MAX_POOLS: u32 = 4 * MAX_SERVICES;
/// Tables of a pool, 256 KiB each, made when they are first written; one is live, the other is
/// written before it takes over.
pub const TABLES_PER_POOL: u32 = 2;
/// Entries of the tables' array: those of pool `p` are `2p` and `2p + 1`.
pub const MAX_TABLES: u32 = MAX_POOLS * TABLES_PER_POOL;
/// Backends on one host, numbered from 1.
pub const MAX_BACKENDS: u32 = 4096;
/// Listeners on one host.
pub const MAX_LISTENERS: u32 = 4096;
/// Keys that listeners are found by: with two portless ones each at most, for its fragments and
/// for echo requests.
pub const LISTENER_KEYS: u32 = MAX_LISTENERS * 3;
/// Listeners' keys that each CPU remembers, as a power of two; two that share a place take turns in it.
pub const REMEMBERED_BITS: u32 = 10;
/// [`REMEMBERED_BITS`] as a number.
pub const REMEMBERED: u32 = 1 << REMEMBERED_BITS;
/// Pairs of a listener and a backend on one host (`nat` only).
pub const MAX_REPLIES: u32 = 65_536;
/// Keys that replies are found by: with a portless one for each backend, family and protocol.
pub const REPLY_KEYS: u32 = MAX_REPLIES + MAX_BACKENDS * 4;
/// Ids of servers on one host, in all formats of their services ([`crate::quic_lb`]).
pub const MAX_SERVER_IDS: u32 = 8192;
/// Keys that servers are found by: twice as many, while they change.
pub const SERVER_KEYS: u32 = MAX_SERVER_IDS * 2;
/// Fragmented packets that are under way at a time.
pub const MAX_FRAGMENTS: u32 = 16_384;
/// Interfaces that the program may send on.
pub const MAX_PORTS: u32 = 256;
/// Sets of audiences on one host, numbered from 1; a service needs up to three while it changes.
pub const MAX_AUDIENCE_SETS: u32 = 512;
/// Audiences on one host, numbered from 1.
pub const MAX_AUDIENCES: u32 = 1024;
/// Words for source prefixes, of audiences and of the deny list; 100 000 prefixes take about
/// 300 000 words in IPv4 and 500 000 in IPv6, twice while they change.
pub const MAX_WORDS: u32 = 1 << 21;
/// Sources whose new connections are limited at a time.
pub const MAX_SOURCES: u32 = 65_536;
/// Connections that are measured at a time.
pub const MAX_WATCHED: u32 = 65_536;
/// Places for what clients of measured connections have told: see [`crate::signal::client`].
pub const MAX_CLIENTS: u32 = 65_536;
/// Tallies of cohorts: see [`crate::signal::tally_index`].
pub const MAX_TALLIES: u32 = MAX_SERVICES * cohort::COUNT;
/// Rows of histograms: see [`crate::signal::histogram::first_row`].
pub const MAX_ROWS: u32 = MAX_TALLIES * HISTOGRAMS * ROWS;
/// Flow-table size unless `node.connections` says otherwise.
pub const DEFAULT_FLOWS: u32 = 1_048_576;
/// [`half_open`] of it.
pub const DEFAULT_HALF_OPEN: u32 = half_open(DEFAULT_FLOWS);

/// Room for connections whose handshake is under way, beside a flow table of this size: one for
/// eight. A flood of SYNs turns these over and nothing else, and a handshake that is done within
/// the time that such a flood takes to do so is not hurt.
pub const fn half_open(flows: u32) -> u32 {
    // The kernel's LRU lists hand out entries by the hundred, and small maps would evict early.
    if flows / 8 < 4096 { 4096 } else { flows / 8 }
}

/// Names of the maps, which are also the names of their pins.
pub mod name {
    /// `[Node; 1]`.
    pub const NODE: &str = "NODE";
    /// `Endpoint → Listener`.
    pub const LISTENERS: &str = "LISTENERS";
    /// `service → index of its live record`.
    pub const ACTIVE: &str = "ACTIVE";
    /// `[Record; MAX_RECORDS]`.
    pub const RECORDS: &str = "RECORDS";
    /// `table → [[Slot; SLOTS]; 1]`.
    pub const TABLES: &str = "TABLES";
    /// `[Backend; 2 × MAX_BACKENDS]`.
    pub const BACKENDS: &str = "BACKENDS";
    /// `Endpoint of a backend → Reply`.
    pub const REPLIES: &str = "REPLIES";
    /// `ServerKey → Server`.
    pub const SERVERS: &str = "SERVERS";
    /// `FlowKey → Pin`.
    pub const FLOWS: &str = "FLOWS";
    /// `FragmentKey → Pieces`.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// `FlowKey → Pin`, of connections whose handshake is under way.
    pub const HALF_OPEN: &str = "HALF_OPEN";
    /// `index → program`.
    pub const PROGRAMS: &str = "PROGRAMS";
    /// `interface index → interface`.
    pub const PORTS: &str = "PORTS";
    /// `reason or flow event → u64`, a CPU.
    pub const COUNTERS: &str = "COUNTERS";
    /// `backend → BackendCounters`, a CPU.
    pub const BACKEND_COUNTERS: &str = "BACKEND_COUNTERS";
    /// `pool → packets dropped for want of a backend`, a CPU.
    pub const POOL_DROPS: &str = "POOL_DROPS";
    /// `set → AudienceSet`.
    pub const AUDIENCE_SETS: &str = "AUDIENCE_SETS";
    /// `[u64; MAX_WORDS]`.
    pub const PREFIXES: &str = "PREFIXES";
    /// `audience → AudienceCounters`, a CPU.
    pub const AUDIENCE_COUNTERS: &str = "AUDIENCE_COUNTERS";
    /// `[Protect; PROTECTS]`.
    pub const PROTECT: &str = "PROTECT";
    /// `masked source → the time until which its connections are paid for`.
    pub const SOURCES: &str = "SOURCES";
    /// `FlowKey → Watched`, of connections that are measured.
    pub const WATCHED: &str = "WATCHED";
    /// `place of a client → Told`.
    pub const CLIENTS: &str = "CLIENTS";
    /// `service and cohort → Tally`.
    pub const SIGNALS: &str = "SIGNALS";
    /// `service, cohort, histogram and power of two → Row`.
    pub const HISTOGRAMS: &str = "HISTOGRAMS";
    /// `backend → Tally`.
    pub const BACKEND_SIGNALS: &str = "BACKEND_SIGNALS";
    /// `service → Breaker`.
    pub const BREAKERS: &str = "BREAKERS";

    /// `[Remembered; REMEMBERED]`, a CPU; of one loaded object, so not pinned.
    pub const REMEMBERED: &str = "REMEMBERED";
    /// `[Trace; 1]`; of one process, so not pinned.
    pub const TRACE: &str = "TRACE";

    /// `[decap::Settings; 1]`; the decapsulator's own, with its counters.
    pub const DECAP: &str = "DECAP";
    /// `way out → u64`, a CPU.
    pub const DECAP_COUNTERS: &str = "DECAP_COUNTERS";

    /// All that are pinned.
    pub const ALL: [&str; 27] = [
        NODE,
        LISTENERS,
        ACTIVE,
        RECORDS,
        TABLES,
        BACKENDS,
        REPLIES,
        SERVERS,
        FLOWS,
        FRAGMENTS,
        HALF_OPEN,
        PROGRAMS,
        PORTS,
        COUNTERS,
        BACKEND_COUNTERS,
        POOL_DROPS,
        AUDIENCE_SETS,
        PREFIXES,
        AUDIENCE_COUNTERS,
        PROTECT,
        SOURCES,
        WATCHED,
        CLIENTS,
        SIGNALS,
        HISTOGRAMS,
        BACKEND_SIGNALS,
        BREAKERS,
    ];
}
