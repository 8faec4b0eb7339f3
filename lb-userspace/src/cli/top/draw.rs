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
    widgets::{Block, Clear, Paragraph, Wrap},
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
/// Lines that the last words may take.
const FOOT: usize = 4;
/// Without this much room the plots are left out, and without half of it the events as well.
const ROOM: u16 = 22;

/// Columns that name a series, and those that tell its newest value.
const NAME: usize = 12;
const VALUE: usize = 7;

const KEYS: &str = "q quit  p promote  P all  space pause  a abort  v plot  arrows service, scroll";

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
    // Whatever else there is no room for, a question is seen, and what is to be done.
    let (last, of) = last_words(view);
    let lines = foot_lines(&last, of, area.width);
    let halves = [Constraint::Fill(1), Constraint::Length(lines)];
    let [area, foot] = Layout::vertical(halves).areas(area);
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
    let last = Paragraph::new(last).style(tone(view, of));
    frame.render_widget(last.wrap(Wrap { trim: true }), foot);
}

/// The services, and how far each is.
fn services(view: &View) -> Row<'static> {
    let mut spans = vec![Span::styled("serin top  ", tone(view, Tone::Faint))];
    let here = &view.service;
    let place = view.services.iter().position(|s| s.line.service == *here);
    // The one that is looked at first, so that there is room for it.
    let (before, from_here) = view.services.split_at(place.unwrap_or(0));
    for summary in from_here.iter().chain(before) {
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
        Plot::Share => "share of candidate, 5 min (- asked)",
        Plot::Pools => "connections/s by pool, 5 min",
        Plot::Backends => "connections/s by backend, 5 min",
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
    let (all_asked, all_measured) = (view.series.asked(), view.series.measured());
    let asked = view.series.columns(&all_asked, width);
    let measured = view.series.columns(&all_measured, width);
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
    let said = [
        ("asked", newest(&all_asked)),
        ("has", newest(&all_measured)),
    ];
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
    let all = view.series.rates(by_backend);
    let folded = all.iter().map(|(name, series)| {
        let newest = series.last().copied().flatten().unwrap_or(0.0);
        (name, view.series.columns(series, room), newest)
    });
    let all: Vec<_> = folded.collect();
    let values = all
        .iter()
        .flat_map(|(_, series, _)| series.iter().flatten());
    let most = values.copied().fold(0.0, f64::max);
    let hidden = all.len().saturating_sub(height);
    let shown = if hidden > 0 {
        height.saturating_sub(1)
    } else {
        height
    };
    let lines = all.iter().take(shown).map(|(name, series, newest)| {
        let name: String = name.chars().take(NAME - 1).collect();
        let columns = columns(series, 1, most, view.style.unicode);
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
        if first_byte {
            ("first byte", &latency.first_byte)
        } else {
            ("handshake", &latency.handshake)
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
fn last_words(view: &View) -> (String, Tone) {
    let (of, text) = if let Some((asked, _)) = &view.question {
        (Tone::Busy, format!("[y/n] {}", asked.text()))
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
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    (text.collect(), of)
}

/// The keys have one line, whatever has to be read as many as it takes.
fn foot_lines(text: &str, of: Tone, width: u16) -> u16 {
    if of == Tone::Faint {
        return 1;
    }
    // Words are not parted, so that a line may have less than there is room for.
    let room = usize::from(width.saturating_sub(width / 4)).max(1);
    let lines = text.chars().count().div_ceil(room).clamp(1, FOOT);
    u16::try_from(lines).unwrap_or(1)
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
    use std::time::Instant;

    use ratatui::{Terminal, backend::TestBackend};

    use super::{
        super::{
            keys::{Asked, Verb},
            view::tests::seen,
        },
        *,
    };

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
        assert!(lines[0].contains("[shop 10%]  mail 10% "), "{}", lines[0]);
        find(&lines, "asked");
        find(&lines, "10.00%");
        find(&lines, "first byte: blue, green");
        find(&lines, "<2 ms");
        find(&lines, "step 2 of 4");
        find(&lines, "12:00:00.000Z shop release 3 step");
        assert!(lines[23].starts_with("q quit"), "{}", lines[23]);
        let odd: String = lines.concat().chars().filter(|c| !c.is_ascii()).collect();
        assert_eq!(odd, "", "without UTF-8");
    }

    #[test]
    fn every_size_is_drawn_and_keeps_the_last_line() {
        for plot in [Plot::Share, Plot::Pools, Plot::Backends] {
            let mut view = seen(true);
            view.plot = plot;
            let widths = (1..90).step_by(3);
            for (width, height) in widths.flat_map(|w| (1..40).map(move |h| (w, h))) {
                let lines = drawn(&mut view, width, height);
                let last = lines.last().expect("a line").trim_end();
                let kept = !last.is_empty() && KEYS.starts_with(last);
                assert!(kept, "{width}x{height}: {last}");
            }
        }
    }

    #[test]
    fn plots_by_pool_and_by_backend_tell_the_newest_rate() {
        let mut view = seen(false);
        view.plot = Plot::Pools;
        let lines = drawn(&mut view, 80, 24);
        let blue = find(&lines, "blue    ");
        assert!(blue.contains("##     90"), "{blue}");
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
    fn a_question_and_a_refusal_stand_whole_at_the_foot() {
        let mut view = seen(false);
        let asked = Asked::new(Verb::Abort, &view);
        view.question = asked.map(|asked| (asked, Instant::now()));
        let lines = drawn(&mut view, 80, 24);
        find(&lines, "[y/n] shop: abort, and take all users off `green`?");
        view.question = None;
        view.said = Some(Err("because ".repeat(15) + "do this"));
        let lines = drawn(&mut view, 80, 24);
        find(&lines, "refused: because");
        find(&lines, "do this");
    }
}
