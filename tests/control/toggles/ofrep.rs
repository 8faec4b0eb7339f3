//! Flags for applications: the protocol's answers, and that they are what the packet path would do.

use serde_json::{Value, json};

use super::{STAFF, TOGGLES};
use crate::{
    fake::Fake,
    http::{Answer, ask, send, send_to},
    site::Site,
};

const FLAGS: &str = "/ofrep/v1/evaluate/flags";

/// Of the first service, `preview` guards an audience, `half` one with half of its clients, `ramp` a
/// step, and `ports` an audience by ports.
fn site() -> Site {
    let mut site = Site::new(&[&[2, 2]]);
    let audience = |name: &str, lines: &str| {
        format!("[[service.audience]]\nname = \"{name}\"\ntoggle = \"{name}\"\n{lines}\n")
    };
    site.services[0].tables = [
        STAFF.to_owned(),
        audience(
            "half",
            "share = \"50%\"\nsources = [\"203.0.113.0/24\", \"2001:db8:77::/48\"]",
        ),
        audience(
            "ports",
            "pool = \"candidate\"\nsource_ports = 7\nsources = [\"192.0.2.0/24\"]",
        ),
        "[service.release]\nsteps = [{ share = \"1%\", hold = \"1h\" }, { share = \"30%\", hold = \
         \"1h\", toggle = \"ramp\" }, { share = \"60%\", hold = \"1h\" }]\n"
            .to_owned(),
        TOGGLES.to_owned(),
        ["half", "ports", "ramp"]
            .map(|name| format!("[[toggle]]\nname = \"{name}\"\non = true\n"))
            .concat(),
    ]
    .concat();
    site
}

fn fake() -> Fake {
    let fake = Fake::new(site());
    order(&fake, "PUT", "/v1/toggles/preview", &json!({ "on": true }));
    fake
}

fn order(fake: &Fake, method: &str, path: &str, body: &Value) {
    let done = ask(&fake.socket, method, path, &body.to_string());
    assert_eq!(done.status, 200, "{done:?}");
}

fn flag(fake: &Fake, flag: &str, context: &Value) -> Answer {
    let body = json!({ "context": context }).to_string();
    ask(&fake.socket, "POST", &format!("{FLAGS}/{flag}"), &body)
}

/// Value and reason.
fn told(fake: &Fake, name: &str, context: &Value) -> (bool, String) {
    let answer = flag(fake, name, context);
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["key"], name);
    let value = answer["value"].as_bool().expect("a boolean");
    assert_eq!(answer["variant"], if value { "on" } else { "off" });
    (
        value,
        answer["reason"].as_str().expect("a reason").to_owned(),
    )
}

fn yes(reason: &str) -> (bool, String) {
    (true, reason.to_owned())
}

fn no(reason: &str) -> (bool, String) {
    (false, reason.to_owned())
}

