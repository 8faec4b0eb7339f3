//! Toggles by the command line and the API, and what is not taken over TCP.

use serde_json::{Value, json};

use super::site;
use crate::{
    fake::Fake,
    http::{Answer, ask, send_to},
    program::{Said, client, serin},
    site::Site,
};

fn done(fake: &Fake, line: &str) -> Said {
    let said = client(&fake.socket, &line.split(' ').collect::<Vec<_>>());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{line}");
    said
}

#[test]
fn toggles_are_listed_turned_and_shown_by_the_status_of_what_they_guard() {
    let fake = Fake::new(site());
    let list = done(&fake, "toggle").out;
    let lines: Vec<&str> = list.lines().collect();
    assert!(
        lines[0].starts_with("TOGGLE   STATE  SINCE  BY  GUARDS"),
        "{list}"
    );
    assert_eq!(
        lines[1],
        "preview  off    -      -   s0: audience staff, s1: audience staff"
    );
    let door = "door     off    -      -   s0: listener tcp://192.0.2.0:25?toggle=door";
    assert_eq!((lines[2], lines[3]), (door, "idle     on     -      -   -"));

    let turned = done(&fake, "toggle preview on --reason demo").out;
    assert!(turned.starts_with("preview is on: s0, s1 ("), "{turned}");
    let again = done(&fake, "toggle preview on").out;
    assert_eq!(again, "preview is on already\n");
    let idle = done(&fake, "toggle idle off").out;
    assert!(
        idle.starts_with("idle is off: it guards nothing ("),
        "{idle}"
    );

    let json = done(&fake, "toggle -o json").json();
    let preview = &json[0];
    assert_eq!(
        (&preview["on"], &preview["reason"], &preview["guards"][1]),
        (
            &json!(true),
            &json!("demo"),
            &json!({ "service": "s1", "kind": "audience", "name": "staff" })
        )
    );
    assert!(preview["since"].is_string() && preview["by"]["name"].is_string());
    let status = done(&fake, "status s0").out;
    assert!(
        status.contains("  toggle    preview: on, guards audience staff\n"),
        "{status}"
    );
    let status = done(&fake, "status s0 -o json").json();
    assert_eq!(status["toggles"].as_array().map(Vec::len), Some(2));
    let history = done(&fake, "history s1").out;
    assert!(
        history.contains(" s1 release 0 toggled: preview off to on,"),
        "{history}"
    );
    let events = done(&fake, "events").out;
    assert!(
        events.contains(" toggled: idle on to off, no service (by "),
        "{events}"
    );
}

#[test]
fn what_is_no_order_is_refused() {
    let fake = Fake::new(site());
    let unknown = client(&fake.socket, &["toggle", "nope", "on"]);
    let error = unknown.error(1);
    assert!(
        error.starts_with("toggle `nope`: not configured; there are `door`"),
        "{error}"
    );
    for words in [&["toggle", "preview"][..], &["toggle", "preview", "maybe"]] {
        assert_eq!(client(&fake.socket, words).code, Some(2), "{words:?}");
    }
    let put = |path: &str, body: &str| ask(&fake.socket, "PUT", path, body);
    assert!(
        put("/v1/toggles/nope", r#"{"on":true}"#)
            .problem(404)
            .contains("`nope`")
    );
    let missing = put("/v1/toggles/preview", "{}").problem(422);
    assert!(missing.contains("missing field `on`"), "{missing}");
    let none = Fake::shop();
    let error = client(&none.socket, &["toggle", "x", "on"]);
    assert!(
        error.error(1).contains("no [[toggle]] is configured"),
        "{error:?}"
    );
}

fn over_tcp(fake: &Fake, method: &str, path: &str, body: &Value) -> Answer {
    let kind = [("content-type", "application/json")];
    let body = body.to_string();
    send_to(fake.http, method, path, &kind, body.as_bytes())
}

#[test]
fn everything_is_read_over_tcp_and_no_order_is_taken() {
    let fake = Fake::new(site());
    let paths = [
        "/v1/node",
        "/v1/events",
        "/v1/services",
        "/v1/services/s0",
        "/v1/services/s0/whois?client=198.51.100.7",
        "/v1/toggles",
    ];
    for path in paths {
        assert_eq!(
            over_tcp(&fake, "GET", path, &Value::Null).status,
            200,
            "{path}"
        );
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let answer = over_tcp(&fake, method, path, &json!({}));
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    let before = fake.shared.control().state().clone();
    let orders = [
        (
            "POST",
            "/v1/services/s0/share",
            json!({ "share_ppm": 50_000 }),
        ),
        ("POST", "/v1/services/s0/cutover", json!({})),
        ("POST", "/v1/services/s0/rollback", json!(null)),
        ("POST", "/v1/services/s0/start", json!({})),
        ("POST", "/v1/services/s0/promote", json!({})),
        ("POST", "/v1/services/s0/pause", json!({})),
        ("POST", "/v1/services/s0/resume", json!({})),
        ("POST", "/v1/services/s0/abort", json!({})),
        ("POST", "/v1/services/s0/retry", json!({})),
        ("PUT", "/v1/services/s0/backends/b0", json!({ "weight": 3 })),
        ("PUT", "/v1/toggles/preview", json!({ "on": true })),
        ("POST", "/v1/cutover", json!({ "services": ["s0"] })),
        ("POST", "/v1/apply", json!({})),
        ("POST", "/v1/detach", json!(null)),
    ];
    for (method, path, body) in orders {
        let refused = over_tcp(&fake, method, path, &body).problem(403);
        assert!(
            refused.contains("no order is taken over TCP"),
            "{path}: {refused}"
        );
    }
    assert_eq!(*fake.shared.control().state(), before);
    let missing = over_tcp(&fake, "GET", "/v1/services/s0/share", &Value::Null);
    assert!(missing.problem(404).contains("no such resource"));
}

#[test]
fn check_warns_of_too_many_toggles_and_of_those_that_guard_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("serin.toml");
    let toggle = |n| format!("[[toggle]]\nname = \"t{n}\"\n");
    let many: String = (0..8).map(toggle).collect();
    let check = |text: String| {
        std::fs::write(&path, text).expect("written");
        serin(&["check", path.to_str().expect("UTF-8")])
    };
    let text = site().text(directory.path());
    let said = check(text.clone() + &many);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    for line in [
        "toggle preview: off at first; guards service `s0`: audience `staff`, service `s1`: ",
        "toggle idle: on at first; guards nothing\n",
        "warning: the file: has 11 toggles, and nobody keeps in mind",
        "warning: toggle `idle`: guards nothing in this file; applications may still ask",
        ", while toggle preview is on\n",
    ] {
        assert!(said.out.contains(line), "{line}: {}", said.out);
    }
    assert!(!said.out.contains("warning: toggle `door`"), "{}", said.out);
    let ten = check(text.clone() + &(0..7).map(toggle).collect::<String>());
    assert!(!ten.out.contains("10 toggles"), "{}", ten.out);
    let wrong = check(text.replacen("toggle = \"preview\"", "toggle = \"prevew\"", 1));
    let error = wrong.error(2);
    let expected = "service `s0`: audience `staff` is guarded by toggle `prevew`, which there is not; \
                    did you mean `preview`?";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_site_without_toggles_lists_none() {
    let fake = Fake::new(Site::new(&[&[1, 1]]));
    assert_eq!(
        done(&fake, "toggle").out,
        "TOGGLE  STATE  SINCE  BY  GUARDS\n"
    );
    assert_eq!(done(&fake, "toggle -o json").json(), json!([]));
}
