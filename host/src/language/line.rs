//! One statement with its variables expanded, ready for a command.

use crate::error::Result;
use crate::language::{Statement, Variables};
use std::ops::Range;

/// A command's name and its arguments, each with its position in the text it came from.
#[derive(Clone, Debug)]
pub struct Line {
    words: Vec<(String, Range<usize>)>,
    span: Range<usize>,
}

impl Line {
    /// Expands the words of a statement.
    ///
    /// # Errors
    /// `Usage` for a variable that is not set.
    pub fn new(statement: &Statement, variables: &Variables) -> Result<Self> {
        let words = statement
            .words
            .iter()
            .map(|word| Ok((variables.expand(word)?, word.span.clone())))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { words, span: statement.span.clone() })
    }

    /// The first word.
    pub fn command(&self) -> &str {
        self.words.first().map_or("", |(word, _)| word.as_str())
    }

    /// All words, the command's name first.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(|(word, _)| word.as_str())
    }

    /// The position of the word at `index`.
    pub fn word_span(&self, index: usize) -> Option<Range<usize>> {
        self.words.get(index).map(|(_, span)| span.clone())
    }

    /// The position of the first word equal to `text`, or beginning with `text=`.
    pub fn span_of(&self, text: &str) -> Option<Range<usize>> {
        let fits =
            |word: &str| word == text || word.strip_prefix(text).is_some_and(|rest| rest.starts_with('='));
        self.words.iter().find(|(word, _)| fits(word)).map(|(_, span)| span.clone())
    }

    /// The position of the whole statement.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}
