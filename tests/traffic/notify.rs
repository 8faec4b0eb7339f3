//! Webhooks of the real daemon, and a log on a full disk.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use serin_tests::{
    command::run,
    config::{Attach, Service},
    daemon::Daemon,
    deadline,
    topology::Lab,
};

use crate::{
    audience::table,
    stage::{Stage, Way},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// In a namespace of the lab's own, so nobody else has it.
const AT: &str = "127.0.0.1:9000";
const KEY: &str = "a secret of the test";

/// A message's headers and body.
#[derive(Clone, Debug)]
struct Heard {
    head: String,
    body: String,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map_or("", |(_, value)| value)
    }

    fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The signature, worked out by Python's own library.
    fn expected_signature(&self) -> Result<String> {
        const SCRIPT: &str = "import base64, hashlib, hmac, sys\n\
            key, *parts = [text.encode() for text in sys.argv[1:]]\n\
            mac = hmac.new(key, b'.'.join(parts), hashlib.sha256)\n\
            print('v1,' + base64.b64encode(mac.digest()).decode())";
        let mut python = Command::new("python3");
        python.args(["-c", SCRIPT, KEY, self.header("webhook-id")]);
        python.args([self.header("webhook-timestamp"), &self.body]);
        Ok(run(&mut python)?.trim().to_owned())
    }
}

/// Answers 204 to all on the edge host, until the process ends.
fn serve(lab: &Lab) -> Result<Arc<Mutex<Vec<Heard>>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    lab.edge.thread("hook", move || {
        let listener = TcpListener::bind(AT).expect("the port is free");
        for stream in listener.incoming() {
            let message = hear(stream.expect("a client")).expect("a request");
            told.lock().expect("whole").push(message);
        }
    })?;
    Ok(heard)
}

fn hear(mut stream: TcpStream) -> Result<Heard> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut part)?;
        ensure!(length > 0, "cut off");
        bytes.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let told = Heard {
            head: head.to_owned(),
            body: body.to_owned(),
        };
        if body.len() >= told.header("content-length").parse()? {
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
            return Ok(told);
        }
    }
}

fn target(stage: &Stage, key: &Path) -> Result<Value> {
    let status = stage.serin("status")?;
    ensure!(fs::exists(key)?, "the key is there");
    Ok(status["notify"]["127.0.0.1:9000"].clone())
}

#[test]
fn a_daemon_killed_before_it_could_tell_tells_all_in_order_after_its_restart() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Generic)?;
    let key = stage.daemon.directory().join("hook.key");
    fs::write(&key, KEY)?;
    let hook = table([
        ("url", format!("http://{AT}/hook").into()),
        ("secret_file", key.display().to_string().into()),
    ]);
    stage.daemon.config.notify = vec![hook];
    stage.apply()?;
    let orders = [
        "share shop 1%",
        "drain shop b1",
        "ready shop b1",
        "share shop 5%",
    ];
    for order in orders {
        stage.serin(order)?;
    }
    deadline::until("an attempt to fail", PATIENCE, || {
        let target = target(&stage, &key)?;
        let tried = target["failing"] != 0 && target["pending"] != 0;
        Ok(tried.then_some(()))
    })?;
    stage.daemon.kill()?;
    let heard = serve(&stage.lab)?;
    stage.daemon.start(&stage.lab)?;
    stage.serin("share shop 0%")?;
    let history = stage.serin("history shop")?;
    let history = history.as_array().cloned().context("a list")?;
    deadline::until("all to be told", PATIENCE, || {
        let told = heard.lock().expect("whole").len() == history.len();
        Ok(told.then_some(()))
    })?;
    let heard = heard.lock().expect("whole").clone();
    let told: Vec<Value> = heard
        .iter()
        .map(|heard| heard.event()["data"].clone())
        .collect();
    assert_eq!(told, history, "all of them, in order, each once");
    assert!(told.len() >= 5, "{told:#?}");
    for message in &heard {
        assert_eq!(
            message.header("webhook-signature"),
            message.expected_signature()?
        );
        assert_eq!(
            message.header("content-type"),
            "application/cloudevents+json"
        );
        assert_eq!(message.event()["subject"], "shop");
    }
    println!("{} messages, 0 lost, in order", heard.len());
    Ok(())
}

/// A file system without room, gone with its owner.
struct Full(PathBuf);

impl Full {
    fn mount(directory: &Path) -> Result<Self> {
        fs::create_dir(directory)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4k", "tmpfs"]);
        run(mount.arg(directory))?;
        let full = Self(directory.to_owned());
        fs::write(directory.join("filler"), [0; 4096])?;
        Ok(full)
    }

    fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        // What is still open there goes with its process.
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_for_the_log_stops_no_release_and_loses_no_entry() -> Result<()> {
    let lab = Lab::routed(4)?;
    let shop = Service::shop(&lab, "nat", 8080);
    let mut daemon = Daemon::prepare(&lab, Attach::Generic, vec![shop])?;
    let full = Full::mount(&daemon.directory().join("full"))?;
    let log = full.0.join("audit.jsonl");
    std::os::unix::fs::symlink(&log, daemon.directory().join("audit.jsonl"))?;
    daemon.start(&lab)?;
    for share in ["1%", "2%", "3%"] {
        daemon.serin(&["share", "shop", share])?;
    }
    let shares = |history: &Value| -> Vec<Value> {
        let entries = history.as_array().into_iter().flatten();
        entries.map(|entry| entry["share_ppm"].clone()).collect()
    };
    let expected = [10_000, 20_000, 30_000].map(|ppm| json!(ppm));
    assert_eq!(shares(&daemon.serin(&["history", "shop"])?), expected);
    deadline::until("the log's complaint", PATIENCE, || {
        Ok(daemon.log().contains("No space left").then_some(()))
    })?;
    daemon.kill()?;
    daemon.start(&lab)?;
    assert_eq!(
        shares(&daemon.serin(&["history", "shop"])?),
        expected,
        "the state file had them"
    );
    full.make_room()?;
    deadline::until("the log to be written", PATIENCE, || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        Ok((text.lines().count() == 3).then_some(()))
    })?;
    drop(daemon);
    Ok(())
}
