//! What goes over the socket. Field names are a contract with scripts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::toggles::ToggleStatus;
use crate::{
    release::engine::Strategy,
    state::{Admin, Ended},
};

/// The answer to an order that changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The service.
    pub service: String,
    /// Number of the service's live record.
    pub epoch: u64,
    /// Name of the active pool.
    pub active: String,
    /// Name of the candidate pool, if there is one.
    pub candidate: Option<String>,
    /// The candidate's share of clients, in parts per million.
    pub share_ppm: u32,
    /// When the record was stored, in nanoseconds of `CLOCK_REALTIME`; null if none had to be.
    pub stored_at_ns: Option<u64>,
    /// Seconds until the order is carried out: until then, sessions that are there are being pinned.
    /// Null if it is in force.
    #[serde(default)]
    pub arming_s: Option<u64>,
    /// Number of the order, if it waits so: the status says when it no longer does, and how it ended.
    #[serde(default)]
    pub order: Option<u64>,
    /// How long the daemon took until that, in microseconds.
    #[serde(default)]
    pub stored_us: Option<u64>,
    /// How long the daemon took in all, in microseconds.
    pub took_us: u64,
    /// What is to be said besides.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A line of `serin list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The service.
    pub service: String,
    /// Name of the active pool.
    pub active: String,
    /// Name of the candidate pool, if there is one.
    pub candidate: Option<String>,
    /// The candidate's share of clients, in parts per million.
    pub share_ppm: u32,
    /// No change is under way.
    pub settled: bool,
    /// Pools whose backends are all down.
    #[serde(default)]
    pub dead: Vec<String>,
    /// As configured.
    pub listeners: Vec<String>,
    /// Names of the audiences, in their order.
    #[serde(default)]
    pub audiences: Vec<String>,
}

/// `serin status SERVICE`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The service.
    pub service: String,
    /// `nat`, `l2`, `ipip` or `gue`.
    pub forward: String,
    /// Name of the active pool.
    pub active: String,
    /// Name of the candidate pool, if there is one.
    pub candidate: Option<String>,
    /// The candidate's share of clients, in parts per million.
    pub share_ppm: u32,
    /// No change is under way.
    pub settled: bool,
    /// Connections may be pinned, and are looked up.
    pub pinned: bool,
    /// Seconds until the changes under way settle; null if there are none.
    pub settles_in_s: Option<u64>,
    /// The order that waits while sessions are being pinned; null if none does.
    #[serde(default)]
    pub pending: Option<String>,
    /// Seconds until it is carried out.
    #[serde(default)]
    pub arming_s: Option<u64>,
    /// Its number, counted by service.
    #[serde(default)]
    pub order: Option<u64>,
    /// How the last order that waited so has ended; null if none has.
    #[serde(default)]
    pub ended: Option<Ended>,
    /// The release that goes by a plan, or the last that did; null if none has been started.
    #[serde(default)]
    pub release: Option<ReleaseStatus>,
    /// Connections cut so far at the end of a drain's deadline.
    #[serde(default)]
    pub cut: u64,
    /// Connections so far whose pin was removed since they were silent for longer than the drain.
    #[serde(default)]
    pub orphaned: u64,
    /// Number of the live record.
    pub epoch: u64,
    /// As configured.
    pub listeners: Vec<String>,
    /// What the kernel counted since the last change of the mapping.
    pub measured: Measured,
    /// In the order in which they are looked at.
    #[serde(default)]
    pub audiences: Vec<AudienceStatus>,
    /// Toggles that guard parts of it.
    #[serde(default)]
    pub toggles: Vec<ToggleStatus>,
    /// By name.
    pub pools: Vec<PoolStatus>,
}

