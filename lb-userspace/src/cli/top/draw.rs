//! The screen: what the release is and how it goes, the tree of `serin status -w`, and what happens.
//!
//! ```text
//! services                 one line
//! plot over time │ latency
//! tree                     as much as there is room for, and it can be scrolled
//! events                   the newest last
//! keys, or a question      one line
//! ```

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style as Look},
    symbols::border,
    text::{Line as Row, Span, Text},
    widgets::{Block, Clear, Paragraph},
};

use super::{
    bars::{columns, row},
    latency,
    view::{Plot, View},
};
use crate::{
    cli::{
        events,
        watch::{self, Seen, Tone},
    },
    share::Share,
};

/// The plots' height, with their frame.
const PLOTS: u16 = 9;
/// Lines of events, with their frame.
const EVENTS: u16 = 5;
/// Without this much room the plots are left out, and without half of it the events as well.
const ROOM: u16 = 22;

/// Columns that name a series, and those that tell its newest value.
const NAME: usize = 12;
const VALUE: usize = 7;

const KEYS: &str = "p promote  P all  space pause  a abort  v plot  arrows service, scroll  q quit";

const ASCII: border::Set<'_> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// Draws all of it.
pub fn screen(frame: &mut Frame<'_>, view: &mut View) {
    let area = frame.area();
    let plots = if area.height >= ROOM { PLOTS } else { 0 };
    let news = if area.height >= ROOM / 2 { EVENTS } else { 0 };
    // Whatever else there is no room for, a question is seen.
    let [area, foot] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    let rows = [
        Constraint::Length(1),
        Constraint::Length(plots),
        Constraint::Fill(1),
        Constraint::Length(news),
    ];
    let [head, plots, tree, news] = Layout::vertical(rows).areas(area);
    frame.render_widget(services(view), head);
    if !plots.is_empty() {
        let halves = [Constraint::Percentage(50), Constraint::Percentage(50)];
        let [left, right] = Layout::horizontal(halves).areas(plots);
        plot(frame, view, left);
        waits(frame, view, right);
    }
    branches(frame, view, tree);
    if !news.is_empty() {
        happened(frame, view, news);
    }
    frame.render_widget(Clear, foot);
    frame.render_widget(last_line(view), foot);
}

/// The services, and how far each is.
fn services(view: &View) -> Row<'static> {
    let mut spans = vec![Span::styled("serin top  ", tone(view, Tone::Faint))];
    let here = view.service().unwrap_or_default();
    let place = view.services.iter().position(|s| s.line.service == here);
    // The one that is looked at is always among those for which there is room.
    for summary in view
        .services
        .iter()
        .skip(place.unwrap_or(0).saturating_sub(1))
    {
        let name = &summary.line.service;
        let share = Share {
            ppm: summary.line.share_ppm,
        };
        let share = summary.line.candidate.as_ref().map(|_| format!(" {share}"));
        let text = format!("{name}{}", share.unwrap_or_default());
        spans.push(if name == here {
            Span::styled(format!("[{text}]"), tone(view, Tone::Strong))
        } else {
            Span::raw(format!(" {text} "))
        });
        spans.push(Span::raw(" "));
    }
    Row::from(spans)
}

