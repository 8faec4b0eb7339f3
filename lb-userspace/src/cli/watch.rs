//! `serin status SERVICE -w`: the status as a tree, once a second, until interrupted.

mod line;
mod tree;

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use self::line::Line;
pub use self::{
    line::{Style, Tone},
    tree::{Seen, lines},
};
use super::{Failure, Format, order::resource};
use crate::api::{
    client::{Client, ClientError},
    judged::Judged,
    model::Status,
};

const EACH: Duration = Duration::from_secs(1);
/// To the upper left; then whatever is left of a line, or below, is removed: nothing flickers.
const HOME: &str = "\x1b[H";
const CLEAR: &str = "\x1b[2J";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Shows a service for as long as somebody looks.
pub async fn watch(client: &Client, service: &str, output: Format) -> Result<(), Failure> {
    super::end_with_the_reader();
    let screen = io::stdout().is_terminal() && output == Format::Text;
    let style = Style::of_terminal(screen);
    if screen {
        print!("{CLEAR}");
    }
    let mut before: Option<(Status, Instant)> = None;
    let mut shown = None;
    loop {
        let (status, judged) = match look(client, service).await {
            Ok(seen) => seen,
            Err(ClientError::Unreachable { .. } | ClientError::Broken { .. })
                if before.is_some() =>
            {
                draw_if(
                    screen,
                    &[Line::warning("the daemon does not answer; trying again")],
                    style,
                );
                sleep(EACH).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let now = Instant::now();
        let seen = Seen {
            status: &status,
            judged: judged.as_ref(),
            before: before.as_ref().map(|(old, at)| (old, now - *at)),
        };
        let news = Some(tree::news(&status));
        match output {
            _ if screen => draw_if(true, &lines(&seen), style),
            _ if shown == news => {}
            Format::Json => println!("{}", serde_json::to_string(&status).unwrap_or_default()),
            Format::Text => print(&lines(&seen), style),
        }
        shown = news;
        before = Some((status, now));
        sleep(EACH).await;
    }
}

/// The status, and the evidence if there is some.
async fn look(client: &Client, service: &str) -> Result<(Status, Option<Judged>), ClientError> {
    let status: Status = client.get(&resource(service, "")).await?;
    let judged = client.get(&resource(service, "/evidence")).await;
    match judged {
        Ok(judged) => Ok((status, Some(judged))),
        // It is not judged.
        Err(ClientError::Refused { .. }) => Ok((status, None)),
        Err(error) => Err(error),
    }
}

/// Whenever something has changed, for those who keep it.
fn print(lines: &[Line], style: Style) {
    for line in lines {
        println!("{}", line.text(style, None));
    }
    println!();
}

/// All in one write, within the terminal's size.
fn draw_if(screen: bool, lines: &[Line], style: Style) {
    if !screen {
        return;
    }
    let (width, height) = line::size();
    let mut text = HOME.to_owned();
    for line in lines.iter().take(height.saturating_sub(1)) {
        text += &line.text(style, Some(width));
        text += CLEAR_LINE;
        text.push('\n');
    }
    text += CLEAR_BELOW;
    let mut out = io::stdout().lock();
    // A reader who has gone ends the command by a signal.
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

impl Style {
    /// Colours unless <https://no-color.org> is asked for, and lines as the locale can have them.
    pub fn of_terminal(screen: bool) -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        Self {
            colour: screen && set("NO_COLOR").is_none(),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }
}
