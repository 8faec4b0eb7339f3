//! What the packet path will do with a client's connection, worked out from an image.

use lb_common::{
    address::Address,
    audience::{self, Decision, Marks, NO_VLAN},
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
                let prefixes = set.prefixes();
                let block = self.blocks.get(&prefixes.base());
                let found = block
                    .and_then(|block| prefixes.moved(0).members(block, &client, !client.is_v4()));
                let members = found.unwrap_or(0);
                let admits = |index| set.rule(index).admits(&marks);
                let index = audience::first(set.candidates(members, false), admits);
                set.decision(members, index, share_ppm)
            })
        };
        let now = decide(record.audiences, record.share_ppm);
        let origin = decide(record.origin_audiences, record.origin_share_ppm);
        (now, origin.share_ppm)
    }

    fn slot(&self, table: u32, slot: u32) -> Option<Slot> {
        Some(self.tables.get(&table)?.slot(slot as usize))
    }
}
