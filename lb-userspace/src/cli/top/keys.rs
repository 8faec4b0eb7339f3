//! What keys do. An order is asked for first, and is for the release and the step that it was asked for:
//! the question goes when those do.

use std::time::{Duration, Instant};

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

/// A yes that comes sooner is none: nobody has read the question, as where text is pasted.
const READ: Duration = Duration::from_millis(300);

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
    release: u64,
    step: Option<usize>,
    /// It is promoted, and watched.
    bakes: bool,
    steps: usize,
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
            release: release.number,
            step: release.step,
            bakes: release.state == "baking",
            steps: release.steps,
        })
    }

    /// Whether the release that is looked at is another by now, or is elsewhere.
    pub fn is_outdated(&self, view: &View) -> bool {
        Self::new(self.verb, view).as_ref() != Some(self)
    }

    /// The question.
    pub fn text(&self) -> String {
        let Self {
            verb,
            service,
            candidate,
            step,
            bakes,
            ..
        } = self;
        let step = step.map_or_else(String::new, |step| format!(" from step {step}"));
        match verb {
            Verb::Promote | Verb::Full if *bakes => {
                format!("{service}: let all users stay with `{candidate}`, and watch it no longer?")
            }
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
                    expect_step: self.step.or(self.bakes.then_some(self.steps + 1)),
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
        let said: Vec<_> = [place].into_iter().chain(done.notes).collect();
        Ok(format!("{}: done, {}", self.service, said.join("; ")))
    }
}

/// What a key, or another event of the terminal, comes to.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other keys do nothing")]
pub fn pressed(view: &mut View, event: &Event, now: Instant) -> Option<Act> {
    let Event::Key(key) = event else {
        return None;
    };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if quits(key) {
        return Some(Act::Quit);
    }
    let with = KeyModifiers::CONTROL | KeyModifiers::ALT;
    if key.modifiers.intersects(with) {
        return None;
    }
    let yes = matches!(key.code, KeyCode::Char('y' | 'Y'));
    let asked_since = view.question.as_ref().map(|(_, since)| *since);
    if yes && asked_since.is_some_and(|since| now.duration_since(since) < READ) {
        return None;
    }
    if let Some((asked, _)) = view.question.take() {
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
        KeyCode::Char('p') => ask(view, Verb::Promote, now),
        KeyCode::Char('P') => ask(view, Verb::Full, now),
        KeyCode::Char('a') => ask(view, Verb::Abort, now),
        KeyCode::Char(' ') => {
            let verb = if is_paused(view) {
                Verb::Resume
            } else {
                Verb::Pause
            };
            ask(view, verb, now);
        }
        _ => {}
    }
    None
}

fn quits(key: &KeyEvent) -> bool {
    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}

fn ask(view: &mut View, verb: Verb, now: Instant) {
    view.question = Asked::new(verb, view).map(|asked| (asked, now));
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
    use super::{
        super::view::tests::{seen, told},
        *,
    };
    use crate::api::model::ReleaseStatus;

    /// A key, so long after a question was asked.
    fn press_after(view: &mut View, key: char, pause: Duration) -> Option<Act> {
        let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE);
        let since = view.question.as_ref().map(|(_, since)| *since);
        let now = since.unwrap_or_else(Instant::now) + pause;
        pressed(view, &Event::Key(key), now)
    }

    fn press(view: &mut View, key: char) -> Option<Act> {
        press_after(view, key, READ)
    }

    fn release(view: &mut View) -> &mut ReleaseStatus {
        let detail = view.detail.as_mut().expect("it is told of");
        detail.status.release.as_mut().expect("there is one")
    }

    #[test]
    fn an_order_is_given_after_a_yes() {
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
            let (asked, _) = view.question.clone().expect("a question");
            assert_eq!((asked.verb, asked.text().as_str()), (verb, question));
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
    fn pasted_text_gives_no_order() {
        let mut view = seen(true);
        for key in "relay, Python".chars() {
            let act = press_after(&mut view, key, Duration::ZERO);
            assert!(!matches!(act, Some(Act::Order(_))), "{key}: {act:?}");
        }
        press(&mut view, 'n');
        press(&mut view, 'a');
        let alt = KeyEvent::new(KeyCode::Char('y'), KeyModifiers::ALT);
        let later = Instant::now() + READ * 2;
        assert_eq!(pressed(&mut view, &Event::Key(alt), later), None);
        assert!(view.question.is_some());
    }

    #[test]
    fn a_question_goes_when_the_release_is_another_or_elsewhere() {
        let mut view = seen(true);
        press(&mut view, 'a');
        view.take(told(40_000, [1, 1]));
        assert!(view.question.is_some(), "it is where it was");
        let mut next = told(41_000, [2, 2]);
        let detail = next.detail.as_mut().expect("there is one");
        detail.status.release.as_mut().expect("one").number += 1;
        view.take(next);
        assert_eq!(view.question, None);
        let said = view.said.expect("why").expect_err("nothing was ordered");
        assert!(said.contains("has gone on meanwhile"), "{said}");
    }

    #[test]
    fn one_that_is_watched_is_asked_whether_that_is_over() {
        let mut view = seen(true);
        let release = release(&mut view);
        (release.state, release.step) = ("baking".to_owned(), None);
        press(&mut view, 'P');
        let (asked, _) = view.question.expect("a question");
        let expected = "shop: let all users stay with `green`, and watch it no longer?";
        assert_eq!(asked.text(), expected);
    }

    #[test]
    fn a_paused_release_is_asked_to_go_on_and_one_that_is_over_nothing() {
        let mut view = seen(true);
        "paused".clone_into(&mut release(&mut view).state);
        press(&mut view, ' ');
        let (asked, _) = view.question.take().expect("a question");
        assert_eq!(asked.verb, Verb::Resume);
        release(&mut view).under_way = false;
        press(&mut view, ' ');
        assert_eq!(view.question, None);
        assert_eq!(view.said, Some(Err("no release is under way".to_owned())));
    }

    #[test]
    fn control_c_ends_it_even_in_a_question() {
        let mut view = seen(true);
        press(&mut view, 'a');
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        let now = Instant::now();
        assert_eq!(pressed(&mut view, &Event::Key(key), now), Some(Act::Quit));
    }
}
