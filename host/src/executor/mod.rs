//! From a line of text to a displayed result: parse, expand, check, run, print, remember.

mod block;
mod missing;
mod redirect;
mod watch;

pub use redirect::{Trust, untrusted, without_file};

use crate::cancel::CancelFlag;
use crate::commands::{Entry, Prepared, Scope, find};
use crate::error::{Error, ErrorKind, Result, exit_code};
use crate::journal::{Journal, Place};
use crate::language::{Line, Problem, Statement, blocks, parse};
use crate::playground::{Playground, Preparation};
use crate::regular_file;
use crate::render::diagnostic::Source;
use crate::render::record::take_durations;
use crate::render::report::{Effect, Report};
use crate::render::ui::Ui;
use crate::render::{Format, number};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Scripts may run each other to this depth.
const MAX_DEPTH: usize = 16;

/// A session, and how to show what happens in it.
pub struct Executor {
    /// The state of the session.
    pub playground: Playground,
    /// Where everything is displayed.
    pub ui: Ui,
    /// Set by Ctrl-C.
    pub cancel: CancelFlag,
    /// Whether a script goes on after a command that fails.
    pub keeps_going: bool,
    /// A record of what happened so far, for reports.
    pub journal: Option<Journal>,
    /// Who may run programs.
    pub trust: Trust,
    /// How many nested scripts are running.
    depth: usize,
    /// The folder of the script that is running.
    script_folder: Option<PathBuf>,
    /// Whether a line is being watched: each of its results is shown at once.
    is_watching: bool,
    /// How many nested blocks are being executed.
    blocks: usize,
    /// The variables of the loops around a statement.
    rounds: Vec<String>,
}

/// Where a text comes from: decides what happens after an error, and how its position is shown.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// Typed at a prompt of this width: an error ends the line, not the session.
    Prompt {
        /// Columns before the text.
        width: usize,
        /// Whether long results wait for a key: not if other lines follow already.
        has_pages: bool,
    },
    /// A script, a pipe, an argument: the first error ends it.
    Text {
        /// Its name.
        name: &'a str,
        /// Whether each command is printed before its result.
        is_echoed: bool,
    },
}

/// What to do after a text was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next one.
    GoOn,
    /// The user wants to end the session.
    Quit,
    /// It failed, and this is the exit code.
    Failed(u8),
}

impl Executor {
    /// A new session.
    pub fn new(playground: Playground, ui: Ui, cancel: CancelFlag) -> Self {
        Self {
            playground,
            ui,
            cancel,
            keeps_going: false,
            journal: None,
            trust: Trust::default(),
            depth: 0,
            script_folder: None,
            is_watching: false,
            blocks: 0,
            rounds: Vec::new(),
        }
    }

    /// Executes the statements of a text, up to the first that fails.
    pub fn execute(&mut self, text: &str, origin: Origin<'_>) -> Outcome {
        let nodes = match blocks(text) {
            Ok(nodes) => nodes,
            Err(problems) => {
                for problem in &problems {
                    if let (Some(journal), Origin::Text { name, .. }) = (&mut self.journal, origin) {
                        let place = place(name, text, &problem.span);
                        journal.note(place, &self.rounds, "", Err(unparsable(problem)));
                    }
                    self.show_error(&unparsable(problem), text, origin, self.playground.settings.format);
                }
                return Outcome::Failed(exit_code::USAGE);
            }
        };
        // At a prompt Ctrl-C ends what was typed; in a script it ends the script.
        if let Origin::Prompt { .. } = origin {
            self.cancel.clear();
        }
        let outcome = self.execute_nodes(text, &nodes, origin);
        // Handled: the next Ctrl-C counts as a first one again.
        if let Origin::Prompt { .. } = origin {
            self.cancel.clear();
        }
        outcome
    }

    /// Runs a script up to the first statement that fails; paths in it are relative to its own folder.
    pub fn run_script(&mut self, path: &Path, is_echoed: bool) -> Outcome {
        let text = match read_script(path, self.depth) {
            Ok(text) => text,
            Err(error) => {
                self.ui.error(&error, Source::None, self.playground.settings.format);
                return Outcome::Failed(error.kind().exit_code());
            }
        };
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let outer_folder = self.script_folder.replace(folder.clone());
        let outer = std::mem::replace(&mut self.playground.base, folder);
        self.depth += 1;
        let name = path.display().to_string();
        let outcome = self.execute(&text, Origin::Text { name: &name, is_echoed });
        self.depth -= 1;
        self.script_folder = outer_folder;
        self.playground.base = outer;
        outcome
    }