#[test]
fn a_toggle_is_what_the_client_gets_by_it() {
    let fake = fake();
    let (staff, guest) = (
        json!({ "clientIp": "198.51.100.3" }),
        json!({ "clientIp": "198.51.100.9" }),
    );
    assert_eq!(told(&fake, "idle", &json!({})), yes("STATIC"));
    assert_eq!(told(&fake, "door", &json!({})), no("DISABLED"));
    assert_eq!(
        told(&fake, "preview", &staff),
        no("DEFAULT"),
        "there is no candidate yet"
    );
    assert_eq!(told(&fake, "ramp", &staff), no("DEFAULT"));

    order(&fake, "POST", "/v1/services/s0/start", &json!({}));
    assert_eq!(told(&fake, "preview", &staff), yes("TARGETING_MATCH"));
    assert_eq!(told(&fake, "preview", &guest), no("DEFAULT"));
    let mapped = json!({ "targetingKey": "::ffff:198.51.100.3" });
    assert_eq!(told(&fake, "preview", &mapped), yes("TARGETING_MATCH"));
    assert_eq!(
        told(&fake, "half", &json!({ "clientIp": "203.0.113.1" })).1,
        "SPLIT"
    );
    assert_eq!(
        told(&fake, "ramp", &guest),
        no("DEFAULT"),
        "it has not come to its step"
    );

    order(&fake, "POST", "/v1/services/s0/promote", &json!({}));
    assert_eq!(told(&fake, "ramp", &guest).1, "SPLIT");
    assert_eq!(
        told(&fake, "ramp", &staff),
        yes("TARGETING_MATCH"),
        "an audience comes first"
    );
    order(&fake, "PUT", "/v1/toggles/preview", &json!({ "on": false }));
    assert_eq!(told(&fake, "preview", &staff), no("DISABLED"));
    order(
        &fake,
        "POST",
        "/v1/services/s0/promote",
        &json!({ "full": true }),
    );
    assert_eq!(
        told(&fake, "ramp", &guest),
        yes("STATIC"),
        "everybody has it"
    );
    assert_eq!(told(&fake, "half", &guest), yes("STATIC"), "likewise");
    order(&fake, "PUT", "/v1/toggles/preview", &json!({ "on": true }));
    assert_eq!(told(&fake, "preview", &staff), yes("STATIC"), "staff too");
    order(&fake, "POST", "/v1/services/s0/rollback", &json!(null));
    for flag in ["ramp", "half", "preview"] {
        assert_eq!(told(&fake, flag, &staff), no("DEFAULT"), "{flag}");
    }
}

#[test]
fn any_targeting_key_has_a_bucket_that_stays_through_a_ramp() {
    let fake = fake();
    order(&fake, "POST", "/v1/services/s0/start", &json!({}));
    order(&fake, "POST", "/v1/services/s0/promote", &json!({}));
    let drawn = |fake: &Fake| -> Vec<bool> {
        let users = (0..400).map(|n| json!({ "targetingKey": format!("user-{n}") }));
        users.map(|user| told(fake, "ramp", &user).0).collect()
    };
    let first = drawn(&fake);
    let count = first.iter().filter(|on| **on).count();
    // 120 of 400 are expected; five standard deviations either way.
    assert!((74..166).contains(&count), "{count} of 400 at 30%");
    order(&fake, "POST", "/v1/services/s0/promote", &json!({}));
    let second = drawn(&fake);
    assert!(
        first
            .iter()
            .zip(&second)
            .all(|(before, after)| *after || !before),
        "nested"
    );
    let more = second.iter().filter(|on| **on).count();
    assert!((190..290).contains(&more), "{more} of 400 at 60%");
}

#[test]
fn a_client_of_a_release_that_was_taken_over_gets_what_whois_says() {
    let fake = fake();
    order(&fake, "POST", "/v1/services/s0/start", &json!({}));
    let share = json!({ "share_ppm": 500_000 });
    order(&fake, "POST", "/v1/services/s0/share", &share);
    let mut candidates = 0;
    for n in 0..200 {
        let client = format!("10.0.{n}.7");
        let path = format!("/v1/services/s0/whois?client={client}");
        let whois = ask(&fake.socket, "GET", &path, "").json();
        let gets = whois["way"]["pool"] == "p1";
        candidates += usize::from(gets);
        let expected = (gets, "SPLIT".to_owned());
        let told = told(&fake, "ramp", &json!({ "clientIp": client }));
        assert_eq!(told, expected, "{client}: {whois}");
    }
    assert!((60..140).contains(&candidates), "{candidates} of 200");

    let guest = json!({ "clientIp": "198.51.100.9" });
    order(
        &fake,
        "POST",
        "/v1/services/s0/cutover",
        &json!({ "to": "p1" }),
    );
    assert_eq!(told(&fake, "ramp", &guest), yes("STATIC"));
    order(
        &fake,
        "POST",
        "/v1/services/s0/cutover",
        &json!({ "to": "p0" }),
    );
    assert_eq!(told(&fake, "ramp", &guest), no("DEFAULT"));
}

