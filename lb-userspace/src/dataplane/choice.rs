//! What the packet path will do with a client's connection, worked out from an image.

use lb_common::{
    address::Address,
    audience::{self, AudienceSet, Decision, Marks, NO_VLAN, RULES},
    hash,
    listener::Endpoint,
    node::Node,
    pool::{SLOTS, Slot},
    release::Record,
};

use super::Image;

/// The answer for one flow, and what it follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The client's place among a million, under the release's salt.
    pub bucket: u32,
    /// The flow's place in the table.
    pub slot: u32,
    /// The table by which new connections go.
    pub table: u32,
    /// The backend of a new connection.
    pub current: u16,
    /// The backend of a connection of unknown past.
    pub origin: u16,
    /// Whether the change under way concerns the flow, and so its connections are pinned.
    pub moving: bool,
    /// Whether a pin is looked for although the flow is not moving.
    pub touched: bool,
}

/// An audience that a client may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Number of its counters.
    pub number: u32,
    /// The candidate's share among its clients, in parts per million.
    pub share_ppm: u32,
    /// It asks for nothing beyond the address: the client is in it.
    pub plain: bool,
}

impl Image {
    /// The choice for a client's port (network byte order) and a listener.
    pub fn choose(
        &self,
        node: &Node,
        listener: &Endpoint,
        client: Address,
        port: [u8; 2],
    ) -> Option<Choice> {
        let record = self.records.get(&self.listeners.get(listener)?.service())?;
        let v6 = !client.is_v4();
        let client_hash = node.client_hash(&client, v6);
        let ports = (port, listener.port());
        let slot = if record.has(Record::AFFINITY_CLIENT) {
            hash::client_slot(client_hash, SLOTS)
        } else {
            let flow = node
                .key()
                .flow(&client, listener.address(), ports, listener.protocol());
            hash::slot(flow, SLOTS)
        };
        let bucket = hash::bucket(client_hash, record.salt);
        let (now, origin_ppm) = self.shares(record, client, port);
        let table = record.table(bucket, now.share_ppm);
        let here = self.slot(table, slot)?;
        let origin_bucket = hash::bucket(client_hash, record.origin_salt);
        let before = record.origin_table(origin_bucket, origin_ppm);
        let moved = record.has(Record::MOVING) && before != table;
        let origin = if moved {
            self.slot(before, slot)?.origin()
        } else {
            here.origin()
        };
        let current = here.current();
        Some(Choice {
            bucket,
            slot,
            table,
            current,
            origin: if origin == lb_common::backend::NONE {
                current
            } else {
                origin
            },
            moving: moved || current != here.origin(),
            touched: here.is_touched() || record.touches(bucket) || now.pinned,
        })
    }

    /// The candidate's share for a client's later packets, now and at the last settled state.
    fn shares(&self, record: &Record, client: Address, port: [u8; 2]) -> (Decision, u32) {
        let marks = Marks {
            source_port: port,
            vlan: [NO_VLAN; 2],
            mss: 0,
            dscp: 0,
            hops: 0,
        };
        let decide = |number: u32, share_ppm: u32| {
            let set = self.audiences.get(&number).filter(|_| number != 0);
            set.map_or(Decision::none(share_ppm), |set| {
                let members = self.members(set, &client);
                let admits = |index| set.rule(index).admits(&marks);
                let index = audience::first(set.candidates(members, false), admits);
                set.decision(members, index, share_ppm)
            })
        };
        let now = decide(record.audiences, record.share_ppm);
        let origin = decide(record.origin_audiences, record.origin_share_ppm);
        (now, origin.share_ppm)
    }

    /// The audiences that a client whose first packet is about to come may be in by its address, in
    /// their order up to the first that asks for no more.
    pub fn candidates(&self, record: &Record, client: &Address) -> Vec<Candidate> {
        let set = self.audiences.get(&record.audiences);
        let Some(set) = set.filter(|_| record.audiences != 0) else {
            return Vec::new();
        };
        let candidates = set.candidates(self.members(set, client), true);
        let mut found = Vec::new();
        for index in (0..RULES).filter(|index| candidates >> index & 1 == 1) {
            let rule = set.rule(index);
            found.push(Candidate {
                number: rule.number,
                share_ppm: rule.share_ppm,
                plain: rule.is_plain(),
            });
            if rule.is_plain() {
                break;
            }
        }
        found
    }

    /// The audiences of a set that an address is among the sources of, a bit each.
    fn members(&self, set: &AudienceSet, client: &Address) -> u32 {
        let prefixes = set.prefixes();
        let block = self.blocks.get(&prefixes.base());
        let members =
            block.and_then(|block| prefixes.moved(0).members(block, client, !client.is_v4()));
        members.unwrap_or(0)
    }

    fn slot(&self, table: u32, slot: u32) -> Option<Slot> {
        Some(self.tables.get(&table)?.slot(slot as usize))
    }
}
