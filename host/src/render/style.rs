//! The meaning of each color, in one table. All output is understandable without color.

use owo_colors::{OwoColorize, Style};

/// What a piece of text is, for choosing its color.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tone {
    /// Ordinary text.
    #[default]
    Plain,
    /// The name of a model, a layer, a file, a command.
    Name,
    /// A heading.
    Heading,
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong, missing, failed.
    Bad,
    /// Less important.
    Dim,
    /// A number, where it is typed.
    Number,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Name => Style::new().cyan(),
            Self::Heading => Style::new().bold(),
            Self::Good => Style::new().green(),
            Self::Warning => Style::new().yellow(),
            Self::Bad => Style::new().red(),
            Self::Dim => Style::new().dimmed(),
            Self::Number => Style::new().magenta(),
        }
    }

    /// `text` with the escape sequences of this tone.
    pub fn paint(self, text: &str) -> String {
        if self == Self::Plain || text.is_empty() {
            return text.to_owned();
        }
        text.style(self.style()).to_string()
    }
}

/// `text` without escape sequences.
pub fn strip(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}
