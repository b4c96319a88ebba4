//! `| PROGRAM`, `> FILE` and `!PROGRAM`: results as plain text for programs and files.
//!
//! A script may be a stranger's. Without `--allow-programs` it runs no program, and writes only new files below its own
//! folder: nothing that a shell or an editor would execute later.

use super::Executor;
use crate::commands::find;
use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::language::{Statement, Word};
use crate::regular_file;
use crate::render::Format;
use crate::render::report::Report;
use crate::shell;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::process::ExitStatus;

/// Who may run programs, and write to any file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Nobody.
    #[default]
    None,
    /// What the user types, at a prompt or after `-c`.
    Typed,
    /// Scripts, too.
    Everything,
}

/// Where a result goes instead of the terminal.
pub(super) enum Target {
    /// To a program of the shell.
    Program(String),
    /// Into a file.
    File(PathBuf, Mode),
}

/// What happens to a file that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    New,
    Replace,
    Append,
}

impl Executor {
    /// The statement's own words, and where its result goes. Nothing was run yet.
    ///
    /// # Errors
    /// `Usage` for a result that a script may not send there, or that is none.
    pub(super) fn redirected(
        &self,
        text: &str,
        statement: &Statement,
    ) -> Result<(Statement, Option<Target>)> {
        let own = without_file(text, statement);
        let entry = statement.words.first().and_then(|word| find(text.get(word.span.clone())?));
        let target = match (&statement.program, mark(text, statement)) {
            (Some(program), Some(_)) => {
                let message = "a result goes to a program or into a file, not both";
                return Err(Error::usage(message).with_span(program.clone()));
            }
            (Some(program), None) => {
                self.require_trust("run programs", program.clone())?;
                let written = text.get(program.clone()).unwrap_or_default();
                Some(Target::Program(written.trim().to_owned()))
            }
            (None, Some(place)) => Some(self.file(text, &statement.words[place..])?),
            (None, None) => None,
        };
        if let (Some(_), Some(entry)) = (&target, entry)
            && !entry.has_result()
        {
            return Err(Error::usage(format!("`{}` has no result of its own to send on", entry.name)));
        }
        Ok((own, target))
    }

    /// The file after `>`.
    fn file(&self, text: &str, marked: &[Word]) -> Result<Target> {
        let span = marked.first().map_or(0..0, |word| word.span.clone());
        let Some((mode, mark)) = marked.first().and_then(|word| mode(text, word)) else {
            return Err(Error::internal("no mark of a file"));
        };
        let variables = &self.playground.variables;
        let first = variables.expand(&marked[0])?;
        let names = [first[mark.len()..].to_owned()].into_iter().filter(|name| !name.is_empty());
        let rest = marked[1..].iter().map(|word| variables.expand(word));
        let names: Vec<String> = names.map(Ok).chain(rest).collect::<Result<_>>()?;
        let [name] = names.as_slice() else {
            let message = format!("`{mark}` is followed by one file, at the end of the command");
            return Err(Error::usage(message).with_span(span));
        };
        if mode != Mode::New {
            self.require_trust("replace files or add to them", span.clone())?;
        }
        let path = self.playground.path(name);
        if !self.is_trusted() && !self.is_below_script(&path) {
            return Err(untrusted("write outside of their own folder").with_span(span));
        }
        Ok(Target::File(path, mode))
    }

    /// Sends a result where it goes.
    ///
    /// # Errors
    /// Those of the file, or of starting the program; `Cancelled`.
    pub(super) fn send(&self, report: &Report, format: Format, target: &Target) -> Result<()> {
        let text = self.ui.plain(report, format);
        match target {
            Target::File(path, mode) => {
                match mode {
                    Mode::New => file::write(path, text.as_bytes(), false).map_err(with_marks)?,
                    Mode::Replace => file::write(path, text.as_bytes(), true)?,
                    Mode::Append => regular_file::open_to_append(path)?
                        .write_all(text.as_bytes())
                        .map_err(|error| Error::io("write", path, &error))?,
                }
                self.ui.remark(&format!("written to {}", path.display()));
                Ok(())
            }
            Target::Program(program) => self.run(program, Some(text)).map(|_| ()),
        }
    }

