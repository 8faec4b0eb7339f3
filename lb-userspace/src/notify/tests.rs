//! Targets over real HTTP, and how they can be.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    time::{Instant, sleep},
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    api::model::NotifyStatus,
    config::NotifyFormat,
    http::authority::Authority,
    journal::{self, Entry, Happened},
};

const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";
const HANGS: &str = "";
const PATIENCE: Duration = Duration::from_secs(20);

/// A request.
#[derive(Clone, Debug)]
struct Heard {
    headers: BTreeMap<String, String>,
    body: String,
}

impl Heard {
    fn seq(&self) -> u64 {
        let body: Value = serde_json::from_str(&self.body).expect("JSON");
        body["data"]["seq"].as_u64().expect("a number")
    }
}

/// A server that gives these answers, the last one for ever.
struct Server {
    at: String,
    heard: Arc<Mutex<Vec<Heard>>>,
}

/// A connection, in the clear or by TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Server {
    async fn start(answers: &'static [&'static str]) -> Self {
        Self::start_with(answers, None).await
    }

    async fn start_with(answers: &'static [&'static str], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound").to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&heard);
        tokio::spawn(async move {
            let mut held = Vec::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.expect("a client");
                let mut stream: Box<dyn Stream> = match &tls {
                    None => Box::new(stream),
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => Box::new(stream),
                        // A client that does not take the certificate goes away.
                        Err(_) => continue,
                    },
                };
                let request = hear(&mut *stream).await;
                told.lock().expect("whole").push(request);
                let answer = answers[number.min(answers.len() - 1)];
                stream.write_all(answer.as_bytes()).await.expect("sent");
                if answer == HANGS {
                    held.push(stream);
                }
            }
        });
        Self { at, heard }
    }

    fn target(&self, name: &str) -> Notify {
        Notify {
            name: name.to_owned(),
            url: format!("http://{}/hook?a=b", self.at)
                .parse()
                .expect("a URL"),
            events: Vec::new(),
            services: Vec::new(),
            secret_file: None,
            ca: None,
            format: NotifyFormat::CloudEvents,
        }
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("whole").clone()
    }

    fn seqs(&self) -> Vec<u64> {
        self.heard().iter().map(Heard::seq).collect()
    }

    async fn hears(&self, seqs: &[u64]) {
        until(|| self.seqs().len() >= seqs.len()).await;
        assert_eq!(self.seqs(), seqs);
    }
}

