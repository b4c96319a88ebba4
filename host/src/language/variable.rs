//! Variables of a session: `let NAME = …` sets one, `$NAME` expands to its text.

use crate::error::{Error, Result};
use crate::language::token::{Part, Word, is_name};
use crate::spelling::Pattern;
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

    /// Sets or removes a variable; returns its old value.
    pub fn replace(&mut self, name: &str, value: Option<serde_json::Value>) -> Option<serde_json::Value> {
        match value {
            Some(value) => self.0.insert(name.to_owned(), value),
            None => self.0.remove(name),
        }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&serde_json::Value> {
        self.0.get(name)
    }

    /// All variables in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &serde_json::Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The text of a word, with variables replaced by their values.
    ///
    /// # Errors
    /// `Usage` at the reference to a variable that is not set.
    pub fn expand(&self, word: &Word) -> Result<String> {
        let mut text = String::new();
        for part in &word.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Wildcard(letter) => text.push(*letter),
                Part::Variable { name, span } => text.push_str(&self.text(name, span)?),
            }
        }
        Ok(text)
    }

    /// The word as a pattern; `None` without wildcards outside quotes.
    ///
    /// # Errors
    /// As [`Self::expand`].
    pub fn pattern(&self, word: &Word) -> Result<Option<Pattern>> {
        if !word.parts.iter().any(|part| matches!(part, Part::Wildcard(_))) {
            return Ok(None);
        }
        let mut pattern = Pattern::default();
        for part in &word.parts {
            match part {
                Part::Literal(literal) => pattern.push_text(literal),
                Part::Wildcard(letter) => pattern.push_wildcard(*letter),
                Part::Variable { name, span } => pattern.push_text(&self.text(name, span)?),
            }
        }
        Ok(Some(pattern))
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

/// The value of a text: a number if it is one, otherwise text.
pub fn value_of(text: &str) -> serde_json::Value {
    let number = text.parse::<f64>().ok().and_then(|_| serde_json::from_str(text).ok());
    number.unwrap_or_else(|| text.into())
}

/// A name that a variable can have.
///
/// # Errors
/// `Usage` for any other name; `what` says what it names.
pub fn checked_name<'t>(name: &'t str, what: &str) -> Result<&'t str> {
    if is_name(name) {
        return Ok(name);
    }
    Err(Error::usage(format!("`{name}` is not a valid name for a {what}"))
        .with_hint("Use letters, digits and `_`, no digit first."))
}

/// `name = value`, with or without spaces.
///
/// # Errors
/// `Usage` for anything else.
pub fn assignment(text: &str) -> Result<(String, serde_json::Value)> {
    let unusable =
        || Error::usage(format!("`{text}` is not an assignment")).with_hint("Write `let NAME = VALUE`.");
    let (name, value) = text.split_once('=').ok_or_else(unusable)?;
    Ok((checked_name(name.trim(), "variable")?.to_owned(), value_of(value.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::parse;

    #[test]
    fn numbers_are_numbers_and_the_rest_is_text() {
        assert_eq!(assignment("a=3").unwrap(), ("a".to_owned(), 3.into()));
        assert_eq!(assignment("net = my model.onnx").unwrap(), ("net".to_owned(), "my model.onnx".into()));
        assert_eq!(assignment("e = a=b").unwrap().1, "a=b");
        assert!(assignment("3x = 1").is_err());
        assert!(assignment("x").is_err());
    }

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