fn plot(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let title = match view.plot {
        Plot::Share => "candidate's share, % (asked: -)",
        Plot::Pools => "connections/s by pool",
        Plot::Backends => "connections/s by backend",
    };
    let block = block(view, title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let size = (usize::from(inner.width), usize::from(inner.height));
    let text = match view.plot {
        _ if view.series.is_empty() => vec!["the first second is being counted".to_owned()],
        Plot::Share => shares(view, size),
        Plot::Pools => rates(view, size, false),
        Plot::Backends => rates(view, size, true),
    };
    frame.render_widget(Text::from(text.join("\n")), inner);
}

/// The measured share as columns, the asked one as a line.
fn shares(view: &View, (width, height): (usize, usize)) -> Vec<String> {
    let width = width.saturating_sub(VALUE);
    let (asked, measured) = (view.series.asked(width), view.series.measured(width));
    let both = asked.iter().chain(&measured).flatten();
    let most = both.copied().fold(0.0, f64::max) * 1.1;
    if width == 0 || height == 0 || most <= 0.0 {
        return vec!["no candidate has a share".to_owned()];
    }
    let mut rows: Vec<Vec<char>> = columns(&measured, height, most, view.style.unicode)
        .into_iter()
        .map(|row| row.chars().collect())
        .collect();
    let line = if view.style.unicode { '─' } else { '_' };
    for (column, asked) in asked.iter().enumerate() {
        let Some(asked) = *asked else { continue };
        let cell = &mut rows[row(asked, most, height)][column];
        if *cell == ' ' {
            *cell = line;
        }
    }
    let newest = |series: &[Option<f64>]| series.last().copied().flatten();
    let said = [("asked", newest(&asked)), ("has", newest(&measured))];
    let mut said = said.iter().filter_map(|(word, value)| {
        let value = (*value)?;
        Some([(*word).to_owned(), format!("{value:.2}%")])
    });
    let said: Vec<String> = [said.next(), said.next()]
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    let beside = |row: usize| said.get(row).map_or("", String::as_str);
    let rows = rows.into_iter().enumerate();
    rows.map(|(at, row)| {
        let row: String = row.into_iter().collect();
        format!("{row} {}", beside(at))
    })
    .collect()
}

/// A line for each series, all of one scale.
fn rates(view: &View, (width, height): (usize, usize), by_backend: bool) -> Vec<String> {
    let room = width.saturating_sub(NAME + VALUE);
    let all = view.series.rates(room, by_backend);
    let values = all.iter().flat_map(|(_, series)| series.iter().flatten());
    let most = values.copied().fold(0.0, f64::max);
    let hidden = all.len().saturating_sub(height);
    let shown = if hidden > 0 {
        height.saturating_sub(1)
    } else {
        height
    };
    let lines = all.iter().take(shown).map(|(name, series)| {
        let name: String = name.chars().take(NAME - 1).collect();
        let columns = columns(series, 1, most, view.style.unicode);
        let newest = series.last().copied().flatten().unwrap_or(0.0);
        format!("{name:<NAME$}{}{newest:>VALUE$.0}", columns.concat())
    });
    let more = (hidden > 0).then(|| format!("and {} more", all.len() - shown));
    lines.chain(more).collect()
}

/// How long clients of both cohorts waited: for the first byte, where that is seen.
fn waits(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let latency = view
        .detail
        .as_ref()
        .and_then(|detail| detail.latency.as_ref());
    let curves = latency.map(|latency| {
        let first_byte = !latency.first_byte.baseline.is_empty();
        match first_byte {
            true => ("first byte", &latency.first_byte),
            false => ("handshake", &latency.handshake),
        }
    });
    let pools = view.detail.as_ref().map(|detail| {
        let candidate = detail.status.release.as_ref().map(|r| r.candidate.clone());
        format!(
            "{}, {}",
            detail.status.active,
            candidate.unwrap_or_default()
        )
    });
    let what = curves.map_or("latency", |(what, _)| what);
    let block = block(view, &format!("{what}: {}", pools.unwrap_or_default()));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let (width, height) = (usize::from(inner.width), usize::from(inner.height));
    let lines = curves.map(|(_, curves)| latency::lines(curves, width, height, view.style.unicode));
    let text = match lines {
        None => "not measured: the release has no judge".to_owned(),
        Some(lines) if lines.is_empty() => "nothing has been measured yet".to_owned(),
        Some(lines) => lines.join("\n"),
    };
    frame.render_widget(Text::from(text), inner);
}

fn branches(frame: &mut Frame<'_>, view: &mut View, area: Rect) {
    let Some(detail) = &view.detail else {
        return;
    };
    let seen = Seen {
        status: &detail.status,
        judged: detail.judged.as_ref(),
        before: view
            .before
            .as_ref()
            .map(|(status, passed)| (status, *passed)),
    };
    let lines = watch::lines(&seen);
    let hidden = lines.len().saturating_sub(usize::from(area.height));
    view.scrolled = view.scrolled.min(hidden);
    let rows = lines.iter().skip(view.scrolled).map(|line| {
        let pieces = line.pieces(view.style.unicode);
        let spans = pieces.map(|(of, text)| Span::styled(text, tone(view, of)));
        Row::from(spans.collect::<Vec<_>>())
    });
    let rows: Vec<Row<'_>> = rows.collect();
    frame.render_widget(Paragraph::new(rows), area);
}

fn happened(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let block = block(view, "events");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let spare = view.events.len().saturating_sub(usize::from(inner.height));
    let newest = view.events.iter().skip(spare);
    let lines: Vec<String> = newest.map(|entry| short(&events::text(entry))).collect();
    frame.render_widget(Text::from(lines.join("\n")), inner);
}

/// Without the day: what is shown is of these minutes.
fn short(text: &str) -> String {
    text.split_once('T')
        .map_or(text, |(_, rest)| rest)
        .to_owned()
}

/// A question, what has come of an order, what is wrong, or the keys.
fn last_line(view: &View) -> Row<'static> {
    let (of, text) = if let Some(asked) = &view.question {
        (
            Tone::Busy,
            format!("{}  y yes, any other key no", asked.text()),
        )
    } else if let Some(said) = &view.said {
        match said {
            Ok(said) => (Tone::Good, said.clone()),
            Err(why) => (Tone::Bad, format!("refused: {why}")),
        }
    } else if let Some(trouble) = &view.trouble {
        (Tone::Bad, trouble.clone())
    } else {
        (Tone::Faint, KEYS.to_owned())
    };
    // Whoever wrote the answer does not write the lines.
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Row::styled(text, tone(view, of))
}

