//! The command line and the API of a release.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use lb_userspace::release::engine::Outcome;
use serde_json::json;

use super::site;
use crate::{
    fake::Fake,
    http::ask,
    program::{Said, client, command},
};

fn serin(fake: &Fake, line: &str) -> Said {
    client(&fake.socket, &line.split(' ').collect::<Vec<_>>())
}

fn done(fake: &Fake, line: &str) -> Said {
    let said = serin(fake, line);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{line}");
    said
}

fn release(fake: &Fake) -> serde_json::Value {
    done(fake, "status s0 -o json").json()["release"].clone()
}

#[test]
fn a_release_is_steered_by_commands_and_shown_by_status() {
    let fake = Fake::new(site());
    assert_eq!(release(&fake), json!(null));
    done(&fake, "start s0");
    assert_eq!(
        release(&fake),
        json!({
            "number": 1, "candidate": "p1", "state": "holding", "under_way": true,
            "reason": null, "inconclusive": false, "step": 1,
            "steps": 3, "audience": "staff", "asked_share_ppm": 0, "hold_s": 20, "left_s": 20,
            "deadline_left_s": null, "strategy": "canary", "scheduled_ms": null, "together": [], "gates": [],
            "unseen": null
        })
    );
    done(&fake, "pause s0 --reason lunch");
    done(&fake, "resume s0");
    done(&fake, "promote s0 --expect-step 1");
    let again = serin(&fake, "promote s0 --expect-step 1");
    assert!(
        again.error(1).contains("is at step 2, not at step 1"),
        "{again:?}"
    );
    let text = done(&fake, "status s0").out;
    let line = "  release   1, p1 at step 2 of 3 (1%), holding, 30s of its hold left\n";
    assert!(text.contains(line), "{text}");
    done(&fake, "abort s0 --reason errors");
    assert_eq!(release(&fake)["reason"], "errors");
    done(&fake, "retry s0");
    let taken = done(&fake, "share s0 7%");
    assert!(
        taken.out.contains("note: the release is yours now"),
        "{taken:?}"
    );
    let refused = serin(&fake, "start s0");
    assert!(refused.error(1).contains("--replace"), "{refused:?}");
    done(&fake, "start s0 --to p1 --replace");
    done(&fake, "promote s0 --full");
    assert_eq!(release(&fake)["state"], "promoted");
}

#[test]
fn wait_ends_with_3_where_nobody_could_tell_and_1_where_it_was_bad() {
    let mut site = site();
    site.services[0].tables.push_str(
        "[[service.release.gate]]\nname = \"errors\"\nduring = 1\nexec = \
         [\"/x\"]\non_inconclusive = \"abort\"\n",
    );
    let fake = Fake::new(site);
    let why = || "no data".to_owned();
    for (outcome, code, said) in [
        (Outcome::Inconclusive(why()), 3, "gate `errors` can't tell"),
        (Outcome::Failed(why()), 1, "gate `errors` failed"),
    ] {
        done(&fake, "start s0");
        let ask = fake.shared.control().due_gates().remove(0);
        let taken = fake.shared.control().answers(vec![(ask, outcome)], 1000);
        taken.expect("taken");
        let ended = serin(&fake, "wait s0");
        let error = ended.error(code);
        assert!(
            error.contains("was aborted") && error.contains(said),
            "{error}"
        );
        assert_eq!(release(&fake)["inconclusive"], code == 3);
    }
}

#[test]
fn wait_ends_with_0_promoted_1_aborted_or_taken_over_and_3_timed_out() {
    let fake = Fake::new(site());
    let none = serin(&fake, "wait s0");
    assert!(
        none.error(1).contains("no release has been started"),
        "{none:?}"
    );
    done(&fake, "start s0");
    let late = serin(&fake, "wait s0 --timeout 1s");
    assert!(late.error(3).contains("has not ended in time"), "{late:?}");

    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| serin(&fake, "wait s0 --timeout 1m"));
        std::thread::sleep(std::time::Duration::from_millis(300));
        done(&fake, "promote s0 --full");
        waiting.join().expect("it ends")
    });
    assert_eq!(waiting.code, Some(0), "{waiting:?}");
    assert_eq!(waiting.out, "release 1, p1 promoted\n");
    done(&fake, "rollback s0");
    let back = serin(&fake, "wait s0");
    assert!(
        back.error(1).contains("then rolled back: by hand"),
        "{back:?}"
    );

    done(&fake, "start s0");
    done(&fake, "abort s0 --reason errors");
    let aborted = serin(&fake, "wait s0");
    let expected = "service `s0`: the release was aborted: errors";
    assert_eq!(aborted.error(1), format!("{expected}\n"));
    done(&fake, "retry s0");
    done(&fake, "share s0 1%");
    let taken = serin(&fake, "wait s0");
    assert!(taken.error(1).contains("taken over by hand"), "{taken:?}");
}

