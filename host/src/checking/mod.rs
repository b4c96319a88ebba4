//! `qp run` and `qp check`: a script with its parameters, its reports for CI, and what is wrong with it before it runs
//! (`statics`).

mod statics;

pub use statics::problems;

use crate::error::{Error, Result, exit_code};
use crate::executor::{Executor, Outcome};
use crate::journal::{Journal, check_formats};
use crate::language::{Part, Statement, parse};
use crate::regular_file::read_script;
use crate::render::Format;
use crate::render::diagnostic::Source;
use crate::render::text::counted;
use crate::render::ui::Ui;
use crate::spelling::nearest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How to run a script.
pub struct Checking<'a> {
    /// Whether each command is printed before its result.
    pub is_echoed: bool,
    /// Whether to go on after a command fails.
    pub keeps_going: bool,
    /// Files for reports.
    pub reports: &'a [PathBuf],
}

/// Runs the script and writes its reports. If a report cannot be written, or the script does not have a parameter,
/// nothing runs.
pub fn run(executor: &mut Executor, file: &Path, checking: &Checking<'_>, params: &[String]) -> Outcome {
    let given = check_formats(checking.reports).and_then(|()| given(executor, file, params));
    let given = match given {
        Ok(Some(given)) => given,
        Ok(None) => return Outcome::GoOn,
        Err(error) => return refused(executor, &error),
    };
    executor.playground.params = given;
    executor.keeps_going = checking.keeps_going;
    executor.journal = (!checking.reports.is_empty()).then(|| Journal::of(file));
    let outcome = executor.run_script(file, checking.is_echoed);
    let Some(journal) = executor.journal.take() else { return outcome };
    for path in checking.reports {
        if let Err(error) = journal.write(path) {
            let failed = refused(executor, &error);
            // The script's own error matters more.
            return if matches!(outcome, Outcome::Failed(_)) { outcome } else { failed };
        }
    }
    outcome
}

/// Prints everything that is wrong with scripts.
pub fn check(ui: &Ui, files: &[PathBuf], format: Format, allows_programs: bool) -> Outcome {
    let mut outcome = Outcome::GoOn;
    for file in files {
        let base = file.parent().map(Path::to_owned).unwrap_or_default();
        let text = match read_script(file) {
            Ok(text) => text,
            Err(error) => {
                ui.error(&error, Source::None, format);
                outcome = Outcome::Failed(error.kind().exit_code());
                continue;
            }
        };
        let found = problems(&text, &base, allows_programs);
        let name = file.display().to_string();
        for problem in &found {
            ui.error(problem, Source::Text { name: &name, text: &text }, format);
        }
        let count = found.len();
        let said = match count {
            0 => "no problems".to_owned(),
            count => counted(count, "problem"),
        };
        ui.remark(&format!("{name}: {said}"));
        if count > 0 {
            outcome = Outcome::Failed(exit_code::USAGE);
        }
    }
    outcome
}

fn refused(executor: &Executor, error: &Error) -> Outcome {
    executor.ui.error(error, Source::None, executor.playground.settings.format);
    Outcome::Failed(error.kind().exit_code())
}

/// The values for the script's parameters; `None` if the user only asked for a list of them.
fn given(executor: &Executor, file: &Path, words: &[String]) -> Result<Option<BTreeMap<String, String>>> {
    if words.is_empty() {
        return Ok(Some(BTreeMap::new()));
    }
    let text = read_script(file)?;
    // Running it reports parse errors.
    let known: Vec<(String, Option<String>)> =
        parse(&text).unwrap_or_default().iter().filter_map(parameter).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        for (name, default) in &known {
            let default =
                default.as_ref().map_or_else(|| "required".to_owned(), |value| format!("default {value}"));
            executor.ui.remark(&format!("--{name} VALUE ({default})"));
        }
        if known.is_empty() {
            executor.ui.remark(&format!("`{}` takes no parameters", file.display()));
        }
        return Ok(None);
    }
    let mut given = BTreeMap::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let name = word.strip_prefix("--").ok_or_else(|| {
            Error::usage(format!("`{word}` is not a parameter")).with_hint("Write `-- --NAME VALUE`.")
        })?;
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, words.next().cloned()),
        };
        if !known.iter().any(|(known, _)| known == name) {
            let error = Error::usage(format!("`{}` has no parameter `{name}`", file.display()));
            return Err(match nearest(name, known.iter().map(|(known, _)| known.as_str())) {
                Some(near) => error.with_hint(format!("Did you mean `--{near}`?")),
                None => error.with_hint("`-- --help` lists them."),
            });
        }
        let value = value.ok_or_else(|| Error::usage(format!("`--{name}` needs a value")))?;
        given.insert(name.to_owned(), value);
    }
    Ok(Some(given))
}

/// The name and the default of a statement `param NAME [DEFAULT]`.
fn parameter(statement: &Statement) -> Option<(String, Option<String>)> {
    let word = |index: usize| {
        let parts = &statement.words.get(index)?.parts;
        Some(parts.iter().map(text).collect::<String>())
    };
    (word(0)? == "param").then_some(())?;
    Some((word(1)?, word(2)))
}

fn text(part: &Part) -> String {
    match part {
        Part::Literal(text) => text.clone(),
        Part::Wildcard(letter) => letter.to_string(),
        Part::Variable { name, .. } => format!("${name}"),
    }
}
