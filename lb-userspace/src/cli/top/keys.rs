//! What keys do. An order is asked for first, and given as it was asked: one for a step that the release
//! has left meanwhile is refused.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::view::View;
use crate::{
    api::{
        client::{Client, ClientError},
        model::{Done, PromoteOrder, ReasonOrder},
    },
    cli::order::resource,
    share::Share,
};

/// What a key comes to that is not done on the screen alone.
#[derive(Debug, PartialEq, Eq)]
pub enum Act {
    Quit,
    /// Look at another service.
    Service(String),
    Order(Asked),
}

/// What may be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Promote,
    /// To the end.
    Full,
    Pause,
    Resume,
    Abort,
}

/// An order, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    verb: Verb,
    service: String,
    candidate: String,
    step: Option<usize>,
}

impl Asked {
    /// The order for the service that is looked at; nothing where no release is under way.
    pub fn new(verb: Verb, view: &View) -> Option<Self> {
        let status = &view.detail.as_ref()?.status;
        let release = status
            .release
            .as_ref()
            .filter(|release| release.under_way)?;
        Some(Self {
            verb,
            service: status.service.clone(),
            candidate: release.candidate.clone(),
            step: release.step,
        })
    }

    /// The question.
    pub fn text(&self) -> String {
        let Self {
            verb,
            service,
            candidate,
            step,
        } = self;
        let step = step.map_or_else(String::new, |step| format!(" from step {step}"));
        match verb {
            Verb::Promote => format!("{service}: let `{candidate}` go on{step}?"),
            Verb::Full => format!("{service}: send ALL users to `{candidate}` now?"),
            Verb::Pause => format!("{service}: pause the release of `{candidate}`?"),
            Verb::Resume => format!("{service}: let the paused release of `{candidate}` go on?"),
            Verb::Abort => format!("{service}: abort, and take all users off `{candidate}`?"),
        }
    }

    /// Gives it; what has come of it, for people.
    pub async fn give(&self, client: &Client) -> Result<String, ClientError> {
        let below = match self.verb {
            Verb::Promote | Verb::Full => "/promote",
            Verb::Pause => "/pause",
            Verb::Resume => "/resume",
            Verb::Abort => "/abort",
        };
        let path = resource(&self.service, below);
        let done: Done = match self.verb {
            Verb::Promote | Verb::Full => {
                let order = PromoteOrder {
                    full: self.verb == Verb::Full,
                    expect_step: self.step,
                };
                client.post(&path, &order).await?
            }
            Verb::Pause | Verb::Resume | Verb::Abort => {
                let order = ReasonOrder {
                    reason: Some("in `serin top`".to_owned()),
                };
                client.post(&path, &order).await?
            }
        };
        let share = Share {
            ppm: done.share_ppm,
        };
        let place = match &done.candidate {
            Some(candidate) => format!("`{candidate}` has {share}"),
            None => format!("`{}` has all", done.active),
        };
        let notes: String = done.notes.iter().map(|note| format!("; {note}")).collect();
        Ok(format!("done: {place}{notes}"))
    }
}

/// What a key, or another event of the terminal, comes to.
pub fn pressed(view: &mut View, event: &Event) -> Option<Act> {
    let Event::Key(key) = event else {
        return None;
    };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if quits(key) {
        return Some(Act::Quit);
    }
    if let Some(asked) = view.question.take() {
        let yes = matches!(key.code, KeyCode::Char('y' | 'Y'));
        view.said = (!yes).then(|| Ok("nothing was ordered".to_owned()));
        return yes.then_some(Act::Order(asked));
    }
    view.said = None;
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Some(Act::Quit),
        KeyCode::Right | KeyCode::Char('l') => return view.neighbour(1).map(Act::Service),
        KeyCode::Left | KeyCode::Char('h') => return view.neighbour(-1).map(Act::Service),
        KeyCode::Down | KeyCode::Char('j') => view.scrolled += 1,
        KeyCode::Up | KeyCode::Char('k') => view.scrolled = view.scrolled.saturating_sub(1),
        KeyCode::Char('v') => view.plot = view.plot.next(),
        KeyCode::Char('p') => ask(view, Verb::Promote),
        KeyCode::Char('P') => ask(view, Verb::Full),
        KeyCode::Char('a') => ask(view, Verb::Abort),
        KeyCode::Char(' ') => {
            let verb = if is_paused(view) {
                Verb::Resume
            } else {
                Verb::Pause
            };
            ask(view, verb);
        }
        _ => {}
    }
    None
}

fn quits(key: &KeyEvent) -> bool {
    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}

fn ask(view: &mut View, verb: Verb) {
    view.question = Asked::new(verb, view);
    if view.question.is_none() {
        view.said = Some(Err("no release is under way".to_owned()));
    }
}

fn is_paused(view: &View) -> bool {
    let release = view.detail.as_ref().and_then(|d| d.status.release.as_ref());
    release.is_some_and(|release| release.state == "paused")
}

#[cfg(test)]
mod tests {
    use super::{super::view::tests::seen, *};

    fn press(view: &mut View, key: char) -> Option<Act> {
        let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE);
        pressed(view, &Event::Key(key))
    }

    #[test]
    fn an_order_is_given_after_a_yes_and_as_it_was_asked() {
        for (key, verb, question) in [
            ('p', Verb::Promote, "shop: let `green` go on from step 2?"),
            ('P', Verb::Full, "shop: send ALL users to `green` now?"),
            (' ', Verb::Pause, "shop: pause the release of `green`?"),
            (
                'a',
                Verb::Abort,
                "shop: abort, and take all users off `green`?",
            ),
        ] {
            let mut view = seen(true);
            assert_eq!(press(&mut view, key), None, "it asks");
            let asked = view.question.clone().expect("a question");
            assert_eq!((asked.verb, asked.text().as_str()), (verb, question));
            // Meanwhile the release goes on.
            let release = view.detail.as_mut().and_then(|d| d.status.release.as_mut());
            release.expect("there is one").step = Some(3);
            assert_eq!(asked.step, Some(2));
            assert_eq!(press(&mut view, 'y'), Some(Act::Order(asked)));
            assert_eq!(view.question, None);
        }
    }

    #[test]
    fn any_other_key_orders_nothing() {
        for key in ['n', 'a', ' ', 'q'] {
            let mut view = seen(true);
            press(&mut view, 'a');
            assert_eq!(press(&mut view, key), None);
            assert_eq!(view.question, None);
        }
    }

    #[test]
    fn a_paused_release_is_asked_to_go_on_and_one_that_is_over_nothing() {
        let mut view = seen(true);
        let mut release = |state: &str, under_way: bool| {
            let release = view.detail.as_mut().and_then(|d| d.status.release.as_mut());
            let release = release.expect("there is one");
            (release.state, release.under_way) = (state.to_owned(), under_way);
            press(&mut view, ' ');
            view.question.take().map(|asked| asked.verb)
        };
        assert_eq!(release("paused", true), Some(Verb::Resume));
        assert_eq!(release("promoted", false), None);
        assert_eq!(view.said, Some(Err("no release is under way".to_owned())));
    }

    #[test]
    fn control_c_ends_it_even_in_a_question() {
        let mut view = seen(true);
        press(&mut view, 'a');
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(pressed(&mut view, &Event::Key(key)), Some(Act::Quit));
    }
}