async fn hear(stream: &mut dyn Stream) -> Heard {
    let mut bytes = Vec::new();
    loop {
        stream.read_buf(&mut bytes).await.expect("a request");
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        assert!(head.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{head}");
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let headers: BTreeMap<String, String> = lines
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        if body.len() >= headers["content-length"].parse().expect("a length") {
            let body = body.to_owned();
            return Heard { headers, body };
        }
    }
}

async fn until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not in time");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A daemon's log and those whom it tells.
struct Daemon {
    journal: Journal,
    board: Board,
    notifier: Notifier,
}

impl Daemon {
    fn start(directory: &TempDir, targets: &[Notify]) -> Self {
        let state = directory.path().join("state.json");
        let journal = Journal::beside(&state);
        let board = Board::default();
        let mut notifier = Notifier::new(&state, journal.clone(), board.clone());
        notifier.follow(targets);
        Self {
            journal,
            board,
            notifier,
        }
    }

    fn happens(&self, service: &str, event: Happened, cause: &str) {
        let entry = Entry {
            seq: self.journal.next(None),
            event,
            ..journal::sample(service, cause)
        };
        assert!(self.journal.take(&entry));
    }

    fn steps(&self, count: usize) {
        for _ in 0..count {
            self.happens("shop", Happened::Step, "");
        }
    }

    fn status(&self, name: &str) -> NotifyStatus {
        self.board.read()[name].clone()
    }

    /// The log is on the disk, as it soon is.
    async fn writes(&self, seq: u64) {
        until(|| self.journal.written() >= seq).await;
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

#[tokio::test]
async fn what_fails_is_tried_again_and_nothing_overtakes_it() {
    let server = Server::start(&[
        "HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n",
        "not HTTP\r\n\r\n",
        OK,
    ])
    .await;
    let directory = directory();
    let daemon = Daemon::start(&directory, &[server.target("hook")]);
    daemon.steps(3);
    server.hears(&[1, 1, 1, 2, 3]).await;
    until(|| daemon.status("hook").delivered == 3).await;
    let status = daemon.status("hook");
    assert_eq!((status.pending, status.failing, status.error), (0, 0, None));
    let heard = server.heard();
    let ids: Vec<_> = heard
        .iter()
        .map(|heard| &heard.headers["webhook-id"])
        .collect();
    assert!(
        ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3],
        "{ids:?}"
    );
    assert_eq!(
        heard[0].headers["content-type"],
        "application/cloudevents+json"
    );
    assert!(!heard[0].headers.contains_key("webhook-signature"));
}

#[tokio::test]
async fn what_is_refused_for_good_is_counted_and_blocks_nothing() {
    let server = Server::start(&["HTTP/1.1 422 No\r\ncontent-length: 0\r\n\r\n", OK]).await;
    let directory = directory();
    let daemon = Daemon::start(&directory, &[server.target("hook")]);
    daemon.steps(2);
    server.hears(&[1, 2]).await;
    until(|| daemon.status("hook").delivered == 1).await;
    assert_eq!(daemon.status("hook").refused, 1);
}

#[tokio::test]
async fn a_target_that_asks_for_patience_gets_it() {
    let server = Server::start(&[
        "HTTP/1.1 429 Slow\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n",
        OK,
    ])
    .await;
    let directory = directory();
    let daemon = Daemon::start(&directory, &[server.target("hook")]);
    let began = Instant::now();
    daemon.steps(1);
    server.hears(&[1, 1]).await;
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_target_with_tls_is_told_only_if_its_authority_vouches_for_it() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = Server::start_with(&[OK], Some(authority.acceptor.clone())).await;
    let target = |name: &str, authority: &Authority| Notify {
        url: format!("https://{}/hook?a=b", server.at)
            .parse()
            .expect("a URL"),
        ca: Some(authority.file()),
        ..server.target(name)
    };
    let targets = [target("good", &authority), target("wrong", &stranger)];
    let directory = directory();
    let daemon = Daemon::start(&directory, &targets);
    daemon.steps(2);
    until(|| daemon.status("good").delivered == 2).await;
    until(|| daemon.status("wrong").failing >= 2).await;
    let wrong = daemon.status("wrong");
    assert_eq!((wrong.delivered, wrong.pending), (0, 2), "nothing is lost");
    let error = wrong.error.expect("an error");
    assert!(
        error.contains("invalid peer certificate") && error.ends_with("name it with `ca`"),
        "{error}"
    );
    assert_eq!(server.seqs(), [1, 2], "nothing was said to the wrong one");
}

#[tokio::test]
async fn a_redirection_is_not_followed_and_the_remedy_is_said() {
    let elsewhere = Server::start(&[OK]).await;
    let to = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{}/hook?a=b\r\ncontent-length: 0\r\n\r\n",
        elsewhere.at
    );
    let server = Server::start(vec![&*to.leak()].leak()).await;
    let directory = directory();
    let daemon = Daemon::start(&directory, &[server.target("hook")]);
    daemon.steps(1);
    until(|| daemon.status("hook").failing >= 2).await;
    let status = daemon.status("hook");
    let error = status.error.expect("an error");
    assert!(
        error.contains("302") && error.contains("into `url`"),
        "{error}"
    );
    assert_eq!((status.pending, status.delivered), (1, 0));
    assert_eq!(elsewhere.heard().len(), 0);
}

#[tokio::test]
async fn one_that_hangs_holds_up_nobody_else() {
    let (hanging, server) = (Server::start(&[HANGS]).await, Server::start(&[OK]).await);
    let directory = directory();
    let daemon = Daemon::start(&directory, &[hanging.target("a"), server.target("b")]);
    let began = Instant::now();
    daemon.steps(5);
    server.hears(&[1, 2, 3, 4, 5]).await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    until(|| daemon.status("a").error.is_some()).await;
    assert!(
        began.elapsed() >= Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        daemon.status("a").error.as_deref(),
        Some("no answer within 10s")
    );
    assert_eq!(daemon.status("a").pending, 5);
}

#[tokio::test]
async fn what_comes_while_a_target_is_away_waits_as_well() {
    let absent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = absent.local_addr().expect("bound").to_string();
    drop(absent);
    let target = Server {
        at,
        heard: Arc::default(),
    }
    .target("hook");
    let directory = directory();
    let daemon = Daemon::start(&directory, &[target]);
    daemon.steps(2);
    until(|| daemon.status("hook").failing >= 1).await;
    daemon.steps(3);
    until(|| daemon.status("hook").pending == 5).await;
}

#[tokio::test]
async fn a_daemon_that_died_before_it_could_tell_tells_after_the_restart() {
    let directory = directory();
    let absent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = absent.local_addr().expect("bound").to_string();
    drop(absent);
    let target = Server {
        at,
        heard: Arc::default(),
    }
    .target("hook");
    let daemon = Daemon::start(&directory, &[target]);
    daemon.steps(3);
    until(|| daemon.status("hook").failing >= 1).await;
    daemon.writes(3).await;
    drop(daemon);

    let server = Server::start(&[OK]).await;
    let target = server.target("hook");
    let daemon = Daemon::start(&directory, std::slice::from_ref(&target));
    daemon.steps(1);
    server.hears(&[1, 2, 3, 4]).await;
    until(|| daemon.status("hook").delivered == 4).await;
    daemon.writes(4).await;
    drop(daemon);

    let daemon = Daemon::start(&directory, &[target]);
    daemon.steps(1);
    server.hears(&[1, 2, 3, 4, 5]).await;
}

#[tokio::test]
async fn a_new_target_is_told_what_happens_from_now_on_and_only_what_it_wants() {
    let (all, some) = (Server::start(&[OK]).await, Server::start(&[OK]).await);
    let directory = directory();
    let mut daemon = Daemon::start(&directory, &[all.target("all")]);
    daemon.steps(2);
    all.hears(&[1, 2]).await;
    let picky = Notify {
        events: vec![Happened::Aborted],
        services: vec!["shop".to_owned()],
        ..some.target("some")
    };
    daemon.notifier.follow(&[all.target("all"), picky]);
    daemon.happens("shop", Happened::Step, "");
    daemon.happens("mail", Happened::Aborted, "");
    daemon.happens("shop", Happened::Aborted, "");
    some.hears(&[5]).await;
    all.hears(&[1, 2, 3, 4, 5]).await;
    daemon.notifier.follow(&[]);
    daemon.steps(1);
    assert_eq!(daemon.board.read().len(), 0);
}

#[tokio::test]
async fn what_the_log_no_longer_has_is_counted_as_lost() {
    let server = Server::start(&[OK]).await;
    let directory = directory();
    let daemon = Daemon::start(&directory, &[server.target("hook")]);
    daemon.steps(1);
    server.hears(&[1]).await;
    until(|| daemon.status("hook").delivered == 1).await;
    drop(daemon);
    let mut daemon = Daemon::start(&directory, &[]);
    // Its place was forgotten with it; here it was only away.
    let mut cursor = Cursor::open(directory.path(), "hook", 1);
    cursor.place.after = 1;
    cursor.keep();
    for _ in 2..=15 {
        let seq = daemon.journal.next(None);
        daemon.happens("shop", Happened::Step, &"x".repeat(2 << 20));
        daemon.writes(seq).await;
    }
    let kept = daemon.journal.read(0, None).expect("readable")[0].seq;
    assert!(kept > 3, "{kept}");
    daemon.notifier.follow(&[server.target("hook")]);
    until(|| daemon.status("hook").delivered > 0 && daemon.status("hook").pending == 0).await;
    assert_eq!(daemon.status("hook").lost, kept - 2);
    let expected: Vec<u64> = [1].into_iter().chain(kept..=15).collect();
    assert_eq!(server.seqs(), expected);
}
