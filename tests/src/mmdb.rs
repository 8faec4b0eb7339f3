//! A writer of `MaxMind` DB files (format 2.0), as small as its format allows: databases of countries
//! and AS numbers for tests. <https://maxmind.github.io/MaxMind-DB/> describes the format.

use std::net::IpAddr;

use ipnet::IpNet;

const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// Bytes between the search tree and the data.
const GAP: usize = 16;
const STRING: u8 = 2;
const UINT16: u8 = 5;
const UINT32: u8 = 6;
const MAP: u8 = 7;
const UINT64: u8 = 9;
const ARRAY: u8 = 11;

/// What is said of a network.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    /// The two letters of its country.
    Country(&'a str),
    /// Its AS number.
    Asn(u32),
}

/// Where one side of a node leads.
#[derive(Clone, Copy)]
enum Side {
    Nowhere,
    Node(usize),
    /// Offset in the data.
    Data(usize),
}

/// The bytes of a database that says these facts; later ones win where networks overlap.
///
/// # Panics
/// If the database would have 4 GiB.
pub fn database(facts: &[(IpNet, Fact<'_>)]) -> Vec<u8> {
    let mut tree = vec![[Side::Nowhere; 2]];
    let mut data = Vec::new();
    for (net, fact) in facts {
        let at = data.len();
        data.extend(record(*fact));
        insert(&mut tree, *net, Side::Data(at));
    }
    let count = tree.len();
    let number = |side: Side| match side {
        Side::Nowhere => count,
        Side::Node(node) => node,
        Side::Data(at) => count + GAP + at,
    };
    let sides = tree.iter().flatten();
    let mut file: Vec<u8> = sides
        .flat_map(|&side| word(number(side)).to_be_bytes())
        .collect();
    file.extend([0; GAP]);
    file.extend(data);
    file.extend(MARKER);
    file.extend(metadata(word(count)));
    file
}

fn word(number: usize) -> u32 {
    u32::try_from(number).expect("a small database")
}

/// IPv4 lies below `::/96`.
fn insert(tree: &mut Vec<[Side; 2]>, net: IpNet, leaf: Side) {
    let (bits, length) = match net.network() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), net.prefix_len() + 96),
        IpAddr::V6(v6) => (v6.to_bits(), net.prefix_len()),
    };
    let mut node = 0;
    for depth in 1..=length {
        let side = usize::from(bits >> (128 - depth) & 1 == 1);
        if depth == length {
            tree[node][side] = leaf;
        } else if let Side::Node(next) = tree[node][side] {
            node = next;
        } else {
            // What was said of the whole network goes on for the halves.
            tree.push([tree[node][side]; 2]);
            tree[node][side] = Side::Node(tree.len() - 1);
            node = tree.len() - 1;
        }
    }
}

fn record(fact: Fact<'_>) -> Vec<u8> {
    match fact {
        Fact::Country(code) => map(&[("country", map(&[("iso_code", string(code))]))]),
        Fact::Asn(number) => map(&[("autonomous_system_number", uint(UINT32, number.into()))]),
    }
}

fn metadata(nodes: u32) -> Vec<u8> {
    map(&[
        ("binary_format_major_version", uint(UINT16, 2)),
        ("binary_format_minor_version", uint(UINT16, 0)),
        ("build_epoch", uint(UINT64, 1_700_000_000)),
        ("database_type", string("Serin-Test")),
        ("description", map(&[("en", string("for tests"))])),
        ("ip_version", uint(UINT16, 6)),
        ("languages", [control(ARRAY, 1), string("en")].concat()),
        ("node_count", uint(UINT32, nodes.into())),
        ("record_size", uint(UINT16, 32)),
    ])
}

fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs = entries.iter();
    let pairs = pairs.flat_map(|(key, value)| [string(key), value.clone()].concat());
    control(MAP, entries.len())
        .into_iter()
        .chain(pairs)
        .collect()
}

fn string(text: &str) -> Vec<u8> {
    [control(STRING, text.len()), text.as_bytes().to_vec()].concat()
}

fn uint(kind: u8, number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let first = bytes
        .iter()
        .position(|&byte| byte != 0)
        .unwrap_or(bytes.len());
    [control(kind, bytes.len() - first), bytes[first..].to_vec()].concat()
}

/// The byte that tells type and size; types above 7 have one of their own.
fn control(kind: u8, size: usize) -> Vec<u8> {
    let size = u8::try_from(size).expect("a small value");
    assert!(size < 29, "sizes of one byte are all that tests need");
    if kind > MAP {
        vec![size, kind - MAP]
    } else {
        vec![kind << 5 | size]
    }
}