    fn execute_statement(&mut self, text: &str, statement: &Statement, origin: Origin<'_>) -> Outcome {
        self.echo(text, statement, origin);
        let mut format = self.playground.settings.format;
        let started = Instant::now();
        let result = match self.run_statement(text, statement, origin, &mut format) {
            Ok(Effect::ExpectError { kind, line }) => {
                self.expect_error(kind, &line, origin).map(|()| Effect::None)
            }
            Ok(Effect::Watch { times, line }) => self.watch(times, &line, origin).map(|()| Effect::None),
            result => result,
        };
        self.note(text, statement, origin, &result);
        if !matches!(result, Err(_) | Ok(Effect::Fail(_) | Effect::Left))
            && let Some((entry, line)) = named(text, statement)
        {
            if matches!(entry.name, "compare" | "evaluate") {
                self.playground.last_comparison = Some((entry.name, line.to_owned()));
            }
            if self.is_at_top() {
                self.playground.done.push((entry.name, line.to_owned()));
            }
        }
        self.playground.backends.idle();
        let effect = match result {
            Ok(effect) => effect,
            Err(error) => {
                // An error without a position gets that of its statement.
                let error = error.with_span(statement.span.clone());
                self.show_error(&error, text, origin, format);
                return Outcome::Failed(error.kind().exit_code());
            }
        };
        if self.playground.settings.shows_timing {
            self.ui.remark(&format!("({})", number::duration(started.elapsed())));
        }
        match effect {
            Effect::None | Effect::Left => Outcome::GoOn,
            Effect::Quit => Outcome::Quit,
            Effect::Fail(error) => {
                let error = error.with_span(statement.span.clone());
                self.show_error(&error, text, origin, Format::Table);
                Outcome::Failed(error.kind().exit_code())
            }
            // Were handled above.
            Effect::ExpectError { .. } | Effect::Watch { .. } => Outcome::GoOn,
            Effect::Source(path) => {
                let is_echoed = matches!(origin, Origin::Text { is_echoed: true, .. });
                self.run_script(&path, is_echoed)
            }
        }
    }

    /// Whether the user gave a statement directly: neither in a script nor in a block.
    fn is_at_top(&self) -> bool {
        self.depth == 0 && self.blocks == 0
    }

    /// Prints a statement before its result, if echo is on.
    fn echo(&self, text: &str, statement: &Statement, origin: Origin<'_>) {
        if let Origin::Text { is_echoed: true, .. } = origin {
            self.ui.echo(text.get(statement.whole()).unwrap_or_default());
        }
    }

    /// Runs a statement and shows its result.
    fn run_statement(
        &mut self,
        text: &str,
        statement: &Statement,
        origin: Origin<'_>,
        format: &mut Format,
    ) -> Result<Effect> {
        if statement.is_program() {
            return self.run_program(text, statement).map(|()| Effect::None);
        }
        let (statement, target) = self.redirected(text, statement)?;
        let (command, report) = self.compute(text, &statement, format)?;
        match target {
            Some(target) => self.send(&report, *format, &target)?,
            None => self.show(&report, *format, origin),
        }
        let effect = report.pending_effect().clone();
        if !matches!(effect, Effect::Fail(_)) && !report.value().is_null() {
            self.playground.results.insert(command, report.value().clone());
            if !report.is_preparation() {
                self.playground.last_report = Some((command, report));
            }
        }
        Ok(effect)
    }

    /// Runs a statement; returns the name of its command and the result, to be shown in this `format`.
    fn compute(
        &mut self,
        text: &str,
        statement: &Statement,
        format: &mut Format,
    ) -> Result<(&'static str, Report)> {
        self.cancel.check()?;
        let line = Line::new(text, statement, &self.playground.variables)?;
        // With JSON, a usage error is a document, too.
        if line.words().any(|word| word == "--json") {
            *format = Format::Json;
        }
        let prepared = Prepared::new(&line)?;
        let scope = Scope { ui: &self.ui, cancel: &self.cancel };
        let ran = prepared.run(&mut self.playground, &scope);
        let report = ran.map_err(|error| missing::with_place(error, &prepared, &self.playground))?;
        if prepared.format.is_none() {
            // `format json` itself answers in JSON.
            *format = self.playground.settings.format;
        }
        if report.is_preparation()
            && let Some(slot) = Preparation::slot(&line)
        {
            let files = watch::files_read(&prepared, &self.playground);
            let base = self.playground.base.clone();
            self.playground.preparations.insert(slot, Preparation { line, base, files });
        }
        Ok((prepared.command(), report))
    }

