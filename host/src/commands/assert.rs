//! `assert`: check a result.

use super::{Command, Example, Group, Scope, WITH_RESULTS};
use crate::error::{Error, ErrorKind, Result};
use crate::expression::{Expression, Names, Outcome};
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Effect, Report};
use crate::render::style::Tone;

/// `assert EXPR ["message"]`
pub(super) struct Assert;

/// The arguments of `assert`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// An expression in CEL over the results so far, as in compare.min_sqnr_db > 20, and what to say if it is false, in quotes
    #[arg(value_name = "EXPR [\"MESSAGE\"]")]
    text: String,
}

/// What was asserted.
struct Asserted {
    expression: String,
    message: Option<String>,
    holds: bool,
    reasons: Vec<String>,
}

impl Record for Asserted {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("expression", Unit::Text, "The expression", |asserted| asserted.expression.clone()),
            Self::field("message", Unit::Text, "What to say if it is false", |asserted| {
                asserted.message.clone()
            }),
            Self::field("holds", Unit::Flag, "Whether it is true", |asserted| asserted.holds),
            Self::field("reasons", Unit::Text, "The values that make it false", |asserted| {
                asserted.reasons.clone()
            }),
        ]
    }
}

impl Command for Assert {
    type Arguments = Arguments;
    const NAME: &'static str = "assert";
    const SUMMARY: &'static str = "Fail unless an expression over the results so far is true";
    const GROUP: Group = Group::Script;
    const TAKES_TEXT: bool = true;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "compare resnet8.onnx resnet8_int8.onnx --data digits.npz --samples 16; assert compare.min_sqnr_db > 10",
            shows: "that it holds; otherwise the script ends with exit code 3",
        },
        Example {
            line: "compare resnet8.onnx resnet8_int8.onnx --data digits.npz --samples 16; \
                   assert compare.layers.all(l, l.sqnr_db > 10) \"a layer got worse\"",
            shows: "the same of every layer, with a message",
        },
        Example {
            line: "evaluate resnet8.onnx resnet8_int8.onnx --data digits.npz; \
                   assert evaluate.models[\"resnet8_int8.onnx\"].accuracy > 0.99",
            shows: "that the int8 model is accurate; models are found by name",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Asserted>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let (expression, message) = parse(&arguments.text)?;
        let reasons = match expression.assert(&names_of(playground))? {
            Outcome::Holds => None,
            Outcome::Fails(reasons) => Some(reasons),
        };
        let asserted = Asserted {
            expression: expression.text().to_owned(),
            message,
            holds: reasons.is_none(),
            reasons: reasons.unwrap_or_default(),
        };
        let report = Report::of(&asserted);
        if asserted.holds {
            return Ok(report
                .preparation(true)
                .toned_line([(Tone::Good, "holds: ".to_owned()), (Tone::Plain, asserted.expression)]));
        }
        let mut error = match &asserted.message {
            Some(message) => Error::new(ErrorKind::Assertion, message.clone())
                .with_cause(format!("`{}` is false", asserted.expression)),
            None => Error::new(ErrorKind::Assertion, format!("`{}` is false", asserted.expression)),
        };
        if !asserted.reasons.is_empty() {
            error = error.with_cause(asserted.reasons.join("; "));
        }
        Ok(report.effect(Effect::Fail(error)))
    }
}

/// What an expression can name in a session: results and variables.
pub fn names_of(playground: &Playground) -> Names<'_> {
    Names::new(
        playground.results.iter().map(|(name, value)| (*name, value)),
        playground.variables.iter(),
        WITH_RESULTS.clone(),
    )
}

/// The expression, and the message that may follow it in quotes.
///
/// # Errors
/// `Usage` for what is not an expression.
pub fn parse(text: &str) -> Result<(Expression, Option<String>)> {
    let whole = match Expression::parse(text) {
        Ok(expression) => return Ok((expression, None)),
        Err(error) => error,
    };
    let quote = text.chars().last().filter(|last| matches!(last, '"' | '\''));
    let begin = quote
        .and_then(|quote| text[..text.len() - 1].rfind(quote))
        .filter(|begin| text[..*begin].ends_with(' '));
    let Some(begin) = begin else { return Err(whole) };
    let expression = Expression::parse(text[..begin].trim_end()).map_err(|_| whole)?;
    Ok((expression, Some(text[begin + 1..text.len() - 1].to_owned())))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_message_follows_the_expression() {
        let parts = |text: &str| {
            parse(text).map(|(expression, message)| (expression.text().to_owned(), message)).ok()
        };
        assert_eq!(parts("a > 1 \"too low\""), Some(("a > 1".to_owned(), Some("too low".to_owned()))));
        assert_eq!(parts("a == \"b\""), Some(("a == \"b\"".to_owned(), None)));
        assert_eq!(parts("a == \"b\" 'no'"), Some(("a == \"b\"".to_owned(), Some("no".to_owned()))));
        assert_eq!(parts("a >"), None);
    }
}
