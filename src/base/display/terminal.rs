//! Text for a terminal: colours, wrapped lines, labels.
//!
//! Input: words, and the properties of the terminal. Output: text. Without a terminal nothing is wrapped, and nothing
//! is coloured unless the user forces it, so that lines can be searched. Every colour of the program comes from here,
//! except those of `clap`, which follows the same variables.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::AsFd;

/// The label width of a block: that of the longest label, `downstream`, plus two spaces before and after.
const HANG: usize = 14;
/// Narrower terminals are treated as one without a width.
const NARROW: usize = 40;

/// The properties of the terminal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Does it show colours?
    pub colour: bool,
    /// The line width in characters; `None` without a terminal.
    pub width: Option<usize>,
}

/// Colours by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Unstyled.
    Plain,
    /// Bold.
    Strong,
    /// Reference information.
    Faint,
    /// Nothing is wrong.
    Calm,
    /// For information.
    Notice,
    /// A person should look at it.
    Warning,
    /// Something is wrong.
    Bad,
    /// Something is very wrong.
    Worst,
}

/// The variables that decide about colours; an empty one counts as not set.
#[derive(Debug, Clone, Default)]
pub struct ColourVariables {
    /// Turns colours off, whatever its value.
    pub no_color: Option<OsString>,
    /// Turns colours on without a terminal too, unless it is `0`.
    pub clicolor_force: Option<OsString>,
    /// `0` turns colours off.
    pub clicolor: Option<OsString>,
    /// `dumb` is a terminal without colours.
    pub term: Option<OsString>,
}

impl ColourVariables {
    /// Those of this process.
    fn of_environment() -> ColourVariables {
        ColourVariables {
            no_color: std::env::var_os("NO_COLOR"),
            clicolor_force: std::env::var_os("CLICOLOR_FORCE"),
            clicolor: std::env::var_os("CLICOLOR"),
            term: std::env::var_os("TERM"),
        }
    }

    /// Does an output show colours? `NO_COLOR` outranks `CLICOLOR_FORCE`, and that outranks the others.
    pub fn show(&self, is_terminal: bool) -> bool {
        let is = |value: Option<&OsString>, text: &str| value.is_some_and(|value| value == text);
        let is_set = |value: Option<&OsString>| value.is_some_and(|value| !value.is_empty());
        let forced = is_set(self.clicolor_force.as_ref()) && !is(self.clicolor_force.as_ref(), "0");
        let shown = is_terminal && !is(self.clicolor.as_ref(), "0") && !is(self.term.as_ref(), "dumb");
        !is_set(self.no_color.as_ref()) && (forced || shown)
    }
}

impl Look {
    /// The look of an output of this process.
    pub fn of(out: &(impl AsFd + IsTerminal)) -> Look {
        let size = if out.is_terminal() { rustix::termios::tcgetwinsize(out).ok() } else { None };
        Look {
            colour: ColourVariables::of_environment().show(out.is_terminal()),
            width: size.map(|size| usize::from(size.ws_col)).filter(|width| *width > NARROW),
        }
    }

    /// A text in a style.
    pub fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Strong => "1",
            Style::Faint => "2",
            Style::Worst => "1;97;41",
            Style::Bad => "1;31",
            Style::Warning => "1;33",
            Style::Notice => "36",
            Style::Calm => "32",
            Style::Plain => return text.to_owned(),
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Words separated by `gap` spaces, with further lines indented by `hang`; the first line already has `used`
    /// characters.
    pub fn flow(self, words: &[(Style, String)], gap: usize, used: usize, hang: usize) -> String {
        let (mut out, mut column) = (String::new(), used);
        for (i, (style, word)) in words.iter().enumerate() {
            let length = word.chars().count();
            let gap = if i == 0 { 0 } else { gap };
            if i > 0 && self.width.is_some_and(|width| column + gap + length > width) {
                out += &format!("\n{}", " ".repeat(hang));
                column = hang;
            } else {
                out += &" ".repeat(gap);
                column += gap;
            }
            out += &self.paint(*style, word);
            column += length;
        }
        out + "\n"
    }

    /// A label and its text.
    pub fn item(self, label: &str, text: &str) -> String {
        let words: Vec<(Style, String)> = text.split(' ').map(|word| (Style::Plain, word.to_owned())).collect();
        let head = format!("  {label:<width$}", width = HANG - 2);
        self.paint(Style::Faint, &head) + &self.flow(&words, 1, HANG, HANG)
    }

    /// A label and a command, which is never wrapped so that it can be copied.
    pub fn command(self, label: &str, command: &str) -> String {
        let head = format!("  {label:<width$}", width = HANG - 2);
        format!("{}{}\n", self.paint(Style::Faint, &head), self.paint(Style::Strong, command))
    }
}