/// A release that goes by a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseStatus {
    /// Counted by service.
    pub number: u64,
    /// Name of the pool that is released.
    pub candidate: String,
    /// `holding`, `paused`, `scheduled`, `awaits-approval`, `awaits-gates`, `awaits-evidence`, `awaits-backends`, `awaits-others`,
    /// `awaits-toggle`, `baking`, `promoted`, `aborted`, `taken-over` or `rolled-back`.
    pub state: String,
    /// Whether it is not over yet.
    pub under_way: bool,
    /// Why it was aborted, or taken back by itself; null if it was not.
    pub reason: Option<String>,
    /// Whether it was for want of an answer: neither judge nor gate could tell.
    #[serde(default)]
    pub inconclusive: bool,
    /// The step that it is at, counted from 1; null once it is over.
    pub step: Option<usize>,
    /// How many steps it has before the promotion.
    pub steps: usize,
    /// The audience that gets the candidate by the step; null if it is for a share.
    pub audience: Option<String>,
    /// The share of all others that the step asks for, in parts per million; null once it is over.
    pub asked_share_ppm: Option<u32>,
    /// How long the step is held, in seconds; null once it is over.
    pub hold_s: Option<u64>,
    /// Seconds that it is still to be held; null once it is over.
    pub left_s: Option<u64>,
    /// Seconds until it is aborted; null if it has no deadline, or is over.
    pub deadline_left_s: Option<u64>,
    /// `canary` or `blue-green`.
    #[serde(default)]
    pub strategy: Strategy,
    /// When it goes on at the earliest, in milliseconds since the epoch; null if no time was set.
    #[serde(default)]
    pub scheduled_ms: Option<u64>,
    /// The services that it goes on with at one moment, its own among them; empty where it goes by
    /// itself.
    #[serde(default)]
    pub together: Vec<String>,
    /// What is asked before it may go on, as planned; empty once it is over.
    #[serde(default)]
    pub gates: Vec<GateStatus>,
    /// What its judge can't see; null if it sees all, or the release has none or is over.
    #[serde(default)]
    pub unseen: Option<String>,
}

/// One gate of a release under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateStatus {
    /// The gate.
    pub name: String,
    /// `exec`, `http`, `prometheus` or `approval`.
    pub kind: String,
    /// When it is asked: `before start`, `before 2`, `before promote`, `during 2` or `after promote`.
    pub point: String,
    /// What it has answered at the present stage: `passed`, `failed` or `inconclusive`; null if
    /// nothing yet.
    pub outcome: Option<String>,
    /// Why; null if it passed.
    pub why: Option<String>,
    /// So many answers of this kind came in a row.
    pub streak: u32,
    /// Seconds since the last answer; null without one.
    pub ago_s: Option<u64>,
}

impl ReleaseStatus {
    /// Whether it is under way.
    pub const fn is_under_way(&self) -> bool {
        self.under_way
    }
}

/// One audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudienceStatus {
    /// The audience.
    pub name: String,
    /// The candidate's share among its clients, in parts per million.
    pub share_ppm: u32,
    /// They have none of it yet: the release has not come to the step that names the audience.
    #[serde(default)]
    pub hidden: bool,
    /// Packets from its clients.
    pub packets: u64,
    /// Their bytes, from the Ethernet header on.
    pub bytes: u64,
    /// TCP connections started.
    pub connections: u64,
}

/// The share as the kernel saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// TCP connections started, on both pools.
    pub connections: u64,
    /// Those on the candidate.
    pub candidate_connections: u64,
    /// The candidate's part, in parts per million; null while there are no connections.
    pub share_ppm: Option<u32>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// The pool.
    pub name: String,
    /// `active`, `candidate`, `idle`, or `removed` while it still has connections.
    pub role: String,
    /// Packets dropped because it had no backend.
    pub dropped: u64,
    /// All backends that would serve are down.
    pub dead: bool,
    /// The pool whose backends get its users while it is dead.
    pub stand_in: Option<String>,
    /// Sums over its backends.
    pub traffic: Traffic,
    /// By name.
    pub backends: Vec<BackendStatus>,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// The backend.
    pub name: String,
    /// As configured.
    pub address: Vec<String>,
    /// The weight that is asked of it, by command or by the configuration.
    pub weight: u32,
    /// The weight in the configuration.
    pub configured_weight: u32,
    /// The weight by which it has slots: less than `weight` while it starts slowly, and 0 while it
    /// takes no connections.
    #[serde(default)]
    pub effective_weight: f64,
    /// What its operator wants of it.
    pub state: Admin,
    /// What its checks say: `up`, `down`, or `unchecked`.
    pub health: String,
    /// What they have come to; null for a backend that has not been checked yet.
    #[serde(default)]
    pub checks: Option<CheckStatus>,
    /// Gone from the configuration, kept for its last connections.
    pub leaving: bool,
    /// `resolved`, `resolving`, `no-route` or `local`.
    pub next_hop: String,
    /// Connections of this release that are measured and live, unless their end was missed; null while
    /// nothing is measured.
    #[serde(default)]
    pub live: Option<u64>,
    /// What it served.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// The checks of one backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Checks in a row that contradict `health`.
    pub against: u32,
    /// As many in a row change it.
    pub needed: u32,
    /// It goes down soon after it comes up, and so needs more good checks each time.
    pub flapping: bool,
    /// Why the last check failed; null if it passed.
    pub why: Option<String>,
}

