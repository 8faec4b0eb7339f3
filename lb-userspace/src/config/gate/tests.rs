//! Gates as they are written, and those that are refused.

use super::super::{
    Config,
    samples::{problems, refuses, shop},
};
use super::*;

const EXEC: &str = "exec = [\"/bin/true\"]";

/// A release of two steps with these gates.
fn with(gates: &[&str]) -> String {
    let release = "[service.release]\nsteps = [{ share = \"1%\", hold = \"5m\" }, { share = \
                   \"25%\", hold = \"5m\" }]\n";
    let gates = gates
        .iter()
        .map(|gate| format!("[[service.release.gate]]\n{gate}\n"));
    format!("{}{release}{}", shop(""), gates.collect::<String>())
}

fn gate(lines: &str) -> Gate {
    let text = with(&[&format!("name = \"smoke\"\n{lines}")]);
    let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let plan = config.services[0].release.clone().expect("given");
    plan.gates[0].clone()
}

#[test]
fn a_gate_is_read_with_what_goes_without_saying() {
    let expected = Gate {
        name: "smoke".to_owned(),
        point: Point::Before(2),
        probe: Probe::Exec {
            command: vec!["/bin/true".to_owned()],
            user: "nobody".to_owned(),
        },
        timeout: Duration::from_secs(30),
        interval: Duration::from_secs(30),
        fall: 1,
        on_failure: Policy::Abort,
        on_inconclusive: Policy::Hold,
    };
    assert_eq!(gate(&format!("before = \"promote\"\n{EXEC}")), expected);
}

#[test]
fn every_key_of_a_gate_is_read() {
    let read = gate(
        "during = 2\nexec = [\"/bin/x\", \"a b\"]\nuser = \"www-data\"\ntimeout = \
         \"2m\"\ninterval = \"1s\"\nfall = 3\non_failure = \"hold\"\non_inconclusive = \
         \"pass\"",
    );
    let expected = Gate {
        name: "smoke".to_owned(),
        point: Point::During(1),
        probe: Probe::Exec {
            command: vec!["/bin/x".to_owned(), "a b".to_owned()],
            user: "www-data".to_owned(),
        },
        timeout: Duration::from_mins(2),
        interval: Duration::from_secs(1),
        fall: 3,
        on_failure: Policy::Hold,
        on_inconclusive: Policy::Pass,
    };
    assert_eq!(read, expected);
    let probe = |lines: &str| gate(&format!("before = 1\n{lines}")).probe;
    let http = |status: &[(u16, u16)]| Probe::Http {
        url: "https://shop.example.net:8443/smoke?x=1".to_owned(),
        status: status.to_vec(),
        ca: None,
    };
    let url = "http = \"https://shop.example.net:8443/smoke?x=1\"";
    assert_eq!(probe(url), http(&[(200, 299)]));
    let statuses = format!("{url}\nstatus = \"204, 300-302\"");
    assert_eq!(probe(&statuses), http(&[(204, 204), (300, 302)]));
    let prometheus = "prometheus = { url = \"http://[::1]:9090\", query = \"up\", condition = \
                      \"<0.010\" }";
    let expected = Probe::Prometheus {
        url: "http://[::1]:9090".to_owned(),
        query: "up".to_owned(),
        condition: "< 0.01".to_owned(),
        ca: None,
    };
    assert_eq!(probe(prometheus), expected);
    assert_eq!(probe("approval = true"), Probe::Approval);
}

#[test]
fn a_gate_that_asks_over_tls_may_name_who_vouches_for_its_server() {
    let ca = |lines: &str| match gate(&format!("before = 1\n{lines}")).probe {
        Probe::Http { ca, .. } | Probe::Prometheus { ca, .. } => ca,
        Probe::Exec { .. } | Probe::Approval => panic!("{lines} asks no URL"),
    };
    let http = "http = \"https://a/\"\nca = \"/ca.pem\"";
    let prometheus = "prometheus = { url = \"https://a\", query = \"up\", condition = \"< 1\", ca = \
                      \"/ca.pem\" }";
    for lines in [http, prometheus] {
        assert_eq!(ca(lines).as_deref(), Some("/ca.pem".as_ref()), "{lines}");
        let clear = with(&[&format!("name = \"smoke\"\nbefore = 1\n{lines}")]);
        refuses(
            &clear.replace("https://a", "http://a"),
            "names a `ca`, but a URL without TLS; write https://, or leave `ca` out",
        );
    }
    let relative = with(&["name = \"smoke\"\nbefore = 1\nhttp = \"https://a/\"\nca = \"x\""]);
    refuses(&relative, "sets `ca` to `x`");
    let unused = with(&[&format!(
        "name = \"smoke\"\nbefore = 1\n{EXEC}\nca = \"/ca.pem\""
    )]);
    refuses(&unused, "sets `ca`, which is for gates with `http`");
}