    fn show(&self, report: &Report, format: Format, origin: Origin<'_>) {
        if report.value().is_null() {
            return;
        }
        let is_for_machines = self.playground.settings.format.is_for_machines();
        if is_for_machines && self.ui.appearance().shows_last_only && !self.is_watching {
            self.ui.keep_last(report, format);
        } else if matches!(origin, Origin::Prompt { has_pages: true, .. })
            && self.is_at_top()
            && !self.is_watching
        {
            self.ui.report_in_pages(report, format, &self.cancel);
        } else {
            self.ui.report(report, format, matches!(origin, Origin::Prompt { .. }));
        }
    }

    /// Runs a line that should fail.
    ///
    /// # Errors
    /// `Assertion` if it succeeds, or fails with another kind of error; `Cancelled`.
    fn expect_error(&mut self, kind: ErrorKind, line: &str, origin: Origin<'_>) -> Result<()> {
        let found = match parse(line).map(|mut statements| statements.pop()) {
            Ok(Some(inner)) => {
                let mut format = self.playground.settings.format;
                self.run_statement(line, &inner, origin, &mut format)
            }
            Ok(None) => Err(Error::usage("no command after the kind of error")),
            Err(problems) => Err(problems.first().map_or_else(|| Error::usage("unreadable"), unparsable)),
        };
        let error = match found {
            Ok(Effect::Fail(error)) | Err(error) => error,
            Ok(Effect::ExpectError { .. } | Effect::Source(_) | Effect::Watch { .. }) => {
                Error::usage("`expect-error` takes one command, but not `source` or itself")
                    .with_hint("Write it in that script.")
            }
            Ok(_) => {
                let message = format!("`{line}` should fail with {}, but succeeded", kind.name());
                return Err(Error::new(ErrorKind::Assertion, message));
            }
        };
        match error.kind() {
            found if found == kind => {
                self.ui.remark(&format!("failed as expected: {}", error.message()));
                Ok(())
            }
            ErrorKind::Cancelled => Err(error),
            found => {
                let message = format!("`{line}` should fail with {}, not with {}", kind.name(), found.name());
                Err(Error::new(ErrorKind::Assertion, message).with_cause(error.message().to_owned()))
            }
        }
    }

    /// Writes a statement into the journal, if there is one.
    fn note(&mut self, text: &str, statement: &Statement, origin: Origin<'_>, result: &Result<Effect>) {
        let (Some(journal), Origin::Text { name, .. }) = (&mut self.journal, origin) else { return };
        let command = named(text, statement).map_or("", |(entry, _)| entry.name);
        let outcome = match result {
            Err(error) | Ok(Effect::Fail(error)) => Err(error.clone()),
            // A script's statements are recorded one by one.
            Ok(Effect::Source(_)) => return,
            Ok(_) => {
                let mut value = self.playground.results.get(command).cloned().unwrap_or_default();
                for report in find(command).map(|entry| (entry.reports)()).unwrap_or_default() {
                    take_durations(&report.fields, &mut value);
                }
                Ok(value)
            }
        };
        journal.note(place(name, text, &statement.span), &self.rounds, command, outcome);
    }

    fn show_error(&self, error: &Error, text: &str, origin: Origin<'_>, format: Format) {
        // Only a usage error needs carets under a line that was just typed.
        let is_about_words = error.kind() == ErrorKind::Usage;
        let source = match origin {
            // With several lines, say which one it was.
            Origin::Prompt { .. } if text.contains('\n') => Source::Text { name: "prompt", text },
            Origin::Prompt { width, .. } if is_about_words => Source::Prompt { text, prompt_width: width },
            Origin::Prompt { .. } => Source::None,
            Origin::Text { name, .. } => Source::Text { name, text },
        };
        self.ui.error(error, source, format);
    }
}

fn read_script(path: &Path, depth: usize) -> Result<String> {
    if depth >= MAX_DEPTH {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("`{}` would nest scripts more than {MAX_DEPTH} deep", path.display()),
        )
        .with_hint("Check whether it runs itself with `source`."));
    }
    regular_file::read_script(path)
}

/// The command of a statement, and its text.
fn named<'t>(text: &'t str, statement: &Statement) -> Option<(&'static Entry, &'t str)> {
    let word = text.get(statement.words.first()?.span.clone())?;
    Some((find(word)?, text.get(statement.span.clone())?))
}

/// The position of a part of a text.
fn place<'t>(file: &'t str, text: &'t str, span: &Range<usize>) -> Place<'t> {
    let before = text.get(..span.start).unwrap_or_default();
    Place { file, line: before.matches('\n').count() + 1, text: text.get(span.clone()).unwrap_or_default() }
}

fn unparsable(problem: &Problem) -> Error {
    Error::usage(problem.message).with_span(problem.span.clone())
}
