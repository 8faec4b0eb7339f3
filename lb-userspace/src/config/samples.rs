//! Configuration texts for tests.

use super::Config;

/// The smallest node, and with it the smallest file; five lines up to a service's own keys.
pub const NODE: &str = "[node]\ninterfaces = [\"eth0\"]\nhash_seed = \"sixteen-or-longer\"\n";

/// The smallest node and service; `line` is the first of the service, and the file's sixth.
pub fn shop(line: &str) -> String {
    format!("{NODE}{}", service_with("shop", 443, 1, line))
}

/// A service on 192.0.2.80, with two pools of one backend each, 10.0.`host`.11 and .21.
pub fn service(name: &str, port: u16, host: u8) -> String {
    service_with(name, port, host, "")
}

fn service_with(name: &str, port: u16, host: u8, line: &str) -> String {
    format!(
        r#"[[service]]
name = "{name}"
{line}
listen = ["tcp://192.0.2.80:{port}"]
[[service.pool]]
name = "blue"
backends = [{{ name = "b1", address = "10.0.{host}.11", weight = 100 }}]
[[service.pool]]
name = "green"
backends = [{{ name = "g1", address = "10.0.{host}.21", weight = 100 }}]
"#
    )
}

/// Every key that is built.
pub const EVERY_KEY: &str = r#"
[node]
interfaces = ["eth0", "eth1.100"]
attach = "generic"
hash_seed = "edge-eu-6f1b62a0"
connections = 65_536
client_prefix = { v4 = 24, v6 = 56 }
encap = { v4 = "10.200.0.0/14", v6 = "2001:db8:e::/48", gue_port = 6081 }
too_big_per_second = 10
pins = "/sys/fs/bpf/other"
state = "/tmp/state.json"

[api]
socket = "/tmp/serin.sock"
http = "127.0.0.1:9180"

[[service]]
name = "shop"
listen = ["tcp://192.0.2.80:443?to=8443", "tcp://[2001:db8::80]:443"]
forward = "nat"
affinity = "client"
connections = "cut"
datagram = "session"
idle = "10s"
drain = "90s"
drain_deadline = "10m"
active = "green"
on_dead_pool = "drop"

[[service.pool]]
name = "blue"
backends = [
  { name = "b1", address = ["10.0.1.11", "fd00::11"], weight = 99 },
  { name = "b2", address = ["10.0.1.12:8443", "[fd00::12]:8443"], weight = 0 },
]

[[service.pool]]
name = "green"
health = { https = "/ok", host = "shop.example.net", status = 204, verify = true, ca = "/ca.pem", port = 81, interval = "2s", timeout = "1s", rise = 1, fall = 2, damping = "0s", slow_start = "30s" }
backends = [{ name = "g1", address = ["10.0.2.11:9443", "fd00::21"], weight = 7 }]
"#;

/// The problems of a text, one a line; empty if it has none.
pub fn problems(text: &str) -> String {
    let error = Config::parse(text).err();
    error.map(|error| error.to_string()).unwrap_or_default()
}

/// Asserts that a text is refused, and that the problems say so.
pub fn refuses(text: &str, expected: &str) {
    let problems = problems(text);
    assert!(
        problems.contains(expected),
        "expected: {expected}\nproblems: {problems}"
    );
}