fn block<'t>(view: &View, title: &str) -> Block<'t> {
    let set = if view.style.unicode {
        border::PLAIN
    } else {
        ASCII
    };
    let block = Block::bordered().border_set(set);
    block
        .title(title.to_owned())
        .border_style(tone(view, Tone::Faint))
}

fn tone(view: &View, tone: Tone) -> Look {
    if !view.style.colour {
        return Look::default();
    }
    match tone {
        Tone::Plain => Look::default(),
        Tone::Strong => Look::default().add_modifier(Modifier::BOLD),
        Tone::Faint => Look::default().add_modifier(Modifier::DIM),
        Tone::Good => Look::default().fg(Color::Green),
        Tone::Bad => Look::default().fg(Color::Red).add_modifier(Modifier::BOLD),
        Tone::Busy => Look::default().fg(Color::Cyan),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::{super::view::tests::seen, *};

    /// The screen's lines.
    fn drawn(view: &mut View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
        terminal.draw(|frame| screen(frame, view)).expect("memory");
        let buffer = terminal.backend().buffer();
        let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        (0..height).map(line).collect()
    }

    fn find<'l>(lines: &'l [String], text: &str) -> &'l str {
        let found = lines.iter().find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("no `{text}` in\n{}", lines.join("\n")))
    }

    #[test]
    fn eighty_by_twenty_four_shows_share_latency_tree_events_and_keys() {
        let lines = drawn(&mut seen(false), 80, 24);
        assert_eq!(lines.len(), 24);
        assert!(lines[0].contains(" mail 10%  [shop 10%]"), "{}", lines[0]);
        find(&lines, "asked");
        find(&lines, "10.00%");
        find(&lines, "first byte: blue, green");
        find(&lines, "<2 ms");
        find(&lines, "step 2 of 4");
        find(&lines, "12:00:00.000Z shop release 3 step");
        assert!(lines[23].starts_with("p promote"), "{}", lines[23]);
        let odd: String = lines.concat().chars().filter(|c| !c.is_ascii()).collect();
        assert_eq!(odd, "", "without UTF-8");
    }

    #[test]
    fn all_sizes_are_drawn_and_keep_the_last_line() {
        let mut view = seen(true);
        for (width, height) in [(1, 1), (20, 5), (40, 12), (80, 21), (200, 60)] {
            let lines = drawn(&mut view, width, height);
            let last = lines.last().expect("a line");
            assert!(
                KEYS.starts_with(last.trim_end()),
                "{width}x{height}: {last}"
            );
        }
    }

    #[test]
    fn plots_by_pool_and_by_backend_tell_the_newest_rate() {
        let mut view = seen(false);
        view.plot = Plot::Pools;
        let lines = drawn(&mut view, 80, 24);
        let blue = find(&lines, "blue    ");
        assert!(blue.contains("#     90"), "{blue}");
        view.plot = Plot::Backends;
        let lines = drawn(&mut view, 80, 24);
        assert!(find(&lines, "green/g1").contains("10|"), "{lines:?}");
    }

    #[test]
    fn the_tree_can_be_scrolled_to_its_end_and_no_further() {
        let mut view = seen(false);
        view.scrolled = 999;
        let lines = drawn(&mut view, 80, 12);
        assert!(view.scrolled < 999);
        assert!(!find(&lines, "g1").is_empty());
    }

    #[test]
    fn a_question_stands_in_the_last_line() {
        let mut view = seen(false);
        view.question = super::super::keys::Asked::new(super::super::keys::Verb::Abort, &view);
        let lines = drawn(&mut view, 80, 24);
        let expected = "shop: abort, and take all users off `green`?  y yes, any other key no";
        assert_eq!(lines[23].trim_end(), expected);
    }
}
