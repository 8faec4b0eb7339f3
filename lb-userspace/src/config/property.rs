//! What holds for every configuration file.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{Config, Forward};

/// Stands before every key of a generated text that may be misspelt.
const KEY: char = '§';

/// A service as it is generated; addresses follow from positions, so that nothing clashes.
#[derive(Clone, Debug)]
struct Sketch {
    forward: Forward,
    v6: bool,
    udp: bool,
    seconds: u32,
    /// Pools of backends, each with its weight and port.
    pools: Vec<Vec<(u16, Option<u16>)>>,
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let backend = (1_u16.., proptest::option::of(1_u16..));
    let pools = vec(vec(backend, 1..5), 2..5);
    let forward = prop_oneof![
        Just(Forward::Nat),
        Just(Forward::L2),
        Just(Forward::Ipip),
        Just(Forward::Gue),
    ];
    let sketch = (forward, any::<bool>(), any::<bool>(), 1..=86_400_u32, pools);
    sketch.prop_map(|(forward, v6, udp, seconds, pools)| Sketch {
        forward,
        v6,
        udp,
        seconds,
        pools,
    })
}

fn file() -> impl Strategy<Value = (Vec<Sketch>, String)> {
    vec(sketch(), 0..5).prop_map(|sketches| {
        let last = sketches.len();
        let services = sketches.iter().enumerate();
        let services = services.map(|(index, sketch)| sketch.text(index, index + 1 == last));
        let text = format!("{}{}", NODE, services.collect::<String>());
        (sketches, text)
    })
}

const NODE: &str = r#"[§node]
§interfaces = ["eth0"]
§attach = "native"
§hash_seed = "a secret of some length"
§connections = 4096
§client_prefix = { §v4 = 24, §v6 = 56 }
§pins = "/sys/fs/bpf/serin"
§state = "/var/lib/serin/state.json"
[§api]
§socket = "/run/serin/serin.sock"
"#;

impl Sketch {
    /// The header of any but the last service can't be misspelt: what follows would no longer be
    /// TOML.
    fn text(&self, index: usize, last: bool) -> String {
        let header = if last { "§service" } else { "service" };
        let listeners = self.listeners(index).join("\", \"");
        let pools = self.pools.iter().enumerate();
        let pools = pools.map(|(pool, backends)| self.pool_text(index, pool, backends));
        format!(
            "[[{header}]]\n§name = \"s{index}\"\n§listen = [\"{listeners}\"]\n\
             §forward = \"{}\"\n§drain = \"{}s\"\n§affinity = \"client\"\n\
             §connections = \"drain\"\n§datagram = \"session\"\n§idle = \"9s\"\n\
             §drain_deadline = \"7d\"\n§active = \"p1\"\n\
             §on_dead_pool = \"drop\"\n{}",
            self.forward,
            self.seconds,
            pools.collect::<String>()
        )
    }

    fn listeners(&self, index: usize) -> Vec<String> {
        let index = index + 1;
        let protocol = if self.udp { "udp" } else { "tcp" };
        let v4 = format!("{protocol}://192.0.2.{index}:443");
        let v6 = format!("{protocol}://[2001:db8::{index}]:443");
        [v4].into_iter().chain(self.v6.then_some(v6)).collect()
    }

    fn pool_text(&self, index: usize, pool: usize, backends: &[(u16, Option<u16>)]) -> String {
        let backends = backends.iter().enumerate();
        let backends = backends.map(|(backend, (weight, port))| {
            let port = port.filter(|_| self.forward.translates());
            let v4 = with_port(&format!("10.{index}.{pool}.{backend}"), port);
            let v6 = with_port(&format!("[fd00::{index}:{pool}:{backend}]"), port);
            let addresses = if self.v6 { format!("[{v4}, {v6}]") } else { v4 };
            format!(
                "  {{ §name = \"b{pool}-{backend}\", §address = {addresses}, \
                 §weight = {weight} }},\n"
            )
        });
        let backends: String = backends.collect();
        format!(
            "[[service.§pool]]\n§name = \"p{pool}\"\n§health = {{ §tcp = true, §port = 81, \
             §interval = \"2s\", §timeout = \"1s\", §rise = 3, §fall = 4 }}\n\
             §backends = [\n{backends}]\n"
        )
    }
}

fn with_port(address: &str, port: Option<u16>) -> String {
    match port {
        Some(port) => format!("\"{address}:{port}\""),
        None => format!("\"{}\"", address.trim_matches(['[', ']'])),
    }
}

fn plain(text: &str) -> String {
    text.replace(KEY, "")
}

/// The text with a letter put into one of its keys, and that key.
fn misspell(text: &str, which: Index, place: Index, letter: char) -> (String, String) {
    let marks: Vec<_> = text.match_indices(KEY).map(|(at, _)| at).collect();
    let (before, after) = text.split_at(marks[which.index(marks.len())]);
    let after = after.trim_start_matches(KEY);
    let length = after.find([' ', ']']).expect("a key ends");
    let (key, rest) = after.split_at(length);
    let mut key = key.to_owned();
    key.insert(place.index(length + 1), letter);
    (plain(&format!("{before}{key}{rest}")), key)
}

proptest! {
    #[test]
    fn every_valid_file_is_read_as_it_is_written((sketches, text) in file()) {
        let config = Config::parse(&plain(&text)).expect("valid");
        prop_assert_eq!(config.services.len(), sketches.len());
        for (index, (service, sketch)) in config.services.iter().zip(&sketches).enumerate() {
            let listeners: Vec<_> = service.listeners.iter().map(ToString::to_string).collect();
            let weights = service.pools.iter().map(|pool| pool.backends.iter().map(|b| b.weight));
            let expected = sketch.pools.iter().map(|pool| pool.iter().map(|b| u32::from(b.0)));
            prop_assert_eq!(listeners, sketch.listeners(index));
            prop_assert_eq!(service.drain.as_secs(), u64::from(sketch.seconds));
            prop_assert!(weights.flatten().eq(expected.flatten()));
        }
    }

    #[test]
    fn every_misspelt_key_is_refused_by_name(
        (_, text) in file(),
        which: Index,
        place: Index,
        letter in proptest::char::range('a', 'z'),
    ) {
        let (text, key) = misspell(&text, which, place, letter);
        let error = Config::parse(&text).expect_err("a key is misspelt").to_string();
        prop_assert!(error.contains(&format!("has the unknown key `{key}`")), "{}", error);
    }

    #[test]
    fn no_change_of_a_file_makes_the_parser_panic(
        (_, text) in file(),
        start: Index,
        length in 0_usize..40,
        other in ".{0,8}",
    ) {
        let mut letters: Vec<_> = plain(&text).chars().collect();
        let start = start.index(letters.len());
        let end = letters.len().min(start + length);
        letters.splice(start..end, other.chars());
        let text: String = letters.into_iter().collect();
        if let Err(error) = Config::parse(&text) {
            prop_assert!(!error.problems().is_empty());
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        if let Err(error) = Config::parse(&text) {
            prop_assert!(!error.problems().is_empty());
        }
    }
}
