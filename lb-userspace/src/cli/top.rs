//! `serin top`: a release on one screen, second by second, and the orders that a person gives meanwhile.

mod bars;
mod draw;
mod feed;
mod keys;
mod latency;
mod series;
mod view;

use std::{
    io::{self, IsTerminal as _, stdout},
    thread,
    time::{Duration, Instant},
};

use ratatui::{
    DefaultTerminal,
    crossterm::{
        event::{self, DisableBracketedPaste, EnableBracketedPaste},
        execute,
    },
};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinSet,
    time::timeout,
};

use self::{feed::Feed, keys::Act, view::View};
use super::{Failure, watch::Style};
use crate::api::client::Client;

/// How long an order that was given is waited for after the screen has gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// What comes of orders.
type Orders = JoinSet<Result<String, String>>;

/// Shows it for as long as somebody looks.
pub async fn top(client: &Client, service: Option<String>) -> Result<(), Failure> {
    if !stdout().is_terminal() || !io::stdin().is_terminal() {
        let why = "top: there is no terminal; `serin status SERVICE -w` does without one";
        return Err(Failure::usage(why.to_owned()));
    }
    let mut feed = Feed::new(client, service);
    // Who can't be reached, and a service that is not there, are told in words, not on a screen.
    let (first, service) = feed.first().await?;
    let mut view = View::new(Style::of_terminal(true), &service);
    view.take(first);
    let mut orders = Orders::new();
    let shown = match Screen::enter() {
        Ok(mut screen) => screen.show(client, &mut feed, &mut view, &mut orders).await,
        Err(error) => Err(error),
    };
    see_through(orders).await?;
    shown.map_err(|error| Failure::refused(format!("the terminal: {error}")))
}

/// Tells what has come of orders that were not answered yet when the screen went.
async fn see_through(mut orders: Orders) -> Result<(), Failure> {
    while !orders.is_empty() {
        let unknown = || Err("the order is not answered; `serin history` tells".to_owned());
        let answer = timeout(PATIENCE, orders.join_next()).await.ok().flatten();
        match answer.and_then(Result::ok).unwrap_or_else(unknown) {
            Ok(done) => println!("{done}"),
            Err(why) => return Err(Failure::refused(why)),
        }
    }
    Ok(())
}

/// The terminal, which is given back as it was.
struct Screen(DefaultTerminal);

impl Screen {
    fn enter() -> io::Result<Self> {
        let screen = ratatui::try_init().map(Self);
        // What is pasted is no keys.
        let pasted = || execute!(stdout(), EnableBracketedPaste);
        let entered = screen.and_then(|screen| pasted().map(|()| screen));
        entered.inspect_err(|_| ratatui::restore())
    }

    async fn show(
        &mut self,
        client: &Client,
        feed: &mut Feed,
        view: &mut View,
        orders: &mut Orders,
    ) -> io::Result<()> {
        let mut keys = typed();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            self.0.draw(|frame| draw::screen(frame, view))?;
            let event = select! {
                told = feed.next() => {
                    match told {
                        Ok(told) => view.take(told),
                        Err(error) => view.lost(&error),
                    }
                    continue;
                }
                Some(answer) = orders.join_next() => {
                    view.said = Some(answer.unwrap_or_else(|error| Err(error.to_string())));
                    continue;
                }
                event = keys.recv() => event,
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = hangup.recv() => return Ok(()),
            };
            let Some(event) = event else { return Ok(()) };
            match keys::pressed(view, &event, Instant::now()) {
                Some(Act::Quit) => return Ok(()),
                Some(Act::Service(service)) => {
                    view.turn_to(&service);
                    feed.turn_to(service);
                }
                Some(Act::Order(asked)) => {
                    let client = client.clone();
                    orders.spawn(async move {
                        let answer = asked.give(&client).await;
                        answer.map_err(|error| error.to_string())
                    });
                }
                None => {}
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // At worst the terminal stays as it is, which `reset` mends.
        execute!(stdout(), DisableBracketedPaste).ok();
        ratatui::restore();
    }
}

/// What is typed, and each change of the terminal's size. The thread ends with the process.
fn typed() -> UnboundedReceiver<event::Event> {
    let (sender, receiver) = unbounded_channel();
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    receiver
}
