//! A line of a screen: pieces of text that differ in weight, and signs that do without colour.

/// How a terminal can show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// By escape sequences (ECMA-48, section 8.3.117).
    pub colour: bool,
    /// Lines and signs that ASCII lacks.
    pub unicode: bool,
}

/// What a piece of text is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Strong,
    Faint,
    Good,
    Bad,
    Busy,
}

/// What stands for itself, whatever the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Good,
    Bad,
    Paused,
    Busy,
    Idle,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(Tone, Piece)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Sign(Sign),
    /// Branches of a tree: for each level whether more follow there, the last one being this line's own.
    Branch(Vec<bool>),
    /// So many tenths.
    Bar(usize),
}

/// Tenths of a bar.
const TENTHS: usize = 10;

impl Line {
    /// An empty line at the tree's root, or below it: whether more follow on each level.
    pub fn below(branches: &[bool]) -> Self {
        Self(vec![(Tone::Faint, Piece::Branch(branches.to_vec()))])
    }

    /// What is to be looked at.
    pub fn warning(text: &str) -> Self {
        Self::default().sign(Sign::Bad).add(Tone::Bad, text)
    }

    /// With more text.
    #[must_use]
    pub fn add(mut self, tone: Tone, text: impl Into<String>) -> Self {
        // Whoever gave a reason does not move the cursor.
        let text: String = text.into();
        let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        self.0.push((tone, Piece::Text(text.collect())));
        self
    }

    /// With more plain text.
    #[must_use]
    pub fn plain(self, text: impl Into<String>) -> Self {
        self.add(Tone::Plain, text)
    }

    /// With a sign and a space.
    #[must_use]
    pub fn sign(mut self, sign: Sign) -> Self {
        self.0.push((sign.tone(), Piece::Sign(sign)));
        self
    }

    /// With a bar that is full at 1.
    #[must_use]
    pub fn bar(mut self, tone: Tone, part: f64) -> Self {
        let full = (1..=TENTHS)
            .filter(|&tenth| part * 10.0 >= f64::from(u8::try_from(tenth).unwrap_or(0)));
        self.0.push((tone, Piece::Bar(full.count())));
        self
    }

    /// Its pieces, for who sets them otherwise.
    pub fn pieces(&self, unicode: bool) -> impl Iterator<Item = (Tone, String)> {
        let pieces = self.0.iter();
        pieces.map(move |(tone, piece)| (*tone, piece.shown(unicode)))
    }

    /// As the terminal gets it, cut to a width.
    pub fn text(&self, style: Style, width: Option<usize>) -> String {
        let mut left = width.unwrap_or(usize::MAX);
        let mut text = String::new();
        for (tone, piece) in self.pieces(style.unicode) {
            let shown: String = piece.chars().take(left).collect();
            left -= shown.chars().count();
            match tone.code().filter(|_| style.colour && !shown.is_empty()) {
                Some(code) => text.extend(["\x1b[", code, "m", &shown, "\x1b[0m"]),
                None => text += &shown,
            }
        }
        text
    }
}

impl Piece {
    fn shown(&self, unicode: bool) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Sign(sign) => format!("{} ", sign.shown(unicode)),
            Self::Branch(levels) => branch(levels, unicode),
            Self::Bar(full) => {
                let [on, off] = if unicode { ["█", "░"] } else { ["#", "-"] };
                on.repeat(*full) + &off.repeat(TENTHS - full)
            }
        }
    }
}

fn branch(levels: &[bool], unicode: bool) -> String {
    let [through, fork, corner] = if unicode {
        ["│  ", "├─ ", "└─ "]
    } else {
        ["|  ", "|- ", "`- "]
    };
    let Some((more, above)) = levels.split_last() else {
        return String::new();
    };
    let above = above.iter().map(|more| if *more { through } else { "   " });
    above.chain([if *more { fork } else { corner }]).collect()
}

impl Sign {
    const fn shown(self, unicode: bool) -> &'static str {
        match (self, unicode) {
            (Self::Good, true) => "✔",
            (Self::Bad, true) => "✖",
            (Self::Paused, true) => "‖",
            (Self::Busy, true) => "●",
            (Self::Idle, true) => "○",
            (Self::Good, false) => "+",
            (Self::Bad, false) => "x",
            (Self::Paused, false) => "=",
            (Self::Busy, false) => "*",
            (Self::Idle, false) => "o",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Good => Tone::Good,
            Self::Bad => Tone::Bad,
            Self::Paused | Self::Busy => Tone::Busy,
            Self::Idle => Tone::Faint,
        }
    }
}

impl Tone {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("1"),
            Self::Faint => Some("2"),
            Self::Good => Some("32"),
            Self::Bad => Some("1;31"),
            Self::Busy => Some("36"),
        }
    }
}

/// Columns and rows of the terminal; 80 by 24 where it does not tell.
pub fn size() -> (usize, usize) {
    // SAFETY: the structure is plain numbers, for which zero is a value.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: `size` is valid for the kernel to write to (ioctl_tty(2)).
    let told = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    if told != 0 || size.ws_col == 0 || size.ws_row == 0 {
        return (80, 24);
    }
    (size.ws_col.into(), size.ws_row.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: Style = Style {
        colour: false,
        unicode: false,
    };

    #[test]
    fn a_line_says_the_same_without_colour_and_is_cut_where_the_screen_ends() {
        let line = Line::below(&[true, false])
            .sign(Sign::Bad)
            .add(Tone::Bad, "down")
            .plain(" \x1b[2Jend");
        assert_eq!(line.text(BARE, None), "|  `- x down  [2Jend");
        assert_eq!(line.text(BARE, Some(12)), "|  `- x down");
        let fine = Style {
            colour: true,
            unicode: true,
        };
        assert_eq!(
            line.text(fine, Some(10)),
            "\x1b[2m│  └─ \x1b[0m\x1b[1;31m✖ \x1b[0m\x1b[1;31mdo\x1b[0m"
        );
    }

    #[test]
    fn a_bar_is_full_at_one_and_no_longer_beyond() {
        for (part, expected) in [
            (-1.0, "----------"),
            (0.0, "----------"),
            (0.35, "###-------"),
            (1.0, "##########"),
            (7.0, "##########"),
        ] {
            let line = Line::default().bar(Tone::Plain, part);
            assert_eq!(line.text(BARE, None), expected, "{part}");
        }
    }
}