#[test]
fn points_are_named_by_number_or_by_word() {
    for (line, expected) in [
        ("before = \"start\"", Point::Before(0)),
        ("before = 1", Point::Before(0)),
        ("before = 2", Point::Before(1)),
        ("before = \"2\"", Point::Before(1)),
        ("before = \"promote\"", Point::Before(2)),
        ("before = \"cutover\"", Point::Before(2)),
        ("during = 1", Point::During(0)),
        ("after = \"promote\"", Point::After),
        ("after = \"cutover\"", Point::After),
    ] {
        assert_eq!(gate(&format!("{line}\n{EXEC}")).point, expected, "{line}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of all that is refused")]
fn gates_that_can_not_be_are_refused_with_the_remedy() {
    let promote = "before = \"promote\"";
    let all = [
        (
            format!("{EXEC}\nbefore = 3"),
            "`before` to `3`: no step of this release, which has 2; write a number from 1 to 2, \"start\" or \"promote\"",
        ),
        (format!("{EXEC}\nbefore = 0"), "`before` to `0`: no step"),
        (
            format!("{EXEC}\nbefore = \"prmote\""),
            "`before` to `prmote`: no step",
        ),
        (
            format!("{EXEC}\nduring = 3"),
            "`during` to `3`: no step of this release, which has 2; write a number from 1 to 2",
        ),
        (
            format!("{EXEC}\nafter = \"1\""),
            "`after` to `1`: nothing that a gate comes after; write \"promote\"",
        ),
        (
            EXEC.to_owned(),
            "gate `smoke` is never asked; write before = \"promote\"",
        ),
        (
            format!("{EXEC}\n{promote}\nduring = 1"),
            "gate `smoke` is asked `before` and `during`; keep one",
        ),
        (
            promote.to_owned(),
            "gate `smoke` asks nothing; write exec = ",
        ),
        (
            format!("{promote}\napproval = false"),
            "gate `smoke` asks nothing",
        ),
        (
            format!("{promote}\n{EXEC}\nhttp = \"http://x/\""),
            "gate `smoke` asks `exec` and `http`; keep one",
        ),
        (
            format!("{promote}\nexec = [\"smoke\"]"),
            "`exec` to `smoke`: a command without a whole path",
        ),
        (
            format!("{promote}\nexec = []"),
            "`exec` to `[]`: no command; write the program's path",
        ),
        (
            format!("{promote}\nexec = [\"/x\", \"a\\u0000\"]"),
            "not what a command can be given",
        ),
        (
            format!("{promote}\nexec = \"/x\""),
            "gives `exec` a string; it takes an array of strings",
        ),
        (
            format!("{promote}\n{EXEC}\nuser = \"a b\""),
            "`user` to `a b`: no name of a user",
        ),
        (
            format!("{promote}\nhttp = \"shop/smoke\""),
            "`http` to `shop/smoke`: no URL; write it whole",
        ),
        (
            format!("{promote}\nhttp = \"ftp://shop/\""),
            "`http` to `ftp://shop/`: no URL",
        ),
        (
            format!("{promote}\nhttp = \"http://me:word@shop/\""),
            "a URL with a user in it",
        ),
        (format!("{promote}\nhttp = \"http://shop/#x\""), "no URL"),
        (
            format!("{promote}\nhttp = \"http://shop/\"\nstatus = 99"),
            "`status` to `99`: no HTTP statuses",
        ),
        (
            format!("{promote}\nhttp = \"http://shop/\"\nuser = \"me\""),
            "gate `smoke` sets `user`, which is for gates with `exec` only",
        ),
        (
            format!("{promote}\n{EXEC}\nstatus = 200"),
            "gate `smoke` sets `status`, which is for gates with `http` only",
        ),
        (
            format!("{promote}\nprometheus = {{}}"),
            "gate `smoke`: prometheus has no `url`; add",
        ),
        (
            format!(
                "{promote}\nprometheus = {{ url = \"http://p\", query = \"up\", condition = \"1\" }}"
            ),
            "prometheus sets `condition` to `1`: no condition; write <, <=,",
        ),
        (
            format!(
                "{promote}\nprometheus = {{ url = \"http://p\", query = \" \", condition = \"< 1\" }}"
            ),
            "`query` to ` `: no query",
        ),
        (
            format!(
                "{promote}\nprometheus = {{ url = \"p:9090\", query = \"up\", condition = \"< 1\" }}"
            ),
            "`url` to `p:9090`: no URL",
        ),
        (
            format!(
                "{promote}\nprometheus = {{ url = \"http://p/?a\", query = \"up\", condition = \"< 1\" }}"
            ),
            "`url` to `http://p/?a`: no URL",
        ),
        (
            format!(
                "{promote}\nprometheus = {{ url = \"http://p\", qery = \"up\", condition = \"< 1\" }}"
            ),
            "unknown key `qery`; did you mean `query`?",
        ),
        (
            "after = \"promote\"\napproval = true".to_owned(),
            "is an approval, which is waited for before something",
        ),
        (
            format!("{promote}\napproval = true\ninterval = \"1s\""),
            "sets `interval`, which is for gates that are asked by themselves only",
        ),
        (
            format!("{promote}\n{EXEC}\ntimeout = \"0s\""),
            "`timeout` to `0s`: out of bounds",
        ),
        (
            format!("{promote}\n{EXEC}\ninterval = \"2d\""),
            "`interval` to `2d`: out of bounds",
        ),
        (
            format!("{promote}\n{EXEC}\nfall = 0"),
            "`fall` to `0`: out of bounds; choose a number from 1 to 100",
        ),
        (
            format!("{promote}\n{EXEC}\non_failure = \"pass\""),
            "`on_failure` to `pass`: unknown word; write `hold` or `abort`",
        ),
        (
            format!("{promote}\n{EXEC}\non_inconclusive = \"ask\""),
            "`on_inconclusive` to `ask`: unknown word",
        ),
        (
            format!("{promote}\nhttps = \"https://x/\""),
            "unknown key `https`; did you mean `http`?",
        ),
        (
            format!("{promote}\n{EXEC}\nintervall = \"9s\""),
            "unknown key `intervall`; did you mean `interval`?",
        ),
    ];
    for (lines, expected) in all {
        let said = problems(&with(&[&format!("name = \"smoke\"\n{lines}")]));
        assert!(
            said.contains(expected),
            "expected: {expected}\nproblems: {said}"
        );
        assert!(
            said.contains("service `shop`: release: gate `smoke`"),
            "{said}"
        );
    }
}

#[test]
fn a_name_stands_for_one_gate_and_there_are_not_too_many() {
    let smoke = format!("name = \"smoke\"\nbefore = 1\n{EXEC}");
    refuses(
        &with(&[&smoke, &smoke]),
        "gate `smoke` has the name of an earlier gate; rename",
    );
    refuses(
        &with(&[&format!("before = 1\n{EXEC}")]),
        "release: gate 1 has no `name`; add",
    );
    let many: Vec<_> = (0..65)
        .map(|n| smoke.replace("smoke", &format!("s{n}")))
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    refuses(&with(&many), "release has 65 gates; 64 are the most");
    assert_eq!(problems(&with(&many[..64])), "");
}

#[test]
fn steps_with_problems_do_not_make_gates_wrong_as_well() {
    let text = with(&[&format!("name = \"smoke\"\nbefore = 2\n{EXEC}")]);
    let said = problems(&text.replace("\"25%\"", "\"25\""));
    assert_eq!(said.lines().count(), 1, "{said}");
}