/// Counters; only ever growing while the backend stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets from clients.
    pub packets: u64,
    /// Their bytes, from the Ethernet header on.
    pub bytes: u64,
    /// TCP connections started.
    pub connections: u64,
    /// Packets to clients (`nat` only).
    pub reply_packets: u64,
    /// Their bytes.
    pub reply_bytes: u64,
}

/// `serin status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// What is to be said of each interface.
    pub interfaces: BTreeMap<String, String>,
    /// Packets by the reason with which they left the program.
    pub reasons: BTreeMap<String, u64>,
    /// What happened to the flow table.
    pub flows: BTreeMap<String, u64>,
    /// Who is told of what happens, by name.
    #[serde(default)]
    pub notify: BTreeMap<String, NotifyStatus>,
}

/// One that is told of what happens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyStatus {
    /// Entries that it has taken.
    pub delivered: u64,
    /// Entries that wait for it.
    pub pending: u64,
    /// Attempts in a row that have failed.
    pub failing: u64,
    /// Entries that it has refused for good.
    pub refused: u64,
    /// Entries that the log no longer had when their turn came.
    pub lost: u64,
    /// Why the last attempt failed or was refused; null if it did not.
    pub error: Option<String>,
}

/// `serin whois`: the query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhoisQuery {
    /// An address, or an address and a port.
    pub client: String,
    /// As configured, with or without its options; else the first one of the client's family.
    #[serde(default)]
    pub listener: Option<String>,
    /// A packet amid its connection rather than one that starts one.
    #[serde(default)]
    pub established: bool,
    /// Differentiated services code point, by number or name; else 0.
    #[serde(default)]
    pub dscp: Option<String>,
    /// Time to live, or hop limit; else 64.
    #[serde(default)]
    pub ttl: Option<u8>,
    /// Id of its VLAN tag; else it has no tag.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// The segment size that its TCP options announce, in bytes; else it has no options.
    #[serde(default)]
    pub mss: Option<u16>,
}

/// `serin whois`: what the loaded program would do with one packet, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whois {
    /// The service.
    pub service: String,
    /// As configured.
    pub listener: String,
    /// Address and port.
    pub client: String,
    /// No port was named: the client's is made up.
    pub any_port: bool,
    /// `syn`, `initial` (of QUIC), `established` or `datagram`.
    pub packet: String,
    /// Number of the live record; null if the service has none.
    pub epoch: Option<u64>,
    /// The candidate's share of clients, in parts per million: of those of the audience, or of all.
    pub share_ppm: u32,
    /// The first audience that the packet is in; null if it is in none.
    #[serde(default)]
    pub audience: Option<String>,
    /// From the client to a backend; null if the packet did not come that far.
    pub way: Option<Way>,
    /// Connection ids tell their server (`quic_lb`): this packet has none, and one that has goes there.
    #[serde(default)]
    pub cids: bool,
    /// Where the packet goes; null if nowhere.
    pub backend: Option<Server>,
    /// The way out, by the name of its counter.
    pub reason: String,
}

/// The decisions about one flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The client's place among a million.
    pub bucket: u32,
    /// The client is one of the candidate's share.
    pub below_share: bool,
    /// The pool of new connections.
    pub pool: String,
    /// The pool of connections of unknown past.
    pub origin_pool: String,
    /// The flow's place among 65 537.
    pub slot: u32,
    /// All ports of the client have this slot.
    pub by_client: bool,
    /// The backend of a new connection; null where the pool has none.
    pub current: Option<Server>,
    /// The backend of a connection of unknown past.
    pub origin: Option<Server>,
    /// Whether one concerns the flow.
    pub change: Change,
    /// The connection's pin; null if it has none, or none was looked for.
    pub pin: Option<Pinned>,
}

/// What a change means to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Nothing: no pin is looked for.
    None,
    /// It is under way: connections are pinned.
    UnderWay,
    /// It has settled; older connections may be pinned.
    Settled,
}

/// A pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Where it leads.
    pub backend: Option<Server>,
    /// The backend is not what it was; the pin says nothing.
    pub void: bool,
}

/// A backend by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The backend.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// Where its connections to the listener go.
    pub address: Option<String>,
}

/// Body of a share order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareOrder {
    /// Parts per million, to 1 000 000.
    pub share_ppm: u32,
    /// The pool, where it is not the only other one.
    #[serde(default)]
    pub to: Option<String>,
}