/// What the addresses of staff begin with, before a digit of their own.
const STAFF_CLIENTS: [&str; 2] = ["198.51.100.", "2001:db8:9:"];

/// Whether it is one digit, and what every address ends with.
fn is_short(rest: &str) -> bool {
    rest.len() == 1 || rest[1..].starts_with("::")
}

#[test]
fn a_client_gets_what_whois_says() {
    let fake = fake();
    order(&fake, "POST", "/v1/services/s0/start", &json!({}));
    order(&fake, "POST", "/v1/services/s0/promote", &json!({}));
    let octet = |n: u32| n % 256;
    let v4 = (0..150_u32).flat_map(|n| {
        [
            format!("198.51.100.{}", octet(n)),
            format!("203.0.113.{}", octet(n)),
            format!("10.{}.{}.7", octet(n), octet(n * 7)),
        ]
    });
    let v6 = (0..150_u32).flat_map(|n| {
        [
            format!("2001:db8:9:{n:x}::1"),
            format!("2001:db8:77:{n:x}::2"),
            format!("2001:db8:{:x}:{n:x}::3", n * 31 + 100),
        ]
    });
    let mut candidates = 0;
    for client in v4.chain(v6) {
        let whois = ask(
            &fake.socket,
            "GET",
            &format!("/v1/services/s0/whois?client={client}"),
            "",
        );
        let whois = whois.json();
        let gets = whois["way"]["pool"] == "p1";
        candidates += usize::from(gets);
        let context = json!({ "clientIp": client });
        assert_eq!(told(&fake, "ramp", &context).0, gets, "{client}: {whois}");
        let within = |toggle: &str| match toggle {
            "preview" => STAFF_CLIENTS.iter().any(|prefix| {
                let rest = client.strip_prefix(prefix);
                rest.is_some_and(|rest| {
                    rest.starts_with(|c| ('0'..'8').contains(&c)) && is_short(rest)
                })
            }),
            _ => client.starts_with("203.0.113.") || client.starts_with("2001:db8:77:"),
        };
        for toggle in ["preview", "half"] {
            let by = gets && within(toggle);
            assert_eq!(
                told(&fake, toggle, &context).0,
                by,
                "{toggle} {client}: {whois}"
            );
        }
    }
    assert!((200..500).contains(&candidates), "{candidates} of 900");
}

/// Code of a failure with a status.
fn code(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json");
    let failure = answer.json();
    let details = failure["errorDetails"].as_str().unwrap_or_default();
    assert!(!details.is_empty(), "{failure}");
    failure["errorCode"].as_str().expect("a code").to_owned()
}

#[test]
fn what_can_not_be_evaluated_has_the_protocols_codes() {
    let fake = fake();
    order(&fake, "POST", "/v1/services/s0/start", &json!({}));
    order(&fake, "POST", "/v1/services/s0/promote", &json!({}));
    let at = |status, toggle: &str, context: &Value| code(&flag(&fake, toggle, context), status);
    assert_eq!(
        at(404, "nope", &json!({ "targetingKey": "ann" })),
        "FLAG_NOT_FOUND"
    );
    assert_eq!(at(404, "a%2Fb%20c", &json!({})), "FLAG_NOT_FOUND");
    assert_eq!(at(400, "preview", &json!({})), "TARGETING_KEY_MISSING");
    assert_eq!(
        at(400, "ramp", &json!({ "targetingKey": "" })),
        "TARGETING_KEY_MISSING"
    );
    assert_eq!(
        at(400, "preview", &json!({ "targetingKey": "ann" })),
        "INVALID_CONTEXT"
    );
    assert_eq!(
        at(400, "preview", &json!({ "targetingKey": 7 })),
        "INVALID_CONTEXT"
    );
    assert_eq!(
        at(400, "preview", &json!({ "clientIp": "ann" })),
        "INVALID_CONTEXT"
    );
    assert_eq!(at(400, "ramp", &json!([1])), "INVALID_CONTEXT");
    let port = json!({ "clientIp": "192.0.2.9" });
    assert_eq!(at(400, "ports", &port), "GENERAL");
    assert_eq!(
        at(400, "ramp", &port),
        "GENERAL",
        "the audience would be asked first"
    );
    assert_eq!(
        told(&fake, "ports", &json!({ "clientIp": "192.0.3.9" })),
        no("DEFAULT")
    );
}

