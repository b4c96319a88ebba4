//! clap's errors, in our words and with a position.

use super::Line;
use crate::error::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The error for a line of the command `name` that clap refused.
pub fn explain(error: &clap::Error, name: &str, line: &Line) -> Error {
    let text = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg).unwrap_or_default().replace(['[', ']', '<', '>'], "");
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let message = match error.kind() {
        ErrorKind::UnknownArgument => format!("`{name}` does not take `{argument}`"),
        ErrorKind::InvalidSubcommand => {
            format!("`{name}` does not know `{}`", text(ContextKind::InvalidSubcommand).unwrap_or_default())
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("`{argument}` needs a value"),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            format!("invalid value `{value}` for `{argument}`")
        }
        ErrorKind::MissingRequiredArgument => format!("`{name}` needs {argument}"),
        ErrorKind::ArgumentConflict => format!(
            "`{argument}` cannot be used with {}",
            text(ContextKind::PriorArg).unwrap_or_else(|| "the other arguments".to_owned())
        ),
        _ => first_line(&error.to_string()),
    };
    let mut explained = Error::usage(message);
    let culprit = [&value, &argument].into_iter().find_map(|word| line.span_of(word));
    explained = explained.with_span(culprit.unwrap_or_else(|| line.span()));
    if let Some(cause) = std::error::Error::source(error) {
        explained = explained.with_cause(reason(cause));
    }
    if let Some(suggestion) = text(ContextKind::SuggestedArg).or_else(|| text(ContextKind::SuggestedValue)) {
        explained = explained.with_hint(format!("Did you mean `{suggestion}`?"));
    }
    if let Some(values) = text(ContextKind::ValidValue) {
        explained = explained.with_hint(format!("Choose one of {values}."));
    }
    explained.with_hint(format!("See `help {name}`."))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// The standard library's reason for rejecting a number, in words.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    use std::num::{IntErrorKind, ParseFloatError, ParseIntError};
    if error.is::<ParseFloatError>() {
        return "it takes a number".to_owned();
    }
    match error.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
        Some(IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => "the number is too large".to_owned(),
        Some(_) => "it takes a whole number".to_owned(),
        None => error.to_string(),
    }
}
