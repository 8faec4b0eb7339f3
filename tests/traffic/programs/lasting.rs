//! Connections that people keep: they live through three releases in a row, each of which settles,
//! while new ones go where the release says.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use serin_tests::{
    config::{Attach, Service},
    daemon::Daemon,
    deadline,
    real::{Keys, Shell, Sshd},
    topology::Lab,
    websocket::{WebSocket, WebSocketServer},
};

use crate::stage::{VIPS, names, user, words};

/// Short enough that every release settles while the test looks, and longer than any of the kept
/// connections is silent: several log in between two of its words.
const DRAIN: &str = "4s";
/// `DRAIN` in whole ticks, and the daemon's own pause.
const SETTLED: Duration = Duration::from_secs(20);
/// The orders of each release, and the version that it ends at.
const RELEASES: [(&[&str], &str); 3] = [
    (
        &["share shop 5%", "share shop 50%", "cutover shop --to green"],
        "v2",
    ),
    (&["cutover shop --to blue"], "v1"),
    (
        &["share shop 30%", "rollback shop", "cutover shop --to green"],
        "v2",
    ),
];

in_both_modes!(
    websockets_live_through_three_releases,
    ssh_sessions_live_through_three_releases,
);

/// A connection over which a word is answered by itself, and who has answered.
trait Conversation {
    fn ask(&mut self, word: &str) -> Result<String>;
}

impl Conversation for WebSocket {
    fn ask(&mut self, word: &str) -> Result<String> {
        Self::ask(self, word)
    }
}

impl Conversation for Shell {
    fn ask(&mut self, word: &str) -> Result<String> {
        Self::ask(self, word)
    }
}

fn websockets_live_through_three_releases(attach: Attach) -> Result<()> {
    let lab = Lab::routed(4)?;
    let named = lab.backends.iter().zip(names(4));
    let servers = named
        .map(|(backend, (version, name))| WebSocketServer::start(backend, version, &name, 8080));
    let _servers: Vec<_> = servers.collect::<Result<_>>()?;
    through_three_releases(&lab, attach, 8080, 20, &|from, vip| {
        WebSocket::open(&lab.clients, user(from, vip), vip)
    })
}

fn ssh_sessions_live_through_three_releases(attach: Attach) -> Result<()> {
    let lab = Lab::routed(4)?;
    let keys = Keys::new()?;
    let named = lab.backends.iter().zip(names(4));
    let servers =
        named.map(|(backend, (version, name))| Sshd::start(backend, (version, &name), 2222, &keys));
    let _servers: Vec<_> = servers.collect::<Result<_>>()?;
    through_three_releases(&lab, attach, 2222, 4, &|from, vip| {
        Shell::open(&lab.clients, user(from, vip), vip, &keys)
    })
}

/// A conversation, and who has answered in it first.
struct Kept<C> {
    conversation: C,
    home: String,
    words: u32,
}

impl<C: Conversation> Kept<C> {
    fn begin(conversation: C) -> Result<Self> {
        let mut kept = Self {
            conversation,
            home: String::new(),
            words: 0,
        };
        kept.home = kept.talk().context("the first word")?;
        Ok(kept)
    }

    /// One more word; tells who answers.
    fn talk(&mut self) -> Result<String> {
        let word = self.words.to_string();
        let answer = self.conversation.ask(&word)?;
        let who = answer
            .strip_prefix(&format!("{word} "))
            .context("another answer")?;
        self.words += 1;
        Ok(who.to_owned())
    }

    fn is_at_home(&mut self) -> Result<()> {
        let (home, words) = (self.home.clone(), self.words);
        let who = self
            .talk()
            .with_context(|| format!("word {words} to {home}"))?;
        assert_eq!(who, home, "the conversation has moved");
        Ok(())
    }
}

fn through_three_releases<C: Conversation>(
    lab: &Lab,
    attach: Attach,
    port: u16,
    conversations: u32,
    open: &dyn Fn(u32, SocketAddr) -> Result<C>,
) -> Result<()> {
    let mut shop = Service::shop(lab, "nat", port);
    DRAIN.clone_into(&mut shop.drain);
    let daemon = Daemon::run(lab, attach, vec![shop])?;
    let begin = |number: u32| {
        let vip = VIPS[number as usize % VIPS.len()];
        Kept::begin(open(number, vip)?)
    };
    let mut kept = (0..conversations).map(begin).collect::<Result<Vec<_>>>()?;
    assert!(kept.iter().all(|kept| kept.home.starts_with("v1 ")));

    for (release, (orders, version)) in (1..).zip(RELEASES) {
        for order in orders {
            daemon.serin(&words(order))?;
            kept.iter_mut().try_for_each(Kept::is_at_home)?;
        }
        let first = release * conversations;
        for number in first..first + conversations {
            let new = begin(number)?;
            assert!(
                new.home.starts_with(version),
                "{} after {orders:?}",
                new.home
            );
            kept.push(new);
            kept.iter_mut().try_for_each(Kept::is_at_home)?;
        }
        deadline::until("the release to settle", SETTLED, || {
            kept.iter_mut().try_for_each(Kept::is_at_home)?;
            let status = daemon.serin(&["status", "shop"])?;
            Ok((status["settled"] == true).then_some(()))
        })?;
        kept.iter_mut().try_for_each(Kept::is_at_home)?;
    }

    let words: u32 = kept.iter().map(|kept| kept.words).sum();
    eprintln!("{attach:?}: {words} words over {} connections", kept.len());
    Ok(())
}
