//! What the line editor needs: completions, hints, colors, and whether a line is complete.

use super::complete::{Candidate, Completions, complete};
use super::highlight;
use super::hint::usage;
use super::vocabulary::Vocabulary;
use crate::language::token;
use crate::playground::Playground;
use crate::render::ascii;
use crate::render::pager::Screen;
use crate::render::style::Tone;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hint, Hinter, HistoryHinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Context, Helper};
use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between a name and what is said of it.
const GAP: &str = "  ";
/// Longer names have what is said of them further to the right.
const MOST_NAME: usize = 40;
/// Without a terminal to ask.
const DEFAULT_WIDTH: usize = 80;

/// Knows the names of the session as they were when the prompt appeared.
#[derive(Default)]
pub struct QpHelper {
    vocabulary: Vocabulary,
    /// Whether what is said beside names and after the cursor is in ASCII.
    is_ascii: bool,
}

impl QpHelper {
    /// One that knows no names yet.
    pub fn new(is_ascii: bool) -> Self {
        Self { is_ascii, ..Self::default() }
    }

    /// Updates the names of the session.
    pub fn look_at(&mut self, playground: &Playground) {
        self.vocabulary = Vocabulary::of(playground);
    }
}

impl Helper for QpHelper {}

impl Completer for QpHelper {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let Completions { start, candidates } =
            complete(line.get(..position).unwrap_or(line), &self.vocabulary);
        let width = Screen::of_terminal().map_or(DEFAULT_WIDTH, |screen| screen.width);
        let mut displays = displays(&candidates, width);
        if self.is_ascii {
            displays.iter_mut().for_each(|display| *display = ascii::fold(display).into_owned());
        }
        let pairs = candidates
            .into_iter()
            .zip(displays)
            .map(|(candidate, display)| Pair { display, replacement: candidate.inserted })
            .collect();
        Ok((start, pairs))
    }
}

/// The names in a column, what is said of each beside it, as far as the width goes.
fn displays(candidates: &[Candidate], width: usize) -> Vec<String> {
    if candidates.iter().all(|candidate| candidate.about.is_empty()) {
        return candidates.iter().map(|candidate| candidate.shown.clone()).collect();
    }
    let names = candidates.iter().map(|candidate| candidate.shown.width());
    let column = names.max().unwrap_or(0).min(MOST_NAME).min(width / 2);
    let one = |candidate: &Candidate| {
        if candidate.shown.is_empty() {
            return cut(&candidate.about, width.saturating_sub(1));
        }
        let padding = " ".repeat(column.saturating_sub(candidate.shown.width()));
        let text = format!("{}{padding}{GAP}{}", candidate.shown, candidate.about);
        cut(text.trim_end(), width.saturating_sub(1))
    };
    let mut displays: Vec<String> = candidates.iter().map(one).collect();
    // The editor makes as many columns as the widest one allows: one.
    if let Some(first) = displays.first_mut() {
        let missing = (width / 2 + 1).saturating_sub(first.width());
        first.push_str(&" ".repeat(missing));
    }
    displays
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |letter: &char| {
        let needed = letter.width().unwrap_or(0);
        let is_room = needed <= left;
        left = left.saturating_sub(needed);
        is_room
    };
    text.chars().take_while(fits).collect::<String>() + "…"
}

/// A text after the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suggestion {
    /// The rest of an earlier line; the right arrow takes it.
    Earlier(String),
    /// What could be written; cannot be taken.
    Usage(String),
}

impl Hint for Suggestion {
    fn display(&self) -> &str {
        match self {
            Self::Earlier(text) | Self::Usage(text) => text,
        }
    }

    fn completion(&self) -> Option<&str> {
        match self {
            Self::Earlier(text) => Some(text),
            Self::Usage(_) => None,
        }
    }
}

impl Hinter for QpHelper {
    type Hint = Suggestion;

    fn hint(&self, line: &str, position: usize, context: &Context<'_>) -> Option<Suggestion> {
        if line.trim().is_empty() || position < line.len() {
            return None;
        }
        let earlier = HistoryHinter::default().hint(line, position, context);
        earlier.map(Suggestion::Earlier).or_else(|| {
            usage(line).map(|text| {
                Suggestion::Usage(if self.is_ascii { ascii::fold(&text).into_owned() } else { text })
            })
        })
    }
}

impl Highlighter for QpHelper {
    fn highlight<'l>(&self, line: &'l str, _position: usize) -> Cow<'l, str> {
        Cow::Owned(highlight::paint(line))
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _default: bool) -> Cow<'b, str> {
        Cow::Owned(Tone::Heading.paint(prompt))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(Tone::Dim.paint(hint))
    }

    fn highlight_candidate<'c>(&self, candidate: &'c str, _: CompletionType) -> Cow<'c, str> {
        match candidate.split_once(GAP) {
            Some((name, about)) => Cow::Owned(format!("{name}{GAP}{}", Tone::Dim.paint(about))),
            None => Cow::Borrowed(candidate),
        }
    }

    fn highlight_char(&self, _line: &str, _position: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}

impl Validator for QpHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if token::is_incomplete(context.input()) {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_stand_in_a_column_and_are_cut_at_the_width() {
        let candidate = |shown: &str, about: &str| Candidate {
            shown: shown.into(),
            about: about.into(),
            inserted: String::new(),
        };
        let found =
            [candidate("run", "Compute outputs"), candidate("source", "Run a script in this session")];
        assert_eq!(displays(&found, 30), ["run     Compute outputs", "source  Run a script in this…"]);
        let plain = [candidate("a", ""), candidate("bc", "")];
        assert_eq!(displays(&plain, 30), ["a", "bc"]);
    }
}
