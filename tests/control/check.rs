//! `serin check` on good files and bad ones: every problem names its object and the remedy.

use std::fs;

use serde_json::json;

use crate::{
    program::{Said, serin},
    site::Site,
};

fn check(text: &str, more: &[&str]) -> Said {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("serin.toml");
    fs::write(&path, text).expect("written");
    let path = path.to_str().expect("UTF-8").to_owned();
    let said = serin(&[&["check", &path], more].concat());
    let strip = |text: &str| text.replace(&path, "FILE");
    Said {
        out: strip(&said.out),
        err: strip(&said.err),
        ..said
    }
}

fn good() -> String {
    Site::new(&[&[2, 2], &[1, 1]]).text(std::path::Path::new("/run/x"))
}

/// The file with one thing changed must be refused like this.
fn refuses(from: &str, to: &str, expected: &str) {
    let text = good().replacen(from, to, 1);
    assert_ne!(text, good(), "{from} is not in the file");
    let said = check(&text, &[]);
    let error = said.error(2);
    assert!(error.starts_with("FILE: "), "{error}");
    assert!(
        error.contains(expected),
        "expected: {expected}\nsaid: {error}"
    );
}

#[test]
fn a_good_file_is_told_in_plain_words() {
    let said = check(&good(), &[]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(
        said.out.contains("service s0: nat, tcp://192.0.2.0:443"),
        "{said:?}"
    );
    assert!(
        said.out.contains("pool p0 (active): b0 weight 100 = 50%"),
        "{said:?}"
    );
    assert!(
        said.out
            .contains("warning: service `s1`: pool `p0`: has a single backend"),
        "{said:?}"
    );
    assert!(said.out.ends_with("FILE: good\n"), "{said:?}");
}

#[test]
fn a_good_file_is_json_for_programs() {
    let said = check(&good(), &["-o", "json"]).json();
    assert_eq!(said["services"], json!(["s0", "s1"]));
    assert_eq!(said["warnings"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_release_is_told_with_its_steps_its_earliest_end_and_its_way_back() {
    let mut site = Site::new(&[&[2, 2], &[2, 2]]);
    site.services[0].tables = "[service.release]\nstepWeight = 20\nmaxWeight = 50\ninterval = \
                               \"1m\"\n"
        .to_owned();
    let text = site.text(std::path::Path::new("/run/x"));
    let said = check(&text, &[]);
    let told = "  release canary: 3 steps, then promotion
    step 1 after 0s: 20%, held for 1m
    step 2 after 1m: 40%, held for 1m
    step 3 after 2m: 50%, held for 1m
    promotion after 3m at the earliest
    rollback: new connections in one store; older ones end by themselves, settled after 5s
";
    assert!(said.out.contains(told), "{said:?}");
    let step = |share_ppm: u32| json!({ "audience": null, "share_ppm": share_ppm, "hold_s": 60, "approve": false, "evidence": false, "toggle": null });
    let pool = |pool: &str| json!({ "pool": pool, "backends": 2, "weight": 200, "health": null });
    let releases = json!({ "s0": {
        "strategy": "canary",
        "pools": [pool("p0"), pool("p1")],
        "bake_s": 0,
        "gates": [],
        "steps": [step(200_000), step(400_000), step(500_000)],
        "earliest_end_s": 180,
        "deadline_s": null,
        "rollback": { "new_connections_s": 0, "settled_s": 5 },
    } });
    assert_eq!(check(&text, &["-o", "json"]).json()["releases"], releases);
    let down = text.replace("maxWeight = 50", "maxWeight = 500");
    let said = check(&down, &[]);
    assert!(
        said.error(2).contains(
            "service `s0`: release sets `maxWeight` to `500`: out of bounds; choose a number from 1 to 100"
        ),
        "{said:?}"
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    refuses(
        "hash_seed",
        "hash_sead",
        "line 3, column 1: [node] has the unknown key `hash_sead`",
    );
    refuses("hash_seed", "hash_sead", "`hash_seed`");
    refuses("drain", "drian", "unknown key `drian`");
    refuses("weight", "wieght", "unknown key `wieght`");
}

#[test]
fn a_name_that_is_taken_is_refused() {
    refuses(
        "name = \"s1\"",
        "name = \"s0\"",
        "service `s0` has the name of an earlier service; rename one",
    );
    refuses(
        "name = \"p1\"",
        "name = \"p0\"",
        "service `s0`: pool `p0` has the name of an earlier pool",
    );
    refuses("name = \"b1\"", "name = \"b0\"", "`b0`");
}

#[test]
fn an_empty_pool_is_refused() {
    let text = good();
    let start = text.find("backends = [").expect("a pool");
    let end = start + text[start..].find("]\n").expect("its end");
    refuses(
        &text[start..=end],
        "backends = []",
        "service `s0`: pool `p0` has no backend; add one",
    );
}

#[test]
fn a_listener_of_two_services_is_refused() {
    refuses(
        "tcp://192.0.2.1:443",
        "tcp://192.0.2.0:443",
        "service `s1` has listener `tcp://192.0.2.0:443`, which service `s0` has already; remove one",
    );
}

#[test]
fn a_pool_without_weight_is_refused() {
    let text = good().replace("weight = 100", "weight = 0");
    let said = check(&text, &[]);
    let error = said.error(2);
    assert!(error.matches("weight").count() >= 4, "{error}");
    assert!(error.contains("service `s0`: pool `p0`"), "{error}");
}

#[test]
fn values_that_mean_nothing_are_refused_where_they_stand() {
    for (from, to, expected) in [
        ("weight = 100", "weight = 65536", "`weight` to `65536`"),
        ("\"5s\"", "\"soon\"", "`drain` to `soon`"),
        ("\"5s\"", "\"0s\"", "`drain` to `0s`"),
        ("tcp://192.0.2.0:443", "tcp://192.0.2.0", "tcp://192.0.2.0"),
        ("tcp://192.0.2.0:443", "sctp://192.0.2.0:443", "sctp"),
        ("\"10.0.0.1\"", "\"localhost\"", "`localhost`"),
        ("\"10.0.0.1\"", "\"127.0.0.1\"", "loopback"),
        (
            "interfaces = [\"eth0\"]",
            "interfaces = []",
            "[node] has no interface",
        ),
        (
            "connections = 1024",
            "connections = 5",
            "`connections` to `5`",
        ),
    ] {
        refuses(from, to, expected);
    }
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    let said = serin(&["check", "/nowhere/serin.toml"]);
    assert!(
        said.error(2).starts_with("/nowhere/serin.toml: "),
        "{said:?}"
    );
    let said = serin(&["check", "/proc"]);
    assert!(said.error(2).starts_with("/proc: "), "{said:?}");
}

#[test]
fn what_is_no_text_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("serin.toml");
    for bytes in [&b"\xff\xfe\x00"[..], b"[node", b"[node]\n[node]\n"] {
        fs::write(&path, bytes).expect("written");
        let said = serin(&["check", path.to_str().expect("UTF-8")]);
        assert!(
            said.error(2).starts_with(&format!("{}: ", path.display())),
            "{said:?}"
        );
    }
}
