//! The API on its socket: routes, codes and problems.

use std::thread;

use serde_json::json;

use crate::{
    fake::Fake,
    http::{Answer, ask, send},
};

fn get(fake: &Fake, path: &str) -> Answer {
    ask(&fake.socket, "GET", path, "")
}

fn post(fake: &Fake, path: &str, body: &str) -> Answer {
    ask(&fake.socket, "POST", path, body)
}

#[test]
fn every_resource_answers_with_json() {
    let fake = Fake::shop();
    let list = get(&fake, "/v1/services");
    assert_eq!(
        (list.status, list.headers["content-type"].as_str()),
        (200, "application/json")
    );
    assert_eq!(list.json()[0]["service"], "s0");
    let status = get(&fake, "/v1/services/s0").json();
    assert_eq!(status["active"], "p0");
    assert_eq!(status["pools"][0]["backends"][0]["next_hop"], "resolved");
    assert!(get(&fake, "/v1/node").json()["reasons"].is_object());
}

#[test]
fn orders_answer_with_where_the_release_is() {
    let fake = Fake::shop();
    let shared = post(&fake, "/v1/services/s0/share", r#"{"share_ppm":50000}"#).json();
    assert_eq!(
        (&shared["share_ppm"], &shared["candidate"]),
        (&json!(50_000), &json!("p1"))
    );
    assert!(shared["stored_at_ns"].is_u64());
    let cut = post(&fake, "/v1/services/s0/cutover", "{}").json();
    assert_eq!(
        (&cut["active"], &cut["share_ppm"]),
        (&json!("p1"), &json!(0))
    );
    let back = post(&fake, "/v1/services/s0/rollback", "null").json();
    assert_eq!(back["active"], "p0");
    let weight = ask(
        &fake.socket,
        "PUT",
        "/v1/services/s0/backends/b1",
        r#"{"weight":3}"#,
    );
    assert_eq!(weight.status, 200);
    let again = ask(
        &fake.socket,
        "PUT",
        "/v1/services/s0/backends/b1",
        r#"{"weight":3}"#,
    )
    .json();
    assert_eq!(
        again["stored_at_ns"],
        json!(null),
        "nothing had to be stored"
    );
    let drain = ask(
        &fake.socket,
        "PUT",
        "/v1/services/s0/backends/b1",
        r#"{"state":"drain"}"#,
    );
    assert_eq!(drain.status, 200);
    assert_eq!(post(&fake, "/v1/detach", "null").json(), json!(null));
}

#[test]
fn what_is_not_there_is_404_with_what_is() {
    let fake = Fake::shop();
    for (method, path, body, detail) in [
        (
            "GET",
            "/v1/services/nope",
            "",
            "service `nope`: not configured; `serin list` shows",
        ),
        ("GET", "/v2", "", "no such resource; see /v1/services"),
        ("GET", "/v1/services/s0/share/x", "", "no such resource"),
        (
            "POST",
            "/v1/services/nope/rollback",
            "",
            "service `nope`: not configured",
        ),
        (
            "POST",
            "/v1/services/s0/share",
            r#"{"share_ppm":1,"to":"p9"}"#,
            "no pool `p9`; it has `p0`, `p1`",
        ),
        (
            "POST",
            "/v1/services/s0/cutover",
            r#"{"to":"p9"}"#,
            "no pool `p9`",
        ),
        (
            "PUT",
            "/v1/services/s0/backends/b9",
            r#"{"weight":1}"#,
            "no backend `b9`; it has `b0`, `b1`",
        ),
        (
            "PUT",
            "/v1/services/nope/backends/b0",
            r#"{"weight":1}"#,
            "service `nope`",
        ),
        (
            "GET",
            "/v1/services/a%20b%2Fc",
            "",
            "service `a b/c`: not configured",
        ),
        (
            "GET",
            "/v1/services/%C3%BC",
            "",
            "service `ü`: not configured",
        ),
    ] {
        let problem = ask(&fake.socket, method, path, body).problem(404);
        assert!(problem.contains(detail), "{method} {path}: {problem}");
    }
}

#[test]
fn names_may_be_percent_encoded() {
    let fake = Fake::shop();
    assert_eq!(get(&fake, "/v1/services/%73%30").json()["service"], "s0");
    let problem = get(&fake, "/v1/services/%ff").problem(400);
    assert!(problem.starts_with("request path: "), "{problem}");
}

#[test]
fn another_method_is_405_with_those_that_are_allowed() {
    let fake = Fake::shop();
    for (method, path, allowed) in [
        ("DELETE", "/v1/services/s0", "GET,HEAD"),
        ("GET", "/v1/services/s0/share", "POST"),
        ("POST", "/v1/services/s0/backends/b0", "PUT"),
    ] {
        let answer = ask(&fake.socket, method, path, "");
        assert!(answer.problem(405).contains(method), "{answer:?}");
        assert_eq!(answer.headers["allow"], allowed);
    }
}

#[test]
fn numbers_out_of_range_are_422_and_change_nothing() {
    let fake = Fake::shop();
    for body in [
        r#"{"share_ppm":1000001}"#,
        r#"{"share_ppm":-1}"#,
        r#"{"share_ppm":0.5}"#,
        r#"{"share_ppm":4294967296}"#,
    ] {
        post(&fake, "/v1/services/s0/share", body).problem(422);
    }
    for body in [
        r#"{"weight":65536}"#,
        r#"{"weight":-1}"#,
        r#"{"state":"gone"}"#,
    ] {
        ask(&fake.socket, "PUT", "/v1/services/s0/backends/b0", body).problem(422);
    }
    for body in [r#"{"weight":1,"state":"drain"}"#, "{}"] {
        ask(&fake.socket, "PUT", "/v1/services/s0/backends/b0", body).problem(400);
    }
    let status = get(&fake, "/v1/services/s0").json();
    assert_eq!(
        (&status["share_ppm"], &status["epoch"]),
        (&json!(0), &json!(1))
    );
}

#[test]
fn unknown_and_missing_fields_are_named() {
    let fake = Fake::shop();
    for (path, body, field) in [
        (
            "/v1/services/s0/share",
            r#"{"share_ppm":1,"step":2}"#,
            "unknown field `step`",
        ),
        (
            "/v1/services/s0/share",
            r#"{"to":"p1"}"#,
            "missing field `share_ppm`",
        ),
        (
            "/v1/services/s0/cutover",
            r#"{"pool":"p1"}"#,
            "unknown field `pool`",
        ),
        (
            "/v1/apply",
            r#"{"dry-run":true}"#,
            "unknown field `dry-run`",
        ),
    ] {
        let problem = post(&fake, path, body).problem(422);
        assert!(
            problem.starts_with("request body: ") && problem.contains(field),
            "{problem}"
        );
    }
}

#[test]
fn what_is_not_json_is_refused_as_such() {
    let fake = Fake::shop();
    for body in ["", "{", "share=5", "\u{0}", "[1", "{\"share_ppm\":1}x"] {
        let problem = post(&fake, "/v1/services/s0/share", body).problem(400);
        assert!(problem.starts_with("request body: "), "{problem}");
    }
    let path = "/v1/services/s0/share";
    send(
        &fake.socket,
        "POST",
        path,
        "text/plain",
        b"{\"share_ppm\":1}",
    )
    .problem(415);
    send(
        &fake.socket,
        "POST",
        path,
        "application/json",
        b"{\"share_ppm\":\xff}",
    )
    .problem(400);
}

#[test]
fn a_huge_body_is_413_and_the_daemon_goes_on() {
    let fake = Fake::shop();
    let body = format!("{{\"to\":\"{}\"}}", "x".repeat(4 << 20));
    post(&fake, "/v1/services/s0/cutover", &body).problem(413);
    let deep = format!("{{\"to\":{}", "[".repeat(100_000));
    post(&fake, "/v1/services/s0/cutover", &deep).problem(422);
    assert_eq!(get(&fake, "/v1/services").status, 200);
}

#[test]
fn what_the_state_forbids_is_409_with_the_remedy() {
    let fake = Fake::shop();
    for (path, body, detail) in [
        (
            "/v1/services/s0/rollback",
            "",
            "there is nothing to roll back",
        ),
        (
            "/v1/services/s0/share",
            r#"{"share_ppm":1,"to":"p0"}"#,
            "pool `p0`: it serves all users already; name another pool with --to",
        ),
        (
            "/v1/services/s0/cutover",
            r#"{"to":"p0"}"#,
            "pool `p0`: it serves all users already",
        ),
        (
            "/v1/services/s1/share",
            r#"{"share_ppm":1}"#,
            "which pool? name one of `p0`, `p1`, `p2` with --to",
        ),
    ] {
        let problem = post(&fake, path, body).problem(409);
        assert!(problem.contains(detail), "{path}: {problem}");
    }
}

#[test]
fn a_bad_file_to_apply_is_422_with_all_its_problems() {
    let fake = Fake::shop();
    let bad = fake.write("bad.toml", "[node]\nnope = 1\n");
    let order = json!({ "file": bad });
    let problem = post(&fake, "/v1/apply", &order.to_string()).problem(422);
    assert!(
        problem.contains("bad.toml: line 2, column 1: [node] has the unknown key `nope`"),
        "{problem}"
    );
    let order = json!({ "file": "/nowhere.toml" });
    let problem = post(&fake, "/v1/apply", &order.to_string()).problem(422);
    assert!(problem.contains("/nowhere.toml"), "{problem}");
}

#[test]
fn concurrent_orders_each_happen_whole_and_one_after_another() {
    let fake = Fake::shop();
    let (orders, clients) = (20, 8);
    thread::scope(|scope| {
        for client in 0..clients {
            let fake = &fake;
            scope.spawn(move || {
                for order in 0..orders {
                    let ppm = 1 + client * 1000 + order;
                    let body = json!({ "share_ppm": ppm }).to_string();
                    let answer = post(fake, "/v1/services/s0/share", &body);
                    assert_eq!(answer.json()["share_ppm"], ppm, "{answer:?}");
                }
            });
        }
    });
    let status = get(&fake, "/v1/services/s0").json();
    assert_eq!(status["epoch"], 1 + clients * orders);
    assert_eq!(
        fake.shared.control().state().services["s0"]
            .position
            .release,
        1
    );
}

#[test]
fn a_daemon_that_stops_says_so() {
    let fake = Fake::stopping();
    for path in ["/v1/apply", "/v1/detach"] {
        let problem = post(&fake, path, "{}").problem(503);
        assert!(
            problem.contains("the daemon is stopping; start it again"),
            "{problem}"
        );
    }
    assert_eq!(get(&fake, "/v1/services").status, 200);
}

#[test]
fn whois_answers_with_every_decision() {
    let fake = Fake::shop();
    post(&fake, "/v1/services/s0/share", r#"{"share_ppm":1000000}"#);
    let ask = |query: &str| get(&fake, &format!("/v1/services/s0/whois?{query}"));
    let new = ask("client=198.51.100.7:40000").json();
    assert_eq!(
        (&new["packet"], &new["any_port"]),
        (&json!("syn"), &json!(false))
    );
    assert_eq!(new["listener"], "tcp://192.0.2.0:443");
    assert_eq!(new["backend"]["pool"], "p1");
    let way = &new["way"];
    assert_eq!(
        (&way["pool"], &way["change"]),
        (&json!("p1"), &json!("under-way"))
    );
    assert_eq!(way["origin"]["pool"], "p0");
    let old = ask("client=2001:db8::7&established=true").json();
    assert_eq!(old["listener"], "tcp://[2001:db8::]:443");
    assert_eq!(
        (&old["backend"]["pool"], &old["any_port"]),
        (&json!("p0"), &json!(true))
    );
    for (query, status, detail) in [
        (
            "client=nobody",
            422,
            "client `nobody`: no address; write it as",
        ),
        ("", 422, "request query: "),
        (
            "client=198.51.100.7&colour=red",
            422,
            "unknown field `colour`",
        ),
        (
            "client=198.51.100.7&dscp=af99",
            422,
            "dscp `af99`: no code point; write 0 to 63, or a name",
        ),
        (
            "client=198.51.100.7&dscp=8-15",
            422,
            "dscp `8-15`: a packet has one code point; name one",
        ),
        (
            "client=198.51.100.7&vlan=4095",
            422,
            "vlan 4095: no VLAN id; choose one from 1 to 4094",
        ),
        ("client=198.51.100.7&ttl=256", 422, "ttl: "),
        (
            "client=198.51.100.7&mss=1400&established=true",
            422,
            "mss: only the first packet of a TCP connection announces one",
        ),
        (
            "client=198.51.100.7&listener=tcp://192.0.2.9:443",
            409,
            "no listener `tcp://192.0.2.9:443`; it has",
        ),
    ] {
        let problem = ask(query);
        assert_eq!(problem.status, status, "{query}");
        let said = problem.json()["detail"].to_string();
        assert!(said.contains(detail), "{query}: {said}");
    }
    assert_eq!(
        get(&fake, "/v1/services/nope/whois?client=198.51.100.7").status,
        404
    );
}

#[test]
fn the_page_is_served_at_the_socket_with_a_policy_that_lets_nothing_else_in() {
    let fake = Fake::shop();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = get(&fake, path);
        assert_eq!(
            (answer.status, answer.headers["content-type"].as_str()),
            (200, kind)
        );
        let policy = &answer.headers["content-security-policy"];
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; "),
            "{policy}"
        );
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
}
