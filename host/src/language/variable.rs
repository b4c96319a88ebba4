//! Variables of a session: `let NAME = …` sets one, `$NAME` expands to its text.

use crate::error::{Error, Result};
use crate::language::token::{Part, Word};
use std::collections::BTreeMap;
use std::ops::Range;

/// The variables of a session, by name.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, serde_json::Value>);

impl Variables {
    /// Sets a variable.
    pub fn set(&mut self, name: String, value: serde_json::Value) {
        self.0.insert(name, value);
    }

    /// All variables in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &serde_json::Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The text of a word, its variables replaced by their values.
    ///
    /// # Errors
    /// `Usage` at the reference to a variable that is not set.
    pub fn expand(&self, word: &Word) -> Result<String> {
        let mut text = String::new();
        for part in &word.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable { name, span } => text.push_str(&self.text(name, span)?),
            }
        }
        Ok(text)
    }

    /// The text of a variable that is referred to at `span`.
    ///
    /// # Errors
    /// `Usage` there, if it is not set.
    pub(super) fn text(&self, name: &str, span: &Range<usize>) -> Result<String> {
        match self.0.get(name) {
            Some(serde_json::Value::String(value)) => Ok(value.clone()),
            Some(value) => Ok(value.to_string()),
            None => Err(Error::usage(format!("unknown variable `${name}`"))
                .with_hint(format!("Set it with `let {name} = …`, or write '${name}' in single quotes."))
                .with_span(span.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::parse;

    #[test]
    fn a_value_with_spaces_stays_one_word() {
        let mut variables = Variables::default();
        variables.set("m".to_owned(), "my model.onnx".into());
        variables.set("n".to_owned(), 3.into());
        let statement = &parse("load $m-$n").unwrap()[0];
        assert_eq!(variables.expand(&statement.words[1]).unwrap(), "my model.onnx-3");
    }

    #[test]
    fn an_unknown_variable_is_reported_where_it_stands() {
        let statement = &parse("load x$m").unwrap()[0];
        let error = Variables::default().expand(&statement.words[1]).unwrap_err();
        assert_eq!(error.span(), Some(6..8));
    }
}
