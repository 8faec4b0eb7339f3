//! `[node]` and `[api]`.

use std::{collections::BTreeSet, ops::RangeInclusive, path::PathBuf};

use lb_common::{encap, maps::DEFAULT_FLOWS};

use super::{
    audience,
    errors::Fault,
    model::{Api, Attach, ClientPrefix, Encap, Node, Protect},
    raw::Section,
    setting::{self, SettingError},
};

/// Sizes that the flow table may have, in entries.
const CONNECTIONS: RangeInclusive<u32> = 1024..=16_777_216;
/// New connections that a source may have in a second, or at once.
const SYNS: RangeInclusive<u32> = 1..=1_000_000;
/// Lengths that a client's prefix may have, in bits.
const CLIENT_PREFIX_V4: RangeInclusive<u8> = 8..=32;
const CLIENT_PREFIX_V6: RangeInclusive<u8> = 16..=128;
/// Lengths that a prefix of outer sources may have, in bits.
const SOURCES_V4: RangeInclusive<u8> = 8..=32;
const SOURCES_V6: RangeInclusive<u8> = 16..=128;
/// Answers to packets that are too big, a second and CPU.
const TOO_BIG_PER_SECOND: RangeInclusive<u32> = 0..=1_000_000;

/// What `[node]` means; nothing only where a problem has been reported.
pub(super) fn read(section: &mut Section) -> Option<Node> {
    section.require(
        "hash_seed",
        "hash_seed = \"a secret\", the same on every host that shares VIPs: it is the key of \
         the hash that chooses a client's pool and backend",
    );
    Some(Node {
        interfaces: interfaces(section),
        attach: section
            .setting("attach", |word: &String| {
                setting::word(word, Attach::WORDS, &[])
            })
            .unwrap_or(Attach::Auto),
        connections: section
            .setting("connections", |n: &i64| setting::number(*n, CONNECTIONS))
            .unwrap_or(DEFAULT_FLOWS),
        client_prefix: section
            .table("client_prefix", read_client_prefix)
            .unwrap_or_default(),
        encap: section.table("encap", read_encap).unwrap_or_default(),
        too_big_per_second: section
            .setting("too_big_per_second", |n: &i64| {
                setting::number(*n, TOO_BIG_PER_SECOND)
            })
            .unwrap_or(encap::TOO_BIG_PER_SECOND),
        answer_echo: section
            .value::<bool>("answer_echo")
            .is_none_or(|answer| *answer.get_ref()),
        pins: path(section, "pins", setting::bpffs_path)
            .unwrap_or_else(|| PathBuf::from("/sys/fs/bpf/serin")),
        state: path(section, "state", setting::path)
            .unwrap_or_else(|| PathBuf::from("/var/lib/serin/state.json")),
        geoip: databases(section),
        protect: section.table("protect", read_protect),
        hash_seed: section.setting("hash_seed", |seed: &String| setting::secret(seed))?,
    })
}

/// What `[api]` means.
pub(super) fn read_api(section: &mut Section) -> Api {
    let socket = path(section, "socket", setting::socket_path);
    let http = section.setting("http", |text: &String| {
        text.parse().map_err(|_| SettingError::Http)
    });
    Api {
        socket: socket.unwrap_or_else(|| Api::default().socket),
        http,
    }
}

fn interfaces(section: &mut Section) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let interfaces = section.settings("interfaces", setting::interface);
    if interfaces.as_ref().is_some_and(Vec::is_empty) {
        section.refuse(Fault::NoInterface);
    }
    let interfaces = interfaces.unwrap_or_default();
    for interface in interfaces.iter().flatten() {
        if !seen.insert(interface) {
            section.refuse(Fault::InterfaceTwice(interface.clone()));
        }
    }
    interfaces.into_iter().flatten().collect()
}

fn databases(section: &mut Section) -> Vec<PathBuf> {
    let paths = section.settings("geoip", setting::path);
    paths.into_iter().flatten().flatten().collect()
}

fn read_protect(section: &mut Section) -> Protect {
    let deny = audience::read_prefixes(section, "deny").unwrap_or_default();
    let mut number = |key| section.setting(key, |n: &i64| setting::number(*n, SYNS));
    let (per_second, burst) = (number("syn_per_second"), number("syn_burst"));
    if per_second.is_none() && burst.is_some() {
        section.refuse(Fault::BurstAlone);
    }
    let syn_per_second = per_second.unwrap_or(0);
    Protect {
        deny,
        syn_per_second,
        syn_burst: burst.unwrap_or(syn_per_second),
    }
}

fn read_client_prefix(section: &mut Section) -> ClientPrefix {
    let mut length = |key, bounds, default| {
        let length = section.setting(key, |n: &i64| setting::number(*n, bounds));
        length.unwrap_or(default)
    };
    let ClientPrefix { v4, v6 } = ClientPrefix::default();
    ClientPrefix {
        v4: length("v4", CLIENT_PREFIX_V4, v4),
        v6: length("v6", CLIENT_PREFIX_V6, v6),
    }
}

fn read_encap(section: &mut Section) -> Encap {
    let Encap { v4, v6, gue_port } = Encap::default();
    let v4 = section
        .setting("v4", |text: &String| setting::prefix(text, SOURCES_V4))
        .unwrap_or(v4);
    let v6 = section
        .setting("v6", |text: &String| setting::prefix(text, SOURCES_V6))
        .unwrap_or(v6);
    let gue_port = section
        .setting("gue_port", |n: &i64| setting::number(*n, 1..=u16::MAX))
        .unwrap_or(gue_port);
    Encap { v4, v6, gue_port }
}