/// Body of a cutover.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutoverOrder {
    /// The pool, where it is not the only other one.
    #[serde(default)]
    pub to: Option<String>,
    /// Not before this time, in milliseconds since the epoch; for blue-green releases.
    #[serde(default)]
    pub at_ms: Option<u64>,
    /// Why, in a person's words.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Body of a cutover of several services, which is made for all of them or for none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TogetherOrder {
    /// Each once.
    pub services: Vec<String>,
    /// The pool, where it is not the only other one; all of them must have it.
    #[serde(default)]
    pub to: Option<String>,
    /// Not before this time, in milliseconds since the epoch.
    #[serde(default)]
    pub at_ms: Option<u64>,
    /// Why, in a person's words.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The answer to a cutover of several services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Together {
    /// Each, in the order in which they were named.
    pub services: Vec<Done>,
    /// From the first of their stores to the last, in nanoseconds; null if none had to be made.
    pub gap_ns: Option<u64>,
}

/// Body of a start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartOrder {
    /// The pool, where it is not the only other one.
    #[serde(default)]
    pub to: Option<String>,
    /// End the release under way for it.
    #[serde(default)]
    pub replace: bool,
    /// Not before this time, in milliseconds since the epoch.
    #[serde(default)]
    pub at_ms: Option<u64>,
}

/// Body of a promotion.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromoteOrder {
    /// To the end, skipping all steps.
    #[serde(default)]
    pub full: bool,
    /// Only from this step, counted from 1.
    #[serde(default)]
    pub expect_step: Option<usize>,
}

/// Body of a pause, a resumption, an abort or a retry.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonOrder {
    /// Why, in a person's words.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `serin events` and `serin history`: the query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Only entries with a higher number.
    #[serde(default)]
    pub after: u64,
    /// Only entries of this service.
    #[serde(default)]
    pub service: Option<String>,
}

/// Body of an order about a backend.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum BackendOrder {
    /// A weight, 0 to 65535.
    Weight(u32),
    /// An administrative state.
    State(Admin),
}

/// Body of a reload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyOrder {
    /// Another file than the daemon's own.
    #[serde(default)]
    pub file: Option<std::path::PathBuf>,
    /// Only tell what would be written.
    #[serde(default)]
    pub dry_run: bool,
}

/// The answer to a reload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Applied {
    /// The writes, in order.
    pub writes: Vec<String>,
    /// Nothing was written.
    pub dry_run: bool,
    /// Seconds until it is: until then, sessions that are there are being pinned. Null if it was.
    #[serde(default)]
    pub arming_s: Option<u64>,
    /// Number of the order that waits so, or has waited, in each service that has such sessions.
    #[serde(default)]
    pub orders: BTreeMap<String, u64>,
    /// What is to be said besides.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// An error (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind of error, in short.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Object and remedy.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn orders_about_backends_are_written_as_one_key() {
        let text = |order: &BackendOrder| serde_json::to_value(order).expect("JSON");
        assert_eq!(text(&BackendOrder::Weight(7)), json!({ "weight": 7 }));
        assert_eq!(
            text(&BackendOrder::State(Admin::Maint)),
            json!({ "state": "maint" })
        );
    }

    #[test]
    fn what_an_order_may_leave_out_is_filled_in() {
        let apply: ApplyOrder = serde_json::from_value(json!({})).expect("an order");
        assert!(apply.file.is_none() && !apply.dry_run);
        let share: ShareOrder =
            serde_json::from_value(json!({ "share_ppm": 5 })).expect("an order");
        assert_eq!(share.to, None);
        assert!(serde_json::from_value::<ShareOrder>(json!({})).is_err());
    }

    #[test]
    fn a_backends_traffic_stands_beside_its_name() {
        let backend = BackendStatus {
            traffic: Traffic {
                packets: 3,
                ..Traffic::default()
            },
            ..serde_json::from_value(json!({
                "name": "b1", "address": ["10.0.1.1"], "weight": 1, "configured_weight": 1,
                "state": "ready", "health": "up", "leaving": false, "next_hop": "resolved",
                "packets": 0, "bytes": 0, "connections": 0, "reply_packets": 0, "reply_bytes": 0
            }))
            .expect("a backend")
        };
        let text = serde_json::to_value(&backend).expect("JSON");
        assert_eq!((&text["name"], &text["packets"]), (&json!("b1"), &json!(3)));
    }
}
