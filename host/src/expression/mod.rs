//! Expressions over the results of a session, in CEL: `compare.min_sqnr_db > 20`. A result has the name of its command,
//! and its keys are those of the command's JSON; variables have their own names.

mod explain;
mod keys;
mod value;

use crate::error::{Error, Result};
use cel::common::ast::{Expr, IdedExpr};
use cel::{Context, ExecutionError, Program, Value};
use std::collections::BTreeMap;

/// A longer expression is refused: its evaluation is recursive.
const MAX_BYTES: usize = 4096;
/// Deeper brackets, and longer rows of unary operators, are refused.
const MAX_DEPTH: usize = 64;
/// More operators are refused.
const MAX_OPERATORS: usize = 256;

/// The names that an expression may use.
#[derive(Default)]
pub struct Names<'a> {
    values: BTreeMap<&'a str, &'a serde_json::Value>,
    commands: Vec<&'static str>,
}

impl<'a> Names<'a> {
    /// The results of commands, by their names; `commands` are those that could have one. A variable gives way to a
    /// command's result.
    pub fn new(
        results: impl Iterator<Item = (&'a str, &'a serde_json::Value)>,
        variables: impl Iterator<Item = (&'a str, &'a serde_json::Value)>,
        commands: Vec<&'static str>,
    ) -> Self {
        Self { values: variables.chain(results).collect(), commands }
    }

    /// # Errors
    /// `State` for a command without a result, `Usage` for an unknown name.
    fn check(&self, name: &str) -> Result<()> {
        if self.values.contains_key(name) {
            return Ok(());
        }
        if self.commands.contains(&name) {
            return Err(
                Error::state(format!("`{name}` has no result yet")).with_hint(format!("Run `{name}` first."))
            );
        }
        let known = self.commands.iter().copied().chain(self.values.keys().copied());
        Err(unknown_name(name, known))
    }
}

/// The error for a name that is not among `known`.
pub fn unknown_name<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Error {
    let otherwise = || "Names are those of commands that have run, and of variables.".to_owned();
    Error::usage(format!("unknown name `{name}`")).with_nearest(name, known, otherwise)
}

/// A parsed expression.
pub struct Expression {
    text: String,
    program: Program,
}

/// The outcome of an assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is true.
    Holds,
    /// It is false; the values that make it so.
    Fails(Vec<String>),
}

impl Expression {
    /// Parses an expression.
    ///
    /// # Errors
    /// `Usage`, with what was expected.
    pub fn parse(text: &str) -> Result<Self> {
        check_size(text)?;
        let program = Program::compile(text).map_err(|errors| {
            let message = errors.errors.first().map(|error| error.msg.as_str()).unwrap_or_default();
            Error::usage(format!("`{text}` is not an expression"))
                .with_cause(syntax_cause(message))
                .with_hint("Write CEL, as in `compare.min_sqnr_db > 20`.")
        })?;
        Ok(Self { text: text.to_owned(), program })
    }

    /// The expression, as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names that it uses, apart from those that it binds itself.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        free_names(self.program.expression(), &mut Vec::new(), &mut names);
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// `State` for a command without a result; `Usage` for unknown names and keys, for types that do not match, and if it
    /// is neither true nor false.
    pub fn assert(&self, names: &Names<'_>) -> Result<Outcome> {
        let used = self.names();
        used.iter().try_for_each(|name| names.check(name))?;
        let mut context = Context::default();
        for name in used {
            if let Some(value) = names.values.get(name) {
                context.add_variable_from_value(name, value::of(value));
            }
        }
        let root = self.program.expression();
        match self.program.execute(&context) {
            Ok(Value::Bool(true)) => Ok(Outcome::Holds),
            Ok(Value::Bool(false)) => Ok(Outcome::Fails(explain::reasons(root, &context))),
            Ok(other) => Err(Error::usage(format!(
                "`{}` is {}, neither true nor false",
                self.text,
                value::text(&other)
            ))
            .with_hint("Compare it, as in `compare.min_sqnr_db > 20`.")),
            Err(error) => Err(self.failure(&error, &context)),
        }
    }

    fn failure(&self, error: &ExecutionError, context: &Context<'_, '_>) -> Error {
        let root = self.program.expression();
        if let ExecutionError::NoSuchKey(key) = error {
            let (holder, keys) = explain::lacking(root, key, context).unwrap_or_default();
            let failed = Error::usage(format!("`{holder}` has no `{key}`"));
            let known = keys.iter().map(String::as_str);
            return failed.with_nearest(key, known, || format!("It has {}.", keys.join(", ")));
        }
        let missing = explain::missing(root, context);
        let failed = Error::usage(format!("`{}` cannot be computed", self.text));
        if missing.is_empty() {
            return failed.with_cause(error.to_string());
        }
        failed
            .with_cause(format!("{} has no value", missing.join(", ")))
            .with_hint(format!("Allow for that, as in `{0} == null || …`.", missing[0].trim_matches('`')))
    }
}

/// The parser's message, without its list of expected tokens.
fn syntax_cause(message: &str) -> String {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let short = message.split(" expecting ").next().unwrap_or(message);
    if short.contains("<EOF>") { "it ends too early".to_owned() } else { short.to_owned() }
}

/// Refuses expressions too deep for the parser or the evaluation.
fn check_size(text: &str) -> Result<()> {
    let (mut depth, mut deepest, mut operators, mut row) = (0_usize, 0_usize, 0, 0_usize);
    for letter in text.chars() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '!' | '-' => row += 1,
            _ => {}
        }
        if !matches!(letter, '!' | '-') && !letter.is_whitespace() {
            row = 0;
        }
        operators += usize::from(letter.is_ascii_punctuation() && !matches!(letter, '_' | '"' | '\''));
        deepest = deepest.max(depth).max(row);
    }
    if text.len() > MAX_BYTES || deepest > MAX_DEPTH || operators > MAX_OPERATORS {
        return Err(Error::usage("the expression is too long or too deep")
            .with_hint("Split it into several assertions."));
    }
    Ok(())
}

/// The names that are not bound by a macro such as `all`.
fn free_names<'e>(expr: &'e IdedExpr, bound: &mut Vec<&'e str>, names: &mut Vec<&'e str>) {
    match &expr.expr {
        Expr::Ident(name) if !bound.contains(&name.as_str()) => names.push(name),
        Expr::Comprehension(one) => {
            free_names(&one.iter_range, bound, names);
            let before = bound.len();
            bound.extend([one.iter_var.as_str(), one.accu_var.as_str()]);
            bound.extend(one.iter_var2.as_deref());
            for inner in [&one.accu_init, &one.loop_cond, &one.loop_step, &one.result] {
                free_names(inner, bound, names);
            }
            bound.truncate(before);
        }
        _ => explain::parts(expr).into_iter().for_each(|part| free_names(part, bound, names)),
    }
}

#[cfg(test)]
mod tests;