fn path(
    section: &mut Section,
    key: &'static str,
    meaning: impl Fn(&str) -> Result<PathBuf, SettingError>,
) -> Option<PathBuf> {
    section.setting(key, |path: &String| meaning(path))
}

#[cfg(test)]
mod tests {
    use super::super::samples::refuses;

    /// A node with a line of its own, at line 4.
    fn node(line: &str) -> String {
        format!("[node]\ninterfaces = [\"eth0\"]\nhash_seed = \"x\"\n{line}\n")
    }

    #[test]
    fn no_interface_is_refused() {
        let expected = "[node] has no interface; add one to `interfaces`";
        refuses("[node]\nhash_seed = \"x\"", expected);
        refuses("[node]\nhash_seed = \"x\"\ninterfaces = []", expected);
    }

    #[test]
    fn the_same_interface_twice_is_refused() {
        refuses(
            "[node]\nhash_seed = \"x\"\ninterfaces = [\"eth0\", \"eth1\", \"eth0\"]",
            "[node] names interface `eth0` twice; remove one",
        );
    }

    #[test]
    fn a_name_that_no_interface_can_have_is_refused() {
        refuses(
            "[node]\nhash_seed = \"x\"\ninterfaces = [\"eth0\", \"eth/1\"]",
            "line 3, column 23: [node] sets `interfaces` to `eth/1`: no interface's name",
        );
    }

    #[test]
    fn a_missing_hash_seed_says_what_it_is_for() {
        refuses(
            "[node]\ninterfaces = [\"eth0\"]",
            "[node] has no `hash_seed`; add hash_seed = \"a secret\", the same on every host that \
             shares VIPs: it is the key of the hash",
        );
    }

    #[test]
    fn an_empty_hash_seed_is_refused() {
        refuses(
            "[node]\ninterfaces = [\"eth0\"]\nhash_seed = \" \"",
            "[node] sets `hash_seed` to ` `: empty; write a secret",
        );
    }

    #[test]
    fn an_unknown_way_to_attach_is_refused_with_the_known_ones() {
        refuses(
            &node("attach = \"offload\""),
            "[node] sets `attach` to `offload`: unknown word; write `auto`, `native` or \
             `generic`",
        );
    }

    #[test]
    fn a_flow_table_out_of_bounds_is_refused() {
        for connections in ["1023", "16_777_217", "-1", "0x1_0000_0000"] {
            refuses(
                &node(&format!("connections = {connections}")),
                "out of bounds; choose a number from 1024 to 16777216",
            );
        }
    }

    #[test]
    fn a_client_prefix_out_of_bounds_is_refused() {
        refuses(
            &node("client_prefix = { v4 = 7 }"),
            "[node.client_prefix] sets `v4` to `7`: out of bounds; choose a number from 8 to 32",
        );
        refuses(
            &node("client_prefix = { v6 = 129 }"),
            "[node.client_prefix] sets `v6` to `129`: out of bounds; choose a number from 16 to 128",
        );
    }

    #[test]
    fn outer_sources_are_prefixes_of_their_family() {
        for (line, expected) in [
            (
                "encap = { v4 = \"100::/64\" }",
                "[node.encap] sets `v4` to `100::/64`: no prefix of this family; write it as an \
                 address, `/` and a length from 8 to 32",
            ),
            ("encap = { v4 = \"10.0.0.0\" }", "no prefix of this family"),
            ("encap = { v4 = \"10.0.0.0/33\" }", "no prefix"),
            ("encap = { v6 = \"::/0\" }", "a length from 16 to 128"),
            (
                "encap = { gue_port = 0 }",
                "[node.encap] sets `gue_port` to `0`: out of bounds; choose a number from 1 to 65535",
            ),
            (
                "encap = { port = 1 }",
                "[node.encap] has the unknown key `port`",
            ),
            ("too_big_per_second = -1", "from 0 to 1000000"),
        ] {
            refuses(&node(line), expected);
        }
    }

    #[test]
    fn a_relative_path_is_refused() {
        for key in ["pins", "state"] {
            refuses(
                &node(&format!("{key} = \"serin\"")),
                &format!("[node] sets `{key}` to `serin`: a relative path; write it from the root"),
            );
        }
        refuses(
            &node("[api]\nsocket = \"\""),
            "[api] sets `socket` to ``: a relative path",
        );
    }

    #[test]
    fn a_path_with_a_zero_byte_is_refused() {
        refuses(
            &node("state = \"/a\\u0000b\""),
            "[node] sets `state` to `/a\\0b`: a path with control characters",
        );
    }

    #[test]
    fn a_pin_path_with_a_dot_is_refused() {
        for path in [
            "/sys/fs/bpf/serin.1",
            "/sys/fs/bpf/../x",
            "/sys/fs/bpf/.s/x",
        ] {
            refuses(
                &node(&format!("pins = \"{path}\"")),
                "bpffs refuses names with a dot; write a path without one",
            );
        }
    }

    #[test]
    fn a_socket_path_that_the_kernel_has_no_room_for_is_refused() {
        let path = format!("/{}", "x".repeat(107));
        refuses(
            &node(&format!("[api]\nsocket = \"{path}\"")),
            "longer than the 107 bytes that a socket's path may have; shorten it",
        );
    }
}
