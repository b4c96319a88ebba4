//! Where the lines of a session come from: a terminal, or a list instead.

use crate::playground::Playground;

/// The outcome of asking for a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// A line, which may hold several lines of text.
    Line(String),
    /// The user pressed Ctrl-C.
    Nothing,
    /// No more lines.
    End,
}

/// Gives one line after another.
pub trait LineSource {
    /// The next line.
    fn next(&mut self, prompt: &str, playground: &Playground) -> Typed;

    /// Lines of earlier sessions, to recall.
    fn remember_all(&mut self, _lines: &[String]) {}

    /// Forgets what was typed ahead: Ctrl-C ends it, too.
    fn drop_waiting(&mut self) {}
}

/// Lines from a list: a session without a terminal.
#[derive(Debug)]
pub struct List(std::vec::IntoIter<String>);

impl List {
    /// These lines, in this order.
    pub fn new(lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(lines.into_iter().map(Into::into).collect::<Vec<_>>().into_iter())
    }
}

impl LineSource for List {
    fn next(&mut self, _prompt: &str, _playground: &Playground) -> Typed {
        self.0.next().map_or(Typed::End, Typed::Line)
    }
}