#[test]
fn history_and_events_name_the_peer_of_the_socket() {
    let fake = Fake::new(site());
    done(&fake, "start s0");
    done(&fake, "share s1 5%");
    done(&fake, "abort s0 --reason errors");
    let all = done(&fake, "events -o json").json();
    let told: Vec<_> = all
        .as_array()
        .expect("a list")
        .iter()
        .map(|e| json!([e["seq"], e["service"], e["event"], e["actor"], e["cause"]]))
        .collect();
    let uid = nix::unistd::Uid::effective();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let actor = json!({ "uid": uid.as_raw(), "name": user.expect("a name").name });
    let expected = [
        json!([1, "s0", "started", actor, "start"]),
        json!([2, "s1", "share", actor, "`share 50000ppm` by hand"]),
        json!([3, "s0", "aborted", actor, "errors"]),
    ];
    assert_eq!(told, expected);
    let history = done(&fake, "history s0").out;
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines.len(), 2, "{history}");
    assert!(
        lines[1].contains(" s0 release 1 aborted: p0 has all (by "),
        "{history}"
    );
    let nope = serin(&fake, "history nope");
    assert!(nope.error(1).contains("service `nope`: not configured"));
    let tail = ask(&fake.socket, "GET", "/v1/events?after=2", "").json();
    assert_eq!(tail.as_array().map(Vec::len), Some(1));
}

#[test]
fn events_follow_what_happens_line_by_line() {
    let fake = Fake::new(site());
    done(&fake, "start s0");
    let mut command = command();
    command.arg("--socket").arg(&fake.socket);
    command.args(["events", "-f", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut event = || -> serde_json::Value {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("JSON")
    };
    assert_eq!(event()["event"], "started");
    done(&fake, "pause s0 --reason lunch");
    let paused = event();
    assert_eq!(
        (&paused["event"], &paused["cause"]),
        (&json!("paused"), &json!("lunch"))
    );
    child.kill().expect("ended");
    child.wait().expect("waited");
}

#[test]
fn orders_of_the_api_that_mean_nothing_are_refused() {
    let fake = Fake::new(site());
    let post = |path: &str, body: &str| ask(&fake.socket, "POST", path, body);
    let conflict = post("/v1/services/s0/promote", "{}").problem(409);
    assert!(
        conflict.contains("no release has been started"),
        "{conflict}"
    );
    let missing = post("/v1/services/nope/start", "{}").problem(404);
    assert!(missing.contains("service `nope`"), "{missing}");
    let unknown = post("/v1/services/s0/start", r#"{"too":"p1"}"#).problem(422);
    assert!(unknown.contains("unknown field `too`"), "{unknown}");
    let negative = post("/v1/services/s0/promote", r#"{"expect_step":-1}"#).problem(422);
    assert!(negative.contains("expect_step"), "{negative}");
}

#[test]
fn wait_is_for_the_release_that_was_under_way() {
    let fake = Fake::new(site());
    done(&fake, "start s0");
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| serin(&fake, "wait s0 --timeout 1m"));
        // It has asked once by then.
        std::thread::sleep(std::time::Duration::from_secs(2));
        done(&fake, "start s0 --replace");
        waiting.join().expect("it ends")
    });
    let error = waiting.error(1);
    assert!(error.contains("release 2 has taken its place"), "{error}");
}

#[test]
fn an_order_that_waits_and_is_called_off_ends_with_1() {
    let mut site = site();
    site.services[0].lines += "datagram = \"session\"\nidle = \"1m\"\n";
    let fake = Fake::new(site);
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| serin(&fake, "share s0 5%"));
        let began = std::time::Instant::now();
        while fake.shared.control().state().services["s0"]
            .pending
            .is_none()
        {
            assert!(
                began.elapsed() < std::time::Duration::from_secs(20),
                "no order"
            );
            std::thread::yield_now();
        }
        done(&fake, "rollback s0");
        waiting.join().expect("it ends")
    });
    assert_eq!(
        (waiting.code, waiting.out.as_str()),
        (Some(1), ""),
        "{waiting:?}"
    );
    let why = "the order was not carried out: `share 50000ppm` was called off by root";
    assert!(waiting.err.contains(why), "{waiting:?}");
}
