//! The command line against a daemon on a socket: codes, text and JSON.

use std::{os::unix::net::UnixListener, process::Stdio, thread};

use serde_json::json;

use crate::{
    fake::Fake,
    program::{client, command, serin},
};

#[test]
fn orders_that_are_done_end_with_0_and_say_where_the_release_is() {
    let fake = Fake::shop();
    let shared = client(&fake.socket, &["share", "s0", "5%"]);
    assert_eq!((shared.code, shared.err.as_str()), (Some(0), ""));
    assert!(
        shared
            .out
            .starts_with("s0: p0 is active, p1 has 5% (epoch 2, "),
        "{shared:?}"
    );
    for words in [
        &["cutover", "s0", "--to", "p1"][..],
        &["rollback", "s0"],
        &["weight", "s0", "b0", "65535"],
        &["drain", "s0", "b0"],
        &["maint", "s0", "b0"],
        &["ready", "s0", "b0"],
    ] {
        let said = client(&fake.socket, words);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{words:?}");
    }
    let done = client(&fake.socket, &["share", "s0", "0.01%", "-o", "json"]).json();
    assert_eq!(
        (&done["share_ppm"], &done["active"]),
        (&json!(100), &json!("p0"))
    );
}

#[test]
fn what_is_refused_ends_with_1() {
    let fake = Fake::shop();
    for (words, error) in [
        (
            &["share", "nope", "5%"][..],
            "service `nope`: not configured; `serin list` shows",
        ),
        (&["status", "nope"], "service `nope`: not configured"),
        (
            &["rollback", "s0"],
            "service `s0`: there is nothing to roll back",
        ),
        (&["cutover", "s1"], "service `s1`: which pool? name one of"),
        (&["cutover", "s0", "--to", "p9"], "no pool `p9`"),
        (&["drain", "s0", "b9"], "no backend `b9`"),
        (&["status", "a b/c"], "service `a b/c`: not configured"),
    ] {
        let said = client(&fake.socket, words);
        assert!(said.error(1).contains(error), "{words:?}: {said:?}");
    }
}

#[test]
fn what_can_not_be_meant_ends_with_2() {
    let fake = Fake::shop();
    for words in [
        &["share", "s0", "101%"][..],
        &["share", "s0", "5"],
        &["share", "s0"],
        &["weight", "s0", "b0", "65536"],
        &["weight", "s0", "b0", "-1"],
        &["nope"],
        &["list", "-o", "yaml"],
    ] {
        let said = client(&fake.socket, words);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{words:?}");
        assert!(said.err.starts_with("error: "), "{said:?}");
    }
    let bad = fake.write("bad.toml", "nope");
    let said = client(&fake.socket, &["apply", bad.to_str().expect("UTF-8")]);
    assert!(
        said.error(2)
            .contains("bad.toml: line 1, column 5: the file is not TOML"),
        "{said:?}"
    );
}

