//! One statement with its variables expanded, ready for a command.

use crate::error::Result;
use crate::language::{Part, Statement, Variables};
use std::ops::Range;

/// A command's name and its arguments, each with its position in the text it came from.
#[derive(Clone, Debug)]
pub struct Line {
    words: Vec<(String, Range<usize>)>,
    span: Range<usize>,
    rest: String,
}

impl Line {
    /// Expands the words of a statement of `text`.
    ///
    /// # Errors
    /// `Usage` for a variable that is not set.
    pub fn new(text: &str, statement: &Statement, variables: &Variables) -> Result<Self> {
        let mut words = statement
            .words
            .iter()
            .map(|word| Ok((variables.expand(word)?, word.span.clone())))
            .collect::<Result<Vec<_>>>()?;
        // `?NAME` asks for help, too.
        if let Some((first, span)) = words.first().cloned()
            && let Some(name) = first.strip_prefix('?')
            && text.get(span.clone()).is_some_and(|written| written.starts_with('?'))
        {
            words[0] = ("help".to_owned(), span.start..span.start + 1);
            if !name.is_empty() {
                words.insert(1, (name.to_owned(), span.start + 1..span.end));
            }
        }
        Ok(Self { words, span: statement.span.clone(), rest: rest(text, statement, variables)? })
    }

    /// The first word.
    pub fn command(&self) -> &str {
        self.words.first().map_or("", |(word, _)| word.as_str())
    }

    /// What follows the command's name, as written, quotes included; only variables are expanded.
    pub fn rest(&self) -> &str {
        &self.rest
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

/// The text after a statement's first word, its variables replaced by their values and joined lines by one.
fn rest(text: &str, statement: &Statement, variables: &Variables) -> Result<String> {
    let mut at = statement.words.first().map_or(0, |word| word.span.end);
    let mut rest = String::new();
    for part in statement.words.iter().skip(1).flat_map(|word| &word.parts) {
        if let Part::Variable { name, span } = part {
            rest.push_str(text.get(at..span.start).unwrap_or_default());
            rest.push_str(&variables.text(name, span)?);
            at = span.end;
        }
    }
    rest.push_str(text.get(at..statement.span.end).unwrap_or_default());
    Ok(rest.replace("\\\r\n", " ").replace("\\\n", " ").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::parse;

    #[test]
    fn a_question_mark_asks_for_help() {
        let words = |text: &str| {
            let line = Line::new(text, &parse(text).unwrap()[0], &Variables::default()).unwrap();
            line.words().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(words("?layers"), ["help", "layers"]);
        assert_eq!(words("? layers --schema"), ["help", "layers", "--schema"]);
        assert_eq!(words("'?layers'"), ["?layers"]);
    }

    #[test]
    fn the_rest_keeps_quotes_and_expands_variables() {
        let text = "echo 1; assert a[\"$m\"] > ${limit} \\\n && 'b' != \"c\"  # why";
        let mut variables = Variables::default();
        variables.set("m".to_owned(), "x.onnx".into());
        variables.set("limit".to_owned(), 20.into());
        let line = Line::new(text, &parse(text).unwrap()[1], &variables).unwrap();
        assert_eq!(line.rest(), "a[\"x.onnx\"] > 20   && 'b' != \"c\"");
    }
}
