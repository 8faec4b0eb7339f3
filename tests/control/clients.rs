//! Clients, and what the packet path does with their packets (DESIGN.md, section 3, step 6),
//! worked out in plain Rust from an image and the flow table.

use std::collections::HashMap;

use lb_common::{
    address::Address,
    backend::{self, NONE},
    flow::{FlowKey, Pin, tick},
    listener::Endpoint,
    node::Node,
};
use lb_userspace::dataplane::{Image, choice::Choice};

/// When a client says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Whenever it can, on one connection for ever.
    Talks,
    /// As seldom as the drain allows.
    Quiet,
    /// Whenever it can, with a new connection every third time.
    Short,
    /// Whenever it can; now and then it starts anew from the same port.
    Reopens,
}

/// A client of one VIP.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: Address,
    pub port: u16,
    pub vip: Endpoint,
    pub habit: Habit,
    pub connection: Option<Connection>,
    said: u32,
}

/// An established connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    pub server: Server,
    /// Time of its last packet, in nanoseconds.
    pub last: u64,
}

/// The end of a connection: it is broken where this changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    pub address: Address,
    port: [u8; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    Opens,
    GoesOn,
    Closes,
}

impl Client {
    /// The `number`th client; its VIP is of one family with it.
    pub fn new(number: u8, vip: Endpoint, habit: Habit) -> Self {
        let address = if vip.address().is_v4() {
            Address::v4([198, 51, 100, number])
        } else {
            let mut bytes = [
                0x20, 0x01, 0x0d, 0xb8, 0, 9, 0, number, 0, 0, 0, 0, 0, 0, 0, 1,
            ];
            bytes[15] = number;
            Address::v6(bytes)
        };
        Self {
            address,
            port: 20_000 + u16::from(number),
            vip,
            habit,
            connection: None,
            said: 0,
        }
    }

    /// What it sends next.
    pub fn next(&mut self) -> Packet {
        self.said += 1;
        if self.connection.is_none() {
            self.said = 0;
        }
        match self.habit {
            _ if self.said == 0 => Packet::Opens,
            Habit::Reopens if self.said.is_multiple_of(5) => Packet::Opens,
            Habit::Short if self.said == 2 => Packet::Closes,
            Habit::Talks | Habit::Quiet | Habit::Short | Habit::Reopens => Packet::GoesOn,
        }
    }

    /// Its packet has arrived at a server; the error says what is wrong with that.
    pub fn arrived(&mut self, packet: Packet, server: Server, now: u64) -> Result<(), Server> {
        let before = self.connection.map(|connection| connection.server);
        if packet == Packet::Closes {
            self.connection = None;
            self.port = 20_000 + (self.port - 20_000 + 256) % 40_000;
        } else {
            self.connection = Some(Connection { server, last: now });
        }
        match before {
            Some(before) if packet != Packet::Opens && before != server => Err(before),
            _ => Ok(()),
        }
    }

    /// The client's port in network byte order.
    pub fn wire_port(&self) -> [u8; 2] {
        self.port.to_be_bytes()
    }

    fn is_v6(&self) -> bool {
        !self.address.is_v4()
    }
}

/// What a packet has read of the maps before it takes the flow step; both may be some time apart.
pub fn read(image: &Image, node: &Node, client: &Client) -> Option<Choice> {
    image.choose(node, &client.vip, client.address, client.wire_port())
}

/// The flow step: the backend that a packet goes to.
pub fn settle(
    image: &Image,
    pins: &mut HashMap<FlowKey, Pin>,
    client: &Client,
    packet: Packet,
    choice: &Choice,
    now: u64,
) -> u16 {
    let Some(listener) = image.listeners.get(&client.vip) else {
        return choice.current;
    };
    let moving = choice.moving;
    if !moving && !choice.touched {
        return choice.current;
    }
    let key = FlowKey::new(client.address, client.wire_port(), listener.id());
    let generation = |id| generation(image, id, client.is_v6());
    let pin = |id| Some(Pin::new(id, generation(id)?, tick(now)));
    if packet == Packet::Opens {
        if !moving {
            pins.remove(&key);
        } else if let Some(pin) = pin(choice.current) {
            pins.insert(key, pin);
        }
        return choice.current;
    }
    if let Some(known) = pins.get_mut(&key)
        && generation(known.backend()) == Some(known.generation())
    {
        *known = known.seen(tick(now), packet == Packet::Closes);
        return known.backend();
    }
    if let Some(pin) = pin(choice.origin).filter(|_| moving) {
        pins.insert(key, pin);
    }
    choice.origin
}

/// The server behind a backend's id, for a client.
pub fn server(image: &Image, client: &Client, id: u16) -> Option<Server> {
    let entry = image.backends.get(&backend::index(id, client.is_v6()))?;
    let listener = image.listeners.get(&client.vip)?;
    Some(Server {
        address: *entry.address(),
        port: entry.port_or(listener.backend_port()),
    })
}

fn generation(image: &Image, id: u16, v6: bool) -> Option<u16> {
    if id == NONE {
        return None;
    }
    let entry = image.backends.get(&backend::index(id, v6))?;
    Some(entry.generation())
}