#[test]
fn a_daemon_that_can_not_be_reached_ends_with_4_and_says_how_to_start_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (missing, dead) = (
        directory.path().join("missing"),
        directory.path().join("dead"),
    );
    drop(UnixListener::bind(&dead).expect("a socket that nobody listens to"));
    for socket in [&missing, &dead] {
        for words in [
            &["list"][..],
            &["status"],
            &["share", "s0", "5%"],
            &["apply"],
            &["drain", "s0", "b0"],
        ] {
            let said = client(socket, words);
            let error = said.error(4);
            assert!(
                error.starts_with(&format!("socket {}: ", socket.display())),
                "{error}"
            );
            assert!(
                error.contains("start it with `serin run`, or name its socket with --socket"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_daemon_that_talks_nonsense_ends_with_1() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("nonsense");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let server = thread::spawn(move || drop(listener.accept()));
    let said = client(&socket, &["list"]);
    server.join().expect("it has accepted");
    assert!(said.error(1).contains("the daemon broke off"), "{said:?}");
}

#[test]
fn list_and_status_are_tables_for_people_and_json_for_programs() {
    let fake = Fake::shop();
    client(&fake.socket, &["share", "s0", "25%"]);
    let list = client(&fake.socket, &["list"]).out;
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        [
            "SERVICE",
            "ACTIVE",
            "CANDIDATE",
            "SHARE",
            "STATE",
            "LISTENERS",
            "AUDIENCES"
        ]
    );
    assert!(
        lines[1].starts_with("s0       p0      p1         25%    draining  tcp://192.0.2.0:443 "),
        "{list}"
    );
    assert!(
        lines[2].starts_with("s1       p0      -          0%     settled   "),
        "{list}"
    );
    let json = client(&fake.socket, &["list", "-o", "json"]).json();
    assert_eq!(
        (&json[0]["share_ppm"], &json[0]["settled"]),
        (&json!(250_000), &json!(false))
    );

    let status = client(&fake.socket, &["status", "s0"]).out;
    for part in [
        "s0  nat on tcp://192.0.2.0:443 tcp://[2001:db8::]:443",
        "  active    p0",
        "  candidate p1",
        "  share     asked 25%, measured ",
        "  state     draining, settles in ",
        "  pool p0 (active)",
        "  pool p1 (candidate)",
        "  BACKEND",
    ] {
        assert!(status.contains(part), "{part}: {status}");
    }
    let json = client(&fake.socket, &["status", "s0", "-o", "json"]).json();
    assert_eq!(json["pools"][1]["role"], "candidate");
    let node = client(&fake.socket, &["status"]).out;
    assert!(node.starts_with("INTERFACE  STATE"), "{node}");
}

#[test]
fn apply_tells_the_writes_and_a_dry_run_makes_none() {
    let fake = Fake::shop();
    let text = std::fs::read_to_string(fake.directory().join("serin.toml")).expect("a file");
    let other = fake.write(
        "other.toml",
        &text.replacen("weight = 100", "weight = 7", 1),
    );
    let other = other.to_str().expect("UTF-8");

    let would = client(&fake.socket, &["apply", other, "--dry-run"]);
    assert_eq!(would.code, Some(0));
    assert!(would.out.contains("would write table "), "{would:?}");
    assert!(
        would
            .out
            .contains("would store record of service 0, share 0 ppm\n"),
        "{would:?}"
    );
    assert!(would.out.contains(" writes would be made\n"), "{would:?}");
    assert_eq!(
        client(&fake.socket, &["status", "s0", "-o", "json"]).json()["epoch"],
        1
    );

    let made = client(&fake.socket, &["apply", other, "-o", "json"]).json();
    let lines = would.out.lines().filter(|line| line.starts_with("would "));
    assert_eq!(made["writes"].as_array().map(Vec::len), Some(lines.count()));
    assert_eq!(
        client(&fake.socket, &["status", "s0", "-o", "json"]).json()["epoch"],
        2
    );
}

#[test]
fn the_socket_may_come_from_the_environment() {
    let fake = Fake::shop();
    let output = command()
        .env("SERIN_SOCKET", &fake.socket)
        .arg("list")
        .output();
    assert!(output.expect("run").status.success());
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_command_quietly() {
    let fake = Fake::shop();
    let mut command = command();
    command
        .arg("--socket")
        .arg(&fake.socket)
        .args(["status", "s0"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ended");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn detach_goes_by_the_daemon_where_one_answers_and_by_the_pins_where_none_does() {
    let fake = Fake::shop();
    let said = client(&fake.socket, &["detach"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let missing = fake.directory().join("missing");
    let nothing = ["detach", "--pins", "/sys/fs/bpf/serin-was-never-here"];
    assert_eq!(
        client(&missing, &nothing).code,
        Some(0),
        "nothing is there, as wanted"
    );
    let said = client(&missing, &["detach", "--config", "/nowhere.toml"]);
    assert!(
        said.error(2).contains("name the pins with --pins"),
        "{said:?}"
    );
}

#[test]
fn help_says_what_serin_is_and_what_every_command_does() {
    let help = serin(&["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(
        help.out.starts_with("A kernel-level release load balancer"),
        "{help:?}"
    );
    for command in [
        "run", "check", "detach", "apply", "list", "status", "share", "cutover", "rollback",
        "weight", "drain", "maint", "ready",
    ] {
        assert!(
            help.out.contains(&format!("\n  {command} ")),
            "{command}: {help:?}"
        );
        let own = serin(&["help", command]);
        assert_eq!(own.code, Some(0));
        assert!(
            own.out.contains(&format!("Usage: serin {command}")),
            "{own:?}"
        );
        assert!(
            own.out.lines().all(|line| line.chars().count() <= 100),
            "{own:?}"
        );
    }
    assert_eq!(
        serin(&["--version"]).out,
        format!("serin {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(serin(&[]).code, Some(2));
}

#[test]
fn whois_tells_people_what_becomes_of_a_client() {
    let fake = Fake::shop();
    let words = [
        "whois",
        "s0",
        "198.51.100.7",
        "--listener",
        "tcp://192.0.2.0:443",
    ];
    let said = client(&fake.socket, &words);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    for line in [
        "198.51.100.7:49152 opens a connection to tcp://192.0.2.0:443 of s0\n",
        "and no share is out: active pool p0\n",
        "  change    none concerns it\n",
        "note: no port was named",
    ] {
        assert!(said.out.contains(line), "{line}: {said:?}");
    }
    let json = client(
        &fake.socket,
        &[
            "whois",
            "s0",
            "[2001:db8::7]:1",
            "--established",
            "-o",
            "json",
        ],
    );
    assert_eq!(json.json()["packet"], "established");
    let refused = client(&fake.socket, &["whois", "s0", "nobody"]);
    assert!(
        refused.error(2).contains("client `nobody`: no address"),
        "{refused:?}"
    );
}

#[test]
fn explain_refuses_what_it_can_not_judge_again() {
    let fake = Fake::shop();
    let none = client(&fake.socket, &["explain", "s0", "--replay"]);
    let said = none.error(1);
    assert!(
        said.contains("no evidence of a release is kept"),
        "{none:?}"
    );
    for words in [
        &["explain", "s0", "--signals", "connect"][..],
        &["explain", "s0", "--replay", "last"],
        &["explain", "s0", "--replay", "--min-clients", "many"],
    ] {
        assert_eq!(client(&fake.socket, words).code, Some(2), "{words:?}");
    }
}
