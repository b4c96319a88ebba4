//! `if` and `for`: which statements are executed, and how often.

use super::{Executor, Origin, Outcome, place};
use crate::commands::names_of;
use crate::error::{Error, ErrorKind, Result, exit_code};
use crate::expression::{self, Expression};
use crate::language::block::{For, If};
use crate::language::variable::value_of;
use crate::language::{Line, Node, Statement};
use std::ops::Range;

impl Executor {
    /// Executes statements and blocks, up to the first that fails.
    pub(super) fn execute_nodes(&mut self, text: &str, nodes: &[Node], origin: Origin<'_>) -> Outcome {
        let mut failed = Failed::default();
        for node in nodes {
            let outcome = match node {
                Node::Statement(statement) => self.execute_statement(text, statement, origin),
                Node::If(block) => self.execute_block(text, &block.span, "if", |executor| {
                    executor.execute_if(text, block, origin)
                }),
                Node::For(block) => self.execute_block(text, &block.span, "for", |executor| {
                    executor.execute_for(text, block, origin)
                }),
            };
            if let Some(end) = failed.after(outcome, self.keeps_going) {
                return end;
            }
            if self.ui.is_output_closed() {
                return Outcome::Quit;
            }
            if self.ui.has_output_failed() {
                return Outcome::Failed(exit_code::FAILED);
            }
        }
        failed.outcome()
    }

    /// Executes a block, and remembers it as written if all of it succeeded.
    fn execute_block(
        &mut self,
        text: &str,
        span: &Range<usize>,
        keyword: &'static str,
        execute: impl FnOnce(&mut Self) -> Outcome,
    ) -> Outcome {
        self.blocks += 1;
        let outcome = execute(self);
        self.blocks -= 1;
        if outcome == Outcome::GoOn && self.is_at_top() {
            let block = text.get(span.clone()).unwrap_or_default();
            self.playground.done.push((keyword, block.to_owned()));
        }
        outcome
    }

    fn execute_if(&mut self, text: &str, block: &If, origin: Origin<'_>) -> Outcome {
        for (condition, body) in &block.branches {
            self.echo(text, condition, origin);
            match self.holds(text, condition) {
                Ok(true) => return self.execute_nodes(text, body, origin),
                Ok(false) => {}
                Err(error) => return self.refuse_block(text, condition, origin, error),
            }
        }
        self.execute_nodes(text, &block.otherwise, origin)
    }

    fn holds(&self, text: &str, condition: &Statement) -> Result<bool> {
        self.cancel.check()?;
        let line = Line::new(text, condition, &self.playground.variables)?;
        let expression = Expression::parse(line.rest())?;
        Ok(expression.assert(&names_of(&self.playground))? == expression::Outcome::Holds)
    }

    fn execute_for(&mut self, text: &str, block: &For, origin: Origin<'_>) -> Outcome {
        self.echo(text, &block.header, origin);
        let rounds = match self.rounds(block) {
            Ok(rounds) => rounds,
            Err(error) => return self.refuse_block(text, &block.header, origin, error),
        };
        let name = block.variable.as_str();
        let outer = self.playground.variables.get(name).cloned();
        let mut failed = Failed::default();
        let mut end = None;
        for word in rounds {
            if let Err(error) = self.cancel.check() {
                end = Some(self.refuse_block(text, &block.header, origin, error));
                break;
            }
            let round = format!("{name} = {word}");
            if let Origin::Text { is_echoed: true, .. } = origin {
                self.ui.echo(&format!("# {round}"));
            }
            self.playground.variables.set(name.to_owned(), value_of_word(word));
            self.rounds.push(round);
            let outcome = self.execute_nodes(text, &block.body, origin);
            self.rounds.pop();
            end = failed.after(outcome, self.keeps_going);
            if end.is_some() {
                break;
            }
        }
        self.playground.variables.replace(name, outer);
        end.unwrap_or_else(|| failed.outcome())
    }

    /// The words of all rounds, with patterns replaced by what they match.
    fn rounds(&self, block: &For) -> Result<Vec<String>> {
        let variables = &self.playground.variables;
        let mut words = Vec::new();
        for word in block.words() {
            match variables.pattern(word)? {
                None => words.push(variables.expand(word)?),
                Some(pattern) => {
                    let found = self.playground.matching(&pattern, &self.cancel);
                    let written = variables.expand(word)?;
                    words.extend(found.map_err(|error| {
                        let error = if error.kind() == ErrorKind::NotFound {
                            error.within(format!("`{written}` matches nothing"))
                        } else {
                            error
                        };
                        error.with_span(word.span.clone())
                    })?);
                }
            }
        }
        Ok(words)
    }

    /// Reports the error of a block's own line.
    fn refuse_block(&mut self, text: &str, line: &Statement, origin: Origin<'_>, error: Error) -> Outcome {
        if let (Some(journal), Origin::Text { name, .. }) = (&mut self.journal, origin) {
            journal.note(place(name, text, &line.span), &self.rounds, "", Err(error.clone()));
        }
        let error = error.with_span(line.span.clone());
        self.show_error(&error, text, origin, self.playground.settings.format);
        Outcome::Failed(error.kind().exit_code())
    }
}

/// The word as a number, if that is written the same way; otherwise as text: `1.50` may be the name of a folder.
fn value_of_word(word: String) -> serde_json::Value {
    let value = value_of(&word);
    let text = value.to_string();
    if value.is_string() || text == word { value } else { word.into() }
}

/// The worst exit code of the statements that failed and did not end the script.
#[derive(Default)]
struct Failed(Option<u8>);

impl Failed {
    /// What ends the statements after one with this outcome, if it does.
    fn after(&mut self, outcome: Outcome, keeps_going: bool) -> Option<Outcome> {
        match outcome {
            Outcome::GoOn => None,
            Outcome::Failed(code) if keeps_going && code != exit_code::INTERRUPTED => {
                self.0 = Some(self.0.map_or(code, |before| exit_code::worse(before, code)));
                None
            }
            end => Some(end),
        }
    }

    fn outcome(&self) -> Outcome {
        self.0.map_or(Outcome::GoOn, Outcome::Failed)
    }
}