#[test]
fn bodies_that_make_no_sense_are_refused_and_nothing_is_lost() {
    let fake = fake();
    let deep = "[".repeat(100_000);
    let huge = format!("{{\"context\":{{\"x\":\"{}\"}}}}", "y".repeat(70_000));
    let json = "application/json";
    let all: [(&str, &[u8], u16); 9] = [
        (json, b"", 400),
        (json, b"{", 400),
        (json, b"[]", 400),
        (json, b"\"context\"", 400),
        (json, b"{\"context\":7}", 400),
        (json, &[0xff, 0xfe, 0x00], 400),
        ("text/plain", b"{}", 400),
        ("", b"{}", 400),
        (json, huge.as_bytes(), 413),
    ];
    for path in [FLAGS.to_owned(), format!("{FLAGS}/preview")] {
        for (kind, body, status) in all {
            let answer = send(&fake.socket, "POST", &path, kind, body);
            let code = code(&answer, status);
            assert!(
                ["PARSE_ERROR", "INVALID_CONTEXT"].contains(&&*code),
                "{code}"
            );
        }
        let answer = send(&fake.socket, "POST", &path, json, deep.as_bytes());
        assert!([400, 413].contains(&answer.status), "{answer:?}");
        assert_eq!(ask(&fake.socket, "GET", &path, "").status, 405);
    }
    assert_eq!(
        told(&fake, "idle", &json!({ "other": { "a": [1, null] } })),
        yes("STATIC")
    );
}

#[test]
fn all_flags_come_at_once_and_not_again_while_nothing_has_changed() {
    let fake = fake();
    order(&fake, "POST", "/v1/services/s0/start", &json!({}));
    let body = json!({ "context": { "clientIp": "198.51.100.3" } }).to_string();
    let all = |tag: Option<&str>| {
        let kind = ("content-type", "application/json; charset=utf-8");
        let mut headers = vec![kind];
        headers.extend(tag.map(|tag| ("if-none-match", tag)));
        send_to(fake.http, "POST", FLAGS, &headers, body.as_bytes())
    };
    let first = all(None);
    assert_eq!(first.status, 200, "{first:?}");
    let flags = first.json()["flags"].as_array().expect("a list").clone();
    let keys: Vec<_> = flags
        .iter()
        .filter_map(|flag| flag["key"].as_str())
        .collect();
    assert_eq!(keys, ["preview", "door", "idle", "half", "ports", "ramp"]);
    assert_eq!(
        flags[0],
        json!({ "key": "preview", "value": true, "reason": "TARGETING_MATCH", "variant": "on" })
    );
    let tag = first.headers["etag"].clone();
    let same = all(Some(&tag));
    assert_eq!((same.status, same.text.as_str()), (304, ""));
    assert_eq!(same.headers["etag"], tag);
    assert_eq!(all(Some(&format!("\"x\", W/{tag}"))).status, 304);
    assert_eq!(all(Some("\"x\"")).status, 200);
    order(&fake, "PUT", "/v1/toggles/preview", &json!({ "on": false }));
    let changed = all(Some(&tag));
    assert_eq!(changed.status, 200);
    assert_ne!(changed.headers["etag"], tag);
    assert_eq!(changed.json()["flags"][0]["reason"], "DISABLED");

    let nobody = send(&fake.socket, "POST", FLAGS, "application/json", b"{}").json();
    assert_eq!(nobody["flags"][2]["reason"], "STATIC");
    assert_eq!(
        (&nobody["flags"][3]["key"], &nobody["flags"][3]["errorCode"]),
        (&json!("half"), &json!("TARGETING_KEY_MISSING"))
    );
}
