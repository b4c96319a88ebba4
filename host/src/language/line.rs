//! One statement with its variables expanded, ready for a command.

use crate::error::Result;
use crate::language::{Statement, Variables};
use std::ops::Range;

/// A command's name and its arguments, each with its place in the text they came from.
#[derive(Clone, Debug)]
pub struct Line {
    words: Vec<(String, Range<usize>)>,
    /// The statement as it was written.
    source: String,
    offset: usize,
}

impl Line {
    /// Expands the words of a statement of `text`.
    ///
    /// # Errors
    /// `Usage` for a variable that is not set.
    pub fn new(text: &str, statement: &Statement, variables: &Variables) -> Result<Self> {
        let words = statement
            .words
            .iter()
            .map(|word| Ok((variables.expand(word)?, word.span.clone())))
            .collect::<Result<Vec<_>>>()?;
        let source = text.get(statement.span.clone()).unwrap_or_default().to_owned();
        Ok(Self { words, source, offset: statement.span.start })
    }

    /// The first word.
    pub fn command(&self) -> &str {
        self.words.first().map_or("", |(word, _)| word.as_str())
    }

    /// All words, the command's name first.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(|(word, _)| word.as_str())
    }

    /// Where the word at `index` stands.
    pub fn word_span(&self, index: usize) -> Option<Range<usize>> {
        self.words.get(index).map(|(_, span)| span.clone())
    }

    /// Where the first word equal to `text`, or that begins with `text=`, stands.
    pub fn span_of(&self, text: &str) -> Option<Range<usize>> {
        let fits =
            |word: &str| word == text || word.strip_prefix(text).is_some_and(|rest| rest.starts_with('='));
        self.words.iter().find(|(word, _)| fits(word)).map(|(_, span)| span.clone())
    }

    /// The whole statement's place.
    pub fn span(&self) -> Range<usize> {
        self.offset..self.offset + self.source.len()
    }

    /// What is written after the command's name, as it was written; for commands that take an expression.
    pub fn raw_arguments(&self) -> (&str, usize) {
        let start = self.words.get(1).map_or(self.source.len(), |(_, span)| span.start - self.offset);
        (self.source.get(start..).unwrap_or_default(), self.offset + start)
    }
}
