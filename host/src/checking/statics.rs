//! `qp check`: everything that is wrong with a script, all at once, without running it.

use crate::commands::{Prepared, TABLE, assertion, find, watched};
use crate::error::{Error, ErrorKind, Result};
use crate::executor::{untrusted, without_file};
use crate::expression::{Expression, unknown_name};
use crate::input::Selection;
use crate::language::block::{For, If};
use crate::language::variable::{assignment, value_of};
use crate::language::{Line, Node, Part, Problem, Statement, Variables, blocks, parse};
use crate::regular_file;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

/// Scripts are followed to this depth.
const MAX_DEPTH: usize = 16;

/// Arguments that name something to read, by their ids.
const READ: [&str; 5] = ["data", "labels", "targets", "file", "path"];

/// The value of a variable that is only known when the script runs.
const LATER: &str = "1";

/// The problems of the script, each with its position in the text; paths are relative to its own folder `base`.
pub fn problems(text: &str, base: &Path, allows_programs: bool) -> Vec<Error> {
    let mut checker = Checker { allows_programs, ..Checker::default() };
    checker.text(text, base, 0);
    checker.problems
}

#[derive(Default)]
struct Checker {
    problems: Vec<Error>,
    known: Known,
    /// Whether it may run programs.
    allows_programs: bool,
}

/// What is known before a statement.
#[derive(Clone, Default)]
struct Known {
    variables: Variables,
    /// Variables whose value is only known when the script runs.
    later: BTreeSet<String>,
    /// Commands that have run so far.
    before: BTreeSet<&'static str>,
}

impl Known {
    /// What is known after either of two paths: a variable whose values differ is only known when the script runs.
    fn merge(&mut self, other: &Self) {
        for (name, value) in other.variables.iter() {
            if self.variables.get(name) != Some(value) {
                self.later.insert(name.to_owned());
                self.variables.set(name.to_owned(), value.clone());
            }
        }
        self.later.extend(other.later.iter().cloned());
        self.before.extend(&other.before);
    }
}

impl Checker {
    fn text(&mut self, text: &str, base: &Path, depth: usize) {
        let nodes = match blocks(text) {
            Ok(nodes) => nodes,
            Err(problems) => {
                let wrong = |problem: &Problem| Error::usage(problem.message).with_span(problem.span.clone());
                return self.problems.extend(problems.iter().map(wrong));
            }
        };
        self.nodes(text, &nodes, base, depth);
    }

    fn nodes(&mut self, text: &str, nodes: &[Node], base: &Path, depth: usize) {
        for node in nodes {
            match node {
                Node::Statement(statement) => self.statement(text, statement, base, depth),
                Node::If(block) => self.branches(text, block, base, depth),
                Node::For(block) => self.rounds(text, block, base, depth),
            }
        }
    }

    /// Each branch starts from the state before the block; what follows may continue from any of them.
    fn branches(&mut self, text: &str, block: &If, base: &Path, depth: usize) {
        let mut before = self.known.clone();
        let mut after: Option<Known> = None;
        let bodies = block.branches.iter().map(|(condition, body)| (Some(condition), body));
        for (condition, body) in bodies.chain([(None, &block.otherwise)]) {
            self.known.clone_from(&before);
            if let Some(condition) = condition {
                match Line::new(text, condition, &self.known.variables) {
                    Ok(line) => self.expression(Expression::parse(line.rest()), &condition.span),
                    Err(error) => self.report(error, &condition.span),
                }
                before.clone_from(&self.known);
            }
            self.nodes(text, body, base, depth);
            match &mut after {
                Some(after) => after.merge(&self.known),
                None => after = Some(self.known.clone()),
            }
        }
        self.known = after.unwrap_or(before);
    }

    /// The body is checked once, for any words.
    fn rounds(&mut self, text: &str, block: &For, base: &Path, depth: usize) {
        for word in block.words() {
            if let Err(error) = self.known.variables.expand(word) {
                self.report(error, &word.span);
            }
        }
        let name = block.variable.as_str();
        let outer = self.known.variables.replace(name, Some(value_of(LATER)));
        let was_later = !self.known.later.insert(name.to_owned());
        self.nodes(text, &block.body, base, depth);
        self.known.variables.replace(name, outer);
        if !was_later {
            self.known.later.remove(name);
        }
    }

    fn report(&mut self, error: Error, span: &Range<usize>) {
        self.problems.push(error.with_span(span.clone()));
    }

