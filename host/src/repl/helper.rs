//! What the line editor needs: completions, hints, colors, and whether a line is complete.

use super::complete::{Completions, Vocabulary, complete};
use crate::commands;
use crate::language::{block, token};
use crate::playground::Playground;
use crate::render::style::Tone;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};
use std::borrow::Cow;

/// Knows the names of the session as they were when the prompt appeared.
#[derive(Default)]
pub struct QpHelper {
    vocabulary: Vocabulary,
    hinter: HistoryHinter,
}

impl QpHelper {
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
        let pairs = candidates
            .into_iter()
            .map(|candidate| Pair { display: candidate.shown, replacement: candidate.inserted })
            .collect();
        Ok((start, pairs))
    }
}

impl Hinter for QpHelper {
    type Hint = String;

    fn hint(&self, line: &str, position: usize, context: &Context<'_>) -> Option<String> {
        if line.trim().is_empty() { None } else { self.hinter.hint(line, position, context) }
    }
}

impl Highlighter for QpHelper {
    fn highlight<'l>(&self, line: &'l str, _position: usize) -> Cow<'l, str> {
        let start = line.len() - line.trim_start().len();
        let end = line[start..]
            .find(|letter: char| letter.is_whitespace() || letter == ';')
            .map_or(line.len(), |length| start + length);
        let word = &line[start..end];
        // Red would be a false alarm while it can still become a command.
        let mut names =
            commands::TABLE.iter().map(|entry| entry.name).chain(block::KEYWORDS.map(|(name, _)| name));
        let mut is_prefix = || names.any(|name| name.starts_with(word));
        let tone = match commands::find(word) {
            Some(_) => Tone::Good,
            None if block::usage(word).is_some() => Tone::Good,
            None if is_prefix() => return Cow::Borrowed(line),
            None => Tone::Bad,
        };
        Cow::Owned(format!("{}{}{}", &line[..start], tone.paint(word), &line[end..]))
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _default: bool) -> Cow<'b, str> {
        Cow::Owned(Tone::Heading.paint(prompt))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(Tone::Dim.paint(hint))
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
