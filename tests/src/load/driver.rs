//! Runs a plan on one thread until it is told to stop, then waits for what has begun.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{
    net::TcpStream,
    runtime,
    sync::{oneshot, watch},
    task::{JoinSet, LocalSet},
    time::{interval, sleep, timeout},
};

use super::{
    Plan,
    log::{Request, Shared},
    short::{TICK, Turns},
    wire,
};
use crate::{clock, failure::Failure, http::Answer};

pub(super) fn drive(plan: Plan, log: Arc<Shared>, stopped: oneshot::Receiver<()>) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let driver = Rc::new(Driver {
        plan,
        log,
        connections: Cell::new(0),
    });
    runtime.block_on(LocalSet::new().run_until(driver.run(stopped)));
    Ok(())
}

struct Driver {
    plan: Plan,
    log: Arc<Shared>,
    connections: Cell<u64>,
}

impl Driver {
    async fn run(self: Rc<Self>, stopped: oneshot::Receiver<()>) {
        let (end, ending) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for user in 0..self.plan.keep_alive {
            tasks.spawn_local(Rc::clone(&self).converse(user, ending.clone()));
        }
        if self.plan.short_per_s > 0 {
            tasks.spawn_local(Rc::clone(&self).take_turns(ending));
        }
        // It ends when the sender is dropped; nothing is ever sent.
        let _ = stopped.await;
        end.send_replace(true);
        while tasks.join_next().await.is_some() {}
    }

    /// Short connections of all users, at the plan's rate.
    async fn take_turns(self: Rc<Self>, ending: watch::Receiver<bool>) {
        let Plan {
            users, short_per_s, ..
        } = self.plan;
        let turns = Rc::new(RefCell::new(Turns::new(users, short_per_s, Instant::now())));
        let mut tick = interval(TICK);
        let mut open = JoinSet::new();
        while !*ending.borrow() {
            tick.tick().await;
            let due = turns.borrow_mut().due(Instant::now());
            for user in due {
                let (driver, turns) = (Rc::clone(&self), Rc::clone(&turns));
                open.spawn_local(async move {
                    driver.request(user, &mut None, false).await;
                    turns.borrow_mut().done(user);
                });
            }
            while open.try_join_next().is_some() {}
        }
        while open.join_next().await.is_some() {}
    }

    /// One user's long connection. It is opened again only after a failure, which is counted.
    async fn converse(self: Rc<Self>, user: u32, ending: watch::Receiver<bool>) {
        let Plan {
            keep_alive,
            keep_alive_per_s,
            ..
        } = self.plan;
        let period = Duration::from_secs(keep_alive.into()) / keep_alive_per_s.max(1);
        // Spread over the period, so that the users don't speak in chorus.
        sleep(period * user / keep_alive).await;
        let mut rhythm = interval(period);
        rhythm.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut connection = None;
        while !*ending.borrow() {
            rhythm.tick().await;
            self.request(user, &mut connection, true).await;
        }
    }

    /// One request, over the connection if there is one, else over a new one that is left there.
    async fn request(&self, user: u32, held: &mut Option<Held>, keep_alive: bool) {
        let opened = held.is_none();
        let (began_ns, began) = (clock::now_ns(), Instant::now());
        let outcome = timeout(self.plan.patience, self.ask(user, held))
            .await
            .unwrap_or(Err(Failure::TimedOut));
        let (connection, source) = match held {
            Some(held) => (held.number, Some(held.source)),
            None => (self.number(), None),
        };
        if outcome.is_err() {
            *held = None;
        }
        self.log.push(Request {
            user,
            source,
            connection,
            opened,
            keep_alive,
            began_ns,
            took_us: u64::try_from(began.elapsed().as_micros()).expect("less than an age"),
            outcome,
        });
    }

    async fn ask(&self, user: u32, held: &mut Option<Held>) -> Result<Answer, Failure> {
        if held.is_none() {
            let stream = wire::open(self.plan.client(user), self.plan.target).await?;
            *held = Some(Held {
                number: self.number(),
                source: stream.local_addr()?,
                stream,
            });
        }
        let held = held.as_mut().expect("just opened");
        wire::ask(&mut held.stream).await
    }

    fn number(&self) -> u64 {
        self.connections.replace(self.connections.get() + 1)
    }
}

/// A connection that is open.
struct Held {
    number: u64,
    source: SocketAddr,
    stream: TcpStream,
}