    fn statement(&mut self, text: &str, statement: &Statement, base: &Path, depth: usize) {
        let span = &statement.span;
        if let (Some(program), false) = (&statement.program, self.allows_programs) {
            self.report(untrusted("run programs"), program);
        }
        if statement.is_program() {
            return;
        }
        let statement = &without_file(text, statement);
        let line = match Line::new(text, statement, &self.known.variables) {
            Ok(line) => line,
            Err(error) => return self.report(error, span),
        };
        let prepared = match Prepared::new(&line) {
            Ok(prepared) => prepared,
            // A number may be substituted later.
            Err(_) if self.uses_later(statement) && find(line.command()).is_some() => return,
            Err(error) => return self.report(error, span),
        };
        let words: Vec<&str> = line.words().collect();
        match (prepared.command(), &words[1..]) {
            ("assert", _) => {
                self.expression(assertion(line.rest()).map(|(expression, _)| expression), span);
            }
            ("watch", _) => self.watched(line.rest(), span),
            ("expect-error", [kind, ..]) => {
                if let Err(error) = ErrorKind::named(kind) {
                    self.report(error, span);
                }
            }
            ("param", [name, rest @ ..]) => {
                self.known
                    .variables
                    .set((*name).to_owned(), value_of(rest.first().copied().unwrap_or(LATER)));
                if rest.is_empty() {
                    self.known.later.insert((*name).to_owned());
                }
            }
            ("let", [_, ..]) => match assignment(&words[1..].join(" ")) {
                Ok((name, value)) => {
                    if self.uses_later(statement) {
                        self.known.later.insert(name.clone());
                    }
                    self.known.variables.set(name, value);
                }
                Err(error) => self.report(error, span),
            },
            ("source", [file]) => self.source(&base.join(file), span, depth),
            _ => {}
        }
        if !self.uses_later(statement) {
            self.files(&prepared, base, span);
        }
        self.known.before.insert(prepared.command());
    }

    /// Whether a statement has a variable whose value is not known.
    fn uses_later(&self, statement: &Statement) -> bool {
        let mut parts = statement.words.iter().flat_map(|word| &word.parts);
        parts.any(|part| matches!(part, Part::Variable { name, .. } if self.known.later.contains(name)))
    }

    fn expression(&mut self, expression: Result<Expression>, span: &Range<usize>) {
        let expression = match expression {
            Ok(expression) => expression,
            Err(error) => return self.report(error, span),
        };
        let errors = self.names(&expression);
        let reports =
            |name: &str| find(name).map(|entry| (entry.reports)()).filter(|reports| !reports.is_empty());
        for error in errors.into_iter().chain(expression.unknown_keys(&reports)) {
            self.report(error, span);
        }
    }

    /// The line that is run again and again.
    fn watched(&mut self, text: &str, span: &Range<usize>) {
        let inner = watched(text).and_then(|(_, line)| {
            let statement = parse(line).ok().and_then(|mut statements| statements.pop());
            statement
                .map(|statement| Prepared::new(&Line::new(line, &statement, &self.known.variables)?))
                .transpose()
        });
        match inner {
            Ok(Some(prepared)) => drop(self.known.before.insert(prepared.command())),
            Ok(None) => {}
            Err(error) => self.report(error.without_span(), span),
        }
    }

    fn names(&self, expression: &Expression) -> Vec<Error> {
        let variables: Vec<&str> = self.known.variables.iter().map(|(name, _)| name).collect();
        let known = || TABLE.iter().map(|entry| entry.name).chain(variables.iter().copied());
        let wrong = |name: &&str| {
            if variables.contains(name) {
                return None;
            }
            match find(name) {
                Some(entry) if self.known.before.contains(entry.name) => None,
                Some(entry) => Some(
                    Error::state(format!("`{}` has not run before", entry.name))
                        .with_hint(format!("Run `{}` first.", entry.name)),
                ),
                None => Some(unknown_name(name, known())),
            }
        };
        expression.names().iter().filter_map(wrong).collect()
    }

    fn source(&mut self, path: &Path, span: &Range<usize>, depth: usize) {
        let Ok(text) = regular_file::read_script(path) else { return };
        if depth >= MAX_DEPTH {
            return self.report(Error::invalid_input("scripts run each other endlessly"), span);
        }
        // Their positions are in another file: one line says which, and how many.
        let own = std::mem::take(&mut self.problems);
        self.text(&text, path.parent().unwrap_or(Path::new("")), depth + 1);
        let found = std::mem::replace(&mut self.problems, own);
        if let Some(first) = found.first() {
            let error = Error::usage(format!("`{}` has {} problems", path.display(), found.len()));
            self.report(
                error.with_cause(first.message().to_owned()).with_hint("Check that script separately."),
                span,
            );
        }
    }

    /// Files to read that do not exist.
    fn files(&mut self, prepared: &Prepared, base: &Path, span: &Range<usize>) {
        for value in
            prepared.paths().iter().filter(|(id, _)| READ.contains(&id.as_str())).map(|(_, value)| value)
        {
            let file = Selection::parse(value).map_or(value.as_str(), |(file, _)| file);
            let is_elsewhere = file.starts_with('~') || base.join(file).exists();
            // A word without a dot or a separator may be the name of a data set.
            let is_file = file.contains(['.', '/', std::path::MAIN_SEPARATOR]);
            if is_file && !is_elsewhere {
                self.report(Error::not_found(format!("`{file}` does not exist")), span);
            }
        }
    }
}