    /// Runs what follows `!`.
    ///
    /// # Errors
    /// `Failed` if it ended with another code than 0; `Cancelled`; `Usage` in a script without trust.
    pub(super) fn run_program(&self, text: &str, statement: &Statement) -> Result<()> {
        let span = statement.whole();
        self.require_trust("run programs", span.clone())?;
        let program = text.get(statement.program.clone().unwrap_or_default()).unwrap_or_default().trim();
        let status = self.run(program, None)?;
        match status.code() {
            Some(0) => Ok(()),
            Some(code) => Err(Error::state(format!("`{program}` ended with exit code {code}"))),
            None => Err(Error::state(format!("`{program}` was ended by a signal"))),
        }
    }

    fn run(&self, program: &str, input: Option<String>) -> Result<ExitStatus> {
        let mut command = shell::command(program);
        let base = &self.playground.base;
        if !base.as_os_str().is_empty() {
            command.current_dir(base);
        }
        // The shell expands what it is asked for; a script's variables must not change how programs work otherwise.
        for (name, value) in self.playground.variables.iter() {
            let is_plain =
                name.starts_with(|letter: char| letter.is_ascii_lowercase()) && !name.ends_with("_proxy");
            if is_plain
                && (program.contains(&format!("${name}")) || program.contains(&format!("${{{name}}}")))
            {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                command.env(name, text);
            }
        }
        // Ctrl-C is for the program.
        let ended = shell::run(&mut command, input, || self.cancel.clear());
        self.cancel.clear();
        let status = ended.map_err(|error| {
            let cannot = Error::state(format!("`{program}` cannot be run"));
            // The shell has said it.
            if error.kind() == std::io::ErrorKind::NotFound {
                cannot
            } else {
                cannot.with_cause(error.to_string())
            }
        })?;
        #[cfg(unix)]
        if std::os::unix::process::ExitStatusExt::signal(&status) == Some(signal_hook::consts::SIGINT) {
            return Err(Error::cancelled());
        }
        Ok(status)
    }

    fn is_trusted(&self) -> bool {
        match self.trust {
            Trust::None => false,
            Trust::Typed => self.depth == 0,
            Trust::Everything => true,
        }
    }

    fn require_trust(&self, what: &str, span: std::ops::Range<usize>) -> Result<()> {
        if self.is_trusted() { Ok(()) } else { Err(untrusted(what).with_span(span)) }
    }

    /// Whether a new file would be in the script's own folder or below it, links resolved.
    fn is_below_script(&self, path: &Path) -> bool {
        let here = |folder: &Path| {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            folder.canonicalize().ok()
        };
        let folder = path.parent().and_then(here);
        let own = here(self.script_folder.as_deref().unwrap_or(Path::new("")));
        let is_plain = matches!(path.components().next_back(), Some(Component::Normal(_)));
        is_plain && folder.zip(own).is_some_and(|(folder, own)| folder.starts_with(own))
    }
}

/// The statement without `> FILE`.
pub fn without_file(text: &str, statement: &Statement) -> Statement {
    let mut own = statement.clone();
    if let Some(place) = mark(text, statement) {
        own.words.truncate(place);
        own.span.end = own.words.last().map_or(own.span.end, |word| word.span.end);
    }
    own.program = None;
    own
}

/// Commands whose words are values, in which `>` may stand.
const TEXTS: [&str; 3] = ["let", "param", "section"];

/// The index of the word with `>`; commands that take a text have none.
fn mark(text: &str, statement: &Statement) -> Option<usize> {
    let entry = statement.words.first().and_then(|word| find(text.get(word.span.clone())?));
    let words = statement.words.iter().enumerate().skip(1);
    let mut marks = words.filter(|(_, word)| mode(text, word).is_some()).map(|(index, _)| index);
    marks.next().filter(|_| !entry.is_some_and(|entry| entry.takes_text || TEXTS.contains(&entry.name)))
}

/// The error for what only a trusted script may do.
pub fn untrusted(what: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("scripts may not {what}"))
        .with_hint("If you trust it, start qp with `--allow-programs`.")
}

/// `>`, `>>` or `>|` at the start of a word, unquoted.
fn mode(text: &str, word: &Word) -> Option<(Mode, &'static str)> {
    let written = text.get(word.span.clone())?;
    [(Mode::Append, ">>"), (Mode::Replace, ">|"), (Mode::New, ">")]
        .into_iter()
        .find(|(_, mark)| written.starts_with(mark))
        // `>=` is an operator of expressions.
        .filter(|_| !written.starts_with(">="))
}

fn with_marks(error: Error) -> Error {
    if error.message().ends_with("already exists") {
        return Error::new(error.kind(), error.message().to_owned())
            .with_hint("Choose another name, add to it with `>>`, or replace it with `>|`.");
    }
    error
}
