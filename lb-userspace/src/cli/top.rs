//! `serin top`: a release on one screen, second by second, and the orders that a person gives meanwhile.

mod bars;
mod draw;
mod feed;
mod keys;
mod latency;
mod series;
mod view;

use std::{
    io::{self, IsTerminal as _},
    thread,
};

use ratatui::{DefaultTerminal, crossterm::event};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use self::{
    feed::Feed,
    keys::{Act, Asked},
    view::View,
};
use super::{Failure, watch::Style};
use crate::api::client::Client;

/// Shows it for as long as somebody looks.
pub async fn top(client: &Client, service: Option<String>) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let why = "top: there is no terminal; `serin status SERVICE -w` does without one";
        return Err(Failure::usage(why.to_owned()));
    }
    let mut feed = Feed::new(client, service);
    // Who can't be reached, and a service that is not there, are told in words, not on a screen.
    let first = feed.first().await?;
    let mut screen = Screen::enter()
        .map_err(|error| Failure::refused(format!("the terminal can't be set up: {error}")))?;
    let mut view = View::new(Style::of_terminal(true));
    view.take(first);
    screen.show(client, &mut feed, &mut view).await
}

/// The terminal, which is given back as it was.
struct Screen(DefaultTerminal);

impl Screen {
    fn enter() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }

    async fn show(
        &mut self,
        client: &Client,
        feed: &mut Feed,
        view: &mut View,
    ) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::refused(format!("the terminal: {error}"));
        let mut keys = typed();
        let (answers, mut answered) = unbounded_channel();
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        loop {
            self.0
                .draw(|frame| draw::screen(frame, view))
                .map_err(failed)?;
            select! {
                told = feed.next() => match told {
                    Ok(told) => view.take(told),
                    Err(error) => view.lost(&error),
                },
                Some(event) = keys.recv() => match keys::pressed(view, &event) {
                    Some(Act::Quit) => return Ok(()),
                    Some(Act::Service(service)) => {
                        view.turn_to(&service);
                        feed.turn_to(service);
                    }
                    Some(Act::Order(asked)) => give(client.clone(), asked, answers.clone()),
                    None => {}
                },
                Some(answer) = answered.recv() => view.said = Some(answer),
                _ = terminate.recv() => return Ok(()),
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // At worst the terminal stays as it is, which `reset` mends.
        ratatui::try_restore().ok();
    }
}

/// Gives an order; the screen goes on meanwhile.
fn give(client: Client, asked: Asked, answers: UnboundedSender<Result<String, String>>) {
    tokio::spawn(async move {
        let answer = asked.give(&client).await;
        // Who has left does not care.
        let _gone = answers.send(answer.map_err(|error| error.to_string()));
    });
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
